//! Named points at which a crash test ends the process, compiled in with the feature `failpoints`.
//!
//! `QUORATE_FAILPOINT=name:nth` aborts the process when `name` is reached for the nth time (1 is
//! the first). The abort is immediate: no destructor, no flush, as after `kill -9`.

/// Aborts if the environment asks for it here. Costs nothing without the feature.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_name: &'static str) {}

/// Aborts if the environment asks for it here.
#[cfg(feature = "failpoints")]
pub fn hit(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static HITS: AtomicU64 = AtomicU64::new(0);

    let wanted = WANTED.get_or_init(|| {
        let value = std::env::var("QUORATE_FAILPOINT").ok()?;
        let (name, nth) = value.rsplit_once(':')?;
        Some((name.to_owned(), nth.parse().ok()?))
    });
    if let Some((wanted, nth)) = wanted
        && wanted == name
        && HITS.fetch_add(1, Ordering::Relaxed) + 1 == *nth
    {
        std::process::abort();
    }
}
