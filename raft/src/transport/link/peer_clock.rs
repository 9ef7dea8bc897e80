//! What a peer's wall clock shows.
//!
//! Between two answers to pings the peer's clock is carried on by this node's monotonic clock, never by its wall
//! clock: that one may be set between them, and a difference to it that was measured before would say that it is
//! right just when it went wrong.

use std::time::Duration;

use tokio::time::Instant;

/// An answer to a ping that took longer says nothing about the other clock: it, or this process, stood still.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The peer's wall clock, as its last answer to a ping told.
#[derive(Debug, Default)]
pub(super) struct PeerClock {
    /// Nonce and time of the last ping.
    pinged: Option<(u64, Instant)>,
    /// Milliseconds since 1970, and when the answer that said so arrived.
    read: Option<(i64, Instant)>,
}

impl PeerClock {
    pub(super) fn pinged(&mut self, nonce: u64, now: Instant) {
        self.pinged = Some((nonce, now));
    }

    /// Takes an answer. One to an older ping, or a late one, changes nothing.
    pub(super) fn answered(&mut self, nonce: u64, wall_ms: i64, now: Instant) {
        let in_time = |at: Instant| now.saturating_duration_since(at) < ANSWER_MAX;
        if self.pinged.is_some_and(|(sent, at)| sent == nonce && in_time(at)) {
            self.read = Some((wall_ms, now));
        }
    }

    /// Returns what the clock shows at `now`, in milliseconds since 1970, give or take the way there and back;
    /// `None` before the first answer.
    pub(super) fn wall_ms(&self, now: Instant) -> Option<i64> {
        let (wall_ms, at) = self.read?;
        let passed = now.saturating_duration_since(at).as_millis();
        Some(wall_ms.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_clock_goes_on_between_two_answers() {
        let (mut clock, start) = (PeerClock::default(), Instant::now());
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(clock.wall_ms(start), None);
        clock.pinged(1, start);
        clock.answered(1, 1_000_000, after(2));
        assert_eq!(clock.wall_ms(after(2)), Some(1_000_000));
        assert_eq!(clock.wall_ms(after(702)), Some(1_000_700));
    }

    #[test]
    fn a_late_answer_and_one_to_an_older_ping_tell_nothing() {
        let (mut clock, start) = (PeerClock::default(), Instant::now());
        clock.pinged(1, start);
        clock.pinged(2, start);
        clock.answered(1, 7, start);
        assert_eq!(clock.wall_ms(start), None, "older");
        clock.answered(2, 7, start + ANSWER_MAX);
        assert_eq!(clock.wall_ms(start + ANSWER_MAX), None, "late");
    }
}
