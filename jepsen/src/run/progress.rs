//! Long work shows that it goes on.

use std::sync::LazyLock;
use std::time::Instant;

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Prints a line with the seconds since the program began.
#[expect(
    clippy::print_stderr,
    reason = "progress of a command; its answer goes to standard output"
)]
pub fn say(what: String) {
    eprintln!("{:7.1} s  {what}", STARTED.elapsed().as_secs_f64());
}
