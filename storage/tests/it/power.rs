//! A power loss: the child dies and what its last sync did not cover is taken back from the newest log.
//!
//! Older logs stay whole, as they were synced when the memtable they belong to was flushed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use quorate_storage::{Db, Error, Options};

use crate::crash::{run_child, run_child_with, verify};
use crate::support::{open, small};

/// What the logs held at the last sync.
fn synced(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let image = fs::read(dir.join("synced")).unwrap_or_default();
    let (mut logs, mut rest) = (BTreeMap::new(), image.as_slice());
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (name, behind) = (&rest[..end], &rest[end + 1..]);
        let (length, behind) = behind.split_at(8);
        let length = u64::from_be_bytes(length.try_into().expect("eight bytes")) as usize;
        let name = String::from_utf8(name.to_vec()).expect("a file's name");
        logs.insert(name, behind[..length].to_vec());
        rest = &behind[length..];
    }
    logs
}

fn logs(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("db")).expect("the store's directory").flatten();
    let mut logs: Vec<PathBuf> = files.map(|file| file.path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    logs
}

fn name(path: &Path) -> String {
    path.file_name().expect("a file").to_string_lossy().into_owned()
}

/// The newest write-ahead log, and what the last sync covered of it.
fn newest_log(dir: &Path) -> (PathBuf, Vec<u8>) {
    let newest = logs(dir).pop().expect("a write-ahead log");
    // Nothing of one that was begun since.
    let covered = synced(dir).remove(&name(&newest)).unwrap_or_default();
    (newest, covered)
}

/// Takes back from the newest write-ahead log what was not synced; gives the bytes that changed.
pub fn take_back(dir: &Path) -> usize {
    let (newest, covered) = newest_log(dir);
    let written = fs::read(&newest).expect("the log");
    fs::write(&newest, &covered).expect("the log as it was synced");
    let common = written.iter().zip(&covered).filter(|(now, then)| now != then).count();
    common + written.len().saturating_sub(covered.len())
}

#[test]
fn what_was_acknowledged_survives_the_loss_of_everything_unsynced() {
    let mut lost = 0;
    for (seed, count) in [(100, 5), (101, 40), (102, 90), (103, 200), (104, 300), (105, 400)] {
        for point in ["write.after", "sync.before"] {
            let dir = tempfile::tempdir().expect("a directory");
            let status = run_child(dir.path(), seed, &format!("{point}:{count}"));
            assert!(!status.success(), "the child never came to {point}:{count}");
            lost += take_back(dir.path());
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
    let options = Options { generation_bytes: 64 << 20, ..small() };
    for (seed, count) in [(110, 30), (111, 60), (112, 120), (113, 200)] {
        let dir = tempfile::tempdir().expect("a directory");
        let failpoint = format!("sync.after:{count}");
        assert!(!run_child_with(&options, dir.path(), seed, &failpoint).success());
        let (newest, covered) = newest_log(dir.path());
        let synced = covered.len() as u64;
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

/// A log is deleted a while after its last entry was in a table; rot there is no reason to refuse anything.
#[test]
fn a_bit_that_rots_in_a_log_nobody_needs_is_not_held_against_the_store() {
    let mut damaged = 0;
    for seed in 120..126 {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(!run_child(dir.path(), seed, "inventory.after:30").success());
        let note = fs::read_to_string(dir.path().join("db/quorate.inventory")).expect("the note");
        let needed = note.lines().filter_map(|line| line.strip_prefix("log ")?.parse::<u64>().ok());
        let needed = needed.min().expect("a log");
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
