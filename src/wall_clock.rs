//! The time of day, as those see it who must not believe it blindly.

use std::sync::Arc;

/// The wall clock. Handed in so that tests tell it.
pub trait WallClock: Send + Sync {
    /// Returns the time in milliseconds since 1970, UTC.
    fn now_ms(&self) -> i64;

    /// Returns the same, unless the clock may be wrong: nothing is deleted for being old by such a time.
    fn trusted_ms(&self) -> Option<i64>;
}

/// A wall clock shared by all partitions of a broker.
pub type Clock = Arc<dyn WallClock>;
