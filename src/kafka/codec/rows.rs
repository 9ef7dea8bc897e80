//! How many topics and partitions a produce names, counted before any of it is decoded.
//!
//! Memory is set aside for a produce by its size, since nearly all of it is records, which stay where they are. But a
//! partition without records is six bytes on the wire and hundreds once it is decoded, begun and answered, so a
//! request of nothing else would take a hundred times what was set aside. A producer sends records: a batch's header
//! and the smallest record are 68 bytes.

use kafka_wire_core::{DecodeError, Decoder};

/// Bytes of the request for each of its rows, on average; a topic of one partition with one small record has 80 for
/// its two.
const BYTES_PER_ROW: usize = 32;
/// Rows that any request may have.
const FREE_ROWS: usize = 8;
/// The version from which topics are named by id alone (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;

/// Refuses a request with more topics, partitions and unknown tagged fields than a producer has reason to name.
/// `body` stands at the beginning of the request's body.
pub(super) fn check(body: Decoder, version: i16, flexible: bool) -> Result<(), DecodeError> {
    let rows_max = FREE_ROWS + body.remaining() / BYTES_PER_ROW;
    let mut rows = Rows { body, flexible, left: rows_max, rows_max };
    if flexible {
        drop(rows.body.read_compact_nullable_string()?);
    } else {
        drop(rows.body.read_nullable_string()?);
    }
    // acks, timeout
    rows.body.take_bytes(2 + 4)?;
    for _ in 0..rows.array()? {
        match (version >= TOPIC_IDS_FROM, flexible) {
            (true, _) => drop(rows.body.read_uuid()?),
            (false, true) => drop(rows.body.read_compact_string()?),
            (false, false) => drop(rows.body.read_string()?),
        }
        for _ in 0..rows.array()? {
            rows.body.read_i32()?;
            if flexible {
                drop(rows.body.read_compact_nullable_bytes()?);
            } else {
                drop(rows.body.read_nullable_bytes()?);
            }
            rows.tags()?;
        }
        rows.tags()?;
    }
    rows.tags()
}

struct Rows {
    body: Decoder,
    flexible: bool,
    left: usize,
    rows_max: usize,
}

impl Rows {
    fn array(&mut self) -> Result<usize, DecodeError> {
        let count = if self.flexible {
            self.body.read_compact_array_len()?
        } else {
            self.body.read_array_len()?
        };
        self.spend(count.get())?;
        Ok(count.get())
    }

    fn tags(&mut self) -> Result<(), DecodeError> {
        if self.flexible {
            let fields = self.body.read_tagged_fields()?;
            self.spend(fields.iter().count())
        } else {
            Ok(())
        }
    }

    fn spend(&mut self, rows: usize) -> Result<(), DecodeError> {
        let refused = DecodeError::LimitExceeded {
            kind: "topics and partitions",
            length: rows,
            limit: self.rows_max,
            offset: self.body.offset(),
        };
        self.left = self.left.checked_sub(rows).ok_or(refused)?;
        Ok(())
    }
}
