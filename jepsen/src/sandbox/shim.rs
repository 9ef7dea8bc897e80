//! The tester's side of the shim that every broker is loaded with: what is to go wrong, and what was hit.
//!
//! Plain reads and writes of the file are coherent with the broker's mapping of it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};

use layout::Slot;

#[path = "../../shim/src/layout.rs"]
mod layout;

const LIBRARY: &str = "libquorate_jepsen_shim.so";
/// errno of a device that fails.
pub const EIO: u64 = 5;
/// errno of a full device.
pub const ENOSPC: u64 = 28;

/// One broker's shim.
pub struct Shim {
    library: PathBuf,
    control: PathBuf,
    file: File,
}

/// What a shim did since its control file was made, over all lives of its broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    pub syncs: u64,
    pub syncs_delayed: u64,
    pub syncs_failed: u64,
    pub syncs_lied: u64,
    pub writes_failed: u64,
    pub clocks_bent: u64,
}

impl Shim {
    /// Finds the library: the one given, or the one beside this program.
    pub fn find(given: Option<&Path>) -> anyhow::Result<PathBuf> {
        if let Some(path) = given {
            ensure!(path.is_file(), "there is no shim at {}", path.display());
            return Ok(path.canonicalize()?);
        }
        let program = std::env::current_exe().context("the program's own path")?;
        // Tests lie one directory deeper than programs.
        let places = program.ancestors().skip(1).take(2).map(|place| place.join(LIBRARY));
        places.into_iter().find(|path| path.is_file()).with_context(|| {
            format!(
                "{LIBRARY} is not beside {}: build the package quorate-jepsen-shim, or give --shim",
                program.display()
            )
        })
    }

    /// A shim that does nothing yet, controlled by a new file at `control`.
    pub fn create(library: &Path, control: &Path) -> anyhow::Result<Shim> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(control);
        let file = file.with_context(|| format!("create {}", control.display()))?;
        file.set_len(layout::SIZE as u64)?;
        Ok(Shim { library: library.to_owned(), control: control.to_owned(), file })
    }

    /// The environment that loads it into a process.
    pub fn environment(&self) -> [(&'static str, &Path); 2] {
        [("LD_PRELOAD", &self.library), (layout::VARIABLE, &self.control)]
    }

    fn set(&self, slot: Slot, value: u64) -> anyhow::Result<()> {
        let at = (slot as usize * 8) as u64;
        self.file.write_all_at(&value.to_ne_bytes(), at).context("write the shim's control file")
    }

    fn at(&self, position: usize) -> u64 {
        let mut bytes = [0; 8];
        // The file has a fixed length; what cannot be read was not hit.
        let _ = self.file.read_exact_at(&mut bytes, (position * 8) as u64);
        u64::from_ne_bytes(bytes)
    }

    fn get(&self, slot: Slot) -> u64 {
        self.at(slot as usize)
    }

    /// Whether a process has loaded it.
    pub fn loaded(&self) -> bool {
        self.get(Slot::Loaded) != 0
    }

    pub fn hits(&self) -> Hits {
        Hits {
            syncs: self.get(Slot::Syncs),
            syncs_delayed: self.get(Slot::SyncsDelayed),
            syncs_failed: self.get(Slot::SyncsFailed),
            syncs_lied: self.get(Slot::SyncsLied),
            writes_failed: self.get(Slot::WritesFailed),
            clocks_bent: self.get(Slot::ClocksBent),
        }
    }

    /// The length a write-ahead log had when it was last synced, if it was.
    pub fn synced_length(&self, wal: u64) -> Option<u64> {
        let place = Slot::Wals as usize + (wal as usize % layout::WALS) * 2;
        (self.at(place) == wal).then(|| self.at(place + 1))
    }

    /// Files get room only as they are written, so that a full disk is felt at once.
    pub(crate) fn no_preallocation(&self) -> anyhow::Result<()> {
        self.set(Slot::NoPreallocation, 1)
    }

    /// Every sync takes so much longer.
    pub fn slow_sync(&self, by: Duration) -> anyhow::Result<()> {
        self.set(Slot::SyncDelay, u64::try_from(by.as_micros()).unwrap_or(u64::MAX))
    }

    /// Whether syncs take longer.
    pub fn syncs_slowly(&self) -> bool {
        self.get(Slot::SyncDelay) != 0
    }

    /// Every sync fails with this errno; 0 ends it.
    pub fn fail_sync(&self, errno: u64) -> anyhow::Result<()> {
        self.set(Slot::SyncError, errno)
    }

    /// Every write to a file fails with this errno; 0 ends it.
    pub fn fail_write(&self, errno: u64) -> anyhow::Result<()> {
        self.set(Slot::WriteError, errno)
    }

    /// Syncs do nothing: a disk cache that lies. No broker can survive a power cut with it, so it only shows that
    /// the tester notices.
    pub fn lie(&self, lying: bool) -> anyhow::Result<()> {
        self.set(Slot::SyncLie, u64::from(lying))
    }

    /// The wall clock is ahead by so many nanoseconds.
    pub fn clock_offset(&self, nanoseconds: i64) -> anyhow::Result<()> {
        self.set(Slot::ClockOffset, nanoseconds.cast_unsigned())
    }

    /// From now on the wall clock gains so many parts per million.
    pub fn clock_rate(&self, parts_per_million: i64) -> anyhow::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        self.set(Slot::ClockSince, u64::try_from(now).unwrap_or(u64::MAX))?;
        self.set(Slot::ClockRate, parts_per_million.cast_unsigned())
    }

    /// The wall clock jumps ahead by `nanoseconds` and back, once every `period`; a period of 0 ends it.
    pub fn strobe(&self, nanoseconds: i64, period: Duration) -> anyhow::Result<()> {
        self.set(Slot::StrobeDelta, nanoseconds.cast_unsigned())?;
        self.set(Slot::StrobePeriod, u64::try_from(period.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The wall clock is right again.
    pub fn heal_clock(&self) -> anyhow::Result<()> {
        let clock = [Slot::ClockOffset, Slot::ClockRate, Slot::StrobePeriod, Slot::StrobeDelta];
        clock.into_iter().try_for_each(|slot| self.set(slot, 0))
    }

    /// Nothing goes wrong any more, and the clock is right.
    pub fn heal(&self) -> anyhow::Result<()> {
        let disk = [Slot::SyncDelay, Slot::SyncError, Slot::WriteError, Slot::SyncLie];
        disk.into_iter().try_for_each(|slot| self.set(slot, 0))?;
        self.heal_clock()
    }
}
