//! The leader has its replicas' states compared, and whoever is wrong stops serving and is rebuilt.
//!
//! Replicas note hashes of their state at the same indexes (`divergence.rs`), so a comparison is one small question to
//! each member. What a quiet group wrote since the last such index is compared less often, at the index where all have stopped.
//!
//! A wrong replica keeps its log, which is right, votes and takes entries, and neither leads nor serves; a leader that
//! finds itself wrong hands over, and its successor finds the same. The leader then has one at a time rebuilt, while all
//! others that vote are current: the replica ends, and whoever opens it again finds that it is to begin with nothing
//! but its promises (`promise.rs`). It is sent a snapshot and the log behind it, as any new replica.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::codec::{Get, Put};
use crate::core::Core;
use crate::divergence::{Divergence, Verdict, judge};
use crate::error::DecodeError;
use crate::progress::{CLOSE_ENTRIES, lag};
use crate::replica::Replica;
use crate::states::{self, LOOKS};
use crate::transfer;
use crate::transport::message::request;

/// Groups compared at the same time.
const AT_ONCE: usize = 8;
/// Time a member has to answer.
const ASK: Duration = Duration::from_secs(2);
/// Most hashes in an answer.
const HASHES_MAX: u32 = 64;

/// Compares the groups that this node leads until it stops.
pub(crate) async fn run(core: Arc<Core>) {
    let every = core.config.failure.compare_every;
    let mut looks = interval(every / LOOKS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let now = Instant::now();
        let mut due = Vec::new();
        for replica in core.replicas() {
            let leads = replica.shared.leads() && replica.shared.states.told().is_none();
            if leads
                && let Some(quiet) =
                    replica.shared.states.is_due(replica.shared.group.0, now, every)
            {
                due.push((replica, quiet));
            }
        }
        let compare = |(replica, quiet)| compare(&core, replica, quiet);
        stream::iter(due).for_each_concurrent(AT_ONCE, compare).await;
    }
}

/// Compares the states of one group's members, if there is anything new.
async fn compare(core: &Arc<Core>, replica: Arc<Replica>, quiet: bool) {
    let states = &replica.shared.states;
    let others = replica.shared.members().into_iter().filter(|id| *id != replica.shared.me);
    let others: Vec<u64> = others.collect();
    if others.is_empty() {
        return;
    }
    let compared = states.compared.load(Ordering::Relaxed);
    let mut own: BTreeMap<u64, u64> = states.hashes.lock().all().collect();
    own.retain(|index, _| *index > compared);
    let mut at = None;
    if own.is_empty() && quiet && *replica.shared.applied().borrow() > compared {
        let now = state_hash(&replica).await;
        at = now.map(|(index, _)| index);
        own.extend(now);
    }
    if own.is_empty() {
        return;
    }
    let view = replica.shared.view();
    let answers = others.into_iter().map(|id| ask(core, &replica, id, at));
    let answers: Vec<(u64, Answer)> = futures::future::join_all(answers).await;
    let told: BTreeSet<u64> =
        answers.iter().filter(|(_, answer)| answer.told).map(|(id, _)| *id).collect();
    for (index, hash) in own.into_iter().rev() {
        let mut hashes = BTreeMap::from([(replica.shared.me, hash)]);
        let of_index = |(id, answer): &(u64, Answer)| Some((*id, *answer.hashes.get(&index)?));
        hashes.extend(answers.iter().filter_map(of_index));
        match judge(&view.configs, &hashes) {
            Verdict::Unknown => continue,
            // One that agrees again, say because it has restarted, serves no sooner than it is rebuilt.
            Verdict::Agreed if !told.is_empty() => accuse(core, &replica, index, &told).await,
            Verdict::Agreed => drop(states.compared.fetch_max(index, Ordering::Relaxed)),
            Verdict::Wrong(mut wrong) => {
                wrong.extend(told);
                accuse(core, &replica, index, &wrong).await;
            }
            Verdict::NoMajority => {
                for id in hashes.into_keys().filter(|id| *id != replica.shared.me) {
                    tell(core, &replica, id, Divergence::NoMajority, index).await;
                }
                mark(core, &replica, Divergence::NoMajority, index).await;
            }
        }
        return;
    }
}

/// Tells wrong replicas that they are; one of them to begin anew, if all others are current.
async fn accuse(core: &Arc<Core>, replica: &Arc<Replica>, index: u64, wrong: &BTreeSet<u64>) {
    if wrong.contains(&replica.shared.me) {
        // Somebody else has to say that it may begin anew.
        return mark(core, replica, Divergence::Wrong, index).await;
    }
    let metrics = replica.metrics();
    let current = |id: &u64| {
        *id == replica.shared.me || (core.alive(*id) && lag(&metrics, *id) <= CLOSE_ENTRIES)
    };
    let rest = replica.shared.view().voters();
    let calm = rest.difference(wrong).all(current);
    let majority = replica.shared.is_quorum(|id| !wrong.contains(&id) && current(&id));
    for (place, id) in wrong.iter().enumerate() {
        let rebuilt = place == 0 && calm && majority;
        let what = if rebuilt { Divergence::Rebuilt } else { Divergence::Wrong };
        tell(core, replica, *id, what, index).await;
    }
}

/// What a member answers; nothing, if it does not.
#[derive(Default)]
struct Answer {
    /// It was told that it is wrong, and not rebuilt since.
    told: bool,
    hashes: BTreeMap<u64, u64>,
}

async fn ask(core: &Core, replica: &Replica, id: u64, at: Option<u64>) -> (u64, Answer) {
    let mut body = BytesMut::new();
    body.u64(at.unwrap_or(u64::MAX));
    let body = vec![body.freeze()];
    let group = replica.shared.group.0;
    let Some(peer) = core.peers.get(id) else { return (id, Answer::default()) };
    let answer = timeout(ASK, peer.request(request::STATE_HASHES, group, body)).await;
    let answer = answer.ok().and_then(Result::ok);
    (id, answer.and_then(|answer| read_answer(answer).ok()).unwrap_or_default())
}

fn read_answer(body: Bytes) -> Result<Answer, DecodeError> {
    let mut input = Get::new(body);
    let told = input.flag()?;
    let count = input.count(HASHES_MAX)?;
    let hashes = (0..count).map(|_| Ok((input.u64()?, input.u64()?))).collect::<Result<_, _>>()?;
    input.end()?;
    Ok(Answer { told, hashes })
}

/// Answers with the hashes this replica noted, and that of its present state if it is the one asked for.
pub(crate) async fn answer(replica: &Replica, body: Bytes) -> Result<Bytes, DecodeError> {
    let mut input = Get::new(body);
    let at = input.u64()?;
    input.end()?;
    let mut hashes: BTreeMap<u64, u64> = replica.shared.states.hashes.lock().all().collect();
    let applied = *replica.shared.applied().borrow();
    if applied == at
        && let Some((index, hash)) = state_hash(replica).await
    {
        hashes.insert(index, hash);
    }
    let mut out = BytesMut::new();
    let told = replica.shared.states.told();
    out.u8(u8::from(matches!(told, Some((Divergence::Wrong, _)))));
    out.u32(hashes.len() as u32);
    for (index, hash) in hashes {
        out.u64(index);
        out.u64(hash);
    }
    Ok(out.freeze())
}

/// The hash of a replica's present state, and the index it is of.
async fn state_hash(replica: &Replica) -> Option<(u64, u64)> {
    let (tell, told) = oneshot::channel();
    let asked = replica.raft.external_state_machine_request(|machine| {
        let hash = machine.state_hash();
        Box::pin(async move {
            // Whoever asked may have given up.
            let _ = tell.send(hash);
        })
    });
    asked.await.ok()?;
    told.await.ok()?
}

async fn tell(core: &Core, replica: &Replica, id: u64, what: Divergence, index: u64) {
    let mut body = BytesMut::new();
    body.u8(what.code());
    body.u64(index);
    let group = replica.shared.group.0;
    let Some(peer) = core.peers.get(id) else { return };
    let told = timeout(ASK, peer.request(request::DIVERGED, group, vec![body.freeze()])).await;
    tracing::warn!(
        group,
        node = id,
        index,
        ?what,
        heard = matches!(told, Ok(Ok(_))),
        "states differ"
    );
}

/// Takes the word of the leader that this replica's state is not the others'.
pub(crate) async fn hear(
    core: &Arc<Core>,
    replica: &Arc<Replica>,
    from: u64,
    body: Bytes,
) -> Result<(), DecodeError> {
    let mut input = Get::new(body);
    let what = Divergence::from_code(input.u8()?);
    let what = what.ok_or_else(|| DecodeError("no divergence".into()))?;
    let index = input.u64()?;
    input.end()?;
    if replica.shared.leader() != Some(from) || replica.shared.leads() {
        return Err(DecodeError("only the leader says who is wrong".into()));
    }
    mark(core, replica, what, index).await;
    Ok(())
}

/// Ends what a replica may not do with a state that differs.
async fn mark(core: &Arc<Core>, replica: &Arc<Replica>, what: Divergence, index: u64) {
    let shared = &replica.shared;
    let before = shared.states.told();
    if before.is_some_and(|(known, _)| known == what || known == Divergence::Rebuilt) {
        return;
    }
    let group = shared.group.0;
    tracing::error!(group, index, ?what, "the state of this replica is not that of the others");
    shared.states.set(Some((what, index)));
    if what != Divergence::NoMajority {
        let put = states::note(what, index);
        // A store that is closed has nobody to serve either.
        drop(shared.log.write_state(vec![put], Vec::new()).await);
    }
    replica.raft.runtime_config().elect(false);
    shared.refresh_ready();
    match what {
        // `Replica::follow` reports the group as failed, and its owner opens it again.
        Divergence::Rebuilt => drop(replica.raft.shutdown().await),
        Divergence::Wrong if shared.leads() => {
            let (core, replica) = (Arc::clone(core), Arc::clone(replica));
            tokio::spawn(async move { transfer::hand_over(&core, &replica).await });
        }
        _ => {}
    }
}
