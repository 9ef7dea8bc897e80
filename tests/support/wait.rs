//! Waiting for a state, never for a time. The only place in the tests that sleeps.

use std::thread;
use std::time::{Duration, Instant};

/// Polls until `state` gives a value; fails with `what` when `limit` has passed.
pub fn until<T>(what: &str, limit: Duration, state: impl FnMut() -> Option<T>) -> T {
    maybe(limit, state).unwrap_or_else(|| panic!("not within {limit:?}: {what}"))
}

/// Polls until `state` gives a value or `limit` has passed.
pub fn maybe<T>(limit: Duration, mut state: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(value) = state() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        rest(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

#[expect(clippy::disallowed_methods, reason = "polling a process from outside has to pause")]
fn rest(pause: Duration) {
    thread::sleep(pause);
}
