//! A disk that fails ends the process with the documented exit code.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use quorate_storage::{Db, EXIT_STORAGE, GroupId, Options};

use crate::support::{append, entries, open, read_all, small};

const GROUP: GroupId = GroupId(1);

/// What the child does, told by its environment; nothing in a normal test run.
#[test]
fn child_of_the_failure_tests() {
    let Ok(dir) = std::env::var("QUORATE_FAIL_DIR") else { return };
    let dir = Path::new(&dir);
    let db = Db::open(dir, small()).expect("the store opens");
    let log = db.log(GROUP);
    match std::env::var("QUORATE_FAIL_HOW").expect("how").as_str() {
        "read" => drop(read_all(&log)),
        "remove" => {
            append(&log, entries(GROUP, 1, 0, 1, 1000));
            fs::remove_dir_all(dir).expect("remove");
            append_for_ever(&log);
        }
        _ => append_for_ever(&log),
    }
}

fn append_for_ever(log: &quorate_storage::Log) {
    for _ in 0..10_000 {
        let first = log.state().last.map_or(0, |last| last.index + 1);
        append(log, entries(GROUP, 1, first, 10, 1000));
    }
}

fn run(dir: &Path, how: &str, failpoint: &str) -> Output {
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["failures::child_of_the_failure_tests", "--exact", "--nocapture"])
        .env("QUORATE_FAIL_DIR", dir)
        .env("QUORATE_FAIL_HOW", how)
        .env("QUORATE_FAILPOINT", failpoint)
        .output()
        .expect("the child runs")
}

fn assert_stopped(output: &Output, reason: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(EXIT_STORAGE), "{text}");
    assert!(text.contains(reason), "{text}");
    assert_eq!(EXIT_STORAGE, 3, "the exit code is documented");
}

#[test]
fn a_failed_sync_ends_the_process() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = run(&dir.path().join("db"), "append", "sync.fail:5");
    assert_stopped(&output, "cannot sync the write-ahead log");
}

#[test]
fn a_failed_write_ends_the_process() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = run(&dir.path().join("db"), "remove", "");
    assert_stopped(&output, "storage failed, stopping with exit code 3");
}

#[test]
fn a_damaged_block_ends_the_process_that_reads_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Db::open(dir.path(), Options { generation_bytes: 1 << 20, ..small() }).expect("open");
    append(&db.log(GROUP), entries(GROUP, 1, 0, 200, 1000));
    db.close();
    let largest = fs::read_dir(dir.path())
        .expect("the directory")
        .flatten()
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "sst"))
        .max_by_key(|file| file.metadata().map_or(0, |metadata| metadata.len()))
        .expect("a table file");
    let mut bytes = fs::read(largest.path()).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(largest.path(), bytes).expect("write");
    assert_stopped(&run(dir.path(), "read", ""), "checksum mismatch");
}

#[test]
fn an_undamaged_store_is_read_to_the_end_by_the_same_child() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    append(&db.log(GROUP), entries(GROUP, 1, 0, 200, 1000));
    db.close();
    assert!(run(dir.path(), "read", "").status.success());
}
