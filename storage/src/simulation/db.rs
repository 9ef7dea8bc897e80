//! The store of one broker on a simulated disk, with the interface of the real one.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::disk::{self, Disk, Inner};
use super::image::Record;
use super::log::Log;
use crate::sync::{Callback, fire};
use crate::{Durable, Error, GroupId, Operations, Options, Stats};

/// One broker's storage. Opened once per disk until it is closed, dropped, or the disk crashes.
pub struct Db {
    disk: Arc<Disk>,
    owner: u64,
    task: AbortHandle,
    pub(super) chunk_bytes: u64,
}

impl Db {
    /// Opens the disk that was created under this path. Must be called on a runtime, which syncs.
    pub fn open(dir: &Path, options: Options) -> Result<Arc<Db>, Error> {
        options.validate()?;
        let failed = |reason: &str| Error::Open { dir: dir.to_owned(), reason: reason.to_owned() };
        let disk = Disk::find(dir).ok_or_else(|| failed("there is no simulated disk here"))?;
        let runtime = Handle::try_current().map_err(|_| failed("there is no runtime here"))?;
        let locked = Error::Locked { dir: dir.to_owned(), owner: None };
        let owner = disk.inner.lock().open().ok_or(locked)?;
        let task = runtime.spawn(disk::sync(Arc::clone(&disk), owner)).abort_handle();
        let chunk_bytes = options.chunk_bytes;
        Ok(Arc::new(Db { disk, owner, task, chunk_bytes }))
    }

    /// The log of a group.
    pub fn log(self: &Arc<Self>, group: GroupId) -> Log {
        assert!(group.0 != u64::MAX, "the greatest group id is reserved as a key bound");
        Log::new(Arc::clone(self), group)
    }

    /// Groups that hold anything, in order.
    pub fn groups(&self) -> Vec<GroupId> {
        let inner = self.disk.inner.lock();
        let groups = inner.image(false).groups.iter();
        groups.filter(|(_, stored)| stored.group.exists).map(|(id, _)| *id).collect()
    }

    /// Forgets a group: vote, log and state. `durable` fires when it cannot come back.
    pub fn drop_group(&self, group: GroupId, durable: Durable) {
        // A closed store drops the callback unfired, as with every write.
        drop(self.write(Record::Drop { group }, Some(Callback::Always(durable))));
    }

    /// A small value of the node.
    pub fn node_get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        self.read(|inner| inner.image(false).node.get(key).cloned())
    }

    /// Stores a small value of the node; it is durable when this returns, and so is everything
    /// written before. Takes no simulated time, because nothing may block here.
    pub fn node_put(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        let value = Bytes::copy_from_slice(value);
        self.write(Record::Node { key: key.to_owned(), value }, None)?;
        let callbacks = self.disk.inner.lock().sync_all();
        fire(callbacks);
        Ok(())
    }

    /// No counters are kept.
    pub fn stats(&self) -> Stats {
        Stats::default()
    }

    /// A simulated disk has room for everything.
    pub fn low_on_space(&self) -> bool {
        false
    }

    /// A simulated disk never hangs.
    pub fn operations(&self) -> Operations {
        Operations::default()
    }

    /// A simulated disk has no tables to fall behind with.
    pub async fn admit(&self) {}

    /// Syncs what is written, fires its callbacks and gives the disk free. Idempotent.
    pub fn close(&self) {
        let callbacks = {
            let mut inner = self.disk.inner.lock();
            if inner.owner != self.owner {
                return;
            }
            inner.owner = 0;
            inner.sync_all()
        };
        self.task.abort();
        fire(callbacks);
    }

    /// Never: a simulated disk keeps what it has.
    pub async fn corruption(&self) {
        std::future::pending::<()>().await;
    }

    /// Like [`Db::read`], of the disk as it is to be changed besides its journal.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut Inner) -> R) -> Result<R, Error> {
        let mut inner = self.disk.inner.lock();
        if inner.owner != self.owner {
            return Err(Error::Closed);
        }
        Ok(change(&mut inner))
    }

    pub(super) fn read<R>(&self, read: impl FnOnce(&Inner) -> R) -> Result<R, Error> {
        let inner = self.disk.inner.lock();
        if inner.owner != self.owner {
            return Err(Error::Closed);
        }
        Ok(read(&inner))
    }

    pub(super) fn write(&self, record: Record, wait: Option<Callback>) -> Result<(), Error> {
        let early = {
            let mut inner = self.disk.inner.lock();
            if inner.owner != self.owner {
                return Err(Error::Closed);
            }
            inner.write(record, wait)?
        };
        self.disk.work.notify_one();
        if let Some(durable) = early {
            durable();
        }
        Ok(())
    }

    /// What memory holds of the groups, also after closing.
    pub(super) fn peek<R>(&self, read: impl FnOnce(&Inner) -> R) -> R {
        read(&self.disk.inner.lock())
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        self.close();
    }
}
