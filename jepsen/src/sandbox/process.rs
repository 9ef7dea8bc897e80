//! A process of ours: signalled, watched, and never left behind.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::admin::wait;

/// Ends with SIGKILL when dropped.
pub struct Process {
    child: Child,
}

impl Process {
    pub fn new(child: Child) -> Process {
        Process { child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).with_context(|| format!("signal {signal:?} to {}", self.pid()))
    }

    /// A handle that never means another process.
    pub(super) fn handle(&self) -> anyhow::Result<OwnedFd> {
        let pid = Pid::from_child(&self.child);
        pidfd_open(pid, PidfdFlags::empty()).with_context(|| format!("handle of {}", self.pid()))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    pub fn wait_end(&mut self, limit: Duration) -> Option<ExitStatus> {
        wait(limit, || self.ended())
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> anyhow::Result<ExitStatus> {
        self.child.kill().context("kill")?;
        self.child.wait().context("wait for a killed process")
    }

    /// The kernel's letter for what it is doing: R, S, D, T, Z.
    pub fn letter(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).ok()?;
        // The name before it may hold anything but ends with the last bracket.
        stat.rsplit(')').next()?.trim().chars().next()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.kill();
        }
    }
}

/// In words: `exit code 3`, `signal 9`.
pub(crate) fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => format!("{status}"),
    }
}
