//! The leader has its replicas' states compared.
//!
//! Replicas note hashes of their state at the same indexes (`divergence.rs`), so a comparison is one small question to
//! each member. What a quiet group wrote since the last such index is compared less often, at the index where all have
//! stopped. What comes of it is in `rebuild.rs`.
//!
//! Members say as well whether their log is damaged on disk: such a one can be rebuilt as one that is wrong, once all others
//! were found right.
//!
//! Only hashes of machines that write the same format are compared: the bytes of another release may differ, and what
//! they say be the same.

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
use crate::rebuild::{self, Findings};
use crate::replica::Replica;
use crate::states::LOOKS;
use crate::transport::message::request;

/// Groups compared at the same time.
const AT_ONCE: usize = 8;
/// Time a member has to answer.
const ASK: Duration = Duration::from_secs(2);
/// Most hashes in an answer.
const HASHES_MAX: u32 = 64;
/// Time for one group. Its own machine may be busy, or wait for the disk.
const COMPARE: Duration = Duration::from_secs(10);

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
            let leads = replica.shared.leads() && replica.shared.states.divergence().is_none();
            if leads
                && let Some(quiet) =
                    replica.shared.states.is_due(replica.shared.group.0, now, every)
            {
                due.push((replica, quiet));
            }
        }
        let compare = |(replica, quiet)| {
            let compared = timeout(COMPARE, compare(&core, replica, quiet));
            // One that took too long is due again.
            async { drop(compared.await) }
        };
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
    let is_new = *replica.shared.applied().borrow() > compared;
    if quiet && (is_new || is_anybody_damaged(core, &replica, &others).await) {
        let now = state_hash(&replica).await;
        at = now.map(|(index, _)| index);
        own.extend(now);
    }
    if own.is_empty() {
        return;
    }
    let view = replica.shared.view();
    let answers = ask_all(core, &replica, &others, at).await;
    let format = states.format.load(Ordering::Relaxed);
    let say = |says: &dyn Fn(&Answer) -> bool| -> BTreeSet<u64> {
        answers.iter().filter(|(_, answer)| says(answer)).map(|(id, _)| *id).collect()
    };
    let (diverged, damaged) = (say(&|it| it.diverged), say(&|it| it.damaged));
    for (index, hash) in own.into_iter().rev() {
        let mut hashes = BTreeMap::from([(replica.shared.me, hash)]);
        hashes.extend(at_index(&answers, index, format));
        let verdict = judge(&view.configs, &hashes);
        let group = replica.shared.group.0;
        tracing::debug!(
            group,
            index,
            ?hashes,
            ?diverged,
            ?damaged,
            ?verdict,
            "states of replicas compared"
        );
        let (mut wrong, right) = match verdict {
            Verdict::Unknown => continue,
            Verdict::NoMajority => {
                let others = hashes.into_keys().filter(|id| *id != replica.shared.me).collect();
                return rebuild::stop_group(core, &replica, index, others).await;
            }
            Verdict::Agreed => (BTreeSet::new(), hashes.keys().copied().collect()),
            Verdict::Wrong(wrong) => {
                let right = hashes.keys().copied().filter(|id| !wrong.contains(id)).collect();
                (wrong, right)
            }
        };
        wrong.extend(&diverged);
        if wrong.is_empty() && damaged.is_empty() {
            states.wrong.lock().clear();
            // Whoever is behind is asked again; who is away may come back with anything, and replays.
            if others.iter().all(|id| hashes.contains_key(id) || !core.alive(*id)) {
                states.compared.fetch_max(index, Ordering::Relaxed);
            }
            return;
        }
        return rebuild::act(core, &replica, Findings { index, wrong, damaged, right }).await;
    }
}

/// The hashes that count: of one index and one format, and of replicas that were not found wrong before. What such a one
/// holds now, say after a restart, proves nothing of what it served. One whose log is damaged has no say either.
fn at_index(answers: &[(u64, Answer)], index: u64, format: u32) -> BTreeMap<u64, u64> {
    let is_whole = |answer: &Answer| !answer.diverged && !answer.damaged;
    let counts = |answer: &Answer| answer.format == format && is_whole(answer);
    let hash = |(id, answer): &(u64, Answer)| {
        Some((*id, *answer.hashes.get(&index).filter(|_| counts(answer))?))
    };
    answers.iter().filter_map(hash).collect()
}

/// What a member answers; nothing, if it does not.
#[derive(Default)]
struct Answer {
    /// It was found wrong, and not rebuilt since.
    diverged: bool,
    /// Its log is damaged on disk.
    damaged: bool,
    /// See [`crate::Machine::FORMAT`].
    format: u32,
    hashes: BTreeMap<u64, u64>,
}

/// Whether a log was found damaged, where there is nothing to compare.
async fn is_anybody_damaged(core: &Core, replica: &Replica, others: &[u64]) -> bool {
    ask_all(core, replica, others, None).await.iter().any(|(_, answer)| answer.damaged)
}

async fn ask_all(
    core: &Core,
    replica: &Replica,
    others: &[u64],
    at: Option<u64>,
) -> Vec<(u64, Answer)> {
    futures::future::join_all(others.iter().map(|id| ask(core, replica, *id, at))).await
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
    let (diverged, damaged, format) = (input.flag()?, input.flag()?, input.u32()?);
    let count = input.count(HASHES_MAX)?;
    let hashes = (0..count).map(|_| Ok((input.u64()?, input.u64()?))).collect::<Result<_, _>>()?;
    input.end()?;
    Ok(Answer { diverged, damaged, format, hashes })
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
    let states = &replica.shared.states;
    out.u8(u8::from(matches!(states.divergence(), Some((Divergence::Wrong, _)))));
    out.u8(u8::from(replica.shared.log.corrupt().is_some()));
    out.u32(states.format.load(Ordering::Relaxed));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_states_of_one_format_and_of_replicas_in_service_are_compared() {
        let answer = |diverged, damaged, format| Answer {
            diverged,
            damaged,
            format,
            hashes: BTreeMap::from([(8, 80), (9, 90)]),
        };
        let answers = [
            (2, answer(false, false, 1)),
            (3, answer(false, false, 2)),
            (4, answer(true, false, 1)),
            (5, answer(false, true, 1)),
        ];
        assert_eq!(at_index(&answers, 9, 1), BTreeMap::from([(2, 90)]));
        assert_eq!(at_index(&answers, 9, 2), BTreeMap::from([(3, 90)]));
        assert_eq!(at_index(&answers, 7, 1), BTreeMap::new());
    }
}
