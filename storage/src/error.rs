//! What can go wrong, told by what the caller can do about it.
//!
//! A failed write or sync is not here: it ends the process, because a log whose durability is unknown must not vote or
//! acknowledge (see `fatal`). So does a checksum mismatch in anything but an entry.

use std::path::{Path, PathBuf};

use crate::space::DiskSpace;

use crate::GroupId;

/// An error of the store. None of them leaves a write half done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process, or another handle of this one, has the directory open.
    #[error(
        "the data directory {} is in use{}; stop that broker, or give this one another directory",
        .dir.display(), owner_text(.owner)
    )]
    Locked { dir: PathBuf, owner: Option<u32> },
    /// The directory was written by another version of this software.
    #[error(
        "the data directory {} has storage format {found}, this version reads format {supported}; \
         run the version that wrote it",
        .dir.display()
    )]
    Format { dir: PathBuf, found: String, supported: u32 },
    /// The directory cannot be created, read or opened.
    #[error("cannot open the data directory {}: {reason}", .dir.display())]
    Open { dir: PathBuf, reason: String },
    /// Opening needs space to give some back, and there is none, the ballast's included.
    #[error(
        "the disk of the data directory {} is full, {free} bytes are free ({reason}); free some space \
         on it and start again, nothing is lost",
        .dir.display()
    )]
    Full { dir: PathBuf, free: u64, reason: String },
    /// What is on disk contradicts itself. Restore the broker from its peers: remove the directory
    /// and let it join again under a new id.
    #[error("the data directory is damaged: {0}")]
    Damaged(String),
    /// An option is outside its allowed range.
    #[error("storage option {name} is {value}, allowed is {allowed}")]
    Option { name: &'static str, value: u64, allowed: &'static str },
    /// The entries do not continue the log. Nothing was written; append from `expected` on.
    #[error("append at index {found} does not continue the log, which expects {expected}")]
    NotContiguous { expected: u64, found: u64 },
    /// The index was purged. Read from `first` on, or install a snapshot.
    #[error("index {index} was purged, the log starts at {first}")]
    Purged { index: u64, first: u64 },
    /// An entry is damaged on disk, or gone. Its group does not read its log any more, see [`Log::corrupt`](crate::Log::corrupt).
    #[error("entry {index} of group {group} is damaged on disk: {reason}")]
    Corrupt { group: GroupId, index: u64, reason: String },
    /// A chunk was dropped since the list was taken that names it. Take the list anew.
    #[error("chunk {chunk} of group {group} was dropped")]
    ChunkDropped { group: GroupId, chunk: u64 },
    /// A chunk is damaged on disk, or gone. Its group behaves as with a damaged entry.
    #[error("chunk {chunk} of group {group} is damaged on disk at offset {offset}: {reason}")]
    CorruptChunk { group: GroupId, chunk: u64, offset: u64, reason: String },
    /// A chunk could not be written, and nothing names it. Its records are where they were.
    #[error("a chunk could not be written: {0}")]
    ChunkNotWritten(String),
    /// The disk could not be read. Retrying may help; the data may still be intact.
    #[error("read failed: {0}")]
    Read(String),
    /// The store was closed. Nothing was written.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// A directory that cannot be opened, with what the system said.
    pub(crate) fn open(dir: &Path, reason: String) -> Error {
        // RocksDB passes the system's words on, and nothing else of it.
        if reason.contains("No space left on device") {
            let free = DiskSpace::of(dir).map_or(0, |disk| disk.free);
            return Error::Full { dir: dir.to_owned(), free, reason };
        }
        Error::Open { dir: dir.to_owned(), reason }
    }
}

fn owner_text(owner: &Option<u32>) -> String {
    owner.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}
