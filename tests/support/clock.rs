//! Brokers whose wall clocks a test sets, by a library that is loaded before the C library.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::cluster::{Broker, SOON};
use super::process;

/// What a broker needs in its environment to have a clock of its own.
pub const PRELOAD: &str = "LD_PRELOAD";
/// Names the file that says how far its clock is ahead.
pub const AHEAD: &str = "CLOCK_AHEAD";

/// The library, compiled once for all tests.
pub fn library() -> &'static str {
    static LIBRARY: OnceLock<String> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let library = directory.join(format!("clock-{}.so", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/clock.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]).arg(&library);
        compiler.arg(source).arg("-ldl");
        process::run(compiler, SOON).ok("cc");
        library.to_str().unwrap().to_owned()
    })
}

/// The file that belongs to a broker.
pub fn file(broker: &Broker) -> PathBuf {
    broker.log.with_extension("clock")
}

/// Sets a broker's clock, running or not.
pub fn set(broker: &Broker, ahead: Duration, back: bool) {
    let seconds = i64::try_from(ahead.as_secs()).unwrap() * if back { -1 } else { 1 };
    // Never shorter: a running broker has it in memory.
    let mut file =
        File::options().write(true).create(true).truncate(false).open(file(broker)).unwrap();
    file.write_all(&seconds.to_ne_bytes()).unwrap();
}
