//! The writer thread: everything all groups want written, in order, in as few batches as possible.
//!
//! It is the only thread that writes to RocksDB, so it alone decides where a generation ends, and a
//! memtable holds exactly one generation. It does not sync: see `sync`.

mod chunk_rows;
mod relocate;
mod stage;
mod switch;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use rocksdb::WriteBatch;

use crate::activity::Operation;
use crate::counters::{add, load};
use crate::group::Cell;
use crate::queue::{Charge, Taken};
use crate::rocks::Rocks;
use crate::shared::Shared;
use crate::sync::Callback;
use crate::{failpoint, fatal};

use stage::Staged;

/// Below this many appended bytes per remembered append, the eviction queue would cost more than
/// what it guards.
const BYTES_PER_REMEMBERED_APPEND: usize = 1024;

pub(crate) struct Writer {
    pub shared: Arc<Shared>,
    pub rocks: Arc<Rocks>,
    /// Groups with an open segment in the current generation.
    pub active: Vec<Weak<Cell>>,
    /// Bytes written to the write-ahead log since the generation began, all column families.
    pub logged: u64,
    /// Values are put together here before they are copied into the batch.
    pub scratch: Vec<u8>,
    /// Appends in the order they were written, for evicting the oldest from memory.
    remembered: VecDeque<(Weak<Cell>, u64)>,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, rocks: Arc<Rocks>) -> Writer {
        Writer {
            shared,
            rocks,
            active: Vec::new(),
            logged: 0,
            scratch: Vec::new(),
            remembered: VecDeque::new(),
        }
    }

    /// Body of the writer thread; ends when the queue is closed and empty.
    pub fn run(mut self) {
        self.retire_dead();
        while let Some(taken) = self.shared.queue.take(self.shared.options.batch_bytes) {
            self.commit(taken);
        }
        // The next open then finds every segment sealed and no log to replay.
        if self.logged > 0 {
            self.switch(true);
        } else if let Err(error) = self.rocks.flush(true) {
            // A switch just before may still be on its way to the disk.
            fatal("cannot flush", &error);
        }
    }

    fn commit(&mut self, taken: Taken) {
        let charge = Charge::of(&taken.requests);
        let mut staged = Staged::new(charge);
        for request in taken.requests {
            self.stage(request.op, &mut staged);
        }
        staged.before();
        failpoint::hit("write.before");
        self.write(std::mem::take(&mut staged.batch));
        failpoint::hit("write.after");
        staged.after();
        if let Some(moved) = staged.moved.take() {
            self.finish_move(moved);
        }
        self.publish(&staged.appended);
        self.shared.queue.written(taken.sequence, charge);
        staged.dropped.iter().for_each(|cell| self.shared.cells.forget(cell));
        self.shared.sync.submit(staged.callbacks);
        self.retire_dead();
        let ends = staged.ends == Some(self.shared.generations.lock().current());
        if (ends && self.logged > 0) || self.generation_is_full() {
            self.switch(false);
        }
    }

    pub fn write(&mut self, batch: WriteBatch) {
        if batch.is_empty() {
            return;
        }
        self.logged += batch.size_in_bytes() as u64;
        self.shared.counters.logged_bytes.store(self.logged, Ordering::Relaxed);
        let written = self.shared.activity.run(Operation::Write, || self.rocks.write(batch));
        if let Err(error) = written {
            fatal("cannot write", &error);
        }
        add(&self.shared.counters.batches, 1);
    }

    /// State is small beside the entries; if it is not, it must not keep old logs for ever.
    fn generation_is_full(&self) -> bool {
        let limit = self.shared.options.generation_bytes;
        self.logged >= limit
            && (self.shared.generations.lock().current_bytes() >= limit
                || self.logged >= limit.saturating_mul(2))
    }

    /// Appends are on disk now (not: durable), so memory may let go of them.
    fn publish(&mut self, appended: &[(Arc<Cell>, u64)]) {
        let options = &self.shared.options;
        let counters = &self.shared.counters;
        for (cell, last) in appended {
            let mut group = cell.lock();
            let before = group.tail.bytes();
            group.tail.written();
            group.tail.evict(0, options.tail_cache_group_bytes);
            counters.tail_changed(before, group.tail.bytes());
            drop(group);
            self.remembered.push_back((Arc::downgrade(cell), *last));
        }
        let most = options.tail_cache_bytes / BYTES_PER_REMEMBERED_APPEND;
        while self.remembered.len() > most
            || load(&counters.cache_bytes) > options.tail_cache_bytes as u64
        {
            let Some((cell, last)) = self.remembered.pop_front() else { break };
            let Some(cell) = cell.upgrade() else { continue };
            let mut group = cell.lock();
            let before = group.tail.bytes();
            group.tail.evict(last, usize::MAX);
            counters.tail_changed(before, group.tail.bytes());
        }
    }

    /// Hands over generations that nobody needs, once the map that says so is durable: the files
    /// must not go before.
    pub fn retire_dead(&mut self) {
        let dead = self.shared.generations.lock().take_dead();
        if dead.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        self.shared.sync.submit(vec![Callback::Always(Box::new(move || shared.retire.add(dead)))]);
    }
}
