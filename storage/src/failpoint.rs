//! Named points at which a crash test ends the process, compiled in with the feature `failpoints`.
//!
//! `QUORATE_FAILPOINT=name:nth` aborts the process when `name` is reached for the nth time (1 is
//! the first). The abort is immediate: no destructor, no flush, as after `kill -9`.

//! The feature also lets a test inject a failing sync (`QUORATE_FAILPOINT=sync.fail:nth`) and learn
//! which bytes of the write-ahead log a sync covered (`QUORATE_SYNCED_WAL=FILE`), so that it can
//! cut off the rest as a power loss would.

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

/// Measured before a sync: sizes of the write-ahead logs, which that sync makes durable.
pub(crate) struct WalSizes {
    #[cfg(feature = "failpoints")]
    sizes: Option<(String, String)>,
}

impl WalSizes {
    #[cfg(not(feature = "failpoints"))]
    #[inline(always)]
    pub fn measure(_dir: &std::path::Path) -> WalSizes {
        WalSizes {}
    }

    #[cfg(not(feature = "failpoints"))]
    #[inline(always)]
    pub fn publish(self) {}

    #[cfg(feature = "failpoints")]
    pub fn measure(dir: &std::path::Path) -> WalSizes {
        let sizes = std::env::var("QUORATE_SYNCED_WAL").ok().map(|target| {
            let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
            let logs = files.filter(|file| file.path().extension().is_some_and(|e| e == "log"));
            let line = |file: std::fs::DirEntry| {
                let size = file.metadata().map_or(0, |metadata| metadata.len());
                format!("{} {size}\n", file.file_name().to_string_lossy())
            };
            (target, logs.map(line).collect())
        });
        WalSizes { sizes }
    }

    /// After the sync. Renamed into place, so that a crash leaves the old sizes or the new.
    #[cfg(feature = "failpoints")]
    pub fn publish(self) {
        if let Some((target, sizes)) = self.sizes {
            let next = format!("{target}.next");
            std::fs::write(&next, sizes).expect("a test's directory is writable");
            std::fs::rename(&next, &target).expect("a test's directory is writable");
        }
    }
}
