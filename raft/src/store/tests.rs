//! The consensus core's own suite for log and state machine, on the real database
//! or, with the feature `simulation`, on the simulated one.

use std::sync::Arc;

use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{RaftLogReader, StorageError};
use parking_lot::RwLock;
use quorate_storage::{Db, EntryId, GroupId, Options};
use tempfile::TempDir;

use super::LogStore;
use crate::apply::StateMachine;
use crate::error::DecodeError;
use crate::machine::{Committed, Effects, Machine};
use crate::shared::Shared;
use crate::types::{Entry, TypeConfig, log_id};

/// Counts, which is all the suite needs.
#[derive(Default)]
struct Counter(u64);

impl Machine for Counter {
    type Reply = ();

    fn apply(&mut self, _: Committed<'_>, _: &mut Effects) {
        self.0 += 1;
    }

    fn encode(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let bytes = bytes.try_into().map_err(|_| DecodeError("not a counter".into()))?;
        Ok(Self(u64::from_be_bytes(bytes)))
    }

    fn needed_from(&self) -> u64 {
        0
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, Closing> for Builder {
    async fn build(&self) -> Result<(Closing, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = TempDir::new().unwrap();
        #[cfg(feature = "simulation")]
        quorate_storage::simulation::Disk::create(dir.path(), 1);
        let db = Db::open(dir.path(), Options::default()).unwrap();
        let log = db.log(GroupId(1));
        let shared = Arc::new(Shared::new(GroupId(1), 1, vec![1], log.clone(), 1 << 20, None));
        let machine = Arc::new(RwLock::new(Counter::default()));
        let running = tokio::sync::watch::Sender::new(());
        let machine = StateMachine::load(shared, machine, Arc::default(), running).unwrap();
        let places = Arc::new(tokio::sync::Semaphore::new(1));
        Ok((Closing { db, _dir: dir }, LogStore::new(log, 1 << 20, places), machine))
    }
}

struct Closing {
    db: Arc<Db>,
    _dir: TempDir,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.db.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_the_consensus_core_passes() {
    Suite::test_all(Builder).await.unwrap();
}

/// A leader that is deposed purges what it was about to send; an error here would end the process.
#[tokio::test(flavor = "multi_thread")]
async fn replication_that_reads_what_is_purged_finds_nothing() {
    let (_closing, mut store, _) = Builder.build().await.unwrap();
    let entry = |index| Entry::new_blank(log_id(EntryId { term: 1, index }));
    store.append((0..3).map(entry), IOFlushed::noop()).await.unwrap();
    store.purge(log_id(EntryId { term: 1, index: 1 })).await.unwrap();
    let mut reader = store.get_log_reader().await;
    assert!(reader.limited_get_log_entries(0, 3).await.unwrap().is_empty());
    assert_eq!(reader.limited_get_log_entries(2, 3).await.unwrap().len(), 1);
}
