//! The store against a plain file, in one run on one disk.
//!
//! Both sides take 16 KiB entries from several callers of which each waits until its entry is
//! durable: the store through its two threads, the file by a loop that appends what is waiting and
//! calls fdatasync. The plain file is what an fsynced log costs at least; it keeps one group and
//! has no index, no recovery and no retention.
//!
//! `cargo bench -p quorate-storage --bench log -- [MIB] [ENTRY_BYTES] [CALLERS]`

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

mod disk;
mod load;

use std::path::PathBuf;

use load::{Load, Outcome};

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let total = numbers.first().copied().unwrap_or(256) << 20;
    let entry = numbers.get(1).copied().unwrap_or(16 << 10) as usize;
    let callers = numbers.get(2).copied().unwrap_or(64) as usize;
    let dir = std::env::var_os("QUORATE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);

    println!(
        "{} MiB each, entries of {entry} bytes, {callers} callers, in {}",
        total >> 20,
        dir.display()
    );
    println!(
        "{:<12} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>7} {:>9}",
        "what",
        "MB/s",
        "of file",
        "process/B",
        "device/B",
        "CPU s/GB",
        "of file",
        "p50 ms",
        "p99 ms",
        "syncs",
        "reopen ms"
    );
    let load = |groups| Load { total, entry, callers, groups };
    let file = load(1).against_file(&dir);
    print_row("plain file", &file, &file);
    for groups in [1, 100, 1000] {
        let store = load(groups).against_store(&dir);
        print_row(&format!("{groups} groups"), &store, &file);
    }
}

fn print_row(what: &str, row: &Outcome, file: &Outcome) {
    let (process, device) = row.written_per_byte();
    println!(
        "{what:<12} {:>8.0} {:>7.2}x {:>9.2} {:>9.2} {:>9.2} {:>8.2}x {:>8.2} {:>8.2} {:>7} {:>9.0}",
        row.rate(),
        row.rate() / file.rate(),
        process,
        device,
        row.cpu_per_gb(),
        row.cpu_per_gb() / file.cpu_per_gb(),
        row.percentile(50),
        row.percentile(99),
        row.syncs,
        row.reopen.as_secs_f64() * 1e3,
    );
}
