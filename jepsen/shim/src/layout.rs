//! The control file between the tester and a broker's shim: a page of 64-bit numbers in the machine's byte order.
//!
//! The tester's crate includes this very file, so that both sides mean the same without one depending on the other.
//! The tester writes what is to go wrong and reads what was hit; the shim does the opposite.

/// Bytes of the file.
pub const SIZE: usize = 4096;
/// Names the file in the broker's environment.
pub const VARIABLE: &str = "JEPSEN_SHIM_CONTROL";

/// What stands where: the position in the file, counted in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Slot {
    /// Microseconds by which fsync, fdatasync and sync_file_range take longer.
    SyncDelay = 0,
    /// The errno that fsync and fdatasync fail with; 0 for none.
    SyncError = 1,
    /// The errno that writes to regular files fail with; 0 for none.
    WriteError = 2,
    /// Not 0: a sync says that it is done and does nothing.
    SyncLie = 3,
    /// Nanoseconds, signed, by which the wall clock is ahead.
    ClockOffset = 4,
    /// How much faster the wall clock runs, signed, in parts per million, since `ClockSince`.
    ClockRate = 5,
    /// Nanoseconds of the true wall clock.
    ClockSince = 6,
    /// Nanoseconds, signed, by which the wall clock is ahead in every second period.
    StrobeDelta = 7,
    /// Nanoseconds of a period; 0 for no strobe.
    StrobePeriod = 8,
    /// Not 0: no room is set aside for files beforehand, so that a full disk is felt at once.
    NoPreallocation = 9,

    /// Written by the shim when it is loaded: it is at work.
    Loaded = 32,
    /// Calls of fsync and fdatasync.
    Syncs = 33,
    SyncsDelayed = 34,
    SyncsFailed = 35,
    SyncsLied = 36,
    WritesFailed = 37,
    /// Wall clock times given that were not true.
    ClocksBent = 38,

    /// Here begin [`WALS`] pairs: the number of a write-ahead log, and its length at its last sync.
    Wals = 64,
}

/// Pairs kept; a log's pair is its number modulo this.
pub const WALS: usize = 32;
