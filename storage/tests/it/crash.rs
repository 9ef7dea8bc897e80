//! A process that dies at a named point leaves a prefix of what it did, with all it acknowledged.
//!
//! The child is this test binary again. It writes down each operation before it makes it and each
//! acknowledgement when it gets it; the parent compares the reopened store with the model after
//! every prefix that is not older than the last acknowledgement.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use quorate_storage::{Db, Durable, Options};

use crate::model::Model;
use crate::support::{PATIENCE, durable, ignore, open, small, sync, wait};
use crate::workload::{Op, Random};

const OPERATIONS: u64 = 4000;
const GROUPS: u64 = 4;
/// Steps after which the child waits for a sync, so that it makes at least 500 however slow the disk is.
const WAIT_EVERY: u64 = 8;

/// What the child does, told by its environment; nothing in a normal test run.
#[test]
fn child_of_the_crash_tests() {
    let Ok(dir) = std::env::var("QUORATE_CRASH_DIR") else { return };
    let seed = std::env::var("QUORATE_CRASH_SEED").expect("a seed").parse().expect("a number");
    let sizes = std::env::var("QUORATE_CRASH_SIZES").expect("sizes");
    let (generation, manifest) = sizes.split_once(' ').expect("two numbers");
    let options = Options {
        generation_bytes: generation.parse().expect("a number"),
        manifest_bytes: manifest.parse().expect("a number"),
        ..small()
    };
    let db = Db::open(&Path::new(&dir).join("db"), options).expect("the store opens");
    let acks = Arc::new(Mutex::new(File::create(Path::new(&dir).join("acks")).expect("a file")));
    let mut model = Model::default();
    for step in 0..OPERATIONS {
        let op = Op::next(seed_of(seed, step), &model, GROUPS);
        op.run(&db, acknowledge(&acks, step));
        model.apply(&op);
        if step % WAIT_EVERY == 0 {
            let (durable, fired) = durable();
            wait(db.log(op.group()).append(Vec::new(), durable)).expect("append");
            model.groups.entry(op.group()).or_default();
            // The store may have forgotten what an earlier drop acknowledged; only time is wanted.
            let _ = fired.recv_timeout(PATIENCE);
        }
    }
    eprintln!("{:?}", db.stats());
    db.close();
}

fn seed_of(seed: u64, step: u64) -> u64 {
    Random::new(seed.wrapping_add(step.wrapping_mul(0x1234_5678_9abc_def1))).below(u64::MAX)
}

/// A directory that stays for inspection when its test fails.
struct Kept(tempfile::TempDir);

impl Drop for Kept {
    #[expect(clippy::print_stderr, reason = "the one who looks into the failure needs the path")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            eprintln!("kept {}", self.0.path().display());
        }
    }
}

fn acknowledge(acks: &Arc<Mutex<File>>, step: u64) -> Durable {
    let acks = Arc::clone(acks);
    Box::new(move || writeln!(acks.lock(), "{step}").expect("acknowledge"))
}

/// Runs the child until the failpoint kills it, with generations so small that it passes through many of them.
pub fn run_child(dir: &Path, seed: u64, failpoint: &str) -> ExitStatus {
    run_child_with(&small(), dir, seed, failpoint)
}

/// With generations and manifests as large as these options say.
pub fn run_child_with(options: &Options, dir: &Path, seed: u64, failpoint: &str) -> ExitStatus {
    let binary = std::env::current_exe().expect("this binary");
    let Options { generation_bytes, manifest_bytes, .. } = options;
    Command::new(binary)
        .args(["crash::child_of_the_crash_tests", "--exact", "--nocapture"])
        .env("QUORATE_CRASH_DIR", dir)
        .env("QUORATE_CRASH_SEED", seed.to_string())
        .env("QUORATE_CRASH_SIZES", format!("{generation_bytes} {manifest_bytes}"))
        .env("QUORATE_FAILPOINT", failpoint)
        .env("QUORATE_SYNCED_WAL", dir.join("synced"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the child runs")
}

/// Steps that must have survived: everything up to the last acknowledged one.
fn acknowledged(dir: &Path) -> u64 {
    let acks = fs::read_to_string(dir.join("acks")).unwrap_or_default();
    acks.lines().filter_map(|line| line.parse::<u64>().ok()).map(|step| step + 1).max().unwrap_or(0)
}

/// Finds the prefix of the child's operations that the store holds; gives its model.
pub fn verify(dir: &Path, seed: u64, db: &Arc<Db>) -> Model {
    let acknowledged = acknowledged(dir);
    let mut model = Model::default();
    let mut differences = Vec::new();
    for step in 0..=OPERATIONS {
        if step >= acknowledged {
            match model.difference(db) {
                None => return model,
                Some(difference) => differences.push(format!("{step}: {difference}")),
            }
        }
        let op = Op::next(seed_of(seed, step), &model, GROUPS);
        model.apply(&op);
        if step % WAIT_EVERY == 0 {
            model.groups.entry(op.group()).or_default();
        }
    }
    differences.dedup_by(|a, b| a.split_once(':').unzip().1 == b.split_once(':').unzip().1);
    differences.truncate(40);
    panic!("seed {seed}: no prefix from {acknowledged} on matches the store: {differences:#?}");
}

fn crash_at(failpoint: &str, seed: u64) {
    let dir = Kept(tempfile::tempdir().expect("a directory"));
    let dir = &dir.0;
    let status = run_child(dir.path(), seed, failpoint);
    assert!(!status.success(), "the child never came to {failpoint}");
    let mut model = {
        let db = open(&dir.path().join("db"));
        let model = verify(dir.path(), seed, &db);
        // Something that did not survive must not come back later.
        db.close();
        model
    };
    let db = open(&dir.path().join("db"));
    assert_eq!(model.difference(&db), None, "the second open after {failpoint}");
    for step in 0..60 {
        let op = Op::next(seed_of(!seed, step), &model, GROUPS);
        op.run(&db, ignore());
        model.apply(&op);
    }
    if let Some(group) = model.groups.keys().next() {
        sync(&db.log(*group));
    }
    assert_eq!(model.difference(&db), None, "going on after {failpoint}");
    drop(db);
    let db = open(&dir.path().join("db"));
    assert_eq!(model.difference(&db), None, "the third open after {failpoint}");
}

/// Every name with a count that falls early and one that falls in the middle of the work.
fn crash_at_all(names: &[&str], counts: &[u64]) {
    let base: u64 = std::env::var("QUORATE_TEST_SEED").map_or(0, |n| n.parse().expect("a number"));
    for name in names {
        for count in counts {
            let seed = base.wrapping_add(
                name.bytes().fold(*count, |sum, byte| (sum * 31 + u64::from(byte)) % 1_000_003),
            );
            crash_at(&format!("{name}:{count}"), seed);
        }
    }
}

#[test]
fn a_crash_around_the_write_and_the_sync_keeps_every_acknowledged_operation() {
    crash_at_all(&["write.before", "write.after", "sync.before", "sync.after"], &[1, 70]);
}

#[test]
fn a_crash_around_a_vote_a_truncation_or_a_purge_leaves_a_prefix() {
    let names = ["vote.before", "vote.after", "truncate.before", "truncate.after"];
    crash_at_all(&names, &[9, 60]);
    crash_at_all(&["purge.before", "purge.after"], &[90]);
}

#[test]
fn a_crash_around_a_reset_a_drop_or_a_state_change_leaves_a_prefix() {
    let names = ["reset.before", "reset.after", "drop.before", "drop.after", "state.after"];
    crash_at_all(&names, &[5]);
}

#[test]
fn a_crash_at_a_generation_switch_leaves_the_map_right() {
    crash_at_all(&["switch.before", "switch.sealed", "switch.after"], &[1, 12]);
}

#[test]
fn a_crash_while_generations_are_dropped_or_rewritten_leaves_the_map_right() {
    crash_at_all(&["retire.before", "retire.after", "move.before", "move.after"], &[1, 4]);
}
