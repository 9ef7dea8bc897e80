//! Named points at which a crash test ends the process, compiled in with the feature `failpoints`: into this crate's own
//! tests, and into the broker with defects.
//!
//! `QUORATE_FAILPOINT=name:nth` aborts the process when `name` is reached for the nth time (1 is
//! the first). The abort is immediate: no destructor, no flush, as after `kill -9`.

//! The feature also lets a test inject a failing sync (`QUORATE_FAILPOINT=sync.fail:nth`) and learn
//! what the write-ahead logs held at a sync (`QUORATE_SYNCED_WAL=FILE`), so that it can take back the rest as
//! a power loss would.

/// Aborts if the environment asks for it here. Costs nothing without the feature.
#[inline(always)]
pub fn hit(name: &'static str) {
    if reached(name) {
        std::process::abort();
    }
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn reached(_name: &'static str) -> bool {
    false
}

#[cfg(feature = "failpoints")]
pub(crate) fn reached(name: &'static str) -> bool {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static HITS: AtomicU64 = AtomicU64::new(0);

    let wanted = WANTED.get_or_init(|| {
        let value = std::env::var("QUORATE_FAILPOINT").ok()?;
        let (name, nth) = value.rsplit_once(':')?;
        Some((name.to_owned(), nth.parse().ok()?))
    });
    wanted.as_ref().is_some_and(|(wanted, nth)| {
        wanted == name && HITS.fetch_add(1, Ordering::Relaxed) + 1 == *nth
    })
}

/// Taken before a sync, and after the newest write it covers is known: what the logs hold, which it makes durable.
pub(crate) struct WalImage {
    #[cfg(feature = "failpoints")]
    taken: Option<(String, Vec<u8>)>,
}

impl WalImage {
    #[cfg(not(feature = "failpoints"))]
    #[inline(always)]
    pub fn take(_dir: &std::path::Path) -> WalImage {
        WalImage {}
    }

    #[cfg(not(feature = "failpoints"))]
    #[inline(always)]
    pub fn publish(self) {}

    /// All logs in one piece: of each its name and a line end, its length as u64, its bytes. A log that is used
    /// again has the length of its earlier life, so lengths alone would not say what was synced.
    #[cfg(feature = "failpoints")]
    pub fn take(dir: &std::path::Path) -> WalImage {
        let taken = std::env::var("QUORATE_SYNCED_WAL").ok().map(|target| {
            let mut image = Vec::new();
            let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
            for file in files.filter(|file| file.path().extension().is_some_and(|e| e == "log")) {
                // RocksDB may just have renamed it, to write over it.
                let Ok(bytes) = std::fs::read(file.path()) else { continue };
                image.extend_from_slice(file.file_name().as_encoded_bytes());
                image.push(b'\n');
                image.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
                image.extend_from_slice(&bytes);
            }
            (target, image)
        });
        WalImage { taken }
    }

    /// After the sync. Renamed into place, so that a crash leaves the old image or the new.
    #[cfg(feature = "failpoints")]
    pub fn publish(self) {
        if let Some((target, image)) = self.taken {
            let next = format!("{target}.next");
            std::fs::write(&next, image).expect("a test's directory is writable");
            std::fs::rename(&next, &target).expect("a test's directory is writable");
        }
    }
}
