//! How far the write-ahead log was synced, kept beside it.
//!
//! Recovery ends at the first record of the log whose checksum is wrong, because after a power loss that is where the
//! unsynced rest begins. A bit that rotted in the middle looks the same, and what follows it, acknowledged to clients
//! and counted by other replicas, would be gone without a word: with this replica's vote a majority could then elect
//! a leader that lacks it. So the number of the last synced write is noted after every sync, and a log that ends
//! before it is damaged, not torn.
//!
//! The note is written and not synced, which costs a microsecond. It can only be too low, after a power loss, and
//! then it proves less; it is never too high.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::{Error, mutant};

const FILE: &str = "quorate.synced";
/// A sequence number of RocksDB and its CRC-32C.
const LENGTH: usize = 12;

pub(crate) struct Synced {
    file: File,
}

impl Synced {
    /// Compares the note with `recovered`, the newest write that was found, and goes on from there.
    pub fn open(dir: &Path, recovered: u64) -> Result<Synced, Error> {
        let failed =
            |error: io::Error| Error::Open { dir: dir.to_owned(), reason: error.to_string() };
        let path = dir.join(FILE);
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path);
        let synced = Synced { file: file.map_err(failed)? };
        let noted = synced.read().map_err(failed)?;
        if noted > recovered && !mutant::on("truncate-on-checksum-error") {
            return Err(Error::Damaged(format!(
                "the write-ahead log ends at write {recovered}, but write {noted} was synced and may have been \
                 acknowledged"
            )));
        }
        synced.note(recovered).map_err(failed)?;
        Ok(synced)
    }

    /// Notes that everything up to `sequence` is durable.
    pub fn note(&self, sequence: u64) -> io::Result<()> {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&sequence.to_be_bytes());
        let sum = crc32c::crc32c(&bytes[..8]);
        bytes[8..].copy_from_slice(&sum.to_be_bytes());
        self.file.write_all_at(&bytes, 0)
    }

    /// 0 if nothing is noted: the file is new, or a power loss took what it held.
    fn read(&self) -> io::Result<u64> {
        let mut bytes = [0; LENGTH];
        match self.file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
            Err(error) => return Err(error),
        }
        let (sequence, sum) = bytes.split_at(8);
        if bytes == [0; LENGTH] || crc32c::crc32c(sequence).to_be_bytes() == sum {
            return Ok(sequence.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{FILE} fails its checksum: the data directory is damaged"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_ends_before_what_was_synced_is_refused_and_any_other_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let synced = Synced::open(dir.path(), 7).unwrap();
        synced.note(9).unwrap();
        assert!(Synced::open(dir.path(), 9).is_ok());
        assert!(Synced::open(dir.path(), 12).is_ok());
        let refused = Synced::open(dir.path(), 11).err().unwrap().to_string();
        assert!(refused.contains("ends at write 11, but write 12 was synced"), "{refused}");
    }

    #[test]
    fn a_note_that_is_gone_proves_nothing_and_one_that_rotted_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Synced::open(dir.path(), 7).unwrap();
        let path = dir.path().join(FILE);
        std::fs::write(&path, [0; LENGTH]).unwrap();
        assert!(Synced::open(dir.path(), 1).is_ok());
        std::fs::write(&path, []).unwrap();
        assert!(Synced::open(dir.path(), 1).is_ok());
        std::fs::write(&path, [1; LENGTH]).unwrap();
        let refused = Synced::open(dir.path(), 1).err().unwrap().to_string();
        assert!(refused.contains("fails its checksum"), "{refused}");
    }
}
