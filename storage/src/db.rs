//! The store of one broker: opening, the threads, node values, closing.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::activity::{Activity, Operations};
use crate::cell::Cells;
use crate::chunk_files::{self, ChunkNumbers};
use crate::counters::load;
use crate::flow::Flow;
use crate::inventory::{Found, Inventory};
use crate::queue::{Op, Queue};
use crate::retire::Retire;
use crate::rocks::{Rocks, read_error};
use crate::shared::Shared;
use crate::space::Space;
use crate::sync::Sync;
use crate::synced::{Begun, Synced};
use crate::watch::Watch;
use crate::writer::Writer;
use crate::{
    Durable, Error, GroupId, Options, Stats, ballast, failpoint, fatal, keys, measure, recover,
    retire_thread, sync_thread, wal, watch_thread,
};

const LOCK_FILE: &str = "quorate.lock";

/// One broker's storage. Opened once per directory; the directory is locked until it is closed or
/// dropped.
pub struct Db {
    pub(crate) shared: Arc<Shared>,
    /// None once closed. Readers hold the read side while they are in RocksDB.
    rocks: RwLock<Option<Arc<Rocks>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<File>>,
}

impl Db {
    /// Opens the directory, creating it if needed, and brings the groups back: reads a few small
    /// records per group and generation, never the entries. RocksDB itself replays at most about
    /// one generation of its write-ahead log, some 2 s per GiB.
    pub fn open(dir: &Path, options: Options) -> Result<Arc<Db>, Error> {
        options.validate()?;
        create_dir(dir).map_err(|error| open_error(dir, &error))?;
        let mut lock = lock_dir(dir)?;
        ballast::release(dir, options.ballast_bytes).map_err(|error| open_error(dir, &error))?;
        sign(&mut lock).map_err(|error| open_error(dir, &error))?;
        let (mut inventory, synced) = inspect(dir)?;
        let rocks = Arc::new(Rocks::open(dir, &options)?);
        synced.check(rocks.latest_write())?;
        failpoint::hit("open.before");
        inventory.renew().map_err(|error| open_error(dir, &error))?;
        failpoint::hit("open.after");
        log_checksum_support(dir);
        recover::check_format(&rocks, dir)?;
        let recovered = recover::load(&rocks)?;
        chunk_files::remove_unfinished(dir).map_err(|error| open_error(dir, &error))?;
        chunk_files::drop_unnamed(&rocks, &recovered.chunks).map_err(|error| read_error(&error))?;
        rocks.start_compactions().map_err(|error| read_error(&error))?;
        tracing::info!(
            dir = %dir.display(),
            groups = recovered.cells.len(),
            generation = recovered.generations.current(),
            "storage open"
        );
        let begun = Begun::find(dir, || rocks.latest_write());
        let begun = begun.map_err(|error| open_error(dir, &error))?;
        let shared = Arc::new(Shared {
            begun: Mutex::new(begun),
            queue: Queue::new(options.queue_bytes),
            sync: Sync::new(options.outstanding_batches),
            retire: Retire::default(),
            flow: Flow::default(),
            watch: Watch::default(),
            space: Space::default(),
            activity: Activity::default(),
            cells: Cells::new(recovered.cells),
            generations: Mutex::new(recovered.generations),
            counters: recovered.counters,
            chunk_numbers: ChunkNumbers::new(recovered.next_chunk),
            dir: dir.to_owned(),
            inventory: Mutex::new(inventory),
            corruption: Notify::new(),
            options,
        });
        measure::measure(&shared);
        let threads =
            start_threads(&shared, &rocks, synced).map_err(|error| open_error(dir, &error))?;
        Ok(Arc::new(Db {
            shared,
            rocks: RwLock::new(Some(rocks)),
            threads: Mutex::new(threads),
            lock: Mutex::new(Some(lock)),
        }))
    }

    /// Groups that hold anything, in order.
    pub fn groups(&self) -> Vec<GroupId> {
        self.shared.cells.existing()
    }

    /// Waits until a group is found to have a damaged entry, see [`Log::corrupt`]. For one waiter.
    pub async fn corruption(&self) {
        self.shared.corruption.notified().await;
    }

    /// Forgets a group: vote, log and state. `durable` fires when it cannot come back. Its disk
    /// space goes with the generations its entries lie in.
    pub fn drop_group(&self, group: GroupId, durable: Durable) {
        let cell = self.shared.cells.get(group);
        let mut state = cell.lock();
        let before = state.tail.bytes();
        state.reset(None);
        state.vote = None;
        state.exists = false;
        self.shared.counters.tail_changed(before, state.tail.bytes());
        let chunks = std::mem::take(&mut state.chunks);
        self.shared.counters.chunks_changed(&chunks, &state.chunks);
        let chunks = chunks.iter().map(|chunk| chunk.number).collect();
        let op = Op::Drop { cell: Arc::clone(&cell), chunks, durable };
        // A closed store drops the callback unfired, as with every write.
        if let Ok(sequence) = self.shared.queue.push(self.shared.queue.unbounded(0), op) {
            state.state_sequence = sequence;
        }
    }

    /// A small value of the node. Reads the disk unless cached.
    pub fn node_get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        self.with_rocks(|rocks| {
            let value = rocks.get(rocks.meta(), &keys::node(key)).map_err(|e| read_error(&e))?;
            Ok(value.map(Bytes::from))
        })?
    }

    /// Stores a small value of the node; it is synced when this returns. Blocks for an fsync.
    pub fn node_put(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        let (done, synced) = mpsc::sync_channel(1);
        let op = Op::NodePut {
            key: keys::node(key),
            value: value.to_vec(),
            // The receiver waits below, so the send cannot fail in a way that matters.
            durable: Box::new(move || {
                let _ = done.send(());
            }),
        };
        self.shared.queue.push(self.shared.queue.unbounded(value.len()), op)?;
        synced.recv().map_err(|_| Error::Closed)
    }

    /// A snapshot of the counters. Reads no disk.
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        let counters = &shared.counters;
        let (generations, live_bytes) = {
            let generations = shared.generations.lock();
            (generations.count() as u64, generations.live_bytes())
        };
        Stats {
            entries_appended: load(&counters.entries_appended),
            bytes_appended: load(&counters.bytes_appended),
            batches: load(&counters.batches),
            syncs: load(&counters.syncs),
            sync_time: Duration::from_nanos(load(&counters.sync_nanos)),
            sync_time_max: Duration::from_nanos(load(&counters.sync_nanos_max)),
            queue_bytes: shared.queue.bytes() as u64,
            unsynced_batches: shared.sync.outstanding() as u64,
            generations,
            generations_dropped: load(&counters.generations_dropped),
            bytes_rewritten: load(&counters.bytes_rewritten),
            rewrite_groups_examined: load(&counters.rewrite_groups_examined),
            live_bytes,
            chunk_bytes: load(&counters.chunk_bytes),
            disk_bytes: load(&counters.disk_bytes),
            cache_bytes: load(&counters.cache_bytes),
            free_bytes: shared.space.disk().free,
            ballast_bytes: shared.space.ballast(),
            low_space: shared.space.is_low(),
            behind: shared.flow.is_behind(),
        }
    }

    /// True while the disk is short of space, so that no more should be agreed on than what frees
    /// some. Nothing is refused here.
    pub fn low_on_space(&self) -> bool {
        self.shared.space.is_low()
    }

    /// Operations on the disk that began and ended, for a watchdog.
    pub fn operations(&self) -> Operations {
        self.shared.activity.look()
    }

    /// Waits while tables are written more slowly than entries arrive. Whoever brings new entries
    /// waits here first; see `flow`.
    pub async fn admit(&self) {
        self.shared.flow.admit().await;
    }

    /// Writes and syncs what is queued, fires its callbacks, stops the threads and releases the
    /// directory. Handles stay valid and answer [`Error::Closed`]. Idempotent; blocks.
    pub fn close(&self) {
        let threads = std::mem::take(&mut *self.threads.lock());
        if threads.is_empty() {
            return;
        }
        stop(&self.shared, threads);
        if let Some(rocks) = self.rocks.write().take() {
            retire_thread::delete_unneeded(&self.shared, &rocks);
        }
        unlock(self.lock.lock().take());
        tracing::info!(dir = %self.shared.dir.display(), "storage closed");
    }

    pub(crate) fn with_rocks<R>(&self, read: impl FnOnce(&Rocks) -> R) -> Result<R, Error> {
        match &*self.rocks.read() {
            Some(rocks) => Ok(read(rocks)),
            None => Err(Error::Closed),
        }
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        let own = thread::current().id();
        if !self.threads.lock().iter().any(|thread| thread.thread().id() == own) {
            return self.close();
        }
        // A callback held the last handle. Its thread cannot wait for itself, nor for the writer,
        // which waits for it; somebody else has to.
        let threads = std::mem::take(&mut *self.threads.lock());
        let (shared, rocks) = (Arc::clone(&self.shared), self.rocks.write().take());
        let lock = self.lock.lock().take();
        drop(spawn("log-close", move || {
            stop(&shared, threads);
            if let Some(rocks) = rocks {
                retire_thread::delete_unneeded(&shared, &rocks);
            }
            unlock(lock);
        }));
    }
}

/// Ends the threads: first the background one, which feeds the writer, then along the path of a
/// write.
fn stop(shared: &Shared, threads: Vec<JoinHandle<()>>) {
    shared.retire.close();
    shared.watch.close();
    shared.flow.open();
    shared.queue.close();
    let mut threads = threads.into_iter();
    (0..3).for_each(|_| join(threads.next()));
    shared.sync.close();
    threads.for_each(|thread| join(Some(thread)));
}

/// Threads in the order in which `close` joins them: background, watch, writer, sync.
fn start_threads(
    shared: &Arc<Shared>,
    rocks: &Arc<Rocks>,
    synced: Synced,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    let background = {
        let (shared, rocks) = (Arc::clone(shared), Arc::clone(rocks));
        spawn("log-retire", move || retire_thread::run(&shared, &rocks))?
    };
    let writer = {
        let writer = Writer::new(Arc::clone(shared), Arc::clone(rocks));
        spawn("log-writer", move || writer.run())?
    };
    let sync = {
        let (shared, rocks) = (Arc::clone(shared), Arc::clone(rocks));
        spawn("log-sync", move || sync_thread::run(&shared, &rocks, &synced))?
    };
    let watch = {
        let (shared, rocks) = (Arc::clone(shared), Arc::clone(rocks));
        spawn("log-watch", move || watch_thread::run(&shared, &rocks))?
    };
    Ok(vec![background, watch, writer, sync])
}

/// A store that lost one of its threads would accept writes for ever and acknowledge none.
fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    let label = name.to_owned();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let body = std::panic::AssertUnwindSafe(body);
        if std::panic::catch_unwind(body).is_err() {
            fatal("a storage thread panicked", &label);
        }
    })
}

fn join(thread: Option<JoinHandle<()>>) {
    let Some(thread) = thread else { return };
    // A panic has ended the process already, see `spawn`.
    drop(thread.join());
}

fn open_error(dir: &Path, error: &std::io::Error) -> Error {
    Error::open(dir, error.to_string())
}

fn create_dir(dir: &Path) -> std::io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    // The new name must survive a power loss as well as what will be in it.
    match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

fn lock_dir(dir: &Path) -> Result<File, Error> {
    let path = dir.join(LOCK_FILE);
    let file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|error| open_error(dir, &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let owner = fs::read_to_string(&path).ok().and_then(|pid| pid.trim().parse().ok());
            return Err(Error::Locked { dir: dir.to_owned(), owner });
        }
        Err(TryLockError::Error(error)) => return Err(open_error(dir, &error)),
    }
    Ok(file)
}

/// Says which process holds the directory, for the message to the next one.
fn sign(lock: &mut File) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.write_all(format!("{}\n", std::process::id()).as_bytes())
}

/// Released by name, not by closing the file: a process forked meanwhile may hold a copy of it.
fn unlock(lock: Option<File>) {
    if let Some(Err(error)) = lock.map(|file| file.unlock()) {
        tracing::info!(%error, "data directory not unlocked, it is when the process ends");
    }
}

/// Compares what is in the directory with what was noted of it, before RocksDB may change anything.
fn inspect(dir: &Path) -> Result<(Inventory, Synced), Error> {
    let failed = |error| open_error(dir, &error);
    let found = Found::inspect(dir)?;
    let synced = Synced::open(dir, found.is_new())?;
    found.check_recovery(synced.was_closed())?;
    let needed = found.needed_log();
    let logs = wal::extent(dir, needed).map_err(failed)?;
    synced.check_logs(&logs, needed, found.last_write())?;
    // As after a power loss: what was not synced may be there in parts, and only a prefix counts.
    for path in logs.behind {
        tracing::warn!(log = %path.display(), "a write before this log was lost unsynced, emptying it");
        File::options().write(true).open(path).and_then(|log| log.set_len(0)).map_err(failed)?;
    }
    Ok((found.note().map_err(failed)?, synced))
}

/// RocksDB says at the top of its own log how it computes CRC32C. In software that is a fifth of
/// the time a write takes.
fn log_checksum_support(dir: &Path) {
    use std::io::Read as _;
    let mut head = Vec::new();
    let read =
        File::open(dir.join("LOG")).and_then(|log| log.take(64 << 10).read_to_end(&mut head));
    if read.is_ok() && String::from_utf8_lossy(&head).contains("Fast CRC32 supported: Not") {
        tracing::warn!("crc32c runs in software, build for a cpu with sse4.2 for faster writes");
    }
}
