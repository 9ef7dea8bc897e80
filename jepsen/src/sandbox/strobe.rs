//! A share of the processor: a process that is stopped and let go on many times a second.
//!
//! Signals and not a control group, because they work wherever processes do. A bandwidth limit of the kernel's does the
//! same: all threads rest until their next period begins.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use rustix::process::{Signal, pidfd_send_signal};

use super::Process;

/// How long a process runs and rests in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub run: Duration,
    pub stop: Duration,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "runs {:?}, rests {:?}", self.run, self.stop)
    }
}

/// Ends when dropped, and then the process goes on.
pub(super) struct Strobe {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    aim: Mutex<Aim>,
    stops: AtomicU64,
}

struct Aim {
    /// Not a number, which another process may be given.
    process: OwnedFd,
    /// Another fault wants it stopped, so it is not let go on.
    held: bool,
    over: bool,
}

impl Strobe {
    pub(super) fn start(process: &Process, share: Share) -> anyhow::Result<Strobe> {
        let aim = Mutex::new(Aim { process: process.handle()?, held: false, over: false });
        let shared = Arc::new(Shared { aim, stops: AtomicU64::new(0) });
        let strobe = Arc::clone(&shared);
        let thread = thread::Builder::new().name("strobe".into());
        let thread = thread.spawn(move || strobe.run(share)).context("start a strobe")?;
        Ok(Strobe { shared, thread: Some(thread) })
    }

    /// From now on this is the process.
    pub(super) fn aim(&self, process: &Process) -> anyhow::Result<()> {
        self.shared.aim.lock().process = process.handle()?;
        Ok(())
    }

    /// Whether the process stays stopped, once it is.
    pub(super) fn hold(&self, held: bool) {
        self.shared.aim.lock().held = held;
    }

    /// How often it was stopped.
    pub(super) fn stops(&self) -> u64 {
        self.shared.stops.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn run(&self, share: Share) {
        loop {
            thread::sleep(share.run);
            let aim = self.aim.lock();
            if aim.over {
                break;
            }
            // One that has ended, or is stopped as it is, is not stopped by this.
            if !aim.held && aim.signal(Signal::STOP) {
                self.stops.fetch_add(1, Ordering::Relaxed);
            }
            drop(aim);
            thread::sleep(share.stop);
            let aim = self.aim.lock();
            if !aim.held {
                aim.signal(Signal::CONT);
            }
        }
    }
}

impl Aim {
    fn signal(&self, signal: Signal) -> bool {
        pidfd_send_signal(&self.process, signal).is_ok()
    }
}

impl Drop for Strobe {
    fn drop(&mut self) {
        self.shared.aim.lock().over = true;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
