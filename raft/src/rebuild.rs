//! What becomes of a replica whose state is not that of the others, or whose log is damaged on disk.
//!
//! ```text
//!  leader                        wrong replica
//!    │── wrong ──────────────────────▶│  neither leads nor serves; votes and takes entries: its log is right
//!    │                                │  (on disk, so a restart does not forget it)
//!    │── begin anew ─────────────────▶│  stops: what it has grows no more
//!    │◀──────── may I erase up to n? ─│
//!    │── yes: all others have n ─────▶│  is erased (`erase.rs`) in the same run, but for its promises, and opened
//!    │                                │  again by its owner: a snapshot and the log behind it, as any new replica
//! ```
//!
//! One with a damaged log stopped leading and serving by itself (`Shared::may_lead`), so it is told only to begin anew.
//!
//! So nothing is erased that any other voter lacks, and nothing by a permission of long ago. One replica at a time, and
//! only while every other voter is alive and was found right in the same comparison. A leader that finds itself wrong
//! hands over, and its successor finds the same. Where no majority agrees nobody is right: the group stops until its
//! brokers restart, and nothing is erased.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use crate::codec::{Get, Put};
use crate::core::Core;
use crate::divergence::Divergence;
use crate::error::DecodeError;
use crate::progress::matched_id;
use crate::replica::Replica;
use crate::states;
use crate::transfer;
use crate::transport::message::request;
use crate::types::{LogId, log_id};

/// Time a member has to answer.
const ASK: Duration = Duration::from_secs(2);

/// What a comparison found.
pub(crate) struct Findings {
    /// The index of which the states were compared.
    pub index: u64,
    pub wrong: BTreeSet<u64>,
    /// Whose log is damaged.
    pub damaged: BTreeSet<u64>,
    /// Who was found to hold what a majority holds, this node among them unless it is wrong.
    pub right: BTreeSet<u64>,
}

/// Tells wrong replicas that they are; one of them to begin anew, if all others are right and have what it has.
pub(crate) async fn act(core: &Arc<Core>, replica: &Arc<Replica>, found: Findings) {
    if found.wrong.contains(&replica.shared.me) {
        // Somebody else has to say that it may begin anew.
        return quarantine(core, replica, Divergence::Wrong, found.index).await;
    }
    replica.shared.states.wrong.lock().clone_from(&found.wrong);
    let voters = replica.shared.view().voters();
    let unfit: BTreeSet<u64> = found.wrong.union(&found.damaged).copied().collect();
    let calm = voters.difference(&unfit).all(|id| found.right.contains(id));
    let majority = replica.shared.is_quorum(|id| found.right.contains(&id));
    for (place, id) in unfit.iter().enumerate() {
        let has = matched_id(&replica.metrics(), *id);
        let rebuilt = place == 0 && calm && majority && others_have(core, replica, *id, has);
        // Those after the first must not take its leave to be erased back: it asks for that when it has stopped.
        if place == 0 {
            *replica.shared.states.rebuilding.lock() = rebuilt.then_some(*id);
        }
        if rebuilt {
            notify(core, replica, *id, Divergence::Rebuilt, found.index).await;
        } else if found.wrong.contains(id) {
            notify(core, replica, *id, Divergence::Wrong, found.index).await;
        }
    }
}

/// Without a majority that agrees everybody stops.
pub(crate) async fn stop_group(
    core: &Arc<Core>,
    replica: &Arc<Replica>,
    index: u64,
    others: BTreeSet<u64>,
) {
    for id in others {
        notify(core, replica, id, Divergence::NoMajority, index).await;
    }
    quarantine(core, replica, Divergence::NoMajority, index).await;
}

/// Whether every voter but `id` is alive and has all entries up to `last`.
fn others_have(core: &Core, replica: &Replica, id: u64, last: Option<LogId>) -> bool {
    let metrics = replica.metrics();
    let own = replica.shared.log.state().last.map(log_id);
    replica.shared.view().voters().into_iter().filter(|voter| *voter != id).all(|voter| {
        if voter == replica.shared.me {
            return own >= last;
        }
        core.alive(voter) && matched_id(&metrics, voter) >= last
    })
}

async fn notify(core: &Core, replica: &Replica, id: u64, what: Divergence, index: u64) {
    let mut body = BytesMut::new();
    body.u8(what.code());
    body.u64(replica.shared.view().vote.leader_id.term);
    body.u64(index);
    let group = replica.shared.group.0;
    let Some(peer) = core.peers.get(id) else { return };
    let answer = timeout(ASK, peer.request(request::DIVERGED, group, vec![body.freeze()])).await;
    let heard = matches!(answer, Ok(Ok(_)));
    tracing::warn!(group, node = id, index, ?what, heard, "a replica differs or is damaged");
}

/// Takes the word of the leader that this replica's state is not the others'.
pub(crate) async fn notified(
    core: &Arc<Core>,
    replica: &Arc<Replica>,
    from: u64,
    body: Bytes,
) -> Result<(), DecodeError> {
    let mut input = Get::new(body);
    let what = Divergence::from_code(input.u8()?);
    let what = what.ok_or_else(|| DecodeError("no divergence".into()))?;
    let (term, index) = (input.u64()?, input.u64()?);
    input.end()?;
    let shared = &replica.shared;
    let of_now = shared.view().vote.leader_id.term == term;
    if !of_now || shared.leader() != Some(from) || shared.leads() {
        return Err(DecodeError("only the leader of this term says who is wrong".into()));
    }
    quarantine(core, replica, what, index).await;
    Ok(())
}

/// Ends what a replica may not do with a state that differs.
async fn quarantine(core: &Arc<Core>, replica: &Arc<Replica>, what: Divergence, index: u64) {
    let shared = &replica.shared;
    let _one_at_a_time = shared.states.order.lock().await;
    let before = shared.states.divergence().map(|(known, _)| known);
    if before == Some(what) || before == Some(Divergence::Rebuilt) || shared.closing() {
        return;
    }
    let group = shared.group.0;
    if what == Divergence::Rebuilt {
        tracing::warn!(group, index, "this replica is rebuilt from the others");
    } else {
        tracing::error!(group, index, ?what, "the state of this replica is not that of the others");
    }
    shared.states.set(Some((what, index)));
    if what != Divergence::NoMajority && before != Some(Divergence::Wrong) {
        let put = states::note(index);
        // A store that is closed has nobody to serve either.
        drop(shared.log.write_state(vec![put], Vec::new()).await);
    }
    replica.raft.runtime_config().elect(false);
    shared.refresh_ready();
    match what {
        // `Replica::follow` goes on from here.
        Divergence::Rebuilt => drop(replica.raft.shutdown().await),
        Divergence::Wrong if shared.leads() => {
            let (core, replica) = (Arc::clone(core), Arc::clone(replica));
            tokio::spawn(async move { transfer::hand_over(&core, &replica).await });
        }
        _ => {}
    }
}

/// Answers a replica that would be erased.
pub(crate) fn may_erase(
    core: &Core,
    replica: &Replica,
    from: u64,
    body: Bytes,
) -> Result<Bytes, DecodeError> {
    let mut input = Get::new(body);
    let last = input.opt_log_id()?;
    input.end()?;
    let states = &replica.shared.states;
    let asked_to = *states.rebuilding.lock() == Some(from) && states.divergence().is_none();
    let may = asked_to && replica.shared.leads() && others_have(core, replica, from, last);
    Ok(Bytes::from_static(if may { &[1] } else { &[0] }))
}
