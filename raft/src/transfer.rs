//! Handing the leadership of a group to another voter, and taking it back where that fails.
//!
//! The core stops accepting proposals when a transfer starts and goes on doing so for as long as it leads,
//! whether or not anybody takes over; it also starts no election while it leads. So the one chosen is
//! asked first whether it would lead, and a transfer that nobody completed is ended here: this node gives
//! its term up and campaigns for a new one at once.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::{TransferLeaderRequest, VoteRequest};
use tokio::time::{Instant, sleep, timeout};

use crate::core::Core;
use crate::error::Error;
use crate::progress::{CLOSE_ENTRIES, LOOK, lag, leading};
use crate::replica::Replica;
use crate::transport::message::request;
use crate::types::{Vote, log_id};
use crate::views::{Question, decode_views, encode_questions};

/// Time a transfer target has to receive the last entries.
const CATCH_UP: Duration = Duration::from_secs(1);
/// Time it has to say whether it would lead.
const ASK: Duration = Duration::from_millis(500);
/// Time it has to take over, per attempt.
const TAKE_OVER: Duration = Duration::from_millis(700);
/// Attempts at one target: the first may meet a follower that has not flushed the last entry yet.
const ATTEMPTS: usize = 2;

/// Voters that could lead, best first: those that are alive, in the preferred order, those that
/// have caught up before the others.
pub(crate) fn heirs(core: &Core, replica: &Replica, wanted: impl Fn(u64) -> bool) -> Vec<u64> {
    let metrics = replica.metrics();
    let place = |id: u64| {
        let preferred = &replica.shared.options.preferred;
        preferred.iter().position(|other| *other == id).unwrap_or(preferred.len())
    };
    let mut heirs: Vec<u64> = metrics
        .membership_config
        .membership()
        .voter_ids()
        .filter(|id| *id != core.id() && wanted(*id) && core.alive(*id))
        .collect();
    heirs.sort_by_key(|id| (lag(&metrics, *id) > CLOSE_ENTRIES, place(*id), *id));
    heirs
}

/// Gives the leadership away, if somebody can take it.
pub(crate) async fn hand_over(core: &Arc<Core>, replica: &Arc<Replica>) {
    for heir in heirs(core, replica, |_| true) {
        match transfer(core, replica, heir).await {
            Ok(()) | Err(Error::NotLeader { .. } | Error::Stopped) => return,
            Err(error) => {
                tracing::debug!(group = replica.shared.group.0, heir, %error, "not handed over");
            }
        }
    }
}

/// Makes `to` the leader, if it could lead and would.
pub(crate) async fn transfer(core: &Core, replica: &Arc<Replica>, to: u64) -> Result<(), Error> {
    let metrics = leading(replica)?;
    if to == core.id() {
        return Ok(());
    }
    if !metrics.membership_config.membership().voter_ids().any(|id| id == to) {
        return Err(Error::Refused(format!("node {to} has no vote in the group")));
    }
    if !core.alive(to) {
        return Err(Error::Refused(format!("node {to} is not alive")));
    }
    let deadline = Instant::now() + CATCH_UP;
    let mut changes = replica.raft.metrics();
    while lag(&leading(replica)?, to) > CLOSE_ENTRIES {
        if Instant::now() >= deadline {
            return Err(Error::Refused(format!("node {to} is too far behind")));
        }
        drop(timeout(LOOK, changes.changed()).await);
    }
    ask(core, replica, to).await?;
    hand_to(replica, to).await
}

/// Asks a node whether it would lead the group. Trying without would stop the group's writes.
async fn ask(core: &Core, replica: &Replica, to: u64) -> Result<(), Error> {
    let question = Question { group: replica.shared.group.0, suspect: 0 };
    let refused = |why: &str| Err(Error::Refused(format!("node {to} {why}")));
    let Some(peer) = core.peers.get(to) else { return refused("is unknown") };
    let asked = peer.request(request::VIEWS, 0, vec![encode_questions(&[question])]);
    let Ok(Ok(answer)) = timeout(ASK, asked).await else { return refused("does not answer") };
    let views = decode_views(answer).unwrap_or_default();
    match views.first() {
        Some(Some(view)) if view.willing => Ok(()),
        Some(Some(_)) => refused("should not lead now"),
        _ => refused("does not run the group"),
    }
}

/// Starts the transfer and sees it through, also if the caller gives up waiting.
pub(crate) async fn hand_to(replica: &Arc<Replica>, to: u64) -> Result<(), Error> {
    let transferring = tokio::spawn(see_through(Arc::clone(replica), to));
    transferring.await.unwrap_or(Err(Error::Stopped))
}

async fn see_through(replica: Arc<Replica>, to: u64) -> Result<(), Error> {
    let term = leading(&replica)?.current_term;
    for attempt in 0..ATTEMPTS {
        if replica.raft.trigger().transfer_leader(to).await.is_err() {
            return Err(Error::Stopped);
        }
        if let Some(leader) = successor(&replica, term).await {
            return if leader == to {
                Ok(())
            } else {
                Err(Error::NotLeader { leader: Some(leader) })
            };
        }
        tracing::debug!(group = replica.shared.group.0, to, attempt, "did not take over");
    }
    if replica.shared.may_lead() {
        reclaim(&replica, term, to).await?;
    }
    Err(Error::Timeout("another node to take over"))
}

/// Ends a transfer to `to` that came to nothing: the leader gives its term up and campaigns for a new one.
async fn reclaim(replica: &Replica, term: u64, to: u64) -> Result<(), Error> {
    tracing::info!(
        group = replica.shared.group.0,
        term,
        "nobody took over, this node campaigns again"
    );
    while let Err(Error::Refused(_)) = campaign_anew(replica, term, to).await {
        leading(replica)?;
        sleep(LOOK).await;
    }
    // If it is not elected the group is one without a leader, which `elections.rs` looks after.
    successor(replica, term).await;
    Ok(())
}

/// Campaigns where this node's own leadership of `term` is in the way: a present one, or one found on the disk, whose
/// vote the core does not keep as it was and thus takes no campaign from. A vote in the next term for any other voter,
/// who did not ask and is not told, ends either (Raft § 5.1: only the newest term counts). From there this node
/// campaigns for the term after that, as a transfer does, so that the others grant it in spite of the lease.
///
/// [`Error::Refused`] if the log just grew, in which case nothing has changed.
pub(crate) async fn campaign_anew(replica: &Replica, term: u64, other: u64) -> Result<(), Error> {
    let shared = &replica.shared;
    let vote = Vote::new(term + 1, other);
    let mut request = VoteRequest::new(vote, shared.log.state().last.map(log_id));
    request.leadership_transfer = true;
    let answer = replica.raft.vote(request).await.map_err(|_| Error::Stopped)?;
    if !answer.vote_granted {
        return Err(Error::Refused("the log grew, or there is a newer term".to_owned()));
    }
    let campaign = TransferLeaderRequest::new(vote, shared.me, None);
    match replica.raft.handle_transfer_leader(campaign).await {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::Stopped),
    }
}

/// The leader of a later term, if there is one soon.
async fn successor(replica: &Replica, term: u64) -> Option<u64> {
    let mut leadership = replica.shared.leadership();
    let found = leadership.wait_for(|now| now.term > term && now.leader.is_some());
    match timeout(TAKE_OVER, found).await {
        Ok(Ok(now)) => now.leader,
        _ => None,
    }
}
