//! A cluster whose groups are tallies, and what they must say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_raft::{Divergence, Group, Outcome, TransportLimits};
use quorate_storage::GroupId;

use super::cluster::{Cluster, until};
use super::tally::{Tally, count, forget};

pub const GROUP: GroupId = GroupId(9);

/// The groups of a cluster, and what they must say.
pub struct Tallies {
    pub cluster: Cluster,
    pub groups: BTreeMap<u64, Group<Tally>>,
    pub counts: BTreeMap<u64, u64>,
    pub written: u64,
}

impl Tallies {
    pub async fn start(size: u64) -> Self {
        Self::start_with(size, |_| Tally::default()).await
    }

    /// Starts nodes 1 to `size` with machines of their own.
    pub async fn start_with(size: u64, machine: impl Fn(u64) -> Tally) -> Self {
        // Small pieces, so that keyed state takes many.
        let limits =
            TransportLimits { snapshot_chunk_bytes: 64 << 10, ..TransportLimits::default() };
        let cluster = Cluster::start_with(size, limits).await;
        let (groups, counts) = Default::default();
        let mut tallies = Self { cluster, groups, counts, written: 0 };
        for id in 1..=size {
            tallies.open_with(id, machine(id)).await;
        }
        let voters = (1..=size).collect();
        let group = tallies.groups[&1].clone();
        let initialize = async move { group.initialize(voters).await };
        tallies.cluster.node(1).spawn(initialize).await.unwrap();
        tallies
    }

    pub async fn open(&mut self, id: u64) {
        self.open_with(id, Tally::default()).await;
    }

    async fn open_with(&mut self, id: u64, machine: Tally) {
        let node = Arc::clone(&self.cluster.node(id).node);
        let open = async move { node.open(GROUP, machine, vec![1, 2, 3]).await };
        self.groups.insert(id, self.cluster.node(id).spawn(open).await.unwrap());
    }

    /// What was found wrong with a replica.
    pub fn divergence(&self, id: u64) -> Option<Divergence> {
        self.groups[&id].status().divergence.map(|(what, _)| what)
    }

    /// The node that leads and is ready.
    pub async fn leader(&self) -> u64 {
        let mut leader = None;
        until("somebody leads", || {
            let ready = |(_, group): &(&u64, &Group<Tally>)| group.leadership().borrow().ready;
            leader = self.groups.iter().find(ready).map(|(id, _)| *id);
            leader.is_some()
        })
        .await;
        leader.unwrap()
    }

    pub fn kill(&mut self, id: u64) {
        self.groups.remove(&id);
        self.cluster.kill(id);
    }

    pub async fn back(&mut self, id: u64) {
        self.cluster.start_node(id).await;
        self.open(id).await;
    }

    pub async fn apply(&mut self, payload: Bytes) -> u64 {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(30) {
            for group in self.groups.values() {
                let Ok(pending) = group.propose(payload.clone(), None).await else { continue };
                match pending.await {
                    Outcome::Applied { reply, index, .. } => {
                        self.written = index;
                        return reply;
                    }
                    Outcome::NotInLog => {}
                    // Twice would be once too often.
                    Outcome::Indeterminate => panic!("nobody died meanwhile"),
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the group accepts no writes");
    }

    /// Counts a key and compares.
    pub async fn count(&mut self, key: u64, size: u32) {
        let expected = self.counts.get(&key).map_or(1, |before| before + 1);
        assert_eq!(self.apply(count(key, size)).await, expected, "key {key}");
        self.counts.insert(key, expected);
    }

    pub async fn forget(&mut self, keys: &[u64]) {
        self.apply(forget(keys)).await;
        self.counts.retain(|key, _| !keys.contains(key));
    }

    pub async fn agree(&self) {
        self.agree_among(&self.groups.keys().copied().collect::<Vec<_>>()).await;
    }

    pub async fn agree_among(&self, nodes: &[u64]) {
        until("the replicas agree", || {
            let all: Vec<Tally> =
                nodes.iter().map(|id| self.groups[id].machine().clone()).collect();
            let state = |one: &Tally| (one.end, one.answers);
            all.iter().all(|one| one.end > self.written)
                && all.windows(2).all(|pair| state(&pair[0]) == state(&pair[1]))
        })
        .await;
    }
}
