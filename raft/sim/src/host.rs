//! What runs on a simulated machine: a real node, its groups, and whoever calls their handles.
//!
//! The simulation runs between ticks and the node within them, so the two exchange messages through
//! a [`Desk`]: orders one way, answers the other. Every order is carried out in a task of its own,
//! as the broker above would, and dies with the machine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_raft::{
    Error, FailureConfig, Group, Node, NodeConfig, Outcome, ProposeError, TransportLimits,
};
use quorate_storage::{Db, GroupId, Options};
use tokio::sync::Notify;

use crate::ledger::{Done, Ledger};

/// Port nodes listen on.
const PORT: u16 = 7000;
/// Pause before a group that was still being deleted is opened again.
const OPEN_AGAIN: Duration = Duration::from_millis(20);

/// Something to be done on a node. `id` comes back with the answer.
#[derive(Debug, Clone)]
pub struct Order {
    pub id: u64,
    pub group: u64,
    pub what: What,
}

/// What is to be done with the group.
#[derive(Debug, Clone)]
pub enum What {
    Open {
        preferred: Vec<u64>,
    },
    Initialize {
        voters: BTreeSet<u64>,
    },
    Propose {
        payload: Bytes,
        fence: Option<u64>,
    },
    Read,
    Transfer {
        to: u64,
    },
    ChangeVoters {
        target: BTreeSet<u64>,
    },
    Delete,
    /// Stop the node in order.
    Stop,
}

/// How an order ended.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A proposal was applied here.
    Applied { done: Done, index: u64, term: u64 },
    /// A proposal may be in the log.
    Indeterminate,
    /// A proposal is not in the log; the leader may be this one.
    NotInLog { leader: Option<u64> },
    /// A linearizable read saw this.
    State { applied: Option<u64>, clients: BTreeMap<u64, Done> },
    /// Anything else worked.
    Ok,
    /// It did not; the leader may be this one.
    Failed { leader: Option<u64>, text: String },
}

/// Where the simulation and a node meet.
#[derive(Default)]
pub struct Desk {
    pub orders: Mutex<VecDeque<Order>>,
    pub wake: Notify,
    pub answers: Mutex<Vec<(u64, Answer)>>,
    pub running: Mutex<Option<Running>>,
}

/// A node that has started.
#[derive(Clone)]
pub struct Running {
    pub node: Arc<Node>,
    pub groups: BTreeMap<u64, Group<Ledger>>,
}

/// What a machine is and keeps.
#[derive(Clone)]
pub struct Home {
    pub id: u64,
    pub nodes: u64,
    pub path: PathBuf,
    /// The control that resumes old leaderships.
    pub restore: bool,
    /// The group whose first machine here decides otherwise.
    pub wrong: Arc<Mutex<Option<u64>>>,
    /// The failure detector's patience, which differs from run to run.
    pub dead_after: Duration,
    pub desk: Arc<Desk>,
    /// Groups to open at a start, with their preferred order.
    pub assigned: Arc<Mutex<BTreeMap<u64, Vec<u64>>>>,
}

/// Name of a machine in the simulated network.
pub fn name(id: u64) -> String {
    format!("node{id}")
}

fn directory(id: u64) -> u128 {
    u128::from(id) + 1000
}

fn config(home: &Home) -> NodeConfig {
    NodeConfig {
        node_id: home.id,
        cluster_id: 1,
        directory_id: directory(home.id),
        listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
        advertised: format!("{}:{PORT}", name(home.id)),
        stall: quorate_raft::StallConfig::default(),
        failure: FailureConfig {
            dead_after: home.dead_after,
            compare_every: Duration::from_secs(1),
            ..FailureConfig::default()
        },
        limits: TransportLimits::default(),
    }
}

/// Runs a node until its machine crashes or it is told to stop.
pub async fn run(home: Home) -> turmoil::Result {
    let db = Db::open(&home.path, Options::default())?;
    let node = Node::start(config(&home), Arc::clone(&db)).await?;
    for peer in (1..=home.nodes).filter(|peer| *peer != home.id) {
        node.set_peer(peer, &format!("{}:{PORT}", name(peer)), directory(peer));
    }
    let running = Running { node: Arc::clone(&node), groups: BTreeMap::new() };
    *home.desk.running.lock() = Some(running);
    let assigned = home.assigned.lock().clone();
    for (group, preferred) in assigned {
        open(&home, group, preferred).await?;
    }
    let mut failed = node.failed_groups();
    loop {
        let order = home.desk.orders.lock().pop_front();
        match order {
            None => tokio::select! {
                () = home.desk.wake.notified() => {}
                _ = failed.changed() => reopen(&home, &node, failed.borrow_and_update().keys()),
            },
            Some(Order { what: What::Stop, id, .. }) => {
                node.shutdown().await;
                db.close();
                *home.desk.running.lock() = None;
                home.desk.answers.lock().push((id, Answer::Ok));
                return Ok(());
            }
            Some(order) => {
                let home = home.clone();
                tokio::spawn(async move {
                    let answer = carry_out(&home, order.group, order.what).await;
                    home.desk.answers.lock().push((order.id, answer));
                });
            }
        }
    }
}

/// Opens groups again that ended by themselves, as a broker does.
fn reopen<'a>(home: &Home, node: &Arc<Node>, failed: impl Iterator<Item = &'a GroupId>) {
    for group in failed.copied() {
        if let Some(running) = &mut *home.desk.running.lock() {
            running.groups.remove(&group.0);
        }
        let preferred = home.assigned.lock().get(&group.0).cloned();
        let (home, node) = (home.clone(), Arc::clone(node));
        tokio::spawn(async move {
            node.close(group).await;
            // A replica that is not assigned any more is deleted by whoever took it away.
            if let Some(preferred) = preferred {
                tokio::time::sleep(OPEN_AGAIN).await;
                drop(open_again(&home, group.0, preferred).await);
            }
        });
    }
}

async fn open(home: &Home, group: u64, preferred: Vec<u64>) -> Result<(), Error> {
    let node = home.desk.running.lock().as_ref().map(|running| Arc::clone(&running.node));
    let node = node.ok_or(Error::Stopped)?;
    let wrong = home.wrong.lock().take_if(|wrong| *wrong == group).is_some();
    let machine = Ledger { wrong, ..Ledger::default() };
    let opened = node.open_with(GroupId(group), machine, preferred, home.restore).await?;
    if let Some(running) = &mut *home.desk.running.lock() {
        running.groups.insert(group, opened);
    }
    Ok(())
}

/// Opens a group that may still be on its way to be deleted.
async fn open_again(home: &Home, group: u64, preferred: Vec<u64>) -> Result<(), Error> {
    loop {
        let opened = open(home, group, preferred.clone()).await;
        let open = |running: &Running| running.groups.contains_key(&group);
        match opened {
            Err(Error::AlreadyOpen(_)) if home.desk.running.lock().as_ref().is_none_or(open) => {
                return Ok(());
            }
            Err(Error::AlreadyOpen(_)) => tokio::time::sleep(OPEN_AGAIN).await,
            opened => return opened,
        }
    }
}

async fn carry_out(home: &Home, id: u64, what: What) -> Answer {
    if let What::Open { preferred } = what {
        return open_again(home, id, preferred).await.map_or_else(failed, |()| Answer::Ok);
    }
    let Some(running) = home.desk.running.lock().clone() else { return failed(Error::Stopped) };
    let Some(group) = running.groups.get(&id) else {
        return failed(Error::NotOpen(GroupId(id)));
    };
    let done = match what {
        What::Propose { payload, fence } => return propose(group, payload, fence).await,
        What::Read => return read(group).await,
        What::Initialize { voters } => group.initialize(voters).await,
        What::Transfer { to } => group.transfer_leader(to).await,
        What::ChangeVoters { target } => group.change_voters(target).await,
        What::Delete => {
            if let Some(running) = &mut *home.desk.running.lock() {
                running.groups.remove(&id);
            }
            running.node.delete(GroupId(id)).await
        }
        What::Open { .. } | What::Stop => Ok(()),
    };
    done.map_or_else(failed, |()| Answer::Ok)
}

async fn propose(group: &Group<Ledger>, payload: Bytes, fence: Option<u64>) -> Answer {
    let pending = match group.propose(payload, fence).await {
        Ok(pending) => pending,
        Err(ProposeError::NotLeader { leader }) => return Answer::NotInLog { leader },
        Err(ProposeError::Busy | ProposeError::Closed) => {
            return Answer::NotInLog { leader: None };
        }
    };
    match pending.await {
        Outcome::Applied { reply, index, term } => Answer::Applied { done: reply, index, term },
        Outcome::Indeterminate => Answer::Indeterminate,
        Outcome::NotInLog => Answer::NotInLog { leader: None },
    }
}

async fn read(group: &Group<Ledger>) -> Answer {
    match group.read_barrier().await {
        Ok(()) => {
            let machine = group.machine();
            Answer::State { applied: machine.applied, clients: machine.clients.clone() }
        }
        Err(error) => failed(error),
    }
}

fn failed(error: Error) -> Answer {
    let leader = match &error {
        Error::NotLeader { leader } => *leader,
        _ => None,
    };
    Answer::Failed { leader, text: error.to_string() }
}
