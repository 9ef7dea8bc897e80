//! Changing who replicates a group.
//!
//! Every function here looks at the present state and does what is missing, so it does not matter
//! how far an earlier call got before the leader crashed or lost its office: the next leader calls
//! again. A change of voters goes through a joint configuration (Raft § 6), and new voters have the
//! log before they get a vote, because a voter that must first be sent a large log would stall the
//! group as soon as an old one fails.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use tokio::time::{Instant, sleep, timeout};

use crate::core::Core;
use crate::error::Error;
use crate::progress::{CLOSE_ENTRIES, LOOK, Metrics, lag, leading, matched, not_leader};
use crate::replica::Replica;
use crate::transfer::{heirs, transfer};

/// Time for one membership entry to commit.
const COMMIT: Duration = Duration::from_secs(10);
/// Time new voters may go without receiving anything before the change is left for later. They go on receiving
/// as learners, so the next attempt finds them further on.
const STALLED: Duration = Duration::from_secs(10);

/// Commits one membership change. The core refuses a second one while the first is under way; that
/// and a lost race are reported as a timeout, because calling again is the answer to both.
async fn commit(
    replica: &Replica,
    change: ChangeMembers<u64, ()>,
    retain: bool,
) -> Result<(), Error> {
    let changed = timeout(COMMIT, replica.raft.change_membership(change, retain)).await;
    match changed.map_err(|_| Error::Timeout("a membership change to commit"))? {
        Ok(_) => Ok(()),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Err(not_leader(replica)),
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_),
        ))) => Err(Error::Timeout("an earlier membership change to commit")),
        Err(RaftError::APIError(error)) => Err(Error::Refused(error.to_string())),
        Err(RaftError::Fatal(_)) => Err(Error::Stopped),
    }
}

/// [`commit`], waiting for an earlier change to commit first.
async fn commit_next(
    replica: &Replica,
    change: ChangeMembers<u64, ()>,
    retain: bool,
) -> Result<(), Error> {
    let deadline = Instant::now() + COMMIT;
    loop {
        match commit(replica, change.clone(), retain).await {
            Err(Error::Timeout(_)) if Instant::now() < deadline => sleep(LOOK / 4).await,
            done => return done,
        }
        leading(replica)?;
    }
}

pub(crate) async fn add_learner(replica: &Replica, id: u64) -> Result<(), Error> {
    let metrics = leading(replica)?;
    if metrics.membership_config.membership().get_node(&id).is_some() {
        return Ok(());
    }
    commit_next(replica, ChangeMembers::AddNodes([(id, ())].into()), true).await
}

pub(crate) async fn remove_learner(replica: &Replica, id: u64) -> Result<(), Error> {
    let metrics = leading(replica)?;
    let members = metrics.membership_config.membership();
    if members.get_node(&id).is_none() {
        return Ok(());
    }
    if members.voter_ids().any(|voter| voter == id) {
        return Err(Error::Refused(format!("node {id} is a voter")));
    }
    commit_next(replica, ChangeMembers::RemoveNodes(BTreeSet::from([id])), true).await
}

pub(crate) async fn change_voters(
    core: &Core,
    replica: &Arc<Replica>,
    target: BTreeSet<u64>,
) -> Result<(), Error> {
    if target.is_empty() {
        return Err(Error::Refused("a group needs at least one voter".into()));
    }
    finish_joint(core, replica).await?;
    for id in &target {
        add_learner(replica, *id).await?;
    }
    caught_up(core, replica, &target).await?;
    if !target.contains(&core.id()) {
        return leave(core, replica, target).await;
    }
    if configs(&leading(replica)?) != [target.clone()] {
        commit_next(replica, ChangeMembers::ReplaceAllVoters(target.clone()), false).await?;
        tracing::info!(group = replica.shared.group.0, voters = ?target, "voters changed");
    }
    drop_others(replica, &target).await
}

/// The leader is to go: the others become voters first, then one of them takes over and is asked to
/// do the rest. So the group is never without a leader.
async fn leave(core: &Core, replica: &Arc<Replica>, target: BTreeSet<u64>) -> Result<(), Error> {
    let with_me: BTreeSet<u64> = target.iter().copied().chain([core.id()]).collect();
    if configs(&leading(replica)?) != [with_me.clone()] {
        commit_next(replica, ChangeMembers::ReplaceAllVoters(with_me), false).await?;
    }
    hand_on(core, replica, &target).await
}

fn configs(metrics: &Metrics) -> Vec<BTreeSet<u64>> {
    metrics.membership_config.membership().get_joint_config().clone()
}

/// Completes a change that was interrupted between its two phases. The leader may have no vote in
/// the second; then somebody who has one does it. Were it to write that phase and stop before
/// anybody else has it, nobody could be elected any more: the only complete log would be that of a
/// node without a vote.
async fn finish_joint(core: &Core, replica: &Arc<Replica>) -> Result<(), Error> {
    let configs = configs(&leading(replica)?);
    match &configs[..] {
        [_, .., last] if last.contains(&core.id()) => {
            commit_next(replica, ChangeMembers::ReplaceAllVoters(last.clone()), false).await
        }
        [_, .., last] => hand_on(core, replica, last).await,
        _ => Ok(()),
    }
}

/// One of the nodes takes over and is asked to go on, which is what the error says.
async fn hand_on(core: &Core, replica: &Arc<Replica>, to: &BTreeSet<u64>) -> Result<(), Error> {
    let heir = heirs(core, replica, |id| to.contains(&id)).first().copied();
    let heir = heir.ok_or_else(|| Error::Refused("none of the new voters is alive".into()))?;
    transfer(core, replica, heir).await?;
    Err(Error::NotLeader { leader: Some(heir) })
}

/// Waits until the new voters have the log, and a majority of all that are to stay: from the first phase on nobody is
/// elected without them.
async fn caught_up(core: &Core, replica: &Replica, target: &BTreeSet<u64>) -> Result<(), Error> {
    let mut changes = replica.raft.metrics();
    let (mut seen, mut since) = (Vec::new(), Instant::now());
    loop {
        let metrics = leading(replica)?;
        let voters: BTreeSet<u64> = metrics.membership_config.membership().voter_ids().collect();
        // What is wrong is rebuilt, for which the voters that there are must be a majority without it.
        let wrong = replica.shared.states.wrong.lock().clone();
        let close = |id: &u64| {
            let near = core.alive(*id) && lag(&metrics, *id) <= CLOSE_ENTRIES;
            *id == core.id() || (near && !wrong.contains(id))
        };
        let majority = target.iter().filter(|id| close(id)).count() > target.len() / 2;
        let has_to = |id: &u64| !(majority && voters.contains(id));
        let behind = target.iter().copied().filter(|id| has_to(id) && !close(id));
        let behind: Vec<_> = behind.map(|id| (id, matched(&metrics, id))).collect();
        if behind.is_empty() {
            return Ok(());
        }
        if behind != seen {
            (seen, since) = (behind, Instant::now());
        } else if since.elapsed() >= STALLED {
            return Err(Error::Timeout("a majority of the new voters to receive the log"));
        }
        // Progress of followers is reported with other changes of the leader, if there are any.
        drop(timeout(LOOK, changes.changed()).await);
    }
}

/// Removes learners that are not among the voters any more, or never became one.
async fn drop_others(replica: &Replica, target: &BTreeSet<u64>) -> Result<(), Error> {
    if replica.shared.options.keep_learners {
        return Ok(());
    }
    let metrics = leading(replica)?;
    let others: BTreeSet<u64> = metrics
        .membership_config
        .membership()
        .learner_ids()
        .filter(|id| !target.contains(id))
        .collect();
    if others.is_empty() {
        Ok(())
    } else {
        commit_next(replica, ChangeMembers::RemoveNodes(others), true).await
    }
}
