//! The tests of franz-go's package `kgo`, of the version that the Go clients have; `make test-franz-go` has them
//! compiled. Most of that package's tests need no broker: what they hold is the client's own business.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Run, list};
use crate::support::clients::installed;
use crate::support::process;

/// How many records tests move that move many: half a million, unless told.
const RECORDS: &str = "20000";

pub fn rows() -> Vec<list::Row> {
    list::read(include_str!("franz_go.list"))
}

/// A test and the one that has to run before it in the same process: it leaves a part out as long as none has asked the
/// brokers for their versions.
const BEFORE: [(&str, &str); 1] = [("TestGroupSimple", "TestPauseIssueOct2023")];

/// What the list allows, a process for each test.
pub fn runs() -> Vec<Run> {
    let rows = rows();
    list::check(&rows, &names());
    rows.into_iter().filter(|row| row.short.is_some()).map(run).collect()
}

fn run(row: list::Row) -> Run {
    let (name, alone) = (row.name, row.alone);
    let title = name.clone();
    let asked = name.clone();
    let command = move |bootstrap: &str, _: &Path| command(&asked, bootstrap);
    let doubt = move |log: &str| doubt(&name, log);
    Run { title, auto_create: true, alone, command: Box::new(command), doubt: Box::new(doubt) }
}

fn built() -> PathBuf {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/go/go.mod");
    let module = fs::read_to_string(module).unwrap();
    let version = module.split("github.com/twmb/franz-go v").nth(1).expect("a version of franz-go");
    installed(&format!("franz-go-{}", version.split_whitespace().next().unwrap()))
}

/// What the compiled program says it has.
fn names() -> BTreeSet<String> {
    let mut command = process::command(built().join("kgo.test"));
    command.args(["-test.list", "^Test"]);
    let text = process::run(command, super::LIMIT).ok("listing franz-go's tests");
    text.lines().filter(|line| line.starts_with("Test")).map(str::to_owned).collect()
}

fn command(name: &str, bootstrap: &str) -> Command {
    let mut command = process::command(built().join("kgo.test"));
    let before = BEFORE.iter().find(|(it, _)| *it == name).map_or(name, |(_, before)| before);
    command.args(["-test.v", "-test.run", &format!("^({name}|{before})$")]);
    command.env("KGO_SEEDS", bootstrap).env("KGO_TEST_RF", "3").env("KGO_TEST_RECORDS", RECORDS);
    command
}

/// A test that skipped itself, or a part of itself, ends well.
fn doubt(name: &str, log: &str) -> Option<String> {
    let passed = log.lines().any(|line| line.starts_with(&format!("--- PASS: {name} (")));
    let skipped = log.lines().find(|line| line.trim_start().starts_with("--- SKIP: "));
    let passed = if passed { None } else { Some(format!("{name} is not among what passed")) };
    skipped.map(|line| line.trim().to_owned()).or(passed)
}

#[test]
fn what_go_says_tells_what_passed_from_what_left_itself_out() {
    let log = "=== RUN   TestA\n    --- PASS: TestA/part (0.10s)\n--- PASS: TestA (0.10s)\nPASS\n";
    assert_eq!(doubt("TestA", log), None);
    assert_eq!(doubt("TestB", log), Some("TestB is not among what passed".into()));
    let log = "    --- SKIP: TestA/part (0.00s)\n--- PASS: TestA (0.10s)\nPASS\n";
    assert_eq!(doubt("TestA", log), Some("--- SKIP: TestA/part (0.00s)".into()));
}
