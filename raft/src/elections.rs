//! Finding new leaders.
//!
//! Election timeouts are long here, so somebody else has to act when a leader is gone. A group is
//! *suspected* when it has no known leader, when the node of its leader died, or when its leader is
//! known only from the disk. One task per node looks after all suspected groups, level-triggered: it
//! asks the other voters for their views, batched per peer, and decides for each group from scratch:
//!
//! - somebody leads: the suspicion is dropped;
//! - the leader says itself that it does not lead, or a majority of voters does not reach it, and a
//!   majority of voters answers: of the answering voters that are willing to lead (`drain.rs`) the one
//!   with the longest log campaigns, ties broken by the preferred order; the next one follows after a
//!   pause if that did not help, the unwilling last;
//! - anything else: look again later.
//!
//! ```text
//!  node dead ──▶ its groups are suspected ──▶ views of the other voters ──┬─▶ somebody leads: dropped
//!                        ▲                                                ├─▶ no majority answers: again later
//!                        │ the next rank, after a pause                   └─▶ longest log campaigns ──▶ leads
//!                        └───────────────────────────────────────────────────── not elected
//! ```
//!
//! The campaign is the one of a leadership transfer, which voters grant although the old leader's
//! lease has not run out. It is an ordinary vote otherwise, so it is safe whatever the views said.
//! What it may cost is the lease, which is why nothing here reads under a lease.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use openraft::ServerState;
use openraft::raft::TransferLeaderRequest;
use quorate_storage::GroupId;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};

use crate::core::Core;
use crate::replica::Replica;
use crate::shared::View;
use crate::transfer::campaign_anew;
use crate::transport::message::request;
use crate::types::log_id;
use crate::views::{MemberView, Question, VIEWS_MAX, decode_views, encode_questions};

/// Time a voter has to tell its view.
const VIEW_TIMEOUT: Duration = Duration::from_millis(300);
/// Pause between the campaigns of two ranks, when there are few.
const RANK_PAUSE: Duration = Duration::from_millis(150);
/// Added to every pause per suspected group, up to the longest: a thousand campaigns take longer than
/// one, and a rank that does not wait for them only raises the terms of elections under way.
const CROWD_PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));
/// First and longest pause until a suspected group is looked at again.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Time another candidate has before it is joined by this node.
const OTHERS_TURN: Duration = Duration::from_millis(100);
/// Time a campaign has to be decided before the group is looked at again.
const CAMPAIGN: Duration = Duration::from_millis(250);
/// Campaigns under way at the same time; each is a vote on disk and a round of messages.
const CAMPAIGNS: usize = 64;

/// A suspected group.
struct Suspicion {
    since: Instant,
    due: Instant,
    pause: Duration,
}

impl Suspicion {
    fn new(due: Instant) -> Self {
        Self { since: Instant::now(), due, pause: LOOK_AGAIN.0 }
    }

    fn look_again(&mut self) {
        self.due = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LOOK_AGAIN.1);
    }
}

/// Looks after suspected groups until the node stops.
pub(crate) async fn run(core: Arc<Core>) {
    let mut suspected: HashMap<GroupId, Suspicion> = HashMap::new();
    let campaigns = Arc::new(Semaphore::new(CAMPAIGNS));
    loop {
        let next = suspected.values().map(|suspicion| suspicion.due).min();
        tokio::select! {
            () = core.suspects.changed() => {}
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
        take_news(&core, &mut suspected);
        let now = Instant::now();
        let due: Vec<GroupId> =
            suspected.iter().filter(|(_, s)| s.due <= now).map(|(group, _)| *group).collect();
        for groups in due.chunks(VIEWS_MAX) {
            look(&core, groups, &mut suspected, &campaigns).await;
        }
    }
}

/// Adds what became suspicious. Goes through all groups only when a node died or came back.
fn take_news(core: &Core, suspected: &mut HashMap<GroupId, Suspicion>) {
    let news = core.suspects.take();
    let now = Instant::now();
    for group in news.groups {
        // A candidate that was just heard of gets its chance first.
        let candidate = core.replica(group.0).is_some_and(|r| r.shared.role().1.leader_id.term > 0);
        let due = if candidate { now + OTHERS_TURN } else { now };
        suspected.entry(group).or_insert_with(|| Suspicion::new(due));
    }
    if news.lost.is_empty() && news.appeared.is_empty() {
        return;
    }
    let mut affected = 0usize;
    for replica in core.replicas() {
        let Some(leader) = replica.shared.leader() else { continue };
        if news.appeared.contains(&leader) {
            replica.shared.doubt();
        } else if !news.lost.contains(&leader) {
            continue;
        }
        affected += 1;
        let suspicion =
            suspected.entry(replica.shared.group).or_insert_with(|| Suspicion::new(now));
        (suspicion.due, suspicion.pause) = (now, LOOK_AGAIN.0);
    }
    if affected > 0 && !news.lost.is_empty() {
        tracing::info!(nodes = ?news.lost, groups = affected, "groups lost the node of their leader");
    }
}

/// True while a replica has reason to care who leads its group.
fn is_suspicious(core: &Core, replica: &Replica, view: &View) -> bool {
    if !view.is_voter(core.id()) || view.state == ServerState::Leader || replica.shared.closing() {
        return false;
    }
    match view.leader() {
        None => true,
        Some(leader) => !core.alive(leader) || !replica.shared.is_confirmed(),
    }
}

/// Asks for views of the groups and decides what to do about each.
async fn look(
    core: &Arc<Core>,
    groups: &[GroupId],
    suspected: &mut HashMap<GroupId, Suspicion>,
    campaigns: &Arc<Semaphore>,
) {
    let mut cases = Vec::new();
    for group in groups {
        let replica = core.replica(group.0);
        match replica.map(|replica| (replica.shared.view(), replica)) {
            Some((view, replica)) if is_suspicious(core, &replica, &view) => {
                cases.push((replica, view));
            }
            _ => drop(suspected.remove(group)),
        }
    }
    let views = ask(core, &cases).await;
    let crowd = u32::try_from(suspected.len()).unwrap_or(u32::MAX);
    let crowd = CROWD_PAUSE.0.saturating_mul(crowd).min(CROWD_PAUSE.1);
    for (replica, view) in cases {
        let group = replica.shared.group;
        let Some(suspicion) = suspected.get_mut(&group) else { continue };
        let none = BTreeMap::new();
        let views = views.get(&group.0).unwrap_or(&none);
        match decide(core.id(), &view, &replica, views) {
            Decision::Campaign { .. }
                if !replica.shared.may_lead() || replica.shared.is_aside() =>
            {
                suspicion.look_again();
            }
            Decision::Confirmed { leader, term } => {
                replica.shared.confirm(leader, term);
                if view.leader() == Some(leader) {
                    suspected.remove(&group);
                } else {
                    // Its next message makes it known here; until then it must not get lost.
                    suspicion.look_again();
                }
            }
            Decision::Wait => suspicion.look_again(),
            Decision::Campaign { rank } => {
                let turn = suspicion.since + (RANK_PAUSE + crowd) * rank;
                if turn > Instant::now() {
                    suspicion.due = turn;
                } else {
                    // The ranks take turns in the next round too, lest they split the votes for ever.
                    suspicion.due = Instant::now() + CAMPAIGN + crowd;
                    suspicion.since = suspicion.due;
                    tokio::spawn(campaign(replica, Arc::clone(campaigns)));
                }
            }
        }
    }
}

/// Views of the groups by group and voter, this node's own included.
async fn ask(
    core: &Arc<Core>,
    cases: &[(Arc<Replica>, View)],
) -> HashMap<u64, BTreeMap<u64, MemberView>> {
    let mut questions: BTreeMap<u64, Vec<Question>> = BTreeMap::new();
    let mut views: HashMap<u64, BTreeMap<u64, MemberView>> = HashMap::new();
    for (replica, view) in cases {
        let group = replica.shared.group.0;
        let question = Question { group, suspect: view.leader().unwrap_or(0) };
        for voter in view.voters() {
            if voter == core.id() {
                views.entry(group).or_default().extend(core.view(question).map(|own| (voter, own)));
            } else if core.alive(voter) {
                questions.entry(voter).or_default().push(question);
            }
        }
    }
    let answers = join_all(questions.into_iter().map(|(voter, questions)| async move {
        let body = encode_questions(&questions);
        let peer = core.peers.get(voter)?;
        let asked = timeout(VIEW_TIMEOUT, peer.request(request::VIEWS, 0, vec![body])).await;
        let answer = decode_views(asked.ok()?.ok()?).ok()?;
        (answer.len() == questions.len()).then_some((voter, questions, answer))
    }));
    for (voter, questions, answer) in answers.await.into_iter().flatten() {
        for (question, view) in questions.into_iter().zip(answer) {
            views.entry(question.group).or_default().extend(view.map(|view| (voter, view)));
        }
    }
    views
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// This node leads, as it says itself.
    Confirmed {
        leader: u64,
        term: u64,
    },
    /// This node should campaign when it is the turn of its rank.
    Campaign {
        rank: u32,
    },
    Wait,
}

fn decide(me: u64, view: &View, replica: &Replica, views: &BTreeMap<u64, MemberView>) -> Decision {
    decide_from(
        me,
        view,
        &replica.shared.options.preferred,
        replica.shared.log.state().last.map(log_id),
        views,
    )
}

fn decide_from(
    me: u64,
    view: &View,
    preferred: &[u64],
    own_last: Option<crate::types::LogId>,
    views: &BTreeMap<u64, MemberView>,
) -> Decision {
    let term = view.vote.leader_id.term;
    let leading = views.iter().find(|(id, other)| **id != me && other.leads);
    if let Some((leader, other)) = leading {
        // A leader of an older term will learn of the newer one from its next message.
        return if other.vote.leader_id.term >= term {
            Decision::Confirmed { leader: *leader, term: other.vote.leader_id.term }
        } else {
            Decision::Wait
        };
    }
    if let Some(suspect) = view.leader() {
        let denies = views.contains_key(&suspect);
        let gone = view.is_quorum(|id| views.get(&id).is_some_and(|view| view.suspect_gone));
        if !denies && !gone {
            return Decision::Wait;
        }
    }
    if !view.is_quorum(|id| views.contains_key(&id)) {
        return Decision::Wait;
    }
    let place =
        |id: u64| preferred.iter().position(|other| *other == id).unwrap_or(preferred.len());
    let willing = views.get(&me).is_none_or(|own| own.willing);
    let mine = (!willing, std::cmp::Reverse(own_last), place(me), me);
    let before_me = views.iter().filter(|(id, other)| {
        **id != me
            && view.is_voter(**id)
            && (!other.willing, std::cmp::Reverse(other.last), place(**id), **id) < mine
    });
    Decision::Campaign { rank: before_me.count() as u32 }
}

/// Campaigns once. Whether it worked shows in the group's role.
async fn campaign(replica: Arc<Replica>, campaigns: Arc<Semaphore>) {
    let Ok(_permit) = campaigns.acquire().await else { return };
    let shared = &replica.shared;
    tracing::debug!(group = shared.group.0, "campaigning");
    if shared.is_alone() {
        drop(replica.raft.trigger().elect(false).await);
        return;
    }
    let (state, vote) = shared.role();
    let other = shared.view().voters().into_iter().find(|id| *id != shared.me);
    if state != ServerState::Leader
        && vote.committed
        && vote.leader_id.voted_for == shared.me
        && shared.is_loaded(vote)
        && let Some(other) = other
    {
        // It led when it was last stopped.
        let started = timeout(CAMPAIGN, campaign_anew(&replica, vote.leader_id.term, other)).await;
        tracing::debug!(group = shared.group.0, ?started, "campaigning after an own leadership");
        return;
    }
    let request = TransferLeaderRequest::new(vote, shared.me, None);
    match timeout(CAMPAIGN, replica.raft.handle_transfer_leader(request)).await {
        Ok(Ok(Ok(()))) => {}
        other => tracing::debug!(group = shared.group.0, outcome = ?other, "campaign not started"),
    }
}

#[cfg(test)]
mod tests;
