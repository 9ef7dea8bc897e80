//! The thread that looks at the disk: its free space, and whether its tables have caught up.
//!
//! It is apart from the background thread, which unlinks and rewrites files and may be held up for
//! as long as the disk likes.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::db::Shared;
use crate::rocks::Rocks;
use crate::space;

/// Between two looks at the free space. At a gigabyte a second 200 MB are written meanwhile.
const LOOK: Duration = Duration::from_millis(200);
/// Between two looks at the tables while entries are held back.
const BEHIND: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(crate) struct Watch {
    closing: Mutex<bool>,
    wake: Condvar,
}

impl Watch {
    /// Entries are held back from now on.
    pub fn call(&self) {
        let _closing = self.closing.lock();
        self.wake.notify_all();
    }

    pub fn close(&self) {
        *self.closing.lock() = true;
        self.wake.notify_all();
    }

    /// Waits; false once closed.
    fn wait(&self, patience: Duration) -> bool {
        let mut closing = self.closing.lock();
        if !*closing {
            self.wake.wait_for(&mut closing, patience);
        }
        !*closing
    }
}

/// Body of the thread.
pub(crate) fn run(shared: &Shared, rocks: &Rocks) {
    let mut measured: Option<Instant> = None;
    loop {
        if measured.is_none_or(|at| at.elapsed() >= LOOK) {
            space::measure(shared);
            measured = Some(Instant::now());
        }
        if shared.flow.is_behind() {
            shared.flow.update(rocks);
        }
        let patience = if shared.flow.is_behind() { BEHIND } else { LOOK };
        if !shared.watch.wait(patience) {
            return;
        }
    }
}
