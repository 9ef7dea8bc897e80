//! A power loss: the child dies and what its last sync did not cover is cut off the newest log.
//!
//! Logs are not recycled here, so that a log's length says how far it was written. Older logs stay
//! whole, as they were synced when the memtable they belong to was flushed.

use std::fs;
use std::path::Path;

use crate::crash::{run_child, verify};
use crate::support::open;

/// Cuts the newest write-ahead log to what was synced; gives the bytes cut off.
fn cut_unsynced(dir: &Path) -> u64 {
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
