//! When a replica last heard from its leader, so that whoever reads of it can be told.
//!
//! It is the receipt of an append or a heartbeat that the replica took: one of a leader that was deposed is refused, and does
//! not count. What it costs is one store to an atomic for each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// See the file's header.
pub(crate) struct Contact {
    opened: Instant,
    /// Microseconds from then, and one more: 0 is never.
    heard: AtomicU64,
}

impl Default for Contact {
    fn default() -> Self {
        Self { opened: Instant::now(), heard: AtomicU64::new(0) }
    }
}

impl Contact {
    /// Something came at that time from who leads. Times may come in any order.
    pub fn heard(&self, at: Instant) {
        let after = at.saturating_duration_since(self.opened).as_micros();
        let heard = u64::try_from(after).unwrap_or(u64::MAX - 1) + 1;
        self.heard.fetch_max(heard, Ordering::Relaxed);
    }

    /// Returns how long ago that was; `None` if it never was while this process runs.
    pub fn since(&self) -> Option<Duration> {
        let heard = self.heard.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.opened.elapsed().saturating_sub(Duration::from_micros(heard)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_time_counts_in_whatever_order_they_come() {
        let contact = Contact::default();
        assert_eq!(contact.since(), None);
        contact.heard(contact.opened);
        assert!(contact.since().is_some());
        let hour = Duration::from_secs(3600);
        contact.heard(contact.opened + hour);
        assert_eq!(contact.since(), Some(Duration::ZERO));
        contact.heard(contact.opened);
        assert_eq!(contact.since(), Some(Duration::ZERO));
    }
}
