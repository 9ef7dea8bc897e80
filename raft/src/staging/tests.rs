use quorate_storage::{ChunkWriter, Db, EntryId, GroupId, NewChunk, Options};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::*;
use crate::records::OutgoingRecords;
use crate::types::{StoredMembers, log_id};

/// Records with ascending numbers as keys; a machine is how many there are.
struct Numbers;

struct Taking {
    writer: ChunkWriter,
    next: u64,
    wanted: u64,
}

fn refused<T>(why: &str) -> Result<T, RecordsError> {
    Err(RecordsError(why.to_owned()))
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().unwrap())
}

impl Records for Numbers {
    fn outgoing(&self, _: &Log, _: &[u8]) -> Result<Box<dyn OutgoingRecords>, RecordsError> {
        refused("nothing is sent here")
    }

    fn incoming(
        &self,
        log: &Log,
        machine: &[u8],
    ) -> Result<Box<dyn IncomingRecords>, RecordsError> {
        let writer = log.chunk_writer().unwrap();
        Ok(Box::new(Taking { writer, next: 0, wanted: number(machine) }))
    }

    fn kept_state(&self) -> StateDelete {
        StateDelete::key(b"p".to_vec())
    }
}

impl IncomingRecords for Taking {
    fn put(&mut self, key: &Bytes, value: Bytes) -> Result<Option<StatePut>, RecordsError> {
        if number(key) != self.next {
            return refused("not the next");
        }
        self.writer.put(self.next, &value).unwrap();
        self.next += 1;
        Ok(None)
    }

    fn finish(self: Box<Self>) -> Result<Vec<NewChunk>, RecordsError> {
        if self.next != self.wanted {
            return refused("some are missing");
        }
        Ok(vec![self.writer.finish(self.next, self.next, Bytes::new()).unwrap()])
    }
}

struct Setting {
    staging: Staging,
    log: Log,
    checkpoint: Checkpoint,
    dir: TempDir,
    db: Arc<Db>,
}

const FROM: u64 = 2;

impl Setting {
    /// A checkpoint with two pairs of keyed state and so many records is here.
    async fn begun(records: u64) -> Self {
        let dir = TempDir::new().unwrap();
        let db = Db::open(dir.path(), Options::default()).unwrap();
        let log = db.log(GroupId(4));
        let checkpoint = Checkpoint {
            last: log_id(EntryId { term: 1, index: 9 }),
            members: StoredMembers::default(),
            kept: vec![9],
            keyed: [b"a", b"b"].map(|key| digest::of_pair(key, b"")).into_iter().sum(),
            slot: Some(0),
            machine: Bytes::copy_from_slice(&records.to_be_bytes()),
        };
        let staging = Staging::default();
        staging.set_slot(1);
        staging.set_kind(true, Some(&Numbers));
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let begun = staging.begin(&log, FROM, (&checkpoint, checkpoint.encode()), permit).await;
        begun.unwrap();
        Self { staging, log, checkpoint, dir, db }
    }

    async fn page(&self, page: Pairs) -> Result<Staged, StageError> {
        self.staging.page(&self.log, FROM, self.checkpoint.last, page).await
    }

    async fn have(&self) -> Option<Position> {
        self.staging.have(FROM, self.checkpoint.last).await.map(|(_, at)| at)
    }

    fn files(&self) -> usize {
        let files = std::fs::read_dir(self.dir.path()).unwrap();
        files
            .filter(|it| it.as_ref().unwrap().path().extension().is_some_and(|it| it == "chunk"))
            .count()
    }
}

fn keyed(after: Option<&'static str>, keys: &[&'static str], next: Option<Position>) -> Pairs {
    let key = |key: &'static str| Bytes::from_static(key.as_bytes());
    let pairs = keys.iter().map(|it| (key(it), Bytes::new())).collect();
    Pairs { at: Position::new(Part::Keyed, after.map(key)), pairs, next }
}

fn records(from: u64, to: u64, is_last: bool) -> Pairs {
    let key = |n: u64| Bytes::copy_from_slice(&n.to_be_bytes());
    let after = (from > 0).then(|| key(from - 1));
    let pairs = (from..to).map(|n| (key(n), Bytes::from_static(b"record"))).collect();
    let next = (!is_last).then(|| Position::new(Part::Records, Some(key(to - 1))));
    Pairs { at: Position::new(Part::Records, after), pairs, next }
}

fn first_records() -> Option<Position> {
    Some(Position::new(Part::Records, None))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_was_cut_off_goes_on_where_it_was_in_either_part() {
    let it = Setting::begun(5).await;
    assert_eq!(it.have().await, Some(Position::default()));
    let behind_a = Some(Position::new(Part::Keyed, Some(Bytes::from_static(b"a"))));
    it.page(keyed(None, &["a"], behind_a.clone())).await.unwrap();
    assert_eq!(it.have().await, behind_a);
    // A page that comes twice changes nothing.
    let again = it.page(keyed(None, &["a"], behind_a.clone())).await.unwrap();
    assert!(matches!(again, Staged::Have(_, at) if Some(&at) == behind_a.as_ref()));
    it.page(keyed(Some("a"), &["b"], first_records())).await.unwrap();
    let begun = records(0, 3, false);
    let behind = begun.next.clone();
    it.page(begun).await.unwrap();
    assert_eq!(it.have().await, behind);
    it.page(records(0, 3, false)).await.unwrap();
    assert!(it.staging.have(FROM + 1, it.checkpoint.last).await.is_none(), "another sender");
    let whole = it.page(records(3, 5, true)).await.unwrap();
    let Staged::Complete(received, _staged) = whole else { panic!("something is missing") };
    assert_eq!((received.slot, received.chunks.len()), (1, 1));
    assert_eq!(received.checkpoint, it.checkpoint.encode());
    assert!(it.log.chunks().is_empty(), "not seen before it is installed");
    it.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_without_its_records_or_with_other_state_is_not_taken() {
    let it = Setting::begun(5).await;
    let without = it.page(keyed(None, &["a", "b"], None)).await;
    assert!(matches!(without, Err(StageError::Records(_))), "no records");
    assert_eq!(it.have().await, None, "it begins anew");
    it.db.close();
    let it = Setting::begun(5).await;
    let differs = it.page(keyed(None, &["a", "c"], first_records())).await;
    assert!(matches!(differs, Err(StageError::Differs)));
    it.db.close();
    for wrong in [records(1, 3, false), records(0, 4, true)] {
        let it = Setting::begun(5).await;
        it.page(keyed(None, &["a", "b"], first_records())).await.unwrap();
        let at = first_records().unwrap();
        let refused = it.page(Pairs { at, ..wrong }).await;
        assert!(matches!(refused, Err(StageError::Records(_))));
        assert_eq!((it.have().await, it.files()), (None, 0));
        it.db.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_continues_is_dropped_with_its_file() {
    let it = Setting::begun(5).await;
    let now = Instant::now();
    assert!(it.staging.forget(now + FORGET / 2), "it is still arriving");
    assert_eq!(it.files(), 1);
    assert!(!it.staging.forget(now + FORGET * 2));
    assert_eq!((it.have().await, it.files()), (None, 0));
    let unknown = it.page(keyed(None, &["a"], None)).await.unwrap();
    assert!(matches!(unknown, Staged::Unknown));
    it.db.close();
}
