//! What a process costs: memory and processor time, read from `/proc`.

use std::time::Duration;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub resident_bytes: u64,
    pub cpu: Duration,
}

/// Returns what this process has used, or None where there is no `/proc`.
pub fn usage() -> Option<Usage> {
    read("self")
}

/// Returns what the process of that id has used, or None if there is none.
pub fn usage_of(pid: i32) -> Option<Usage> {
    read(&pid.to_string())
}

/// `/proc` is memory, not a disk: reading it does not block.
fn read(process: &str) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything, so count from its end.
    // Fields after it, from 0: utime is 11, stime 12 (proc(5) numbers them 14 and 15), in ticks of 10 ms.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = resident.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(Usage { resident_bytes: kibibytes * 1024, cpu: Duration::from_millis(ticks * 10) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_own_size() {
        let usage = usage().unwrap();
        assert!(usage.resident_bytes > 1024 * 1024, "{usage:?}");
        assert_eq!(usage_of(i32::MAX).map(|usage| usage.resident_bytes), None);
    }
}
