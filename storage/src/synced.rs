//! How far the write-ahead log was synced, kept beside it.
//!
//! Recovery ends at the first record of the log whose checksum is wrong, because after a power loss that is where the
//! unsynced rest begins. A bit that rotted in the middle looks the same, and what follows it, acknowledged to clients
//! and counted by other replicas, would be gone without a word: with this replica's vote a majority could then elect
//! a leader that lacks it. So the number of the last synced write is noted after every sync, and a log that ends
//! before it is damaged, not torn.
//!
//! The oldest log that is still needed is noted with it: those before it are in tables, and damage there is none.
//!
//! The note is written and not synced, which costs a microsecond. It can only be too low, after a power loss, and
//! then it proves less; it is never too high.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::{Error, mutant};

const FILE: &str = "quorate.synced";
/// A sequence number of RocksDB, the number of a log, whether the store was closed since, and the CRC-32C of all.
const LENGTH: usize = 21;

pub(crate) struct Synced {
    file: File,
    noted: u64,
    needed: u64,
    closed: bool,
}

impl Synced {
    /// Reads the note of a directory. There is none in a new one, nor after a power loss that took it.
    pub fn open(dir: &Path) -> Result<Synced, Error> {
        let failed =
            |error: io::Error| Error::Open { dir: dir.to_owned(), reason: error.to_string() };
        let path = dir.join(FILE);
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path);
        let file = file.map_err(failed)?;
        let mut bytes = [0; LENGTH];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => bytes = [0; LENGTH],
            Err(error) => return Err(failed(error)),
        }
        let (covered, sum) = bytes.split_at(17);
        if bytes != [0; LENGTH] && crc32c::crc32c(covered).to_be_bytes() != sum {
            return Err(Error::Damaged(format!("{FILE} fails its checksum")));
        }
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let (noted, needed, closed) = (number(&bytes[..8]), number(&bytes[8..16]), bytes[16] == 1);
        if noted > 0 && !dir.join("CURRENT").exists() {
            // RocksDB would begin anew, as if nothing had ever been here.
            return Err(Error::Damaged("the file CURRENT is gone".to_owned()));
        }
        Ok(Synced { file, noted, needed, closed })
    }

    /// Number of the oldest log that may hold what is nowhere else.
    pub fn needed_log(&self) -> u64 {
        self.needed
    }

    /// Whether the write-ahead log may hold what is nowhere else. Opening the database would drop what follows
    /// damage in it for good, so such a log is looked at first without changing anything.
    pub fn log_matters(&self) -> bool {
        self.noted > 0 && !self.closed
    }

    /// Compares the note with `recovered`, the newest write that was found.
    pub fn check(&self, recovered: u64) -> Result<(), Error> {
        if self.noted <= recovered || mutant::on("truncate-on-checksum-error") {
            return Ok(());
        }
        Err(Error::Damaged(format!(
            "the write-ahead log ends at write {recovered}, but write {} was synced and may have been acknowledged",
            self.noted
        )))
    }

    /// Notes that everything up to `sequence` is durable, and everything in logs before `needed_log` in tables too.
    pub fn note(&self, sequence: u64, needed_log: u64) -> io::Result<()> {
        self.write(sequence, needed_log, false)
    }

    /// Notes that everything up to `sequence` is in tables, so that the write-ahead log is not needed.
    pub fn note_closed(&self, sequence: u64) -> io::Result<()> {
        self.write(sequence, 0, true)?;
        self.file.sync_data()
    }

    fn write(&self, sequence: u64, needed_log: u64, closed: bool) -> io::Result<()> {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&sequence.to_be_bytes());
        bytes[8..16].copy_from_slice(&needed_log.to_be_bytes());
        bytes[16] = closed.into();
        let sum = crc32c::crc32c(&bytes[..17]);
        bytes[17..].copy_from_slice(&sum.to_be_bytes());
        self.file.write_all_at(&bytes, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used_dir() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("CURRENT"), "MANIFEST-000001").unwrap();
        dir
    }

    #[test]
    fn a_database_that_is_gone_does_not_begin_anew() {
        let dir = used_dir();
        Synced::open(dir.path()).unwrap().note(9, 3).unwrap();
        std::fs::remove_file(dir.path().join("CURRENT")).unwrap();
        assert!(matches!(Synced::open(dir.path()), Err(Error::Damaged(_))));
    }

    #[test]
    fn a_log_that_ends_before_what_was_synced_is_refused_and_any_other_is_not() {
        let dir = used_dir();
        Synced::open(dir.path()).unwrap().note(9, 3).unwrap();
        let synced = Synced::open(dir.path()).unwrap();
        assert!(synced.log_matters());
        assert!(synced.check(9).is_ok() && synced.check(12).is_ok());
        let refused = synced.check(8).err().unwrap().to_string();
        assert!(refused.contains("ends at write 8, but write 9 was synced"), "{refused}");
    }

    #[test]
    fn a_log_that_was_closed_does_not_matter_until_it_is_written_again() {
        let dir = used_dir();
        assert!(!Synced::open(dir.path()).unwrap().log_matters());
        Synced::open(dir.path()).unwrap().note_closed(9).unwrap();
        assert!(!Synced::open(dir.path()).unwrap().log_matters());
        Synced::open(dir.path()).unwrap().note(10, 3).unwrap();
        assert!(Synced::open(dir.path()).unwrap().log_matters());
    }

    #[test]
    fn a_note_that_is_gone_proves_nothing_and_one_that_rotted_is_refused() {
        let dir = used_dir();
        Synced::open(dir.path()).unwrap().note(7, 3).unwrap();
        let path = dir.path().join(FILE);
        for gone in [vec![0; LENGTH], vec![]] {
            std::fs::write(&path, gone).unwrap();
            assert!(Synced::open(dir.path()).unwrap().check(1).is_ok());
        }
        std::fs::write(&path, [1; LENGTH]).unwrap();
        let refused = Synced::open(dir.path()).err().unwrap().to_string();
        assert!(refused.contains("fails its checksum"), "{refused}");
    }
}
