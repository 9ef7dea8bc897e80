//! Tables that are not written in time hold back new entries, and nothing else: never a vote.
//!
//! A flush is made to hang for real: where RocksDB will create its next tables lie pipes, and opening
//! a pipe for writing waits for a reader. No thread in such an open can be called back, so it happens
//! in a process of its own that ends by a signal.

use std::path::Path;
use std::process::Command;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use quorate_storage::{Db, GroupId, Options};

use crate::support::{PATIENCE, append, durable, entries, eventually, ignore, open, small, wait};

/// Switches of the memtable while none can be written.
const SWITCHES: u64 = 12;

fn at_once(future: impl Future<Output = ()>) -> bool {
    let mut future = std::pin::pin!(future);
    future.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
}

/// Nothing in a normal test run.
#[test]
fn child_whose_flushes_hang() {
    let Ok(dir) = std::env::var("QUORATE_HANG_DIR") else { return };
    let dir = Path::new(&dir);
    let db = Db::open(dir, Options { direct_io: false, ..small() }).expect("the store opens");
    let (log, voter) = (db.log(GroupId(1)), db.log(GroupId(2)));
    append(&log, entries(GroupId(1), 1, 0, 1, 100));
    assert!(at_once(db.admit()), "nothing is behind yet");
    let pipes: Vec<String> = (0..400).map(|number| format!("{number:06}.sst")).collect();
    let made = Command::new("mkfifo").current_dir(dir).args(&pipes).status().expect("mkfifo");
    assert!(made.success());
    for round in 0..SWITCHES {
        let first = log.state().last.map_or(0, |last| last.index + 1);
        wait(log.append(entries(GroupId(1), 1, first, 80, 1000), ignore())).expect("append");
        let (voted, fired) = durable();
        let vote = Bytes::from(format!("vote {round}"));
        wait(voter.save_vote(vote, voted)).expect("vote");
        fired.recv_timeout(PATIENCE).expect("a vote is durable although no table can be written");
    }
    eventually("the generations were switched", || db.stats().generations >= SWITCHES);
    assert!(db.stats().behind && !at_once(db.admit()), "new entries are held back");
    std::fs::write(dir.join("proof"), "all votes are durable").expect("proof");
    std::process::abort();
}

#[test]
fn a_vote_never_waits_for_tables_that_cannot_be_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = Command::new(std::env::current_exe().expect("this binary"))
        .args(["stall::child_whose_flushes_hang", "--exact", "--nocapture"])
        .env("QUORATE_HANG_DIR", dir.path())
        .output()
        .expect("the child runs");
    let proof = std::fs::read_to_string(dir.path().join("proof")).unwrap_or_default();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(proof, "all votes are durable", "{said}");
}

#[test]
fn entries_are_let_in_again_once_the_tables_have_caught_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let log = db.log(GroupId(1));
    for round in 0..100 {
        wait(db.admit());
        wait(log.append(entries(GroupId(1), 1, round * 80, 80, 1000), ignore())).expect("append");
    }
    wait(db.admit());
    eventually("the tables have caught up", || !db.stats().behind);
    assert!(db.stats().generations > 50);
}
