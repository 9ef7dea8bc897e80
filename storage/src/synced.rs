//! How far the write-ahead log was synced, kept beside it.
//!
//! Recovery ends at the first record of the log whose checksum is wrong, because after a power loss that is where the
//! unsynced rest begins. A bit that rotted in the middle looks the same, and what follows it, acknowledged to clients
//! and counted by other replicas, would be gone without a word: with this replica's vote a majority could then elect
//! a leader that lacks it. So the number of the last synced write is noted after every sync, and a log that ends
//! before it is damaged, not torn.
//!
//! The newest log is noted with it, and the write before its first: a log that lost all its records looks like one
//! that was just begun, and the manifest counts writes that are in no table yet.
//!
//! The note is written and not synced, which costs a microsecond. It can only be too low, after a power loss, and
//! then it proves less; it is never too high.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::inventory::lost;
use crate::wal::{self, Extent};
use crate::{Error, mutant};

const FILE: &str = "quorate.synced";
/// Four numbers of 64 bits (the synced write, the newest log, the write before its first, whether the store was closed
/// since) and the CRC-32C of all.
const LENGTH: usize = 36;

pub(crate) struct Synced {
    file: File,
    noted: u64,
    begun: Begun,
    closed: bool,
}

/// A log that was the newest one, and the newest write before that was known: every later write is in that log or
/// behind it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Begun {
    log: u64,
    before: u64,
}

impl Begun {
    /// The newest log of the directory; `newest_write` is asked afterwards.
    pub fn find(dir: &Path, newest_write: impl FnOnce() -> u64) -> io::Result<Begun> {
        let log = wal::logs(dir)?.last().map_or(0, |(number, _)| *number);
        Ok(Begun { log, before: newest_write() })
    }
}

impl Synced {
    /// Reads the note of a directory. Only a new one has none.
    pub fn open(dir: &Path, new: bool) -> Result<Synced, Error> {
        let failed = |error: io::Error| Error::open(dir, error.to_string());
        let file = match File::options().read(true).write(true).open(dir.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && new => create(dir),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(lost(&format!("the file {FILE} is gone")));
            }
            file => file,
        };
        let mut file = file.map_err(failed)?;
        if new && file.metadata().map_err(failed)?.len() < LENGTH as u64 {
            file = create(dir).map_err(failed)?;
        }
        let mut bytes = [0; LENGTH];
        match file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(failed(error));
            }
            _ => {}
        }
        let (covered, sum) = bytes.split_at(LENGTH - 4);
        if crc32c::crc32c(covered).to_be_bytes() != sum {
            return Err(lost(&format!("the file {FILE} fails its checksum")));
        }
        let number = |at: usize| {
            covered[at * 8..][..8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let begun = Begun { log: number(1), before: number(2) };
        Ok(Synced { file, noted: number(0), begun, closed: number(3) == 1 })
    }

    /// Whether everything was in tables when the store was last used.
    pub fn was_closed(&self) -> bool {
        self.closed
    }

    /// Judges the logs before the database is opened, which would drop what follows damage in them for good. `needed`
    /// is the oldest log with anything that is in no table, `in_tables` the newest write a table may have: RocksDB says
    /// in its manifest that it needs a log no more before it says which tables took over.
    pub fn check_logs(&self, found: &Extent, needed: u64, in_tables: u64) -> Result<(), Error> {
        if self.noted == 0 || self.closed {
            return Ok(());
        }
        let Begun { log, before } = self.begun;
        match (found.last, found.damaged) {
            (Some(last), _) => self.check(last),
            (None, Some(damaged)) if damaged < log => self.check(0),
            (None, _) if log >= needed && self.noted > before => self.check(before),
            // What is damaged was begun since, so nothing in it was noted.
            (None, _) => self.check(in_tables),
        }
    }

    /// Compares the note with `recovered`, the newest write that was found.
    pub fn check(&self, recovered: u64) -> Result<(), Error> {
        if self.noted <= recovered || mutant::on("truncate-on-checksum-error") {
            return Ok(());
        }
        Err(lost(&format!(
            "the write-ahead log ends at write {recovered}, but write {} was synced and may have been acknowledged",
            self.noted
        )))
    }

    /// Notes that everything up to `sequence` is durable.
    pub fn note(&self, sequence: u64, begun: Begun) -> io::Result<()> {
        write(&self.file, sequence, begun, false)
    }

    /// Notes that everything up to `sequence` is in tables, so that the write-ahead log is not needed.
    pub fn note_closed(&self, sequence: u64) -> io::Result<()> {
        write(&self.file, sequence, Begun::default(), true)?;
        self.file.sync_data()
    }
}

/// The file has its final size and name from now on, also after a power loss.
fn create(dir: &Path) -> io::Result<File> {
    let options = &mut File::options();
    let file = options.create(true).truncate(true).read(true).write(true).open(dir.join(FILE))?;
    write(&file, 0, Begun::default(), false)?;
    file.sync_all()?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

fn write(file: &File, sequence: u64, begun: Begun, closed: bool) -> io::Result<()> {
    let mut bytes = [0; LENGTH];
    for (at, number) in [sequence, begun.log, begun.before, closed.into()].into_iter().enumerate() {
        bytes[at * 8..][..8].copy_from_slice(&number.to_be_bytes());
    }
    let sum = crc32c::crc32c(&bytes[..LENGTH - 4]);
    bytes[LENGTH - 4..].copy_from_slice(&sum.to_be_bytes());
    file.write_all_at(&bytes, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGUN: Begun = Begun { log: 3, before: 5 };

    fn noted(sequence: u64) -> (tempfile::TempDir, Synced) {
        let dir = tempfile::tempdir().unwrap();
        Synced::open(dir.path(), true).unwrap().note(sequence, BEGUN).unwrap();
        let synced = Synced::open(dir.path(), false).unwrap();
        (dir, synced)
    }

    fn up_to(last: u64) -> Extent {
        Extent { last: Some(last), ..Extent::default() }
    }

    #[test]
    fn a_log_that_ends_before_what_was_synced_is_refused_and_any_other_is_not() {
        let (_dir, synced) = noted(9);
        assert!(
            synced.check_logs(&up_to(9), 3, 0).is_ok()
                && synced.check_logs(&up_to(12), 3, 0).is_ok()
        );
        let refused = synced.check_logs(&up_to(8), 3, 0).err().unwrap().to_string();
        assert!(refused.contains("ends at write 8, but write 9 was synced"), "{refused}");
    }

    #[test]
    fn logs_without_a_record_are_refused_only_if_a_synced_write_was_in_them() {
        let none = Extent::default();
        let (_dir, synced) = noted(9);
        assert!(synced.check_logs(&none, 3, 9).is_err(), "write 9 was in log 3 or behind it");
        assert!(synced.check_logs(&none, 4, 9).is_ok(), "log 3 is in tables");
        assert!(synced.check_logs(&none, 4, 8).is_err(), "no table has write 9");
        let (_dir, synced) = noted(5);
        assert!(synced.check_logs(&none, 3, 9).is_ok(), "write 5 was before log 3");
    }

    #[test]
    fn a_log_that_begins_with_damage_is_torn_if_it_was_begun_after_the_last_sync() {
        let begins_damaged = |log| Extent { damaged: Some(log), ..Extent::default() };
        let (_dir, synced) = noted(9);
        assert!(synced.check_logs(&begins_damaged(4), 4, 9).is_ok(), "9 is in a table");
        assert!(synced.check_logs(&begins_damaged(4), 4, 8).is_err(), "9 is in no table");
        assert!(synced.check_logs(&begins_damaged(3), 3, 9).is_err(), "9 was in log 3");
        let (_dir, synced) = noted(5);
        assert!(synced.check_logs(&begins_damaged(3), 3, 5).is_ok(), "5 was before log 3");
        assert!(synced.check_logs(&begins_damaged(2), 2, 5).is_err(), "5 was in log 2");
    }

    #[test]
    fn a_log_that_was_closed_does_not_matter_until_it_is_written_again() {
        let (dir, synced) = noted(9);
        synced.note_closed(9).unwrap();
        assert!(Synced::open(dir.path(), false).unwrap().check_logs(&up_to(1), 0, 0).is_ok());
        Synced::open(dir.path(), false).unwrap().note(10, BEGUN).unwrap();
        assert!(Synced::open(dir.path(), false).unwrap().check_logs(&up_to(9), 0, 0).is_err());
    }

    #[test]
    fn a_note_that_is_gone_cut_or_rotten_is_refused() {
        let (dir, _synced) = noted(7);
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let refused = Synced::open(dir.path(), false).err().unwrap().to_string();
            assert!(refused.contains("fails its checksum"), "{refused}");
        }
        std::fs::remove_file(&path).unwrap();
        let refused = Synced::open(dir.path(), false).err().unwrap().to_string();
        assert!(refused.contains("quorate.synced is gone"), "{refused}");
    }
}
