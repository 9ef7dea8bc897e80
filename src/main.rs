//! The `quorate` command.

use std::process::ExitCode;

/// The system's allocator keeps what a load took: one gigabyte a broker was measured, with no record left.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    quorate::cli::main()
}
