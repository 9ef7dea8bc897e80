//! What checkpoints cost a group that is written to slowly, and where keyed state arrives.

use std::sync::atomic::{AtomicU64, Ordering};

use openraft::entry::RaftEntry;
use parking_lot::RwLock;
use quorate_storage::{Db, EntryId, GroupId, NewChunk, Options, StateDelete};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::*;
use crate::checkpoint::QUIET;
use crate::machine::{Committed, Machine};
use crate::page::{Pairs, Part, Position};
use crate::records::{IncomingRecords, OutgoingRecords, Records, RecordsError};
use crate::snapshot::Received;
use crate::types::{Data, Entry};

/// A state that is large beside what changes it, and counts how often it is written down.
#[derive(Clone, Default)]
struct Large<const RECORDS: bool> {
    encoded: Arc<AtomicU64>,
    needed_from: Arc<AtomicU64>,
}

const STATE_BYTES: usize = 50_000;

impl<const RECORDS: bool> Machine for Large<RECORDS> {
    type Reply = ();

    fn apply(&mut self, _: Committed<'_>, _: &mut Effects) {}
    fn encode(&self) -> Vec<u8> {
        self.encoded.fetch_add(1, Ordering::Relaxed);
        vec![0; STATE_BYTES]
    }
    fn decode(_: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self::default())
    }
    fn records() -> Option<&'static dyn Records> {
        if RECORDS { Some(&Unsent) } else { None }
    }
    fn needed_from(&self) -> u64 {
        self.needed_from.load(Ordering::Relaxed)
    }
}

/// Records that nobody is given here.
struct Unsent;

impl Records for Unsent {
    fn outgoing(&self, _: &Log, _: &[u8]) -> Result<Box<dyn OutgoingRecords>, RecordsError> {
        Err(RecordsError("not here".into()))
    }
    fn incoming(&self, _: &Log, _: &[u8]) -> Result<Box<dyn IncomingRecords>, RecordsError> {
        Err(RecordsError("not here".into()))
    }
    fn kept_state(&self) -> StateDelete {
        StateDelete::key(b"p".to_vec())
    }
}

struct Setting<const RECORDS: bool = false> {
    machine: StateMachine,
    large: Large<RECORDS>,
    holder: Arc<RwLock<Large<RECORDS>>>,
    shared: Arc<Shared>,
    next: u64,
    db: Arc<Db>,
    _dir: TempDir,
}

impl<const RECORDS: bool> Setting<RECORDS> {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let db = Db::open(dir.path(), Options::default()).unwrap();
        let log = db.log(GroupId(1));
        let shared = Arc::new(Shared::new(GroupId(1), 1, vec![1], log, 1 << 20, None));
        let large = Large::<RECORDS>::default();
        let holder = Arc::new(RwLock::new(large.clone()));
        let (running, held) = (watch::Sender::new(()), Arc::clone(&holder));
        let machine =
            StateMachine::load(Arc::clone(&shared), held, Arc::default(), running).unwrap();
        Self { machine, large, holder, shared, next: 0, db, _dir: dir }
    }

    async fn apply(&mut self, bytes: usize) {
        let id = log_id(EntryId { term: 1, index: self.next });
        self.next += 1;
        let entry = Entry::new(id, EntryPayload::Normal(Data(vec![0; bytes].into())));
        self.machine.apply(futures::stream::iter([Ok((entry, None))])).await.unwrap();
    }

    fn written(&self) -> u64 {
        self.large.encoded.load(Ordering::Relaxed)
    }
}

/// Every 15 s, at once for all groups, would be eight bytes written a byte for a thousand partitions.
#[tokio::test(flavor = "multi_thread")]
async fn a_trickle_is_not_written_down_again_and_again() {
    let mut it = Setting::<false>::new();
    it.apply(100).await;
    let begun = Instant::now();
    assert!(it.machine.checkpoint_if_old(begun + QUIET * 2).await.unwrap());
    assert_eq!(it.written(), 1, "a group without any gets its first soon");
    assert!(!it.shared.dirty.load(Ordering::Relaxed));
    for _ in 0..20 {
        it.apply(100).await;
        assert!(!it.machine.checkpoint_if_old(Instant::now() + QUIET * 2).await.unwrap());
        assert!(it.shared.dirty.load(Ordering::Relaxed), "it will be looked at again");
    }
    assert_eq!(it.written(), 1);
    // Paid for, or late, or the log waits for it.
    it.apply(STATE_BYTES * 16).await;
    assert!(it.machine.checkpoint_if_old(Instant::now() + QUIET * 2).await.unwrap());
    assert_eq!(it.written(), 2);
    it.apply(100).await;
    assert!(it.machine.checkpoint_if_old(Instant::now() + QUIET * 60).await.unwrap());
    assert_eq!(it.written(), 3);
    it.apply(100).await;
    it.large.needed_from.store(it.next, Ordering::Relaxed);
    assert!(it.machine.checkpoint_if_old(Instant::now() + QUIET * 2).await.unwrap());
    assert_eq!(it.written(), 4);
    assert!(it.machine.checkpoint_if_old(Instant::now() + QUIET * 99).await.unwrap());
    assert_eq!(it.written(), 4, "nothing is left to write down");
    it.db.close();
}

/// A snapshot of another index, of which a part arrived, must change nothing of what is replayed.
#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_is_not_where_the_state_is_also_before_the_first_checkpoint() {
    let it = Setting::<false>::new();
    let (log, staging) = (&it.machine.log, &it.shared.staging);
    let last = log_id(EntryId { term: 1, index: 9 });
    let members = StoredMembers::default();
    let (kept, machine) = (vec![9], Bytes::new());
    let arriving = Checkpoint { last, members, kept, keyed: 7, slot: Some(0), machine };
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    staging.begin(log, 2, (&arriving, arriving.encode()), permit).await.unwrap();
    let key = Bytes::from_static(b"key");
    let pairs = vec![(key.clone(), Bytes::new())];
    let next = Some(Position::new(Part::Keyed, Some(key.clone())));
    let page = Pairs { at: Position::default(), pairs, next };
    staging.page(log, 2, last, page).await.unwrap();
    let keys = vec![vec![key.clone()]];
    let (values, _) = keyed::read(log, it.machine.slot, keys.clone()).unwrap();
    assert_eq!(values[&key], None, "seen in the state");
    let (values, _) = keyed::read(log, keyed::other(it.machine.slot), keys).unwrap();
    assert!(values[&key].is_some(), "it is where nothing is looked for");
    it.db.close();
}

/// What is kept elsewhere lets the log go as what the machine does without.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_goes_up_to_what_this_replica_has_elsewhere() {
    let mut it = Setting::<false>::new();
    for _ in 0..4 {
        it.apply(STATE_BYTES * 17).await;
        assert!(it.machine.checkpoint_if_old(Instant::now() + QUIET * 2).await.unwrap());
    }
    assert_eq!(it.machine.kept, [0, 1, 2, 3]);
    assert_eq!(it.machine.next_boundary(), None, "the machine needs all of it");
    it.shared.freed_below.store(2, Ordering::Relaxed);
    assert_eq!(it.machine.next_boundary(), Some(1), "the checkpoint just below");
    it.large.needed_from.store(3, Ordering::Relaxed);
    assert_eq!(it.machine.next_boundary(), Some(2), "whichever is further");
    // Without a checkpoint below it one is written, however little there is.
    it.apply(100).await;
    it.apply(100).await;
    it.shared.freed_below.store(6, Ordering::Relaxed);
    assert!(it.machine.checkpoint_if_old(Instant::now() + QUIET * 2).await.unwrap());
    assert_eq!(it.machine.next_boundary(), Some(5));
    it.db.close();
}

/// Whoever is given the newest checkpoint is given the records that this one begins with, also if they are trimmed since.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_keeps_the_records_that_the_newest_checkpoint_begins_with() {
    let mut it = Setting::<true>::new();
    for _ in 0..8 {
        it.apply(STATE_BYTES * 17).await;
    }
    assert!(it.machine.checkpoint_if_old(Instant::now() + QUIET * 2).await.unwrap());
    assert_eq!((&it.machine.kept[..], it.machine.next_boundary()), (&[7][..], None));
    // The log start moves: the checkpoint has still the old one.
    it.large.needed_from.store(5, Ordering::Relaxed);
    it.apply(100).await;
    assert_eq!((it.machine.next_boundary(), it.shared.covered_from()), (None, 0));
    // So another one is written, however little it covers.
    assert!(it.machine.checkpoint_if_old(Instant::now() + QUIET * 2).await.unwrap());
    assert_eq!((it.machine.next_boundary(), it.shared.covered_from()), (Some(4), 5));
    let written = it.written();
    it.apply(100).await;
    assert!(!it.machine.checkpoint_if_old(Instant::now() + QUIET * 2).await.unwrap());
    assert_eq!(it.written(), written, "it would free nothing");
    // What is elsewhere as well goes, and the records still begin where they did.
    it.shared.freed_below.store(8, Ordering::Relaxed);
    assert_eq!((it.machine.next_boundary(), it.shared.covered_from()), (Some(7), 5));
    it.db.close();
}

/// A snapshot of an index, as it has arrived.
fn snapshot(index: u64, chunks: Vec<NewChunk>) -> (SnapshotMeta, Received) {
    let last = log_id(EntryId { term: 1, index });
    let machine = Bytes::from(vec![0; STATE_BYTES]);
    let (members, kept) = (StoredMembers::default(), vec![index]);
    let checkpoint =
        Checkpoint { last, members: members.clone(), kept, keyed: 0, slot: Some(0), machine };
    let received = Received { checkpoint: checkpoint.encode(), slot: 1, chunks };
    (SnapshotMeta { last_log_id: Some(last), last_membership: members }, received)
}

/// A snapshot of an index that the log has: what is behind it stays, its records go to chunks before the core purges.
#[tokio::test(flavor = "multi_thread")]
async fn records_are_installed_also_where_the_log_goes_on_behind_them() {
    let mut it = Setting::<true>::new();
    let entry = |index| {
        let id = EntryId { term: 1, index };
        quorate_storage::Entry {
            id,
            kind: quorate_storage::EntryKind::Normal,
            payload: Bytes::new(),
        }
    };
    let log = it.shared.log.clone();
    log.append((0..9).map(entry).collect(), Box::new(|| ())).await.unwrap();
    let mut writer = log.chunk_writer().unwrap();
    writer.put(0, b"a record").unwrap();
    let chunks = vec![writer.finish(5, 6, Bytes::new()).unwrap()];
    let (meta, received) = snapshot(5, chunks);
    it.machine.install_snapshot(&meta, SnapshotData::Staged(received)).await.unwrap();
    assert_eq!(log.chunks().len(), 1);
    assert_eq!(log.state().last, Some(EntryId { term: 1, index: 8 }));
    assert_eq!(log.state().purged, None, "the core purges");
    assert_eq!((it.machine.applied_index(), &it.machine.kept[..]), (5, &[5][..]));
    it.db.close();
}

/// Whoever reads the keyed state by what the machine says can tell that the two may not belong together.
#[tokio::test(flavor = "multi_thread")]
async fn the_count_of_snapshots_is_odd_from_before_the_machine_is_replaced_until_everything_is() {
    let Setting { mut machine, holder, shared, db, _dir, .. } = Setting::<true>::new();
    let installs = || shared.installs.load(Ordering::Acquire);
    for round in 0..2 {
        assert_eq!(installs(), round * 2);
        let reading = holder.read();
        let installing = tokio::spawn(async move {
            let (meta, received) = snapshot(5 + round, Vec::new());
            machine.install_snapshot(&meta, SnapshotData::Staged(received)).await.unwrap();
            machine
        });
        // Then it waits for this reader to leave, with the old machine in its place.
        while holder.try_read().is_some() {
            assert!(!installing.is_finished(), "a machine was replaced under its reader");
            std::thread::yield_now();
        }
        assert_eq!(installs(), round * 2 + 1);
        drop(reading);
        machine = installing.await.unwrap();
    }
    assert_eq!(installs(), 4);
    db.close();
}
