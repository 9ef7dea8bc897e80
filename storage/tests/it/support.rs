//! What the tests share: small stores, entries with recognisable payloads, waiting.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_storage::{Db, Durable, Entry, EntryId, EntryKind, GroupId, Log, Options};

/// Longest time anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Tiny generations, so that a few MiB pass through many of them.
pub fn small() -> Options {
    Options {
        generation_bytes: 64 << 10,
        batch_bytes: 16 << 10,
        queue_bytes: 256 << 10,
        tail_cache_bytes: 128 << 10,
        tail_cache_group_bytes: 32 << 10,
        ..Options::default()
    }
}

pub fn open(dir: &Path) -> Arc<Db> {
    Db::open(dir, small()).expect("the store opens")
}

/// Runs a future of the store, which needs no runtime.
pub fn wait<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(future)
}

/// A callback and the end that learns of it.
pub fn durable() -> (Durable, Receiver<()>) {
    let (done, fired) = mpsc::channel();
    let durable: Durable = Box::new(move || {
        // A test that no longer waits is not an error.
        let _ = done.send(());
    });
    (durable, fired)
}

pub fn ignore() -> Durable {
    Box::new(|| {})
}

pub fn id(term: u64, index: u64) -> EntryId {
    EntryId { term, index }
}

/// Bytes that depend on the place of the entry and on nothing else.
pub fn payload(group: GroupId, id: EntryId, size: usize) -> Bytes {
    let mut seed = group.0 ^ id.index.rotate_left(20) ^ id.term.rotate_left(40);
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        bytes.extend_from_slice(&seed.to_le_bytes());
    }
    bytes.truncate(size);
    Bytes::from(bytes)
}

pub fn entries(group: GroupId, term: u64, from: u64, count: u64, size: usize) -> Vec<Entry> {
    (from..from + count)
        .map(|index| Entry {
            id: id(term, index),
            kind: EntryKind::Normal,
            payload: payload(group, id(term, index), size),
        })
        .collect()
}

/// Appends and waits until it is durable.
pub fn append(log: &Log, entries: Vec<Entry>) {
    let (durable, fired) = durable();
    wait(log.append(entries, durable)).expect("append");
    fired.recv_timeout(PATIENCE).expect("the append becomes durable");
}

/// Waits until everything queued so far is durable.
pub fn sync(log: &Log) {
    append(log, Vec::new());
}

/// All entries, read in pieces.
pub fn read_all(log: &Log) -> Vec<Entry> {
    let state = log.state();
    let mut from = state.purged.map_or(0, |id| id.index + 1);
    let end = state.last.map_or(0, |id| id.index + 1);
    let mut all: Vec<Entry> = Vec::new();
    while from < end {
        let some = log.read(from, end, 64 << 10).expect("read");
        let last = some.last().expect("at least one entry");
        from = last.id.index + 1;
        all.extend(some);
    }
    all
}

/// Polls until the condition holds.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Bytes of the log's table files, by RocksDB's suffix.
pub fn table_bytes(dir: &Path) -> u64 {
    std::fs::read_dir(dir)
        .expect("the directory exists")
        .flatten()
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "sst"))
        .map(|file| file.metadata().map_or(0, |metadata| metadata.len()))
        .sum()
}
