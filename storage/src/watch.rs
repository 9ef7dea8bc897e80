//! How the thread that looks at the disk is woken and ended.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

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
    pub fn wait(&self, patience: Duration) -> bool {
        let mut closing = self.closing.lock();
        if !*closing {
            self.wake.wait_for(&mut closing, patience);
        }
        !*closing
    }
}
