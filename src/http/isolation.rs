//! What a replica shows of its records: those of committed transactions, or all.
//!
//! Markers of transactions are no records and are never shown. Who reads what is committed reads up to the last stable offset,
//! as others do up to the high watermark, and passes over what was aborted.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::events::Event;
use super::problem::Problem;
use super::reading::{self, Here};
use super::stream_reads::BYTES_MAX;
use crate::partition::{AbortedTransaction, ReadError, Records as ReadRecords};
use crate::record::{Aborted, Batches, Projection, RecordError, Records};

/// Which records of transactions are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Isolation {
    /// Those of committed transactions, up to the first that is open.
    #[default]
    ReadCommitted,
    /// Also those of transactions that are open or aborted.
    ReadUncommitted,
}

impl Here {
    /// Reads records from an offset on; from the first that is kept if there is none. Returns the offset to go on with too,
    /// which is behind `from` if anything was passed over.
    pub(super) async fn records(
        &self,
        isolation: Isolation,
        from: Option<i64>,
        limit: usize,
    ) -> Result<(Vec<Box<RawValue>>, i64), Problem> {
        let mut next = from.unwrap_or_else(|| self.partition.log_start());
        let mut found = Vec::new();
        let mut bytes = 0;
        // What is not there yet may come.
        while found.len() < limit && bytes < BYTES_MAX && next < self.end(isolation) {
            let (read, aborted) = match self.read(isolation, next).await {
                // It was trimmed since; nobody had asked for just this.
                Err(ReadError::OutOfRange { log_start, .. })
                    if from.is_none() && next < log_start =>
                {
                    next = log_start;
                    continue;
                }
                read => read.map_err(|error| self.failed(&error))?,
            };
            if read.next_offset <= next {
                break;
            }
            bytes += read.bytes.len();
            let (index, room) = (self.place.index, limit - found.len());
            let shown = move || shown(&read.bytes, aborted, index, next, room);
            let shown = tokio::task::spawn_blocking(shown).await;
            // Passing over what cannot be read would be a gap that nobody sees.
            let (records, cut) = shown.ok().and_then(Result::ok).ok_or_else(reading::closed)?;
            found.extend(records);
            next = cut.unwrap_or(read.next_offset);
        }
        Ok((found, next))
    }

    /// The offset before which all can be read.
    fn end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadCommitted => self.partition.last_stable_offset(),
            Isolation::ReadUncommitted => self.partition.high_watermark(),
        }
    }

    async fn read(
        &self,
        isolation: Isolation,
        offset: i64,
    ) -> Result<(ReadRecords, Vec<AbortedTransaction>), ReadError> {
        const BYTES: usize = BYTES_MAX / 4;
        match isolation {
            Isolation::ReadCommitted => self.partition.read_committed(offset, BYTES, true).await,
            Isolation::ReadUncommitted => {
                Ok((self.partition.read(offset, BYTES, true).await?, Vec::new()))
            }
        }
    }
}

/// Takes records out of batches, from an offset on. Returns the offset to go on with if not all were taken.
fn shown(
    bytes: &Bytes,
    aborted: Vec<AbortedTransaction>,
    partition: i32,
    from: i64,
    limit: usize,
) -> Result<(Vec<Box<RawValue>>, Option<i64>), RecordError> {
    let aborted = aborted.into_iter().map(|it| (it.producer_id, it.first_offset));
    let mut aborted = Aborted::new(aborted);
    let mut found = Vec::new();
    for (header, batch) in Batches::new(bytes) {
        if aborted.passes_over(&header, batch) {
            continue;
        }
        for record in Records::open(batch, Projection::Everything)? {
            let record = record?;
            let offset = header.base_offset + i64::from(record.offset_delta);
            if offset < from {
                continue;
            }
            if found.len() == limit {
                return Ok((found, Some(offset)));
            }
            let line = Event::new(partition, offset, &record).line();
            found.extend(RawValue::from_string(line).ok());
        }
    }
    Ok((found, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, stamp};

    const TRANSACTIONAL: i16 = 1 << 4;
    const CONTROL: i16 = 1 << 5;

    fn placed(offset: i64, builder: &BatchBuilder) -> Vec<u8> {
        let mut bytes = builder.build().to_vec();
        stamp(&mut bytes, offset, 0);
        bytes
    }

    fn offsets(records: &[Box<RawValue>]) -> Vec<i64> {
        let shown = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        records.iter().map(|it| shown(it.get())["offset"].as_i64().unwrap()).collect()
    }

    #[test]
    fn neither_markers_nor_what_was_aborted_is_shown() {
        let data = |offset, producer| {
            let builder = BatchBuilder::new().attributes(TRANSACTIONAL).producer(producer, 0, 0);
            placed(offset, &builder.record(1, None, Some(b"1")).record(1, None, Some(b"2")))
        };
        let marker = |offset, producer, kind| {
            let builder = BatchBuilder::new().attributes(TRANSACTIONAL | CONTROL);
            let builder = builder.producer(producer, 0, -1);
            placed(offset, &builder.record(1, Some(&[0, 0, 0, kind]), Some(&[0; 6])))
        };
        let log = [data(0, 1), data(2, 2), marker(4, 1, 0), data(5, 1), marker(7, 2, 1)].concat();
        let log = Bytes::from(log);
        let aborted = vec![AbortedTransaction { producer_id: 1, first_offset: 0 }];
        let (found, cut) = shown(&log, aborted.clone(), 0, 0, 10).unwrap();
        assert_eq!((offsets(&found), cut), (vec![2, 3, 5, 6], None));
        let (found, cut) = shown(&log, aborted, 0, 3, 2).unwrap();
        assert_eq!((offsets(&found), cut), (vec![3, 5], Some(6)), "in the middle of a batch");
        let (found, _) = shown(&log, Vec::new(), 0, 0, 10).unwrap();
        assert_eq!(offsets(&found), [0, 1, 2, 3, 5, 6], "all that is stored");
    }
}
