//! Many streams to a peer that does not answer, as the log's reader sees them.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use openraft::storage::RaftLogStorage;
use openraft::{RaftLogReader, ServerState};
use quorate_storage::{Db, EntryId, EntryKind, GroupId, Options};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::config::{FailureConfig, TransportLimits};
use crate::failure::Liveness;
use crate::options::GroupOptions;
use crate::shared::View;
use crate::store::LogStore;
use crate::transport::hello::{Hello, Versions};
use crate::transport::peer::Common;
use crate::types::Vote;

const PATIENCE: Duration = Duration::from_secs(60);
const STREAMS: u64 = 40;
const PEER_BYTES: usize = 4 << 20;
const APPEND_BYTES: usize = 256 << 10;
const ENTRY: usize = 60 << 10;

struct Setting {
    db: Arc<Db>,
    peer: Arc<Peer>,
    _dir: TempDir,
}

/// A database whose groups hold more than one request each, in memory or not.
async fn setting(tail_bytes: usize) -> Setting {
    let dir = TempDir::new().unwrap();
    let options = Options {
        tail_cache_bytes: tail_bytes,
        tail_cache_group_bytes: tail_bytes,
        ..Options::default()
    };
    let db = Db::open(dir.path(), options).unwrap();
    for group in 1..=STREAMS {
        let entry = |index| quorate_storage::Entry {
            id: EntryId { term: 1, index },
            kind: EntryKind::Normal,
            payload: Bytes::from(vec![group as u8; ENTRY]),
        };
        let (durable, done) = tokio::sync::oneshot::channel();
        let durable = Box::new(move || crate::store::signal(durable));
        db.log(GroupId(group)).append((1..9).map(entry).collect(), durable).await.unwrap();
        done.await.unwrap();
    }
    let limits = TransportLimits { peer_inflight_bytes: PEER_BYTES, ..TransportLimits::default() };
    let common = Arc::new(Common {
        me: Hello {
            versions: Versions::spoken(),
            cluster: 1,
            node: 1,
            directory: 1,
            incarnation: 1,
            to: 0,
            address: String::new(),
        },
        failure: FailureConfig::default(),
        limits,
        liveness: Arc::new(Liveness::new(Arc::default(), Arc::default())),
    });
    let (peer, _) = Peer::start(2, common);
    Setting { db, peer, _dir: dir }
}

impl Setting {
    /// The room of a group's stream to the peer.
    fn room(&self, group: u64, options: GroupOptions, voter: bool) -> Arc<StreamRoom> {
        let log = self.db.log(GroupId(group));
        let shared = Shared::new(GroupId(group), 1, options, log, 1, None);
        let voters = BTreeSet::from(if voter { [1, 2] } else { [1, 3] });
        shared.update(View {
            state: ServerState::Leader,
            vote: Vote::new_committed(1, 1),
            configs: vec![voters],
            learners: BTreeSet::new(),
        });
        let pace = Arc::new(CatchUp::new(u64::MAX));
        let accepted = Arc::new(AtomicBool::new(true));
        StreamRoom::new(Arc::clone(&self.peer), Arc::new(shared), pace, accepted)
    }

    /// What the pump of a group's stream does for one request: the room, which holds what the
    /// request takes, and the bytes read.
    async fn request(&self, group: u64, voter: bool) -> (Arc<StreamRoom>, usize) {
        let room = self.room(group, vec![1].into(), voter);
        let places = Arc::new(Semaphore::new(1));
        let mut store = LogStore::new(self.db.log(GroupId(group)), APPEND_BYTES, places);
        let mut reader = store.get_log_reader().await;
        let reads = Reads::Stream(Arc::clone(&room));
        let entries = reads.run(reader.limited_get_log_entries(1, 9)).await.unwrap();
        (room, size(&entries))
    }

    /// Has all groups make a request at once and answers one only when no more come; gives the most
    /// bytes that were in memory at a time.
    async fn most_held(&self, voter: bool) -> usize {
        let mut requests: FuturesUnordered<_> =
            (1..=STREAMS).map(|group| self.request(group, voter)).collect();
        let (mut held, mut most) = (Vec::new(), 0);
        for _ in 0..STREAMS {
            // Whoever does not need room comes by itself.
            for _ in 0..1_000 {
                while let Some(Some(request)) = requests.next().now_or_never() {
                    held.push(request);
                }
                tokio::task::yield_now().await;
            }
            if held.is_empty() {
                held.push(timeout(PATIENCE, requests.next()).await.unwrap().unwrap());
            }
            most = most.max(held.iter().map(|(_, bytes)| bytes).sum());
            drop(held.pop());
        }
        most
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_lag_read_only_what_a_quarter_of_the_credits_pays_for() {
    let setting = setting(0).await;
    for voter in [true, false] {
        let most = setting.most_held(voter).await;
        assert!((APPEND_BYTES / 2..=PEER_BYTES / 4).contains(&most), "{most} bytes in memory");
    }
    setting.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_in_step_share_the_credits_that_those_that_lag_leave() {
    let setting = setting(64 << 20).await;
    let mut lagging = Vec::new();
    // Replicas without a vote catch up wherever their entries come from.
    for group in 1..=4 {
        lagging.push(timeout(PATIENCE, setting.request(group, false)).await.unwrap());
    }
    let most = setting.most_held(true).await;
    assert!(most > PEER_BYTES / 2, "those in step may have only {most} bytes");
    let lag: usize = lagging.iter().map(|(_, bytes)| bytes).sum();
    assert!(most + lag <= PEER_BYTES, "{} bytes in memory", most + lag);
    setting.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_larger_than_a_request_waits_for_room_of_its_size() {
    let setting = setting(0).await;
    let log = setting.db.log(GroupId(99));
    let large = |index, size| quorate_storage::Entry {
        id: EntryId { term: 1, index },
        kind: EntryKind::Normal,
        payload: Bytes::from(vec![1; size]),
    };
    let (durable, done) = tokio::sync::oneshot::channel();
    let durable = Box::new(move || crate::store::signal(durable));
    log.append(vec![large(1, PEER_BYTES / 8)], durable).await.unwrap();
    done.await.unwrap();
    let (_first, bytes) = timeout(PATIENCE, setting.request(99, true)).await.unwrap();
    assert!(bytes > PEER_BYTES / 8);
    let held = setting.peer.credits.all.most - setting.peer.credits.all.room.available_permits();
    assert_eq!(held, bytes);
    setting.db.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_caught_up_first_takes_no_part_of_what_others_catch_up_with() {
    let setting = setting(0).await;
    for catch_up_first in [false, true] {
        for voter in [false, true] {
            let options = GroupOptions { catch_up_first, ..GroupOptions::default() };
            let taken = setting.room(1, options, voter).take(ENTRY, true).await;
            assert_eq!(taken.catch_up.is_none(), catch_up_first);
        }
    }
    setting.db.close();
}
