//! The Raft groups beneath the partitions, as their replicas see themselves.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use quorate_raft::{Divergence, FollowerStatus, GroupStatus, Role};
use quorate_storage::GroupId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Options, Parameters};
use super::forward;
use super::problem::Problem;
use crate::context::Context;
use crate::metadata::{GroupKind, Image, METADATA_GROUP};

/// The groups of one broker.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Groups {
    /// The broker whose replicas these are.
    broker: u64,
    groups: Vec<Group>,
}

/// One replica of a Raft group, as it sees itself.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct Group {
    group: u64,
    /// The broker this replica is on.
    broker: u64,
    /// What it is for: `metadata` (it holds what the cluster agreed on), `partition`, or a kind of internal group, which
    /// serves the cluster itself; `unknown` while a group comes or goes.
    #[serde(default)]
    kind: String,
    /// The partition it is, such as `orders-3`; none for the other kinds.
    partition: Option<String>,
    /// leader, follower, learner, candidate or stopped.
    role: String,
    /// Kafka's leader epoch.
    term: u64,
    leader: Option<u64>,
    voters: Vec<u64>,
    learners: Vec<u64>,
    /// A change of voters is under way and both sets must agree.
    joint: bool,
    last_index: Option<u64>,
    committed_index: Option<u64>,
    applied_index: Option<u64>,
    purged_index: Option<u64>,
    /// Bytes of its log on disk, roughly.
    log_bytes: u64,
    /// The first entry known to be damaged on this broker's disk; with one the replica votes, but does not lead or serve.
    corrupt_index: Option<u64>,
    /// What the leader found when it compared the replicas' states: `wrong` (this replica's is not that of the majority; it
    /// neither leads nor serves), `rebuilt` (the same, and it begins anew with what the others have) or `no majority` (no
    /// majority of the replicas holds the same; the group has stopped). None: nothing is known to be wrong.
    divergence: Option<String>,
    /// The index of which the states were compared.
    diverged_index: Option<u64>,
    /// On the leader: the last index of which it found that all replicas that are alive hold the same state.
    compared_index: Option<u64>,
    /// What the leader knows of the others; empty on any other replica.
    followers: Vec<Follower>,
    /// On the leader: milliseconds since a majority last answered.
    quorum_answered_ms_ago: Option<u64>,
}

/// A follower or learner, as its leader sees it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct Follower {
    broker: u64,
    matched_index: Option<u64>,
    /// Entries it lacks.
    lag_entries: u64,
    alive: bool,
}

/// One broker's groups in numbers.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(super) struct Summary {
    pub(super) broker: u64,
    pub(super) groups: u64,
    pub(super) leading: u64,
    /// Of the groups it leads, those with a voter that is dead or lacks more entries than are usually under way.
    pub(super) behind: u64,
    /// The most entries any follower of a group it leads lacks.
    pub(super) lag_entries_max: u64,
    /// Those with an entry that is damaged on this broker's disk.
    pub(super) corrupt: u64,
    /// Those whose state on this broker is not that of a majority of the replicas.
    #[serde(default)]
    pub(super) diverged: u64,
    /// Replicas that failed by themselves and are not open.
    #[serde(default)]
    pub(super) failed: u64,
}

/// Entries a follower may lack before it counts as behind: what is under way in a busy group anyway.
const LAG_ORDINARY: u64 = 1_000;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RaftQuery {
    /// The broker whose groups are wanted; this one if left out.
    #[param(maximum = 2_147_483_647)]
    broker: Option<u64>,
}

/// Returns a broker's replicas of Raft groups.
#[utoipa::path(
    get, path = "/v1/raft/groups", tag = "raft", params(RaftQuery),
    responses(
        (status = 200, body = Groups),
        (status = 404, description = "There is no such broker", body = Problem),
        (status = 503, description = "That broker does not answer", body = Problem)
    )
)]
pub(super) async fn groups(
    State(context): State<Context>,
    headers: HeaderMap,
    Options(which): Options<RaftQuery>,
) -> Result<Json<Groups>, Problem> {
    let me = context.node.id();
    let broker = which.broker.unwrap_or(me);
    if broker != me {
        return ask_broker(&context, &headers, broker, format!("/v1/raft/groups?broker={broker}"))
            .await;
    }
    let image = context.metadata.image();
    let groups =
        context.node.statuses().iter().map(|status| describe(&image, me, status)).collect();
    Ok(Json(Groups { broker, groups }))
}

/// Returns a Raft group as its leader sees it, or as another replica does while it has none.
///
/// The answer names the broker that gave it.
#[utoipa::path(
    get, path = "/v1/raft/groups/{group}", tag = "raft",
    params((
        "group" = u64, Path, example = 0, description = "0 is the group that holds the cluster's metadata",
        maximum = 9_223_372_036_854_775_807_i64
    )),
    responses(
        (status = 200, body = Group),
        (status = 404, description = "There is no such group", body = Problem),
        (status = 503, description = "No broker that hosts it answers", body = Problem)
    )
)]
pub(super) async fn group(
    State(context): State<Context>,
    headers: HeaderMap,
    Parameters(number): Parameters<u64>,
) -> Result<Json<Group>, Problem> {
    let group = GroupId(number);
    let image = context.metadata.image();
    if group != METADATA_GROUP && image.placed(group).is_none() {
        let detail = format!("there is no group {number}");
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_group", detail));
    }
    find(&context, &image, group, forward::is_forwarded(&headers)).await.map(Json).ok_or_else(
        || {
            let detail = format!("no broker that hosts group {number} answers");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "group_unavailable", detail)
        },
    )
}

/// Returns one broker's groups in numbers.
#[utoipa::path(
    get, path = "/v1/raft/summary", tag = "raft", params(RaftQuery),
    responses(
        (status = 200, body = Summary),
        (status = 404, description = "There is no such broker", body = Problem),
        (status = 503, description = "That broker does not answer", body = Problem)
    )
)]
pub(super) async fn summary(
    State(context): State<Context>,
    headers: HeaderMap,
    Options(which): Options<RaftQuery>,
) -> Result<Json<Summary>, Problem> {
    match which.broker.filter(|broker| *broker != context.node.id()) {
        Some(broker) => ask_broker(&context, &headers, broker, summary_path(broker)).await,
        None => Ok(Json(summarise(&context))),
    }
}

pub(super) fn summary_path(broker: u64) -> String {
    format!("/v1/raft/summary?broker={broker}")
}

/// Returns this broker's groups in numbers.
pub(super) fn summarise(context: &Context) -> Summary {
    let failed = context.node.failed_groups().borrow().len() as u64;
    let mut summary = Summary { broker: context.node.id(), failed, ..Summary::default() };
    for status in context.node.statuses() {
        summary.groups += 1;
        summary.corrupt += u64::from(status.corrupt_index.is_some());
        summary.diverged += u64::from(status.divergence.is_some());
        if status.role != Role::Leader {
            continue;
        }
        summary.leading += 1;
        let voters =
            status.followers.iter().filter(|follower| status.voters.contains(&follower.id));
        let behind = |follower: &FollowerStatus| !follower.alive || follower.lag > LAG_ORDINARY;
        summary.behind += u64::from(voters.clone().any(behind));
        summary.lag_entries_max =
            voters.map(|voter| voter.lag).fold(summary.lag_entries_max, u64::max);
    }
    summary
}

/// Looks here if this replica leads, then at the leader, then at any other replica, then here again.
pub(super) async fn find(
    context: &Context,
    image: &Image,
    group: GroupId,
    forwarded: bool,
) -> Option<Group> {
    let me = context.node.id();
    let here = context.node.status(group).map(|status| describe(image, me, &status));
    let leads_here = here.as_ref().is_some_and(|here| here.leader == Some(me));
    if leads_here || forwarded {
        return here;
    }
    let leader = context.metadata.leader(group).map(|leader| leader.id);
    let replicas = match image.placed(group) {
        Some((_, info)) => info.replicas.clone(),
        None => image.brokers.keys().copied().collect(),
    };
    let elsewhere = replicas.into_iter().filter(|broker| Some(*broker) != leader && here.is_none());
    for broker in leader.into_iter().chain(elsewhere).filter(|broker| *broker != me) {
        if let Some(found) =
            forward::ask(context, broker, format!("/v1/raft/groups/{}", group.0)).await
        {
            return Some(found);
        }
    }
    here
}

async fn ask_broker<T: serde::de::DeserializeOwned + Send + 'static>(
    context: &Context,
    headers: &HeaderMap,
    broker: u64,
    path: String,
) -> Result<Json<T>, Problem> {
    if !context.metadata.image().brokers.contains_key(&broker) {
        let detail = format!("there is no broker {broker}");
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_broker", detail));
    }
    let answer = if forward::is_forwarded(headers) {
        None
    } else {
        forward::ask(context, broker, path).await
    };
    answer.map(Json).ok_or_else(|| {
        let detail = format!("broker {broker} does not answer");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "broker_unavailable", detail)
    })
}

fn describe(image: &Image, broker: u64, status: &GroupStatus) -> Group {
    let partition = image.partition_of(status.group);
    Group {
        group: status.group.0,
        broker,
        kind: kind(image, status.group),
        partition: partition.map(|(topic, index, _)| format!("{}-{index}", topic.name)),
        role: role_name(status.role).to_owned(),
        term: status.term,
        leader: status.leader,
        voters: status.voters.clone(),
        learners: status.learners.clone(),
        joint: status.joint,
        last_index: status.last_index,
        committed_index: status.committed_index,
        applied_index: status.applied_index,
        purged_index: status.purged_index,
        log_bytes: status.log_bytes,
        corrupt_index: status.corrupt_index,
        divergence: status.divergence.map(|(what, _)| divergence_name(what).to_owned()),
        diverged_index: status.divergence.map(|(_, index)| index),
        compared_index: status.compared_index,
        followers: status.followers.iter().map(follower).collect(),
        quorum_answered_ms_ago: status
            .since_quorum_ack
            .map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
    }
}

fn divergence_name(divergence: Divergence) -> &'static str {
    match divergence {
        Divergence::Wrong => "wrong",
        Divergence::Rebuilt => "rebuilt",
        Divergence::NoMajority => "no majority",
    }
}

/// A group that the image does not place was deleted a moment ago, or is newer than the image.
fn kind(image: &Image, group: GroupId) -> String {
    match image.placed(group) {
        Some((kind, _)) => kind.to_string(),
        None if group == METADATA_GROUP => GroupKind::Metadata.to_string(),
        None => "unknown".to_owned(),
    }
}

fn follower(status: &FollowerStatus) -> Follower {
    Follower {
        broker: status.id,
        matched_index: status.matched_index,
        lag_entries: status.lag,
        alive: status.alive,
    }
}

pub(super) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Learner => "learner",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
        Role::Stopped => "stopped",
    }
}
