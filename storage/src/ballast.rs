//! A file that is only there to be removed: room for a restart on a disk that is full.
//!
//! Opening replays the write-ahead log into tables, so it needs space before it can give any back.
//! Whoever filled the disk, the ballast is space nobody else could take. It goes when the disk is
//! too full to open and is made again once there is room.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::space::DiskSpace;

const FILE: &str = "quorate.ballast";
/// `stat` counts blocks of this size, whatever the file system's.
const BLOCK: u64 = 512;

/// Bytes of the disk that the ballast takes; what is sparse of it takes none.
pub(crate) fn size(dir: &Path) -> u64 {
    let data = fs::metadata(dir.join(FILE));
    data.map_or(0, |data| data.len().min(data.blocks().saturating_mul(BLOCK)))
}

/// Makes the ballast, of real blocks; without room for all of it there is none.
pub(crate) fn make(dir: &Path, bytes: u64) -> io::Result<()> {
    let path = dir.join(FILE);
    let made = File::create(&path).and_then(|file| {
        fill(&file, bytes)?;
        file.sync_all()
    });
    if made.is_err() {
        // It failed for lack of space, and half a ballast would only add to that.
        drop(fs::remove_file(&path));
    }
    made
}

fn fill(mut file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => return Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    let zeroes = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(zeroes.len());
        file.write_all(&zeroes[..piece])?;
        left -= piece as u64;
    }
    Ok(())
}

/// Removes the ballast if less than `needed` is free; gives the bytes that became free.
pub(crate) fn release(dir: &Path, needed: u64) -> io::Result<u64> {
    let (kept, free) = (size(dir), DiskSpace::of(dir)?.free);
    if kept == 0 || free >= needed {
        return Ok(0);
    }
    fs::remove_file(dir.join(FILE))?;
    // A journaling file system gives freed blocks out again only once that is committed.
    File::open(dir)?.sync_all()?;
    tracing::warn!(
        free,
        released = kept,
        "the disk is nearly full, opening with the ballast's room"
    );
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ballast_takes_real_blocks_and_gives_them_back_when_they_are_needed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(size(dir.path()), 0);
        make(dir.path(), 3 << 20).unwrap();
        assert_eq!(size(dir.path()), 3 << 20);
        assert_eq!(release(dir.path(), 0).unwrap(), 0, "there is room");
        assert_eq!(release(dir.path(), u64::MAX).unwrap(), 3 << 20);
        assert_eq!(size(dir.path()), 0);
        assert_eq!(release(dir.path(), u64::MAX).unwrap(), 0, "there is none left");
    }

    #[test]
    fn a_sparse_file_is_no_ballast_and_one_that_does_not_fit_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        File::create(dir.path().join(FILE)).unwrap().set_len(3 << 20).unwrap();
        assert_eq!(size(dir.path()), 0);
        make(dir.path(), 1 << 62).unwrap_err();
        assert!(!dir.path().join(FILE).exists());
    }
}
