//! A disk that fails ends the process with the documented exit code; an entry that rots concerns its group alone.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use bytes::Bytes;
use quorate_storage::{Db, EXIT_STORAGE, Error, GroupId, Log, LogState, Options, Reset};

use crate::support::{append, entries, id, ignore, open, read_all, small, sync, wait};

const GROUP: GroupId = GroupId(1);
const OTHER: GroupId = GroupId(2);

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

fn append_for_ever(log: &Log) {
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

/// A closed store with one bit wrong in the middle of its largest table, which holds entries.
fn rotten(dir: &Path) {
    let options = Options { generation_bytes: 1 << 20, ..small() };
    let db = Db::open(dir, options).expect("open");
    append(&db.log(GROUP), entries(GROUP, 1, 0, 200, 1000));
    append(&db.log(OTHER), entries(OTHER, 1, 0, 1, 10));
    db.close();
    let largest = fs::read_dir(dir)
        .expect("the directory")
        .flatten()
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "sst"))
        .max_by_key(|file| file.metadata().map_or(0, |metadata| metadata.len()))
        .expect("a table file");
    let mut bytes = fs::read(largest.path()).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(largest.path(), bytes).expect("write");
}

/// Reads as far as it goes; gives how far that is, and the entry that is damaged.
fn read_up_to_damage(log: &Log) -> (u64, u64) {
    let mut next = 0;
    loop {
        match log.read(next, 200, 64 << 10) {
            Ok(some) => next = some.last().expect("an entry").id.index + 1,
            Err(Error::Corrupt { index, .. }) => return (next, index),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_damaged_entry_marks_its_group_and_the_group_keeps_what_it_promised() {
    let dir = tempfile::tempdir().expect("a directory");
    rotten(dir.path());
    let before = open(dir.path());
    let log = before.log(GROUP);
    assert_eq!(log.corrupt(), None, "nobody looked yet");
    let (read, index) = read_up_to_damage(&log);
    assert!(read > 0 && read == index, "everything before it is read: {read} of {index}");
    wait(before.corruption());
    wait(log.save_vote(Bytes::from_static(b"vote"), ignore())).expect("vote");
    append(&log, entries(GROUP, 1, 200, 1, 1000));
    drop(log);
    before.close();

    // The store opens, and knows.
    let db = open(dir.path());
    let log = db.log(GROUP);
    assert_eq!(log.corrupt(), Some(index));
    assert_eq!(log.state(), LogState { purged: None, last: Some(id(1, 200)) });
    assert_eq!(log.vote().as_deref(), Some(&b"vote"[..]));
    assert_eq!(log.read(200, 201, 10).expect("what is behind it").len(), 1);
    assert_eq!(read_all(&db.log(OTHER)).len(), 1);
    assert_eq!(db.log(OTHER).corrupt(), None);

    // With the entry goes the mark: purged here, or cut off.
    wait(log.purge(id(1, index - 1))).expect("purge");
    assert_eq!(log.corrupt(), Some(index));
    wait(log.truncate_after(Some(index))).expect("truncate");
    assert_eq!(log.corrupt(), Some(index));
    wait(log.purge(id(1, index))).expect("purge");
    assert_eq!(log.corrupt(), None);
    sync(&log);
    drop(log);
    db.close();
    assert_eq!(open(dir.path()).log(GROUP).corrupt(), None);
}

#[test]
fn one_entry_that_is_damaged_is_noticed_and_those_beside_it_are_read() {
    let dir = tempfile::tempdir().expect("a directory");
    rotten(dir.path());
    let db = open(dir.path());
    let log = db.log(GROUP);
    let mut read = 0;
    let damaged = loop {
        match log.read_one(read, <[u8]>::len) {
            Ok(found) => assert_eq!(found, Some(1000)),
            Err(Error::Corrupt { index, .. }) => break index,
            Err(other) => panic!("{other}"),
        }
        read += 1;
    };
    assert_eq!((damaged, log.corrupt()), (read, Some(read)));
    assert!(read > 0 && log.read_one(199, <[u8]>::len).is_ok(), "those beside it are read");
}

#[test]
fn a_damaged_entry_that_is_cut_off_or_reset_is_forgotten() {
    for reset in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        rotten(dir.path());
        let db = open(dir.path());
        let log = db.log(GROUP);
        let (_, index) = read_up_to_damage(&log);
        if reset {
            wait(log.reset_to(id(2, 300), Reset::default(), ignore())).expect("reset");
        } else {
            wait(log.truncate_after(Some(index - 1))).expect("truncate");
        }
        assert_eq!(log.corrupt(), None);
        let next = log.state().last.expect("a log").index + 1;
        append(&log, entries(GROUP, 2, next, 3, 10));
        drop(log);
        db.close();
        let db = open(dir.path());
        assert_eq!(db.log(GROUP).corrupt(), None);
        assert_eq!(read_all(&db.log(GROUP)).last().expect("entries").id, id(2, next + 2));
    }
}

#[test]
fn an_undamaged_store_is_read_to_the_end_by_the_same_child() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    append(&db.log(GROUP), entries(GROUP, 1, 0, 200, 1000));
    db.close();
    assert!(run(dir.path(), "read", "").status.success());
}
