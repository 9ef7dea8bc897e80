//! The gate on the brokers' logs: a WARN or ERROR line, or a panic, that no test announced is a
//! failure, because in an operator's terminal it would be one.

use std::fs;
use std::path::Path;

/// Lines of `text` that nobody announced.
pub fn unexpected(text: &str, allowed: &[String]) -> Vec<String> {
    let bad = |line: &str| alarming(line) && !allowed.iter().any(|part| line.contains(part));
    text.lines().filter(|line| bad(line)).map(str::to_owned).collect()
}

fn alarming(line: &str) -> bool {
    // The level stands near the start of a text line; records never do.
    let head: String = line.chars().take(80).collect();
    head.contains(" WARN ") || head.contains(" ERROR ") || line.contains("panicked at")
}

/// The last `lines` lines of a log, for the report of a failure.
pub fn tail(path: &Path, lines: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[test]
fn the_gate_sees_levels_and_panics_and_spares_what_was_announced() {
    let log = "2026-01-01T00:00:00Z  INFO quorate: started\n\
               2026-01-01T00:00:01Z  WARN quorate: disk slow\n\
               2026-01-01T00:00:02Z ERROR quorate: identity refused\n\
               thread 'main' panicked at src/x.rs";
    assert_eq!(unexpected(log, &[]).len(), 3);
    assert_eq!(unexpected(log, &["identity refused".into()]).len(), 2);
}
