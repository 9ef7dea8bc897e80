//! A partition's whole log as one broker serves it: its batches, and a hash of each one's bytes.

use std::hash::{DefaultHasher, Hasher};
use std::time::{Duration, Instant};

use crate::client::{
    At, Batch, Connection, EARLIEST, Failure, FetchFrom, Log, fetch, list_offset, read_batches,
};
use crate::history::{Edn, int};

const FETCH_BYTES: i32 = 4 << 20;
/// Where the leader epoch stands in a batch: the one part that the replica that serves it writes itself.
const EPOCH_BYTES: std::ops::Range<usize> = 12..16;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    pub start: i64,
    /// The high watermark when reading began.
    pub end: i64,
    /// `[base-offset producer-id epoch first-sequence count]` each.
    pub batches: Vec<[i64; 5]>,
    /// `[base-offset count hash]` each.
    pub hashes: Vec<[i64; 3]>,
}

impl Dump {
    /// Reads what a broker that leads `at` serves from the log start to the high watermark.
    pub fn read(to: &mut Connection, at: &At, patience: Duration) -> Result<Dump, Failure> {
        let start = list_offset(to, at, -1, EARLIEST, patience)?;
        let deadline = Instant::now() + patience * 10;
        let mut dump = Dump { start, end: start, batches: Vec::new(), hashes: Vec::new() };
        let (mut next, mut first) = (start, true);
        while first || next < dump.end {
            let from =
                FetchFrom { at: at.clone(), offset: next, epoch: -1, max_bytes: FETCH_BYTES };
            let fetched = fetch(to, from, Duration::ZERO, patience)?;
            if first {
                (dump.end, first) = (fetched.high_watermark, false);
            }
            let (batches, damage) = read_batches(fetched.records, Log::Whole);
            if let Some(damage) = damage {
                let why = format!("{at} at {}: {}", damage.offset, damage.reason);
                return Err(Failure::Unanswered(why));
            }
            let before = next;
            for batch in batches {
                next = next.max(batch.base_offset + i64::from(batch.count));
                dump.take(&batch);
            }
            if next < dump.end && (next == before || Instant::now() >= deadline) {
                return Err(Failure::Unanswered(format!("{at} ends at {next}, not {}", dump.end)));
            }
        }
        Ok(dump)
    }

    fn take(&mut self, batch: &Batch) {
        let mut hasher = DefaultHasher::new();
        hasher.write(&batch.bytes[..EPOCH_BYTES.start]);
        hasher.write(&batch.bytes[EPOCH_BYTES.end..]);
        let write = batch.write;
        let (epoch, sequence) = (i64::from(write.producer_epoch), i64::from(write.sequence));
        let count = i64::from(batch.count);
        self.batches.push([batch.base_offset, write.producer_id, epoch, sequence, count]);
        self.hashes.push([batch.base_offset, count, hasher.finish().cast_signed()]);
    }
}

/// Rows as the history has them.
pub fn rows<const N: usize>(rows: &[[i64; N]]) -> Edn {
    let row = |row: &[i64; N]| Edn::Vector(row.iter().map(|field| int(*field)).collect());
    Edn::Vector(rows.iter().map(row).collect())
}
