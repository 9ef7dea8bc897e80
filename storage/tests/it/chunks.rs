//! Records below a log: chunks come and go as files, and a crash leaves what the rows say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use quorate_storage::{
    ChunkRecords, Chunks, Db, Error, GroupId, Log, NewChunk, Options, Reset, StateDelete, StatePut,
};

use crate::power::take_back;
use crate::support::{
    PATIENCE, append, durable, entries, eventually, id, ignore, small, sync, table_bytes, wait,
};

const GROUP: GroupId = GroupId(7);
/// Records of a chunk.
const RECORDS: u64 = 50;

fn open(dir: &Path) -> Arc<Db> {
    Db::open(dir, Options { chunk_bytes: 32 << 10, ..small() }).expect("the store opens")
}

fn value(offset: u64) -> Vec<u8> {
    offset.to_be_bytes().repeat(64)
}

/// A chunk of every second offset from `first` on.
fn chunk(db: &Arc<Db>, first: u64) -> NewChunk {
    let mut writer = db.chunk_writer().expect("a chunk");
    assert!(writer.is_empty());
    for offset in (first..first + 2 * RECORDS).step_by(2) {
        assert!(!writer.is_full(), "{writer:?}");
        writer.put(offset, &value(offset)).expect("put");
    }
    let end = first + 2 * RECORDS;
    writer.finish(end, end / 10, Bytes::from(format!("to {end}"))).expect("finish")
}

/// Adds chunks behind those the group has.
fn add(log: &Log, new: Vec<NewChunk>) {
    let seen = log.chunks();
    let (durable, fired) = durable();
    let at = seen.len()..seen.len();
    assert!(wait(log.change_chunks(&seen, at, new, durable)).expect("change"));
    fired.recv_timeout(PATIENCE).expect("durable");
}

fn remove(log: &Log, count: usize) {
    let (durable, fired) = durable();
    assert!(wait(log.change_chunks(&log.chunks(), 0..count, Vec::new(), durable)).expect("change"));
    fired.recv_timeout(PATIENCE).expect("durable");
}

fn bounds(chunks: &Chunks) -> Vec<(u64, u64)> {
    chunks.iter().map(|chunk| (chunk.first, chunk.end)).collect()
}

/// All offsets, with values that are right.
fn read_all(log: &Log, bytes_max: usize) -> Vec<u64> {
    let chunks = log.chunks();
    let (mut from, mut all) = (chunks.first().map_or(0, |chunk| chunk.first), Vec::new());
    loop {
        let ChunkRecords { records, next } =
            log.read_chunk(&chunks, from, bytes_max).expect("read");
        if records.is_empty() {
            return all;
        }
        assert!(next > from, "a read makes progress");
        from = next;
        for (offset, found) in records {
            assert_eq!(found, value(offset));
            all.push(offset);
        }
    }
}

fn offsets(first: u64, end: u64) -> Vec<u64> {
    (first..end).step_by(2).collect()
}

fn unfinished(dir: &Path) -> usize {
    let files = fs::read_dir(dir).expect("the directory").flatten();
    files.filter(|file| file.path().extension().is_some_and(|it| it == "chunk")).count()
}

#[test]
fn chunks_are_read_from_any_offset_in_pieces_and_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let log = db.log(GROUP);
    let written: Vec<NewChunk> = [100, 200, 300].map(|first| chunk(&db, first)).into();
    assert!(log.chunks().is_empty(), "nobody sees what was only written");
    add(&log, written);
    assert_eq!(bounds(&log.chunks()), [(100, 200), (200, 300), (300, 400)]);
    assert_eq!(log.chunks()[2].description, "to 400");
    for bytes_max in [0, 1000, 5000, usize::MAX] {
        assert_eq!(read_all(&log, bytes_max), offsets(100, 400), "{bytes_max}");
    }
    let first = |from| log.read_chunk(&log.chunks(), from, 0).expect("read");
    assert_eq!(first(251).records[0].0, 250, "the one that began before");
    assert_eq!((first(251).next, first(298).next), (252, 300));
    assert_eq!(first(0).records[0].0, 100, "before all of them");
    assert_eq!(first(400), ChunkRecords { records: Vec::new(), next: 400 });
    assert!(log.bytes() > 3 * RECORDS * 512 && db.stats().chunk_bytes == log.bytes());
    db.close();
    drop((log, db));
    let db = open(dir.path());
    let log = db.log(GROUP);
    assert_eq!(read_all(&log, 5000), offsets(100, 400));
    assert_eq!(db.stats().chunk_bytes, log.bytes());
    assert_eq!(db.groups(), [GROUP]);
    // Numbers go on behind those that were given out.
    add(&log, vec![chunk(&db, 400)]);
    assert_eq!(read_all(&log, usize::MAX), offsets(100, 500));
}

#[test]
fn a_chunk_may_stand_for_offsets_in_front_of_its_records() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let log = db.log(GROUP);
    add(&log, vec![chunk(&db, 0)]);
    let mut writer = db.chunk_writer().expect("a chunk");
    writer.begin_at(100);
    writer.put(150, &value(150)).expect("put");
    add(&log, vec![writer.finish(200, 20, Bytes::new()).expect("finish")]);
    let found = |from| log.read_chunk(&log.chunks(), from, 1).expect("read").records[0].0;
    assert_eq!([98, 100, 149, 150, 199].map(found), [98, 150, 150, 150, 150]);
    let mut wrong = db.chunk_writer().expect("a chunk");
    wrong.begin_at(6);
    wrong.put(5, b"five").expect("put");
    assert!(matches!(wrong.finish(9, 1, Bytes::new()), Err(Error::ChunkNotWritten(_))));
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_no_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let log = db.log(GROUP);
    let mut writer = db.chunk_writer().expect("a chunk");
    writer.put(5, b"five").expect("put");
    assert!(matches!(writer.put(5, b"again"), Err(Error::ChunkNotWritten(_))));
    assert!(matches!(writer.finish(5, 1, Bytes::new()), Err(Error::ChunkNotWritten(_))));
    let empty = db.chunk_writer().expect("a chunk");
    assert!(matches!(empty.finish(5, 1, Bytes::new()), Err(Error::ChunkNotWritten(_))));
    assert_eq!(unfinished(dir.path()), 0);
    add(&log, vec![chunk(&db, 0)]);
    let seen = log.chunks();
    let gap = vec![chunk(&db, 102)];
    let refused = wait(log.change_chunks(&seen, 1..1, gap, ignore()));
    assert!(matches!(refused, Err(Error::ChunkNotWritten(_))));
    add(&log, vec![chunk(&db, 100)]);
    let late = vec![chunk(&db, 100)];
    assert!(!wait(log.change_chunks(&seen, 1..1, late, ignore())).expect("another was first"));
    // A log that was reset meanwhile begins behind what was read of the old one.
    wait(log.reset_to(id(3, 1000), Reset::default(), ignore())).expect("reset");
    let late = vec![chunk(&db, 200)];
    assert!(!wait(log.change_chunks(&log.chunks(), 0..0, late, ignore())).expect("too late"));
    sync(&log);
    eventually("no file is left", || db.stats().chunk_bytes == 0 && chunk_tables(dir.path()) == 0);
}

/// Files as large as a chunk of this test.
fn chunk_tables(dir: &Path) -> usize {
    let files = fs::read_dir(dir).expect("the directory").flatten();
    let tables = files.filter(|file| file.path().extension().is_some_and(|it| it == "sst"));
    tables.filter(|file| file.metadata().is_ok_and(|it| it.len() > RECORDS * 512)).count()
}

#[test]
fn chunks_are_dropped_as_files_and_what_is_read_then_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let log = db.log(GROUP);
    add(&log, [0, 100, 200].map(|first| chunk(&db, first)).into());
    let seen = log.chunks();
    assert_eq!(chunk_tables(dir.path()), 3, "each is a file of its own");
    let before = table_bytes(dir.path());
    remove(&log, 2);
    eventually("their files go", || chunk_tables(dir.path()) == 1);
    assert!(table_bytes(dir.path()) < before - 2 * RECORDS * 512, "nothing was written for it");
    assert_eq!(read_all(&log, usize::MAX), offsets(200, 300));
    let dropped = log.read_chunk(&seen, 0, 1000).expect_err("it is gone");
    assert!(matches!(dropped, Error::ChunkDropped { group: GROUP, .. }), "{dropped}");
    assert_eq!(log.corrupt(), None);
    assert_eq!(log.read_chunk(&seen, 200, 1000).expect("it is there").records[0].0, 200);
    db.drop_group(GROUP, ignore());
    eventually("all files go with the group", || chunk_tables(dir.path()) == 0);
    assert!(log.chunks().is_empty() && db.stats().chunk_bytes == 0);
}

#[test]
fn a_reset_takes_other_chunks_with_it_in_one_write() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let log = db.log(GROUP);
    append(&log, entries(GROUP, 1, 0, 10, 100));
    add(&log, vec![chunk(&db, 0)]);
    let put = |key: &[u8]| StatePut { key: key.to_vec(), value: Bytes::from_static(b"kept") };
    wait(log.write_state([b"a", b"b", b"c", b"d", b"e"].map(|key| put(key)).into(), Vec::new()))
        .expect("state");
    let keep = [(b"d", b"e"), (b"b", b"c")]
        .map(|(from, to)| StateDelete { from: from.to_vec(), to: to.to_vec() });
    let new = [500, 600].map(|first| chunk(&db, first)).into();
    let (durable, fired) = durable();
    let reset = log.reset_to(
        id(2, 70),
        Reset { keep: keep.into(), state: vec![put(b"f")], chunks: new },
        durable,
    );
    wait(reset).expect("reset");
    fired.recv_timeout(PATIENCE).expect("durable");
    let kept = log.state_range(b"", b"z", 100).expect("state");
    let kept: Vec<_> = kept.iter().map(|(key, _)| key.as_slice()).collect();
    assert_eq!(kept, [b"b", b"d", b"f"], "what was to be kept of the state is");
    assert_eq!(log.state().purged, Some(id(2, 70)));
    assert_eq!(read_all(&log, usize::MAX), offsets(500, 700));
    eventually("the old file goes", || chunk_tables(dir.path()) == 2);
    db.close();
    drop((log, db));
    let db = open(dir.path());
    assert_eq!(read_all(&db.log(GROUP), usize::MAX), offsets(500, 700));
    wait(db.log(GROUP).reset_to(id(2, 80), Reset::default(), ignore())).expect("reset");
    assert!(db.log(GROUP).chunks().is_empty());
    sync(&db.log(GROUP));
    eventually("they go with the next", || chunk_tables(dir.path()) == 0);
}

#[test]
fn a_damaged_chunk_is_its_groups_own_trouble_until_it_is_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    let (other, tables) = (GroupId(8), |dir: &Path| -> BTreeSet<_> {
        let files = fs::read_dir(dir).expect("the directory").flatten().map(|file| file.path());
        files.filter(|path| path.extension().is_some_and(|it| it == "sst")).collect()
    });
    {
        let db = open(dir.path());
        let before = tables(dir.path());
        add(&db.log(GROUP), vec![chunk(&db, 0), chunk(&db, 100)]);
        let ours: Vec<_> = tables(dir.path()).difference(&before).cloned().collect();
        assert_eq!(ours.len(), 2);
        add(&db.log(other), vec![chunk(&db, 0)]);
        db.close();
        // The last is the newest number, so the chunk from 100 on.
        let mut bytes = fs::read(&ours[1]).expect("read");
        let middle = RECORDS as usize * 512 / 2;
        bytes[middle] ^= 1;
        fs::write(&ours[1], bytes).expect("write");
    }
    let db = open(dir.path());
    let log = db.log(GROUP);
    assert_eq!(log.read_chunk(&log.chunks(), 0, usize::MAX).expect("whole").records.len(), 50);
    let found = log.read_chunk(&log.chunks(), 100, usize::MAX).expect_err("damaged");
    assert!(matches!(found, Error::CorruptChunk { group: GROUP, .. }), "{found}");
    assert_eq!(log.corrupt(), Some(20), "the entry behind it");
    wait(db.corruption());
    let neighbour = db.log(other);
    assert_eq!(read_all(&neighbour, usize::MAX), offsets(0, 100));
    for (from, at) in [(1, 0), (51, 50), (99, 98)] {
        let found = neighbour.read_chunk(&neighbour.chunks(), from, 0).expect("whole");
        assert_eq!(found.records[0].0, at, "the damage beside it is not its own");
    }
    let before = log.read_chunk(&log.chunks(), 99, 0).expect("whole");
    assert_eq!(before.records[0].0, 98);
    sync(&log);
    db.close();
    drop((log, db));
    let db = open(dir.path());
    let log = db.log(GROUP);
    assert_eq!(log.corrupt(), Some(20), "it is remembered");
    remove(&log, 1);
    assert_eq!(log.corrupt(), Some(20), "the whole one went");
    remove(&log, 1);
    assert_eq!(log.corrupt(), None);
}

/// What the child of the crash test does, told by its environment; nothing in a normal test run.
#[test]
fn child_of_the_chunk_tests() {
    let Ok(dir) = std::env::var("QUORATE_CHUNK_DIR") else { return };
    let dir = Path::new(&dir);
    let db = open(&dir.join("db"));
    let log = db.log(GROUP);
    let other = db.log(GroupId(9));
    for step in 0..20 {
        // Written and not synced when the chunk is taken, which goes past the write-ahead log.
        wait(other.append(entries(GroupId(9), 1, step, 1, 700), ignore())).expect("append");
        add(&log, vec![chunk(&db, step * 100)]);
        fs::write(dir.join("acks"), format!("{step}")).expect("acknowledge");
        if step % 3 == 2 {
            remove(&log, 2);
            eventually("they are dropped", || chunk_tables(&dir.join("db")) == log.chunks().len());
        }
    }
    db.close();
}

#[test]
fn a_crash_or_a_loss_of_power_leaves_whole_chunks_and_no_file_that_nobody_names() {
    let names = [
        "chunk.finish",
        "chunk.written",
        "chunk.taken",
        "chunks.before",
        "chunks.after",
        "chunk.drop.before",
        "chunk.drop.after",
        "inventory.before",
        "inventory.after",
    ];
    let mut lost = 0;
    let cases = names.iter().flat_map(|name| [(name, 2), (name, 5)]);
    for ((name, nth), power) in cases.flat_map(|case| [(case, false), (case, true)]) {
        let dir = tempfile::tempdir().expect("a directory");
        let status = Command::new(std::env::current_exe().expect("this binary"))
            .args(["chunks::child_of_the_chunk_tests", "--exact", "--nocapture"])
            .env("QUORATE_CHUNK_DIR", dir.path())
            .env("QUORATE_FAILPOINT", format!("{name}:{nth}"))
            .env("QUORATE_SYNCED_WAL", dir.path().join("synced"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("the child runs");
        assert!(!status.success(), "the child never came to {name}:{nth}");
        if power {
            lost += take_back(dir.path());
        }
        let acked = fs::read_to_string(dir.path().join("acks")).unwrap_or_default();
        let acked: Option<u64> = acked.parse().ok();
        let path = dir.path().join("db");
        let db = open(&path);
        let log = db.log(GROUP);
        let chunks = bounds(&log.chunks());
        let end = chunks.last().map_or(0, |(_, end)| *end);
        let wanted = acked.map_or(0, |step| (step + 1) * 100);
        assert!(end == wanted || end == wanted + 100, "{name}:{nth}: {end}, acked {acked:?}");
        let first = chunks.first().map_or(0, |(first, _)| *first);
        assert_eq!(read_all(&log, 5000), offsets(first, end), "{name}:{nth}");
        assert_eq!(unfinished(&path), 0, "{name}:{nth}");
        eventually("only what is named has a file", || chunk_tables(&path) == chunks.len());
        add(&log, vec![chunk(&db, end)]);
        assert_eq!(read_all(&log, 5000), offsets(first, end + 100), "{name}:{nth}");
        db.close();
    }
    assert!(lost > 0, "no loss of power lost anything, so nothing was tested");
}
