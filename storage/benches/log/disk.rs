//! What a run used: CPU time of this process and bytes that went to the disk.
//!
//! Bytes are counted twice. The kernel's count for this process is ours alone but counts a whole
//! page-cache folio each time an append dirties its end again, up to a third too much. The device's
//! count is exact and holds what others write, so it is right on an idle machine only.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

#[derive(Clone, Copy)]
pub struct Usage {
    pub cpu: Duration,
    pub process: u64,
    pub device: u64,
}

impl Usage {
    pub fn now(dir: &Path) -> Usage {
        Usage { cpu: cpu(), process: process(), device: device(dir).unwrap_or(0) }
    }

    pub fn since(self, before: Usage) -> Usage {
        Usage {
            cpu: self.cpu - before.cpu,
            process: self.process - before.process,
            device: self.device - before.device,
        }
    }
}

/// Bytes written to the block device below `dir`, by anybody.
fn device(dir: &Path) -> Option<u64> {
    let number = fs::metadata(dir).ok()?.dev();
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00));
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    let sectors: u64 = stat.split_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * 512)
}

/// User and system time of all threads, those that ended included.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("linux");
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th field behind.
    let behind = stat.rsplit(')').next().expect("a name");
    let ticks: u64 = behind
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().expect("a number"))
        .sum();
    // USER_HZ is 100 on every architecture we build for.
    Duration::from_millis(ticks * 10)
}

fn process() -> u64 {
    let io = fs::read_to_string("/proc/self/io").expect("linux");
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.expect("write_bytes").trim().parse().expect("a number")
}
