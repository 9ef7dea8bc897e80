//! A file that lost something, was replaced by an older copy, or is gone: the store is refused with every byte as it
//! was, or it opens with everything that was acknowledged. It never opens with less.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use quorate_storage::{Db, Error, Options};

use crate::crash::{run_child_with, verify};
use crate::support::{open, small};

const SEED: u64 = 4711;
const LOCK: &str = "quorate.lock";

type Files = BTreeMap<String, Vec<u8>>;

fn files(dir: &Path) -> Files {
    let files = fs::read_dir(dir).expect("the store's directory").flatten();
    let files = files.map(|file| (file.file_name().to_string_lossy().into_owned(), file.path()));
    files.map(|(name, path)| (name, fs::read(path).expect("a file"))).collect()
}

/// A directory in which a child died at a point of its work, after having written many generations.
fn died(failpoints: &[&str]) -> tempfile::TempDir {
    died_with(&small(), failpoints)
}

fn died_with(options: &Options, failpoints: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for failpoint in failpoints {
        let status = run_child_with(options, dir.path(), SEED, failpoint);
        assert!(!status.success(), "the child never came to {failpoint}");
    }
    dir
}

/// What became of a store whose files were changed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Refused(String),
    Whole,
}

/// Opens a copy of `dir` in which `changed` was done to the files.
fn open_changed(dir: &Path, what: &str, change: impl FnOnce(&mut Files)) -> Outcome {
    let copy = tempfile::tempdir().expect("a directory");
    fs::copy(dir.join("acks"), copy.path().join("acks")).expect("the acknowledgements");
    let db = copy.path().join("db");
    fs::create_dir(&db).expect("a directory");
    let mut before = files(&dir.join("db"));
    change(&mut before);
    before.iter().for_each(|(name, bytes)| fs::write(db.join(name), bytes).expect("a copy"));
    match Db::open(&db, small()) {
        Err(Error::Damaged(reason)) => {
            let mut after = files(&db);
            for files in [&mut before, &mut after] {
                // Who has the directory, and what RocksDB has to say.
                files.retain(|name, _| name != LOCK && !name.starts_with("LOG"));
            }
            let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&after), names(&before), "{what}: {reason}");
            assert!(after == before, "{what}: refused ({reason}), but a file was changed");
            let own = reason.contains("nothing was changed");
            assert!(own || reason.starts_with("RocksDB"), "{what}: {reason}");
            Outcome::Refused(reason)
        }
        Err(other) => panic!("{what}: {other}"),
        Ok(db) => {
            verify(copy.path(), SEED, &db);
            Outcome::Whole
        }
    }
}

fn only(names: &Files, ending: impl Fn(&str) -> bool) -> Vec<String> {
    let found: Vec<String> = names.keys().filter(|name| ending(name)).cloned().collect();
    assert!(!found.is_empty(), "no such file among {:?}", names.keys());
    found
}

fn log_files(files: &Files) -> Vec<String> {
    only(files, |name| name.ends_with(".log"))
}

fn manifest(files: &Files) -> String {
    String::from_utf8_lossy(&files["CURRENT"]).trim().to_owned()
}

/// Where the records of a log or manifest end, by their headers alone.
fn record_ends(bytes: &[u8]) -> Vec<usize> {
    const BLOCK: usize = 32 << 10;
    let (mut at, mut ends) = (0, vec![0]);
    while at + 7 <= bytes.len() {
        let left = BLOCK - at % BLOCK;
        let length = usize::from(u16::from_le_bytes([bytes[at + 4], bytes[at + 5]]));
        let kind = bytes[at + 6];
        if left < 7 {
            at += left;
            continue;
        }
        if kind == 0 && length == 0 {
            break;
        }
        at += length + 7;
        if at > bytes.len() {
            break;
        }
        if [1, 4].contains(&kind) {
            ends.push(at);
        }
    }
    ends
}

#[test]
fn a_manifest_that_is_cut_at_any_record_loses_nothing_or_is_refused() {
    // In the midst of the work; while a generation's flush is being noted; while a store is opened again.
    for points in [
        &["sync.after:60"][..],
        &["inventory.before:12"],
        &["inventory.after:12"],
        &["sync.after:60", "open.before:1"],
        &["sync.after:60", "open.after:1"],
    ] {
        let dir = died(points);
        let found = files(&dir.path().join("db"));
        let manifest = manifest(&found);
        let ends = record_ends(&found[&manifest]);
        let (mut refused, last) = (0, *ends.last().expect("records"));
        assert!(ends.len() > 5, "{points:?}: {ends:?}");
        let many = ends.len() / 16 + 1;
        let chosen = ends.iter().enumerate().filter(|(n, _)| n % many == 0 || n + 8 >= ends.len());
        for (_, end) in chosen {
            for length in [*end, *end + 5] {
                let what = format!("{points:?}: {manifest} cut to {length} of {last}");
                let outcome = open_changed(dir.path(), &what, |files| {
                    files.get_mut(&manifest).expect("the manifest").truncate(length);
                });
                refused += usize::from(outcome != Outcome::Whole);
                assert!(length < last || outcome == Outcome::Whole, "{what}: {outcome:?}");
            }
        }
        assert!(refused > 2, "{points:?}: of the cuts only {refused} were refused");
    }
}

/// RocksDB begins another manifest while it runs once this one is large, and the process may die before that is noted.
#[test]
fn a_manifest_that_was_begun_anew_in_running_is_as_good_as_one_of_an_opening() {
    let options = Options { manifest_bytes: 2 << 10, ..small() };
    let mut unnoted = 0;
    // When RocksDB begins one depends on its threads; a busy machine may take several rounds.
    for count in (8..72).cycle().take(16 * 64) {
        if count == 8 && unnoted > 1 {
            break;
        }
        let dir = died_with(&options, &[&format!("inventory.before:{count}")]);
        let found = files(&dir.path().join("db"));
        let note = String::from_utf8_lossy(&found["quorate.inventory"]).into_owned();
        let noted = note.lines().find_map(|line| line.strip_prefix("manifest ")?.split(' ').next());
        let noted: u64 = noted.expect("a manifest").parse().expect("a number");
        unnoted += usize::from(manifest(&found) != format!("MANIFEST-{noted:06}"));
        let db = Db::open(&dir.path().join("db"), options.clone());
        verify(dir.path(), SEED, &db.unwrap_or_else(|error| panic!("{count}: {error}")));
    }
    assert!(unnoted > 1, "only {unnoted} of the manifests were new and not noted");
}

#[test]
fn a_torn_end_of_the_manifest_behind_what_was_noted_is_cut_off() {
    let dir = died(&["sync.after:200"]);
    let name = manifest(&files(&dir.path().join("db")));
    let outcome = open_changed(dir.path(), "garbage behind the manifest", |files| {
        files.get_mut(&name).expect("the manifest").extend_from_slice(&[0x55; 100]);
    });
    assert_eq!(outcome, Outcome::Whole);
}

#[test]
fn a_log_that_is_cut_at_any_record_loses_nothing_or_is_refused() {
    let mut refused = 0;
    for point in ["sync.after:200", "sync.after:57", "switch.after:4"] {
        let dir = died(&[point]);
        let found = files(&dir.path().join("db"));
        for log in log_files(&found) {
            let ends = record_ends(&found[&log]);
            // All of the few at the end, where what was synced ends, and some of the many before.
            let step = (ends.len() / 12).max(1);
            let near = ends.len().saturating_sub(6);
            for (_, end) in ends.iter().enumerate().filter(|(n, _)| n % step == 0 || *n >= near) {
                let what = format!("{point}: {log} cut to {end}");
                let outcome = open_changed(dir.path(), &what, |files| {
                    files.get_mut(&log).expect("the log").truncate(*end);
                });
                refused += usize::from(outcome != Outcome::Whole);
            }
            let gone = open_changed(dir.path(), &format!("{point}: {log} gone"), |files| {
                files.remove(&log);
            });
            refused += usize::from(gone != Outcome::Whole);
        }
    }
    assert!(refused > 10, "only {refused} cuts were refused");
}

#[test]
fn a_table_that_is_cut_or_gone_is_refused() {
    let dir = died(&["sync.after:200"]);
    let found = files(&dir.path().join("db"));
    let mut refused = 0;
    for table in only(&found, |name| name.ends_with(".sst")) {
        let length = found[&table].len();
        for keep in [Some(0), Some(length / 2), Some(length.saturating_sub(1)), None] {
            let what = format!("{table} of {length} bytes cut to {keep:?}");
            let outcome = open_changed(dir.path(), &what, |files| match keep {
                Some(keep) => files.get_mut(&table).expect("the table").truncate(keep),
                None => drop(files.remove(&table)),
            });
            // A table may have been on its way into the manifest, with no byte yet, or out of it.
            refused += usize::from(outcome != Outcome::Whole);
        }
    }
    assert!(refused > 8, "only {refused} were refused");
}

#[test]
fn small_files_that_are_cut_gone_or_wrong_lose_nothing_or_are_refused() {
    let dir = died(&["sync.after:200"]);
    let found = files(&dir.path().join("db"));
    for (ours, needed) in
        [("quorate.", true), ("CURRENT", true), ("IDENTITY", false), ("OPTIONS", false)]
    {
        let names = |name: &str| name.starts_with(ours) && name != LOCK && !name.ends_with(".next");
        for name in only(&found, names) {
            for keep in [Some(0), Some(found[&name].len() / 2), None] {
                let what = format!("{name} cut to {keep:?}");
                let outcome = open_changed(dir.path(), &what, |files| match keep {
                    Some(keep) => files.get_mut(&name).expect("the file").truncate(keep),
                    None => drop(files.remove(&name)),
                });
                assert_eq!(outcome != Outcome::Whole, needed, "{what}: {outcome:?}");
            }
        }
    }
    let without_names = open_changed(dir.path(), "neither CURRENT nor notes", |files| {
        files.retain(|name, _| !name.starts_with("quorate.") && name != "CURRENT");
    });
    assert!(matches!(without_names, Outcome::Refused(_)));
}

#[test]
fn an_older_copy_of_any_file_loses_nothing_or_is_refused() {
    let dir = died(&["sync.after:120"]);
    let db = dir.path().join("db");
    let older = files(&db);
    // Opened twice and written to, so that every kind of file was replaced.
    verify(dir.path(), SEED, &open(&db));
    let between = files(&db);
    open(&db).close();
    let newer = files(&db);
    assert_ne!(manifest(&older), manifest(&newer));
    let mut refused = Vec::new();
    for old in [&older, &between] {
        for (name, bytes) in old.iter().filter(|(name, bytes)| newer.get(*name) != Some(*bytes)) {
            let what = format!("{name} as it was before");
            let outcome = open_changed(dir.path(), &what, |files| {
                files.insert(name.clone(), bytes.clone());
            });
            if outcome != Outcome::Whole {
                refused.push(name.clone());
            }
        }
        let pair = open_changed(dir.path(), "CURRENT and its manifest as before", |files| {
            for name in ["CURRENT".to_owned(), manifest(old)] {
                files.insert(name.clone(), old[&name].clone());
            }
        });
        assert!(matches!(pair, Outcome::Refused(_)), "{pair:?}");
    }
    assert!(refused.iter().any(|name| name == "CURRENT"), "{refused:?}");
}

/// What nobody can tell from within: it looks exactly like what it was.
#[test]
fn a_directory_that_was_rolled_back_whole_opens_as_what_it_was() {
    let dir = died(&["sync.after:60"]);
    let (db, copy): (PathBuf, _) = (dir.path().join("db"), files(&dir.path().join("db")));
    verify(dir.path(), SEED, &open(&db));
    fs::remove_dir_all(&db).expect("remove");
    fs::create_dir(&db).expect("a directory");
    copy.iter().for_each(|(name, bytes)| fs::write(db.join(name), bytes).expect("a file"));
    verify(dir.path(), SEED, &open(&db));
}

/// The order that all of this rests on: what was just noted is there, as nothing was let go since.
#[test]
fn what_the_noted_manifest_names_is_there_when_the_process_dies_right_behind_the_note() {
    for count in [3, 9, 14, 21, 30] {
        let dir = died(&[&format!("inventory.after:{count}")]);
        let db = dir.path().join("db");
        let note = fs::read_to_string(db.join("quorate.inventory")).expect("the note");
        let tables = note.lines().filter_map(|line| line.strip_prefix("table "));
        for table in tables {
            let (number, size) = table.split_once(' ').expect("number and size");
            let file = db.join(format!("{:06}.sst", number.parse::<u64>().expect("a number")));
            let length = fs::metadata(&file).expect("the table").len();
            assert_eq!(length.to_string(), size, "{}", file.display());
        }
        for log in note.lines().filter_map(|line| line.strip_prefix("log ")) {
            let file = db.join(format!("{:06}.log", log.parse::<u64>().expect("a number")));
            assert!(file.exists(), "{}", file.display());
        }
    }
}
