//! Reading write-ahead logs without RocksDB, to see how far they are whole.
//!
//! RocksDB tells that only after the fact: opening drops what follows damage, for good. Its own read-only mode would
//! tell, but crashes on logs with range deletions. A record begins with the sequence number and count of its writes;
//! for its fragments see `fragments`.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::fragments::{BLOCK, Found, HEADER, Part, fragment};

/// Sequence number and count.
const PREFIX: usize = 12;

/// How far the logs of a directory go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The newest write before the first one that is missing; none if there is no record before that.
    pub last: Option<u64>,
    /// The log that begins with damage where there is no record before.
    pub damaged: Option<u64>,
    /// Logs that follow a missing write. None of theirs was synced if that one was not.
    pub behind: Vec<PathBuf>,
}

/// Walks the logs of `dir`, except those before the one numbered `needed`: they are in tables and kept for their room.
///
/// Damage with which no write is missing, because the next log goes on right behind it, is none: a log that was torn
/// off, at a record that nobody was told of, is left as it is. A log without a record has lost what was in it if
/// another one follows: RocksDB begins a log only behind one that was written.
pub(crate) fn extent(dir: &Path, needed: u64) -> io::Result<Extent> {
    let (mut last, mut damaged, mut emptied) = (None, false, false);
    let mut begins_damaged = None;
    let mut logs = logs(dir)?.into_iter().filter(|(number, _)| *number >= needed);
    while let Some((number, path)) = logs.next() {
        let mut walk = Walk { first: None, last: None, record: Vec::new() };
        let whole = walk.file(BufReader::with_capacity(8 * BLOCK, File::open(&path)?))?;
        let follows = match (walk.first, last) {
            (None, _) => true,
            (Some(first), Some(last)) => first == last + 1,
            (Some(_), None) => !damaged && !emptied,
        };
        if !follows {
            let behind = std::iter::once(path).chain(logs.map(|(_, path)| path)).collect();
            return Ok(Extent { last, damaged: begins_damaged, behind });
        }
        last = walk.last.or(last);
        if last.is_none() && !whole {
            begins_damaged = begins_damaged.or(Some(number));
        }
        damaged = !whole || (damaged && walk.first.is_none());
        emptied = walk.first.is_none();
    }
    Ok(Extent { last, damaged: begins_damaged, behind: Vec::new() })
}

pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:06}.log"))
}

/// The logs in the order they were written.
pub(crate) fn logs(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()?.strip_suffix(".log")?.parse().ok());
        logs.extend(number.map(|number| (number, path)));
    }
    logs.sort();
    Ok(logs)
}

struct Walk {
    /// The first and the last write.
    first: Option<u64>,
    last: Option<u64>,
    /// The beginning of the record that is being put together.
    record: Vec<u8>,
}

impl Walk {
    /// Passes all records of a file; false if it ends in damage.
    fn file(&mut self, mut file: impl Read) -> io::Result<bool> {
        let mut block = Vec::with_capacity(BLOCK);
        loop {
            block.clear();
            (&mut file).take(BLOCK as u64).read_to_end(&mut block)?;
            let mut at = 0;
            // Too little room for a header is filled up, and the next block goes on.
            while block.len() - at >= HEADER {
                match fragment(&block[at..]) {
                    Found::Fragment(part, payload, length) => {
                        self.take(part, payload);
                        at += length;
                    }
                    Found::End => return Ok(true),
                    Found::Short | Found::Damage => return Ok(false),
                }
            }
            if block.len() < BLOCK {
                return Ok(true);
            }
        }
    }

    fn take(&mut self, part: Part, payload: &[u8]) {
        if matches!(part, Part::Full | Part::First) {
            self.record.clear();
        }
        if part == Part::Other {
            return;
        }
        let missing = PREFIX.saturating_sub(self.record.len());
        self.record.extend_from_slice(&payload[..missing.min(payload.len())]);
        if matches!(part, Part::Full | Part::Last)
            && let Some((sequence, count)) = self.record.split_at_checked(8)
            && let (Ok(sequence), Ok(count)) = (sequence.try_into(), count.try_into())
        {
            let (first, count) = (u64::from_le_bytes(sequence), u32::from_le_bytes(count));
            // RocksDB begins a log after a torn one with a record of no write.
            if count > 0 {
                self.first = self.first.or(Some(first));
                self.last = Some(first + u64::from(count) - 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use rocksdb::{DB, Options, WriteBatch};

    use super::*;
    use crate::fragments::masked;

    /// A database with a log of many records, some larger than a block, left as a crash leaves it.
    fn crashed(dir: &Path) -> u64 {
        let mut options = Options::default();
        options.create_if_missing(true);
        let db = DB::open(&options, dir).unwrap();
        for round in 0..300_usize {
            let mut batch = WriteBatch::default();
            for key in 0..1 + round % 5 {
                batch.put(format!("{round}-{key}"), vec![round as u8; round * 977 % 50_000]);
            }
            batch.delete_range("a", "b");
            db.write(batch).unwrap();
        }
        db.flush_wal(true).unwrap();
        db.latest_sequence_number()
    }

    #[test]
    fn a_whole_log_is_read_to_its_last_write_and_a_damaged_one_up_to_the_damage() {
        let dir = tempfile::tempdir().unwrap();
        let newest = crashed(dir.path());
        assert_eq!(extent(dir.path(), 0).unwrap().last, Some(newest));
        let (_, path) = logs(dir.path()).unwrap().pop().unwrap();
        let log = File::options().read(true).write(true).open(path).unwrap();
        let length = log.metadata().unwrap().len();
        let mut before = u64::MAX;
        for place in [length / 2, length / 4, length / 8] {
            let mut byte = [0];
            log.read_exact_at(&mut byte, place).unwrap();
            log.write_all_at(&[byte[0] ^ 1], place).unwrap();
            let found = extent(dir.path(), 0).unwrap().last.unwrap();
            assert!(found < newest && found < before, "{found} of {newest}");
            before = found;
        }
    }

    #[test]
    fn a_directory_without_records_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(extent(dir.path(), 0).unwrap().last, None);
        fs::write(dir.path().join("000004.log"), vec![0; 100_000]).unwrap();
        assert_eq!(extent(dir.path(), 0).unwrap().last, None);
    }

    /// A log of one record for each pair of a sequence number and a count.
    fn log_of(writes: &[(u64, u32)]) -> Vec<u8> {
        let mut log = Vec::new();
        for (sequence, count) in writes {
            let mut checked = vec![1];
            checked.extend_from_slice(&sequence.to_le_bytes());
            checked.extend_from_slice(&count.to_le_bytes());
            checked.extend_from_slice(b"what was written");
            log.extend_from_slice(&masked(crc32c::crc32c(&checked)).to_le_bytes());
            log.extend_from_slice(&((checked.len() - 1) as u16).to_le_bytes());
            log.extend_from_slice(&checked);
        }
        log
    }

    #[test]
    fn damage_counts_only_where_a_write_is_missing() {
        let extent_of = |files: &[(u64, Vec<u8>)], needed| {
            let dir = tempfile::tempdir().unwrap();
            for (number, bytes) in files {
                fs::write(dir.path().join(format!("{number:06}.log")), bytes).unwrap();
            }
            extent(dir.path(), needed).unwrap()
        };
        let found = |logs: &[(u64, Vec<u8>)], needed| extent_of(logs, needed).last;
        let whole = log_of(&[(1, 2), (3, 1)]);
        let tail = [whole.as_slice(), &[7; 40]].concat();
        let rotten = [&[whole[0] ^ 1], &whole[1..]].concat();
        let (next, later) = (log_of(&[(4, 3)]), log_of(&[(5, 3)]));
        assert_eq!(found(&[(4, whole.clone()), (5, next.clone())], 0), Some(6));
        assert_eq!(found(&[(4, tail.clone()), (5, next.clone())], 0), Some(6), "none is missing");
        assert_eq!(found(&[(4, tail.clone()), (5, later)], 0), Some(3), "write 4 is missing");
        assert_eq!(found(&[(4, tail), (5, Vec::new())], 0), Some(3));
        assert_eq!(found(&[(4, rotten.clone()), (5, next.clone())], 0), None, "from the first");
        assert_eq!(extent_of(&[(4, rotten.clone()), (5, next.clone())], 0).damaged, Some(4));
        assert_eq!(
            found(&[(4, log_of(&[(1, 2)])), (5, next.clone())], 0),
            Some(2),
            "cut at a record"
        );
        assert_eq!(found(&[(4, Vec::new()), (5, next.clone())], 0), None, "cut to nothing");
        assert_eq!(found(&[(4, rotten), (5, next)], 5), Some(6), "a log nobody needs");
    }
}
