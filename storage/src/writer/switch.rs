//! The end of a generation and the start of the next, exactly where the memtable is switched.
//!
//! One batch seals the generation: the end of every segment that was open, the bytes written, and
//! the number of the next generation. It is the last batch of the old memtable. Whatever a crash
//! leaves of this, recovery reads the same map: without the batch it seeks the ends itself.

use std::sync::Weak;
use std::sync::atomic::Ordering;

use rocksdb::WriteBatch;

use super::Writer;
use crate::activity::Operation;
use crate::keys::{self, Kind};
use crate::synced::Begun;
use crate::{failpoint, fatal};

impl Writer {
    /// Seals the current generation and begins the next; `wait` for the files to be written.
    pub fn switch(&mut self, wait: bool) {
        failpoint::hit("switch.before");
        let (current, total) = {
            let generations = self.shared.generations.lock();
            (generations.current(), generations.current_bytes())
        };
        let Some(next) = current.checked_add(1) else {
            fatal("generation numbers are used up", &current);
        };
        let batch = self.seal(current, total, next);
        self.write(batch);
        failpoint::hit("switch.sealed");
        let flushed = self.shared.activity.run(Operation::Write, || self.rocks.flush(wait));
        if let Err(error) = flushed {
            fatal("cannot flush", &error);
        }
        // Nobody else writes, so the next write is the first of the log that was begun with the flush.
        match Begun::find(&self.shared.dir, || self.rocks.latest_write()) {
            Ok(begun) => *self.shared.begun.lock() = begun,
            Err(error) => fatal("cannot list the write-ahead logs", &error),
        }
        failpoint::hit("switch.after");
        self.logged = 0;
        self.shared.flow.update(&self.rocks);
        if self.shared.flow.is_behind() {
            self.shared.watch.call();
        }
        self.shared.counters.logged_bytes.store(0, Ordering::Relaxed);
        self.shared.generations.lock().switch();
        tracing::debug!(generation = next, sealed_bytes = total, "generation begun");
        self.retire_dead();
        self.shared.retire.call();
    }

    fn seal(&mut self, current: u32, total: u64, next: u32) -> WriteBatch {
        let mut batch = WriteBatch::default();
        let meta = self.rocks.meta();
        for cell in self.active.drain(..).filter_map(|cell| Weak::upgrade(&cell)) {
            if let Some(sealed) = cell.lock().segments.seal() {
                let key = keys::group(cell.id, Kind::Segment, sealed.first);
                batch.put_cf(meta, key, sealed.encode());
            }
        }
        batch.put_cf(meta, keys::generation(current), total.to_be_bytes());
        batch.put_cf(meta, keys::current_generation(), next.to_be_bytes());
        batch
    }
}
