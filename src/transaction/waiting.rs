//! Who waits for the end of a transaction that is prepared, so that clients need not come again.
//!
//! They are woken as soon as its completion is on its way into the log: what they ask then stands behind it there.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// See the file's header.
#[derive(Default)]
pub(super) struct Waiting(Mutex<State>);

#[derive(Default)]
struct State {
    /// By transactional id.
    waiting: HashMap<String, Vec<oneshot::Sender<()>>>,
    /// Those whose completion is on its way.
    completing: HashSet<String>,
}

impl Waiting {
    /// Returns what to wait for; `None` if the completion is on its way.
    pub(super) fn register(&self, id: &str) -> Option<oneshot::Receiver<()>> {
        let mut state = self.0.lock();
        if state.completing.contains(id) {
            return None;
        }
        let (wake, woken) = oneshot::channel();
        let waiting = state.waiting.entry(id.to_owned()).or_default();
        waiting.retain(|it| !it.is_closed());
        waiting.push(wake);
        Some(woken)
    }

    /// A completion is on its way into the log.
    pub(super) fn completing(&self, id: &str) {
        let mut state = self.0.lock();
        state.completing.insert(id.to_owned());
        // Dropping wakes as well as sending.
        state.waiting.remove(id);
    }

    /// What became of a completion is known.
    pub(super) fn settled(&self, id: &str) {
        let mut state = self.0.lock();
        state.completing.remove(id);
        state.waiting.remove(id);
    }

    /// The leadership is lost.
    pub(super) fn clear(&self) {
        *self.0.lock() = State::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_woken_by_what_is_on_its_way_and_nobody_waits_behind_it() {
        let waiting = Waiting::default();
        let mut first = waiting.register("a").unwrap();
        let mut other = waiting.register("b").unwrap();
        waiting.completing("a");
        assert!(first.try_recv().is_err_and(|it| it == oneshot::error::TryRecvError::Closed));
        assert!(other.try_recv().is_err_and(|it| it == oneshot::error::TryRecvError::Empty));
        assert!(waiting.register("a").is_none());
        waiting.settled("a");
        assert!(waiting.register("a").is_some());
        waiting.clear();
        assert!(other.try_recv().is_err_and(|it| it == oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn those_who_gave_up_are_forgotten() {
        let waiting = Waiting::default();
        for _ in 0..100 {
            drop(waiting.register("a"));
        }
        let _last = waiting.register("a");
        assert_eq!(waiting.0.lock().waiting["a"].len(), 1);
    }
}
