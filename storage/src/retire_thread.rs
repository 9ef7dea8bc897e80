//! The background thread: drops the files of dead generations and chunks, rewrites what is left of nearly
//! dead ones, ends those that are old, measures the disk.
//!
//! It is also where RocksDB is allowed to delete files (see `hold`), with the flushes of finished generations.
//! Dropping is apart from the writer because unlinking a file can stall the file system for tens of
//! milliseconds. It works by files, not by generations: a file that recovery wrote may hold several
//! generations and goes with the last of them, and a file RocksDB keeps busy is tried again.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::age::{Age, Current};
use crate::counters::{add, load};
use crate::pace::Pace;
use crate::queue::Op;
use crate::retire::IDLE;
use crate::rocks::Rocks;
use crate::shared::Shared;
use crate::{failpoint, fatal, keys, measure, rewrite};

/// Notes written one after the other before files go in any case.
const RENEWALS: u32 = 4;
/// How often to look while a flush is under way.
const FLUSHING: Duration = Duration::from_millis(200);
/// After so many tries a file that stays in level 0 is moved down by hand.
const TRIES_BEFORE_COMPACTION: u32 = 4;

/// Body of the background thread. One small step of each kind per round, so that none holds up the
/// others.
pub(crate) fn run(shared: &Shared, rocks: &Rocks) {
    let mut tries = 0;
    let mut measured: Option<Instant> = None;
    let (mut age, mut pace) = (Age::new(Instant::now()), Pace::new(Instant::now()));
    // Generations in which nothing could be moved in this round.
    let mut unmovable = BTreeSet::new();
    while !shared.retire.closing() {
        let dead = shared.retire.waiting();
        let gone =
            if dead.is_empty() { Vec::new() } else { drop_files(shared, rocks, &dead, tries) };
        tries = if gone.is_empty() && !dead.is_empty() { tries + 1 } else { 0 };
        if !gone.is_empty() {
            forget(shared, gone);
        }
        drop_chunks(shared, rocks);
        if measured.is_none_or(|at| at.elapsed() >= IDLE) {
            let bytes = directory_bytes(&shared.dir);
            shared.counters.disk_bytes.store(bytes, Ordering::Relaxed);
            measure::restore_ballast(shared);
            measured = Some(Instant::now());
        }
        end_old(shared, &mut age);
        delete_unneeded(shared, rocks);
        let percent = shared.options.rewrite_below_percent;
        let worst = shared.generations.lock().worst(percent, &unmovable);
        let mut patience = IDLE.min(shared.options.generation_age / 24);
        if let Some(generation) = worst {
            let pause = pace.wait(load(&shared.counters.bytes_appended), Instant::now());
            if pause.is_zero() {
                let moved = rewrite::rewrite(shared, rocks, generation);
                pace.spend(moved);
                if moved == 0 {
                    // It holds what is damaged, or the log just changed: the others first.
                    unmovable.insert(generation);
                }
                continue;
            }
            patience = patience.min(pause);
        }
        unmovable.clear();
        // Logs are to go as soon as their memtable is flushed.
        if check(rocks.flush_pending()) {
            patience = patience.min(FLUSHING);
        }
        shared.retire.wait(tries, patience);
    }
}

/// Drops the chunks that no group has any more.
fn drop_chunks(shared: &Shared, rocks: &Rocks) {
    let numbers = shared.retire.take_chunks();
    if numbers.is_empty() {
        return;
    }
    for number in &numbers {
        failpoint::hit("chunk.drop.before");
        check(rocks.drop_chunk(*number));
        failpoint::hit("chunk.drop.after");
    }
    // None is known that would stay; without this one would for as long as the process lives.
    let files = check(rocks.chunk_files());
    shared.retire.keep_chunks(numbers.intersection(&files).copied());
}

/// Has the writer end the generation it writes to, if that one is old.
fn end_old(shared: &Shared, age: &mut Age) {
    let current = {
        let generations = shared.generations.lock();
        Current {
            number: generations.current(),
            bytes: generations.current_bytes(),
            dead: generations.current_dead_bytes(),
            logged: load(&shared.counters.logged_bytes),
        }
    };
    if age.is_over(current, Instant::now(), shared.options.generation_age) {
        // Refused only when the store closes, which ends the generation as well.
        drop(shared.queue.push(shared.queue.unbounded(0), Op::EndGeneration(current.number)));
    }
}

/// Lets RocksDB delete, or write over, what it does not need any more, once that is noted.
pub(crate) fn delete_unneeded(shared: &Shared, rocks: &Rocks) {
    let mut inventory = shared.inventory.lock();
    let mut noted = false;
    // What RocksDB changes while the note is written gets into the next one.
    for _ in 0..RENEWALS {
        match inventory.renew() {
            Ok(true) => noted = true,
            Ok(false) => break,
            // Files stay until there is room for the note; whatever else needs room says so as well.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                return tracing::warn!(%error, "no room to note what the store holds");
            }
            // They stay as well while RocksDB's manifest cannot be read: it may be all that names them.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return tracing::error!(%error, "cannot note what the store holds, nothing is deleted");
            }
            // A directory that was removed needs no note.
            Err(error) if error.kind() == io::ErrorKind::NotFound && shared.retire.closing() => {
                return;
            }
            Err(error) => fatal("cannot note what the store holds", &error),
        }
    }
    // A file that a reader still had open at the last time is not named in any change.
    if (noted || shared.retire.leftovers_due())
        && let Err(error) = rocks.delete_unneeded_files()
    {
        fatal("cannot delete files", &error);
    }
}

/// Drops what can be dropped; gives the generations that have no file any more.
fn drop_files(shared: &Shared, rocks: &Rocks, dead: &BTreeSet<u32>, tries: u32) -> Vec<u32> {
    // Asked first: a generation whose memtable is not flushed yet has no file either.
    let flush_pending = check(rocks.log_flush_pending());
    for (first, last, level) in dead_files(shared, rocks, dead) {
        if shared.retire.closing() {
            return Vec::new();
        }
        if level == 0 && tries >= TRIES_BEFORE_COMPACTION {
            rocks.compact_generations(first, last);
        }
        failpoint::hit("retire.before");
        check(rocks.delete_generations(first, last));
        failpoint::hit("retire.after");
    }
    if flush_pending {
        return Vec::new();
    }
    let files: Vec<(u32, u32)> = check(rocks.log_files())
        .iter()
        .filter_map(|file| Some((of(file.start_key.as_deref())?, of(file.end_key.as_deref())?)))
        .collect();
    dead.iter()
        .copied()
        .filter(|&number| !files.iter().any(|&(low, high)| (low..=high).contains(&number)))
        .collect()
}

/// Files in which every generation is dead: first, last and level, oldest first.
fn dead_files(shared: &Shared, rocks: &Rocks, dead: &BTreeSet<u32>) -> Vec<(u32, u32, i32)> {
    let files = check(rocks.log_files());
    let generations = shared.generations.lock();
    let droppable = |number: u32| dead.contains(&number) || !generations.is_known(number);
    let mut found: Vec<_> = files
        .iter()
        .filter_map(|file| {
            let (low, high) = (of(file.start_key.as_deref())?, of(file.end_key.as_deref())?);
            (low..=high).all(droppable).then_some((low, high, file.level))
        })
        .collect();
    found.sort_unstable();
    found
}

fn of(key: Option<&[u8]>) -> Option<u32> {
    keys::entry_generation(key?)
}

fn forget(shared: &Shared, gone: Vec<u32>) {
    shared.retire.forget(&gone);
    add(&shared.counters.generations_dropped, gone.len() as u64);
    tracing::debug!(generations = ?gone, "generations dropped");
    // Refused only when the store closes; the next open finds them dead again.
    let permit = shared.queue.unbounded(gone.len() * 8);
    drop(shared.queue.push(permit, Op::ForgetGenerations(gone)));
}

/// A drop that fails changed the manifest or could not: the state of the files is unknown.
fn check<T>(result: Result<T, rocksdb::Error>) -> T {
    result.unwrap_or_else(|error| fatal("cannot drop a generation", &error))
}

fn directory_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|file| file.len()).sum()
}
