//! A power loss: the child dies and what its last sync did not cover is cut off the newest log.
//!
//! Logs are not recycled here, so that a log's length says how far it was written. Older logs stay
//! whole, as they were synced when the memtable they belong to was flushed.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use quorate_storage::{Db, Error};

use crate::crash::{run_child, run_child_with, verify};
use crate::support::{open, small};

/// The newest write-ahead log, and how many bytes of it were synced.
fn newest_log(dir: &Path) -> (PathBuf, u64) {
    let synced = fs::read_to_string(dir.join("synced")).unwrap_or_default();
    let logs = fs::read_dir(dir.join("db")).expect("the store's directory");
    let newest = logs
        .flatten()
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .max()
        .expect("a write-ahead log");
    let name = newest.file_name().expect("a file").to_string_lossy().into_owned();
    let keep =
        synced.lines().find_map(|line| line.strip_prefix(&name)?.trim().parse().ok()).unwrap_or(0);
    (newest, keep)
}

/// Cuts the newest write-ahead log to what was synced; gives the bytes cut off.
fn cut_unsynced(dir: &Path) -> u64 {
    let (newest, keep) = newest_log(dir);
    let log = fs::File::options().write(true).open(&newest).expect("the log");
    let length = log.metadata().expect("metadata").len();
    log.set_len(keep.min(length)).expect("cut");
    length.saturating_sub(keep)
}

#[test]
fn what_was_acknowledged_survives_the_loss_of_everything_unsynced() {
    let mut lost = 0;
    for (seed, count) in [(100, 5), (101, 40), (102, 90), (103, 200), (104, 300)] {
        for point in ["write.after", "sync.before"] {
            let dir = tempfile::tempdir().expect("a directory");
            let status = run_child(dir.path(), seed, &format!("{point}:{count}"));
            assert!(!status.success(), "the child never came to {point}:{count}");
            lost += cut_unsynced(dir.path());
            let db = open(&dir.path().join("db"));
            let model = verify(dir.path(), seed, &db);
            drop(db);
            assert_eq!(model.difference(&open(&dir.path().join("db"))), None);
        }
    }
    assert!(lost > 0, "no run lost anything, so nothing was tested");
}

/// Recovery cannot tell such a bit from the torn end of a log; what was noted beside the log can.
#[test]
fn a_bit_that_rots_in_what_was_synced_is_refused_and_not_taken_for_the_end() {
    // One generation, so one log: with many, the writer may be ahead of the sync by a log or two.
    const GENERATION: u64 = 64 << 20;
    for (seed, count) in [(110, 30), (111, 60), (112, 120), (113, 200)] {
        let dir = tempfile::tempdir().expect("a directory");
        let failpoint = format!("sync.after:{count}");
        assert!(!run_child_with((GENERATION, 0), dir.path(), seed, &failpoint).success());
        let (newest, synced) = newest_log(dir.path());
        assert!(synced > 1000, "{count} syncs left {synced} bytes to damage");
        let log = fs::File::options().read(true).write(true).open(&newest).expect("the log");
        let mut byte = [0];
        log.read_exact_at(&mut byte, synced / 2).expect("a byte");
        log.write_all_at(&[byte[0] ^ 4], synced / 2).expect("a flipped bit");
        match Db::open(&dir.path().join("db"), small()) {
            Err(Error::Damaged(reason)) => assert!(reason.contains("was synced"), "{reason}"),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("seed {seed}: opened with {synced} synced bytes, one of them wrong"),
        }
        // A look at damage must not make it worse: put back, the byte makes the log whole again.
        log.write_all_at(&byte, synced / 2).expect("the byte as it was");
        verify(dir.path(), seed, &open(&dir.path().join("db")));
    }
}

/// Logs are kept to be used again. What is in them is in tables, so rot there is no reason to refuse anything.
#[test]
fn a_bit_that_rots_in_a_log_nobody_needs_is_not_held_against_the_store() {
    let mut damaged = 0;
    for seed in 120..126 {
        let dir = tempfile::tempdir().expect("a directory");
        let sizes = (small().generation_bytes, 3);
        // Every 64 syncs, beginning with the first, is noted which logs are needed.
        assert!(!run_child_with(sizes, dir.path(), seed, "sync.after:193").success());
        let note = fs::read(dir.path().join("db/quorate.synced")).expect("the note");
        let needed = u64::from_be_bytes(note[8..16].try_into().expect("eight bytes"));
        for file in fs::read_dir(dir.path().join("db")).expect("the store's directory").flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            let number = name.strip_suffix(".log").and_then(|name| name.parse::<u64>().ok());
            if number.is_some_and(|number| number < needed) {
                let mut bytes = fs::read(file.path()).expect("the log");
                bytes.iter_mut().step_by(100).for_each(|byte| *byte ^= 16);
                fs::write(file.path(), bytes).expect("a rotten log");
                damaged += 1;
            }
        }
        verify(dir.path(), seed, &open(&dir.path().join("db")));
    }
    assert!(damaged > 0, "no log was left that nobody needs");
}
