//! What the writer wrote and the sync thread has not made durable yet, and who waits for that.
//!
//! The number of batches between the two threads is bounded, so that a slow disk slows the callers down rather than
//! piling up unsynced data.

use std::collections::HashSet;

use parking_lot::{Condvar, Mutex};

use crate::{Durable, GroupId};

/// Who waits for a sync.
pub(crate) enum Callback {
    /// The append of a group: only the newest one covered by a sync is fired.
    Append(GroupId, Durable),
    /// Always fired.
    Always(Durable),
}

#[derive(Default)]
struct Inner {
    pending: Vec<Vec<Callback>>,
    /// Batches handed over and not synced, those being synced included.
    outstanding: usize,
    closed: bool,
}

pub(crate) struct Sync {
    inner: Mutex<Inner>,
    work: Condvar,
    room: Condvar,
    max: usize,
}

impl Sync {
    pub fn new(max: usize) -> Sync {
        Sync { inner: Mutex::default(), work: Condvar::new(), room: Condvar::new(), max }
    }

    /// Hands over a written batch; waits while too many are outstanding. A batch nobody waits for
    /// is left to the next sync.
    pub fn submit(&self, callbacks: Vec<Callback>) {
        if callbacks.is_empty() {
            return;
        }
        let mut inner = self.inner.lock();
        while inner.outstanding >= self.max {
            self.room.wait(&mut inner);
        }
        inner.outstanding += 1;
        inner.pending.push(callbacks);
        self.work.notify_one();
    }

    /// Ends the thread once everything handed over is synced.
    pub fn close(&self) {
        self.inner.lock().closed = true;
        self.work.notify_all();
    }

    pub fn outstanding(&self) -> usize {
        self.inner.lock().outstanding
    }

    /// Waits for batches and takes all there are; `None` once closed and empty.
    pub fn take(&self) -> Option<Vec<Vec<Callback>>> {
        let mut inner = self.inner.lock();
        while inner.pending.is_empty() {
            if inner.closed {
                return None;
            }
            self.work.wait(&mut inner);
        }
        Some(std::mem::take(&mut inner.pending))
    }

    /// These are synced.
    pub fn done(&self, batches: usize) {
        self.inner.lock().outstanding -= batches;
        self.room.notify_one();
    }
}

/// Fires in order, of a group's appends only the newest.
pub(crate) fn fire(callbacks: Vec<Callback>) {
    let mut seen = HashSet::new();
    let mut kept: Vec<Durable> = Vec::with_capacity(callbacks.len());
    for callback in callbacks.into_iter().rev() {
        match callback {
            Callback::Append(group, durable) if seen.insert(group) => kept.push(durable),
            Callback::Append(..) => {}
            Callback::Always(durable) => kept.push(durable),
        }
    }
    for durable in kept.into_iter().rev() {
        durable();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn only_the_newest_append_of_each_group_is_fired_and_everything_else_always() {
        let fired = Arc::new(Mutex::new(Vec::new()));
        let mark = |name: &'static str| -> Durable {
            let fired = Arc::clone(&fired);
            Box::new(move || fired.lock().push(name))
        };
        fire(vec![
            Callback::Append(GroupId(1), mark("1 old")),
            Callback::Always(mark("vote")),
            Callback::Append(GroupId(2), mark("2")),
            Callback::Append(GroupId(1), mark("1 new")),
            Callback::Always(mark("vote again")),
        ]);
        assert_eq!(*fired.lock(), vec!["vote", "2", "1 new", "vote again"]);
    }
}
