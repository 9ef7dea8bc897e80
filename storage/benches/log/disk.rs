//! What this process used: CPU time and bytes sent to the disk.

use std::fs;
use std::time::Duration;

#[derive(Clone, Copy)]
pub struct Usage {
    pub cpu: Duration,
    pub written: u64,
}

impl Usage {
    pub fn now() -> Usage {
        Usage { cpu: cpu(), written: written() }
    }
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

fn written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").expect("linux");
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.expect("write_bytes").trim().parse().expect("a number")
}
