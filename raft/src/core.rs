//! What the groups and tasks of a node share, and the registry of its groups.
//!
//! Groups are opened a few at a time, because each reads its log's bounds from disk and thousands at once would only
//! queue up there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use quorate_storage::{Db, GroupId, mutant};
use tokio::sync::{Notify, Semaphore, watch};

use crate::apply::{Holder, StateMachine};
use crate::calls::CallHandler;
use crate::catch_up::CatchUp;
use crate::condition::Condition;
use crate::config::{NodeConfig, raft_config};
use crate::drain::Drain;
use crate::due_groups::DueGroups;
use crate::error::Error;
use crate::failed_groups::FailedGroups;
use crate::failure::Liveness;
use crate::options::GroupOptions;
use crate::platform::{process_id, spawn_blocking};
use crate::promise;
use crate::replica::{End, Raft, Replica};
use crate::shared::Shared;
use crate::stall::DiskState;
use crate::states;
use crate::store::LogStore;
use crate::suspects::Suspects;
use crate::transport::hello::{Hello, Versions};
use crate::transport::network::Factory;
use crate::transport::peer::Common;
use crate::transport::peers::Peers;

/// Groups opened at the same time.
const OPENING: usize = 32;
/// Groups that apply entries from the disk at the same time, about 2 MiB each.
const REPLAYS: usize = 32;

/// What the groups and tasks of a node share.
pub(crate) struct Core {
    pub config: NodeConfig,
    pub db: Arc<Db>,
    pub me: Hello,
    pub peers: Arc<Peers>,
    pub liveness: Arc<Liveness>,
    pub suspects: Arc<Suspects>,
    pub wanted: Arc<DueGroups>,
    pub drain: Drain,
    pub failed: Arc<FailedGroups>,
    /// Proposed bytes of all groups that are not applied yet.
    pub room: Arc<Semaphore>,
    pub handler: RwLock<Option<Arc<dyn CallHandler>>>,
    /// How the node's own disk is, see `stall`.
    pub disk: watch::Sender<DiskState>,
    pub condition: AtomicU8,
    pub stalled_ms: AtomicU64,
    /// Ends all connections that were accepted.
    pub stop: watch::Sender<bool>,
    /// No group is opened any more.
    pub stopping: AtomicBool,
    catch_up: Arc<CatchUp>,
    pub replicas: RwLock<HashMap<u64, Arc<Replica>>>,
    /// Groups that are being opened, closed or deleted.
    reserved: Mutex<HashSet<u64>>,
    /// Groups that were open in this run of the process.
    pub ran: Mutex<HashSet<u64>>,
    /// A group left that set.
    released: Notify,
    opening: Semaphore,
    replays: Arc<Semaphore>,
}

impl Core {
    /// Loads the address book. Reads the disk.
    pub async fn load(config: NodeConfig, db: Arc<Db>) -> Result<Self, Error> {
        let me = Hello {
            versions: Versions::spoken(),
            cluster: config.cluster_id,
            node: config.node_id,
            directory: config.directory_id,
            incarnation: incarnation(),
            to: 0,
            address: config.advertised.clone(),
        };
        let suspects = Arc::new(Suspects::default());
        let wanted = Arc::new(DueGroups::default());
        let liveness = Arc::new(Liveness::new(Arc::clone(&suspects), Arc::clone(&wanted)));
        let common = Arc::new(Common {
            me: me.clone(),
            failure: config.failure.clone(),
            limits: config.limits.clone(),
            liveness: Arc::clone(&liveness),
        });
        let runtime = tokio::runtime::Handle::current();
        let book = Arc::clone(&db);
        let load = move || {
            let _in_runtime = runtime.enter();
            Peers::load(common, book)
        };
        let peers = spawn_blocking(load).await?;
        Ok(Self {
            me,
            peers: Arc::new(peers),
            liveness,
            suspects,
            wanted,
            drain: Drain::default(),
            failed: Arc::default(),
            room: Arc::new(Semaphore::new(config.limits.node_inflight_bytes)),
            handler: RwLock::new(None),
            disk: watch::Sender::new(DiskState::Fine),
            condition: AtomicU8::new(Condition::default().to_bits()),
            stalled_ms: AtomicU64::new(0),
            stop: watch::Sender::new(false),
            stopping: AtomicBool::new(false),
            catch_up: Arc::new(CatchUp::new(config.limits.catch_up_bytes_per_second)),
            replicas: RwLock::default(),
            reserved: Mutex::default(),
            ran: Mutex::default(),
            opening: Semaphore::new(OPENING),
            replays: Arc::new(Semaphore::new(REPLAYS)),
            released: Notify::new(),
            config,
            db,
        })
    }

    pub fn id(&self) -> u64 {
        self.config.node_id
    }

    pub fn alive(&self, id: u64) -> bool {
        id == self.config.node_id || self.liveness.alive(id)
    }

    pub fn replica(&self, group: u64) -> Option<Arc<Replica>> {
        self.replicas.read().get(&group).cloned()
    }

    pub fn replicas(&self) -> Vec<Arc<Replica>> {
        self.replicas.read().values().cloned().collect()
    }

    /// Reserves a group until the guard is dropped, so that opening and deleting cannot overlap.
    pub fn reserve(self: &Arc<Self>, group: GroupId) -> Option<Reserved> {
        let free = self.reserved.lock().insert(group.0);
        // Made only if it is ours: dropping a reservation gives the group free.
        free.then(|| Reserved { core: Arc::clone(self), group: group.0 })
    }

    /// Waits until nobody else has the group reserved.
    pub async fn reserve_patiently(self: &Arc<Self>, group: GroupId) -> Reserved {
        loop {
            let released = self.released.notified();
            if let Some(reserved) = self.reserve(group) {
                return reserved;
            }
            released.await;
        }
    }

    pub async fn open(
        self: &Arc<Self>,
        group: GroupId,
        holder: Arc<dyn Holder>,
        options: GroupOptions,
        leader_restore: bool,
    ) -> Result<Arc<Replica>, Error> {
        let _reserved = self.reserve(group).ok_or(Error::AlreadyOpen(group))?;
        if self.replica(group.0).is_some() {
            return Err(Error::AlreadyOpen(group));
        }
        if self.stopping.load(Ordering::Acquire) {
            return Err(Error::Stopped);
        }
        let _slot = self.opening.acquire().await.map_err(|_| Error::Stopped)?;
        let limits = &self.config.limits;
        if self.ran.lock().contains(&group.0) {
            promise::settle(&self.db.log(group)).await?;
        }
        let log = self.db.log(group);
        let own = log.clone();
        let divergence = spawn_blocking(move || states::noted(&own)).await?;
        let room = limits.group_inflight_bytes;
        let db = Arc::clone(&self.db);
        let promise = spawn_blocking(move || promise::load(&db, group)).await;
        let promised = match promise? {
            Some(promise) => promise::resume(&log, promise).await?,
            None => None,
        };
        let (me, own) = (self.id(), log.clone());
        let shared = Arc::new(Shared::new(group, me, options, own, room, promised));
        shared.states.set(divergence);
        let (machine_shared, wanted) = (Arc::clone(&shared), Arc::clone(&self.wanted));
        let (running, machine_runs) = watch::channel(());
        let load = move || StateMachine::load(machine_shared, holder, wanted, running);
        let machine = spawn_blocking(load).await?;
        let leader_restore = leader_restore || mutant::on("leader-restore");
        let config = Arc::new(raft_config(group.0, leader_restore));
        assert!(leader_restore || config.enable_leader_restore == Some(false), "see raft_config");
        let replays = Arc::clone(&self.replays);
        let store = LogStore::new(log, limits.append_bytes, replays);
        let network = Factory {
            peers: Arc::clone(&self.peers),
            shared: Arc::clone(&shared),
            catch_up: Arc::clone(&self.catch_up),
            limits: limits.clone(),
        };
        let raft = Raft::new(self.id(), config, network, store, machine)
            .await
            .map_err(|error| Error::Corrupt(format!("group {group} cannot start: {error}")))?;
        shared.set_running();
        raft.runtime_config().elect(shared.may_lead());
        let replica = Arc::new(Replica { shared, raft, machine_runs });
        if !self.admit(&replica) {
            replica.stop().await;
            return Err(Error::Stopped);
        }
        self.ran.lock().insert(group.0);
        self.failed.remove(group);
        let end = End {
            failed: Arc::clone(&self.failed),
            peers: Arc::clone(&self.peers),
            db: Arc::clone(&self.db),
        };
        tokio::spawn(Arc::clone(&replica).follow(Arc::clone(&self.suspects), end));
        Ok(replica)
    }

    /// Makes a replica known, unless the node stops: then nobody would stop this one.
    fn admit(&self, replica: &Arc<Replica>) -> bool {
        let mut replicas = self.replicas.write();
        if self.stopping.load(Ordering::Acquire) {
            return false;
        }
        replicas.insert(replica.shared.group.0, Arc::clone(replica));
        true
    }

    pub async fn close(self: &Arc<Self>, group: GroupId) {
        let replica = self.replicas.write().remove(&group.0);
        if let Some(replica) = replica {
            replica.stop().await;
        }
    }
}

impl Core {
    /// What this node tells its peers of its disk.
    pub fn condition(&self) -> Condition {
        Condition::from_bits(self.condition.load(Ordering::Relaxed))
    }

    pub fn set_condition(&self, stalled: bool) {
        let condition = Condition { low_space: self.db.low_on_space(), stalled };
        self.condition.store(condition.to_bits(), Ordering::Relaxed);
    }

    pub fn set_stalled_for(&self, longest: Duration) {
        let ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        self.stalled_ms.store(ms, Ordering::Relaxed);
    }

    /// What a node last said of its disk; nothing while it is not heard.
    pub fn condition_of(&self, id: u64) -> Condition {
        if id == self.id() {
            return self.condition();
        }
        match self.peers.get(id) {
            Some(peer) if peer.link().is_some() => peer.condition(),
            _ => Condition::default(),
        }
    }
}

/// A group nobody else may open, close or delete meanwhile.
pub(crate) struct Reserved {
    core: Arc<Core>,
    group: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.core.reserved.lock().remove(&self.group);
        self.core.released.notify_waiters();
    }
}

/// A number no other run of a node has: the hasher's keys are random per process and per call.
fn incarnation() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(process_id());
    hasher.finish().max(1)
}
