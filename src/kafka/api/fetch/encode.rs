//! An answer as it is written to the socket: the records stay where they were read to, and are not copied into it.
//!
//! The codec writes a message into one buffer, which would take the memory of all records a second time. So it writes
//! the answer without its topics, each topic without its partitions, each partition without its records, and
//! what belongs in between is put there: an array or records that are empty are a length of one known form, and stand
//! last in their message, before its tagged fields.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_wire::FetchResponse;
use kafka_wire_core::{ApiVersion, EncodeError, KafkaEncode};

use crate::kafka::api::fetch::SESSIONS_FROM;
use crate::kafka::call::Call;
use crate::kafka::codec::{self, LENGTH_BYTES};

/// The version from which lengths are variable and messages end with tagged fields (KIP-482).
const FLEXIBLE_FROM: i16 = 12;

/// Encodes an answer with its length and header, in pieces to be written one after the other.
pub(super) fn pieces(call: &Call, mut answer: FetchResponse) -> Result<Vec<Bytes>, EncodeError> {
    let form = Form { version: call.version, flexible: call.version >= FLEXIBLE_FROM };
    let topics = std::mem::take(&mut answer.responses);
    let outline = codec::encode(call, &answer)?;
    // Correlation id, tagged fields of the header; throttle time, error and session id.
    let header = size_of::<i32>() + usize::from(form.flexible);
    let before = if call.version >= SESSIONS_FROM { 4 + 2 + 4 } else { 4 };
    let (head, tail) = form.around_empty(&outline[LENGTH_BYTES..], header + before);
    let mut out = Pieces { pieces: vec![Bytes::new()], open: BytesMut::from(head) };
    form.put_array_length(&mut out.open, topics.len())?;
    for mut topic in topics {
        let partitions = std::mem::take(&mut topic.partitions);
        let outline = form.encode(&topic)?;
        let (head, tail) = form.around_empty(&outline, form.empty_at_end(&outline));
        out.open.put_slice(head);
        form.put_array_length(&mut out.open, partitions.len())?;
        for mut partition in partitions {
            let records = partition.records.replace(Bytes::new()).unwrap_or_default();
            let outline = form.encode(&partition)?;
            if records.is_empty() {
                out.open.put_slice(&outline);
                continue;
            }
            let (head, tail) = form.around_empty(&outline, form.empty_at_end(&outline));
            out.open.put_slice(head);
            form.put_bytes_length(&mut out.open, records.len())?;
            out.splice(records);
            out.open.put_slice(tail);
        }
        out.open.put_slice(tail);
    }
    out.open.put_slice(tail);
    out.finish()
}

/// How lengths are written in a version.
#[derive(Clone, Copy)]
struct Form {
    version: i16,
    flexible: bool,
}

impl Form {
    fn encode(self, message: &impl KafkaEncode) -> Result<Bytes, EncodeError> {
        message.encode_to_bytes(ApiVersion::new(self.version))
    }

    /// Returns where the empty field stands that a message ends with. It has no tagged fields: those of a partition
    /// are for one without records.
    fn empty_at_end(self, message: &[u8]) -> usize {
        let tags = usize::from(self.flexible);
        message.len().saturating_sub(self.empty().len() + tags)
    }

    /// Splits a message around an empty field.
    fn around_empty(self, message: &[u8], at: usize) -> (&[u8], &[u8]) {
        let (head, rest) = message.split_at(at);
        let (empty, tail) = rest.split_at(self.empty().len());
        assert_eq!(empty, self.empty(), "the field is where the schema of the protocol has it");
        (head, tail)
    }

    fn empty(self) -> &'static [u8] {
        if self.flexible { &[1] } else { &[0; 4] }
    }

    fn put_array_length(self, to: &mut BytesMut, length: usize) -> Result<(), EncodeError> {
        self.put_length(to, length, "array")
    }

    fn put_bytes_length(self, to: &mut BytesMut, length: usize) -> Result<(), EncodeError> {
        self.put_length(to, length, "bytes")
    }

    fn put_length(
        self,
        to: &mut BytesMut,
        length: usize,
        kind: &'static str,
    ) -> Result<(), EncodeError> {
        let maximum = i32::MAX as usize - 1;
        let claimed = i32::try_from(length).ok().filter(|_| length <= maximum);
        let claimed = claimed.ok_or(EncodeError::LengthOverflow { kind, length, maximum })?;
        if !self.flexible {
            to.put_i32(claimed);
            return Ok(());
        }
        let mut rest = claimed.unsigned_abs() + 1;
        while rest >= 0x80 {
            to.put_u8((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        to.put_u8(rest as u8);
        Ok(())
    }
}

/// What is encoded so far; the first piece will be the length of all others.
struct Pieces {
    pieces: Vec<Bytes>,
    open: BytesMut,
}

impl Pieces {
    fn splice(&mut self, records: Bytes) {
        self.pieces.push(self.open.split().freeze());
        self.pieces.push(records);
    }

    fn finish(mut self) -> Result<Vec<Bytes>, EncodeError> {
        self.pieces.push(self.open.freeze());
        let bytes = self.pieces.iter().map(Bytes::len).sum();
        let length = i32::try_from(bytes).map_err(|_| EncodeError::FrameTooLarge { bytes })?;
        self.pieces[0] = Bytes::copy_from_slice(&length.to_be_bytes());
        Ok(self.pieces)
    }
}
