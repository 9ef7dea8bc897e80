//! Nodes for the tests, each with a runtime of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_raft::{
    Error, FailureConfig, Group, GroupOptions, Node, NodeConfig, Outcome, TransportLimits,
};
use quorate_storage::{Db, GroupId, Options};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::ledger::{Ledger, note};

/// Less than the core waits before it campaigns by itself: what comes sooner was seen to.
pub const SOON: Duration = Duration::from_secs(8);
pub const CLUSTER: u128 = 0xc1;
/// Longest wait for any state.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node and what it needs to be started again.
pub struct TestNode {
    pub node: Arc<Node>,
    pub db: Arc<Db>,
    pub groups: BTreeMap<u64, Group<Ledger>>,
    runtime: Option<Runtime>,
}

/// What survives a node.
pub struct Home {
    pub dir: TempDir,
    pub address: Option<SocketAddr>,
    /// The directory that others are told it has.
    pub directory: u128,
}

pub struct Cluster {
    // Before the homes: a node must be gone before its directory is.
    pub nodes: BTreeMap<u64, TestNode>,
    pub homes: BTreeMap<u64, Home>,
    pub limits: TransportLimits,
}

/// Small sizes, so that tests reach the bounds.
pub fn options() -> Options {
    Options { generation_bytes: 4 << 20, ..Options::default() }
}

pub fn config(id: u64, listen: SocketAddr, limits: TransportLimits) -> NodeConfig {
    NodeConfig {
        node_id: id,
        cluster_id: CLUSTER,
        directory_id: u128::from(id) + 1000,
        listen,
        advertised: String::new(),
        stall: quorate_raft::StallConfig::default(),
        failure: FailureConfig {
            compare_every: Duration::from_millis(200),
            ..FailureConfig::default()
        },
        limits,
    }
}

fn open_db(dir: &Path) -> Arc<Db> {
    Db::open(dir, options()).expect("the directory can be opened")
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Cluster {
    /// Starts nodes 1 to `size` that know each other.
    pub async fn start(size: u64) -> Self {
        Self::start_with(size, TransportLimits::default()).await
    }

    pub async fn start_with(size: u64, limits: TransportLimits) -> Self {
        let mut cluster = Self { homes: BTreeMap::new(), nodes: BTreeMap::new(), limits };
        for id in 1..=size {
            let dir = TempDir::new().expect("a temporary directory");
            let directory = u128::from(id) + 1000;
            cluster.homes.insert(id, Home { dir, address: None, directory });
            cluster.start_node(id).await;
        }
        cluster
    }

    /// Starts a node in its directory, at the address it had before.
    pub async fn start_node(&mut self, id: u64) {
        let home = self.homes.get_mut(&id).expect("the node has a home");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let db = open_db(home.dir.path());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = config(id, home.address.unwrap_or(any), self.limits.clone());
        let start = runtime.spawn(Node::start(config, Arc::clone(&db)));
        let node = start.await.expect("no panic").expect("the node starts");
        home.address = Some(node.listen_address());
        self.nodes
            .insert(id, TestNode { node, db, groups: BTreeMap::new(), runtime: Some(runtime) });
        for (id, one) in &self.nodes {
            for (other, home) in &self.homes {
                if let Some(address) = home.address.filter(|_| other != id) {
                    one.in_runtime(|node| {
                        node.set_peer(*other, &address.to_string(), home.directory);
                    });
                }
            }
        }
    }

    pub fn node(&self, id: u64) -> &TestNode {
        &self.nodes[&id]
    }

    pub fn group(&self, id: u64, group: u64) -> &Group<Ledger> {
        &self.nodes[&id].groups[&group]
    }

    /// Opens a group on the nodes and makes them its voters.
    pub async fn create(&mut self, group: u64, voters: &[u64]) {
        for id in voters {
            self.open(*id, group, voters).await;
        }
        let voters_set: BTreeSet<u64> = voters.iter().copied().collect();
        self.group(voters[0], group).initialize(voters_set).await.expect("initializes");
    }

    /// Opens a group on one node.
    pub async fn open(&mut self, id: u64, group: u64, preferred: &[u64]) {
        self.try_open(id, group, preferred).await.expect("the group opens");
    }

    pub async fn try_open(&mut self, id: u64, group: u64, preferred: &[u64]) -> Result<(), Error> {
        self.open_with(id, group, preferred.to_vec().into()).await
    }

    pub async fn open_with(
        &mut self,
        id: u64,
        group: u64,
        options: GroupOptions,
    ) -> Result<(), Error> {
        let one = self.nodes.get_mut(&id).expect("the node runs");
        let node = Arc::clone(&one.node);
        let open = async move { node.open(GroupId(group), Ledger::default(), options).await };
        let runtime = one.runtime.as_ref().expect("the node runs");
        let opened = runtime.spawn(open).await.expect("no panic")?;
        one.groups.insert(group, opened);
        Ok(())
    }

    /// Ends a node without telling anybody, as `kill -9` would; its disk keeps what was synced.
    pub fn kill(&mut self, id: u64) {
        drop(self.nodes.remove(&id).expect("the node runs"));
    }

    /// Stops a node in order.
    pub async fn stop(&mut self, id: u64) {
        let mut one = self.nodes.remove(&id).expect("the node runs");
        let runtime = one.runtime.take().expect("the node runs");
        let node = Arc::clone(&one.node);
        runtime.spawn(async move { node.shutdown().await }).await.expect("no panic");
        runtime.shutdown_background();
    }

    /// The node that leads a group and is ready, once all its voters here agree on it.
    pub async fn leader(&self, group: u64) -> u64 {
        let mut leader = 0;
        until("a leader is known to all voters and ready", || {
            let replicas: Vec<_> = self
                .nodes
                .iter()
                .filter_map(|(id, node)| Some((id, node.groups.get(&group)?)))
                .filter(|(id, group)| group.status().voters.contains(id))
                .map(|(_, group)| group)
                .collect();
            let known: BTreeSet<_> =
                replicas.iter().map(|group| group.leadership().borrow().leader).collect();
            let [Some(one)] = known.into_iter().collect::<Vec<_>>()[..] else { return false };
            leader = one;
            let group = self.nodes.get(&one).and_then(|node| node.groups.get(&group));
            group.is_some_and(|group| group.leadership().borrow().ready)
        })
        .await;
        leader
    }

    /// As [`Cluster::leader`], looking at some nodes only.
    pub async fn leader_among(&self, group: u64, nodes: &[u64]) -> u64 {
        let mut leader = 0;
        until("one of the nodes leads", || {
            let ready = nodes.iter().find(|id| {
                let leadership = self.group(**id, group).leadership();
                let now = *leadership.borrow();
                now.ready && now.leader == Some(**id)
            });
            leader = ready.copied().unwrap_or(0);
            leader != 0
        })
        .await;
        leader
    }

    /// Writes a note on one node, which must lead.
    pub async fn write_on(&self, id: u64, group: u64, text: &str) -> u64 {
        let pending = self.group(id, group).propose(note(text), None).await.expect("it leads");
        match pending.await {
            Outcome::Applied { index, .. } => index,
            other => panic!("not applied: {other:?}"),
        }
    }

    /// Writes a note through whoever leads, trying until it is applied. Returns its index.
    pub async fn write(&self, group: u64, text: &str) -> u64 {
        self.write_bytes(group, note(text)).await
    }

    pub async fn write_bytes(&self, group: u64, payload: Bytes) -> u64 {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            for node in self.nodes.values() {
                let Some(replica) = node.groups.get(&group) else { continue };
                if let Ok(pending) = replica.propose(payload.clone(), None).await
                    && let Ok(Outcome::Applied { index, .. }) =
                        tokio::time::timeout(Duration::from_secs(5), pending).await
                {
                    return index;
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("group {group} accepts no writes");
    }

    /// Waits until the replicas on the nodes have applied an index and hold the same ledger.
    pub async fn agree(&self, group: u64, nodes: &[u64], index: u64) {
        until(&format!("nodes {nodes:?} agree on group {group}"), || {
            let machines: Vec<Ledger> =
                nodes.iter().map(|id| self.group(*id, group).machine().clone()).collect();
            machines.iter().all(|machine| machine.applied >= index)
                && machines.windows(2).all(|pair| pair[0] == pair[1])
        })
        .await;
    }
}

impl TestNode {
    /// Runs something on the node inside its runtime.
    pub fn in_runtime<R>(&self, run: impl FnOnce(&Arc<Node>) -> R) -> R {
        let _entered = self.runtime.as_ref().expect("the node runs").enter();
        run(&self.node)
    }

    /// Runs a future on the node's runtime.
    pub async fn spawn<F>(&self, future: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let runtime = self.runtime.as_ref().expect("the node runs");
        runtime.spawn(future).await.expect("no panic")
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.db.close();
    }
}
