//! What a broker's process takes of the machine, as the kernel counts it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::cluster::Broker;

impl Broker {
    /// Resident memory in bytes.
    pub fn memory(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The most resident memory since the start, or since [`Broker::forget_peak_memory`].
    pub fn peak_memory(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    pub fn forget_peak_memory(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").unwrap();
    }

    fn status_bytes(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Processor time used so far.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // Fields 14 and 15 in ticks of 10 ms; the name in field 2 may hold anything but ends with `)`.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// Bytes of files under the data directory, without those set aside for a full disk.
    pub fn disk(&self) -> u64 {
        fn bytes(path: &Path) -> u64 {
            let Ok(entries) = fs::read_dir(path) else { return 0 };
            let size = |entry: fs::DirEntry| match entry.metadata() {
                Ok(data) if data.is_dir() => bytes(&entry.path()),
                Ok(_) if entry.file_name() == "quorate.ballast" => 0,
                Ok(data) => data.len(),
                Err(_) => 0, // removed meanwhile
            };
            entries.flatten().map(size).sum()
        }
        bytes(&self.data)
    }
}
