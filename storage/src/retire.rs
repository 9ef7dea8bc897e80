//! What the background thread has to do, and how it is woken.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How often to look for work when nobody calls.
pub(crate) const IDLE: Duration = Duration::from_secs(5);
/// How often files are deleted although nothing changed.
const LEFTOVERS: Duration = Duration::from_secs(60);
/// When to try again while dead generations still have files; doubled with every try.
const RETRY: Duration = Duration::from_millis(500);
/// A file that recovery wrote can hold a dead generation for as long as a live one beside it.
const RETRY_DOUBLINGS: u32 = 6;

/// What the background thread waits for.
#[derive(Default)]
pub(crate) struct Retire {
    inner: Mutex<Inner>,
    wake: Condvar,
    closing: AtomicBool,
}

#[derive(Default)]
struct Inner {
    /// Generations that may be dropped.
    dead: BTreeSet<u32>,
    /// Chunks that may be dropped.
    chunks: BTreeSet<u64>,
    called: bool,
    /// When files were last deleted without a change.
    swept: Option<Instant>,
}

impl Retire {
    /// These generations are dead, and durably so.
    pub fn add(&self, dead: Vec<u32>) {
        let mut inner = self.inner.lock();
        inner.dead.extend(dead);
        inner.called = true;
        self.wake.notify_all();
    }

    /// These chunks belong to no group, and durably so.
    pub fn add_chunks(&self, numbers: Vec<u64>) {
        let mut inner = self.inner.lock();
        inner.chunks.extend(numbers);
        inner.called = true;
        self.wake.notify_all();
    }

    /// Takes the chunks that may be dropped.
    pub fn take_chunks(&self) -> BTreeSet<u64> {
        std::mem::take(&mut self.inner.lock().chunks)
    }

    /// These are to be tried again, in a while.
    pub fn keep_chunks(&self, numbers: impl IntoIterator<Item = u64>) {
        self.inner.lock().chunks.extend(numbers);
    }

    /// A generation ended: there may be something to do.
    pub fn call(&self) {
        self.inner.lock().called = true;
        self.wake.notify_all();
    }

    pub fn close(&self) {
        // Under the lock, or the thread could miss it between its check and its wait.
        let _inner = self.inner.lock();
        self.closing.store(true, Ordering::Relaxed);
        self.wake.notify_all();
    }

    /// True once in a while.
    pub fn leftovers_due(&self) -> bool {
        let mut inner = self.inner.lock();
        let due = inner.swept.is_none_or(|at| at.elapsed() >= LEFTOVERS);
        if due {
            inner.swept = Some(Instant::now());
        }
        due
    }

    pub fn closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// The generations that may be dropped.
    pub fn waiting(&self) -> BTreeSet<u32> {
        self.inner.lock().dead.clone()
    }

    /// These have no files any more.
    pub fn forget(&self, gone: &[u32]) {
        self.inner.lock().dead.retain(|number| !gone.contains(number));
    }

    /// Waits for a call, at most `most` or until it is time to try again what was in vain `tries`
    /// times.
    pub fn wait(&self, tries: u32, most: Duration) {
        let mut inner = self.inner.lock();
        let again =
            if inner.dead.is_empty() { IDLE } else { RETRY * (1 << tries.min(RETRY_DOUBLINGS)) };
        let patience = again.min(most);
        let deadline = Instant::now() + patience;
        while !self.closing() && !inner.called {
            if self.wake.wait_until(&mut inner, deadline).timed_out() {
                break;
            }
        }
        inner.called = false;
    }
}
