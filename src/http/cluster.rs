//! The cluster as a whole: who is in it, who no longer is, and whether it is well.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use futures::future::join_all;
use quorate_storage::GroupId;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Nothing, Options, Parameters, patience};
use super::problem::Problem;
use super::{forward, raft};
use crate::context::Context;
use crate::controller::Judgement;
use crate::metadata::{Image, METADATA_GROUP, cluster_id_text};

/// How many partitions without a leader are named among the reasons.
const NAMED_MAX: usize = 10;

/// A cluster in numbers, and its health.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Cluster {
    /// The id given when the cluster was formed, a UUID; Kafka clients show the same text.
    cluster_id: String,
    /// The release of the broker that answers.
    version: &'static str,
    /// The broker that answers.
    broker: u64,
    /// The broker that leads the metadata group.
    controller: Option<u64>,
    /// The metadata group's index up to which the answering broker knows the cluster.
    metadata_index: u64,
    brokers: usize,
    topics: usize,
    partitions: usize,
    /// Raft groups that serve the cluster itself, beside the metadata group.
    internal_groups: usize,
    healthy: bool,
    /// Why it is not healthy; empty when it is.
    reasons: Vec<String>,
}

/// The brokers of a cluster.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Brokers {
    brokers: Vec<Broker>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Broker {
    id: u64,
    rack: Option<String>,
    /// Where Kafka clients reach it.
    kafka: String,
    http: String,
    /// Where other brokers reach it.
    peer: String,
    /// Whether the answering broker hears from it now.
    alive: bool,
    /// Out of service, because the cluster has not heard from it for a while.
    fenced: bool,
    /// Milliseconds by which its clock is ahead of a majority's, as the answering broker sees it; null while it
    /// hears of too few clocks that agree.
    clock_ahead_ms: Option<i64>,
    /// `ok`, `low` (too little space is free to take records) or `stalled` (it does not answer, others lead),
    /// as the answering broker was told; `unknown` while it does not hear from it.
    #[schema(example = "ok")]
    disk: &'static str,
    /// Names its data directory: the same id with another one is refused.
    directory_id: String,
    /// Replicas it keeps, of partitions and of internal groups.
    replicas: u64,
    /// Of those, the ones it leads, as far as the answering broker knows.
    leading: u64,
}

/// A broker that was removed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Removed {
    broker: u64,
    /// The brokers that vote in the metadata group, as far as the answering broker knows.
    #[schema(example = json!([1, 2, 4]))]
    metadata_voters: Vec<u64>,
}

/// Returns the cluster in numbers, whether it is healthy, and if not, why.
///
/// Healthy means: every broker is alive and in service, every partition has a leader, no replica is behind or
/// being moved.
#[utoipa::path(get, path = "/v1/cluster", tag = "cluster", responses((status = 200, body = Cluster)))]
pub(super) async fn cluster(State(context): State<Context>, headers: HeaderMap) -> Json<Cluster> {
    let image = context.metadata.image();
    let mut reasons = context.readiness.missing(&context);
    let controller = context.metadata.leader(METADATA_GROUP).map(|leader| leader.id);
    if controller.is_none() {
        reasons.push(
            "the metadata group has no leader; a majority of its voters must be running".to_owned(),
        );
    }
    reasons.extend(unwell_brokers(&context, &image));
    reasons.extend(wrong_clocks(&context, &image));
    reasons.extend(unwell_disks(&context, &image));
    reasons.extend(leaderless(&context, &image));
    if !image.moving.is_empty() {
        reasons.push(format!("the replicas of {} groups are being changed", image.moving.len()));
    }
    if !forward::is_forwarded(&headers) {
        reasons.extend(behind(&context, &image).await);
    }
    Json(Cluster {
        cluster_id: cluster_id_text(context.identity.cluster_id),
        version: env!("CARGO_PKG_VERSION"),
        broker: context.node.id(),
        controller,
        metadata_index: image.applied,
        brokers: image.brokers.len(),
        topics: image.topics.len(),
        partitions: image.groups.len(),
        internal_groups: image.internal.len(),
        healthy: reasons.is_empty(),
        reasons,
    })
}

fn unwell_brokers(context: &Context, image: &Image) -> Vec<String> {
    let me = context.node.id();
    let unwell = image.brokers.values().filter_map(|broker| {
        let alive = broker.id == me || context.node.alive(broker.id);
        match (alive, broker.fenced) {
            (false, _) if context.node.condition(broker.id).stalled => None,
            (false, _) => Some(format!("broker {} is not heard from", broker.id)),
            // The broker itself says so among what it misses.
            (true, true) if broker.id != me => Some(format!("broker {} is fenced", broker.id)),
            (true, _) => None,
        }
    });
    unwell.collect()
}

fn wrong_clocks(context: &Context, image: &Image) -> Vec<String> {
    let (clock, me) = (context.controller.clock(), context.node.id());
    let doubt = clock.judgement().filter(|judgement| *judgement != Judgement::Right);
    let own = doubt.map(|judgement| format!("broker {me} does not trust its clock: {judgement}"));
    let others = image.brokers.keys().filter(|broker| **broker != me && clock.is_off(**broker));
    let others = others.filter_map(|broker| Some((broker, clock.ahead_ms(*broker)?)));
    let others = others.map(|(broker, ahead_ms)| {
        format!(
            "the clock of broker {broker} is {} s off a majority's, set it right",
            ahead_ms / 1000
        )
    });
    own.into_iter().chain(others).collect()
}

fn unwell_disks(context: &Context, image: &Image) -> Vec<String> {
    let unwell = image.brokers.keys().filter_map(|broker| match disk(context, *broker) {
        "low" => Some(format!(
            "broker {broker} is short of disk space, so its partitions take no records: free some, delete topics \
             or records, or move its replicas to other brokers"
        )),
        // The broker itself says so among what it misses.
        "stalled" if *broker != context.node.id() => Some(format!("the disk of broker {broker} does not answer")),
        _ => None,
    });
    unwell.collect()
}

/// Tells in a word how a broker's disk is.
fn disk(context: &Context, broker: u64) -> &'static str {
    let condition = context.node.condition(broker);
    match (condition.stalled, condition.low_space) {
        (true, _) => "stalled",
        (_, true) => "low",
        _ if broker == context.node.id() || context.node.alive(broker) => "ok",
        _ => "unknown",
    }
}

fn leaderless(context: &Context, image: &Image) -> Vec<String> {
    let leads = |group: GroupId| context.metadata.leader(group).is_some();
    let partitions = image.groups.keys().filter(|group| !leads(**group));
    let partitions = partitions
        .filter_map(|group| image.partition_of(*group))
        .map(|(topic, index, _)| format!("{}-{index}", topic.name));
    let internal = image.internal.iter().filter(|(_, info)| !leads(info.group));
    let internal = internal.map(|(id, _)| id.to_string());
    let reasons = [
        without_leader("partitions", partitions.collect()),
        without_leader("internal groups", internal.collect()),
    ];
    reasons.into_iter().flatten().collect()
}

fn without_leader(what: &str, which: Vec<String>) -> Option<String> {
    let named = which.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    let more = if which.len() > NAMED_MAX { ", ..." } else { "" };
    let count = which.len();
    (count > 0).then(|| format!("{count} {what} have no leader: {named}{more}"))
}

/// Which followers lag is known to each leader alone, so all are asked, at the same time.
async fn behind(context: &Context, image: &Image) -> Vec<String> {
    let me = context.node.id();
    let others =
        image.brokers.keys().filter(|broker| **broker != me && context.node.alive(**broker));
    let answers = others.map(|broker| async move {
        (
            *broker,
            forward::ask::<raft::Summary>(context, *broker, raft::summary_path(*broker)).await,
        )
    });
    let mut answers = join_all(answers).await;
    answers.push((me, Some(raft::summarise(context))));
    let behind = answers.into_iter().filter_map(|(broker, summary)| match summary {
        None => Some(format!("broker {broker} does not answer over http")),
        Some(summary) if summary.corrupt > 0 => Some(format!(
            "{} groups have an entry that is damaged on the disk of broker {broker}, which does not lead or serve them",
            summary.corrupt
        )),
        Some(summary) if summary.diverged > 0 => Some(format!(
            "{} groups hold another state on broker {broker} than on a majority of their brokers, and are not led or served there; /v1/raft/groups?broker={broker} names them",
            summary.diverged
        )),
        Some(summary) if summary.failed > 0 => Some(format!(
            "{} replicas on broker {broker} have failed and are closed; its log says why",
            summary.failed
        )),
        Some(summary) if summary.behind > 0 => Some(format!(
            "{} groups led by broker {broker} have a replica that is dead or behind, by up to {} entries",
            summary.behind, summary.lag_entries_max
        )),
        Some(_) => None,
    });
    behind.collect()
}

/// Returns the brokers of the cluster.
#[utoipa::path(get, path = "/v1/brokers", tag = "cluster", responses((status = 200, body = Brokers)))]
pub(super) async fn brokers(State(context): State<Context>) -> Json<Brokers> {
    let image = context.metadata.image();
    let me = context.node.id();
    let mut leading = std::collections::BTreeMap::<u64, u64>::new();
    let internal = image.internal.iter().map(|(_, info)| &info.group);
    for group in image.groups.keys().chain(internal) {
        if let Some(leader) = context.metadata.leader(*group) {
            *leading.entry(leader.id).or_default() += 1;
        }
    }
    let brokers = image.brokers.values().map(|broker| Broker {
        id: broker.id,
        rack: broker.rack.clone(),
        kafka: broker.kafka.to_string(),
        http: broker.http.to_string(),
        peer: broker.peer.to_string(),
        alive: broker.id == me || context.node.alive(broker.id),
        fenced: broker.fenced,
        clock_ahead_ms: context.controller.clock().ahead_ms(broker.id),
        disk: disk(&context, broker.id),
        directory_id: format!("{:032x}", broker.directory_id),
        replicas: image.load.get(&broker.id).map_or(0, |load| load.replicas),
        leading: leading.get(&broker.id).copied().unwrap_or(0),
    });
    Json(Brokers { brokers: brokers.collect() })
}

/// Takes the clock of this broker as right, after it was set. Only a broker that is alone in its cluster needs the
/// word: others compare their clocks. It deletes nothing for its age from when its clock jumps until an hour later,
/// or until this.
#[utoipa::path(
    post, path = "/v1/clock/confirm", tag = "cluster",
    responses(
        (status = 204, description = "The clock is taken as right"),
        (status = 409, description = "There are other brokers, whose clocks decide", body = Problem)
    )
)]
pub(super) async fn confirm_clock(State(context): State<Context>) -> Result<StatusCode, Problem> {
    let brokers = context.metadata.image().brokers.len();
    if brokers != 1 {
        let detail = format!(
            "the clocks of all {brokers} brokers are compared, so none is taken on your word"
        );
        return Err(Problem::new(StatusCode::CONFLICT, "clocks_are_compared", detail)
            .hint("set the clock right; GET /v1/brokers shows whose is off"));
    }
    tracing::info!("an operator says that the clock is right");
    context.controller.clock().confirm();
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a broker that is gone for good. It cannot come back, and its id is never given out again.
///
/// Refused while the broker is in service (`broker_alive`), while partitions are or are to be kept by it
/// (`broker_has_replicas`), and when there is no other broker (`last_broker`). It needs a majority of the metadata
/// group's voters; the answer usually waits until the broker's own vote there is gone and a live broker has it.
#[utoipa::path(
    delete, path = "/v1/brokers/{broker}", tag = "cluster",
    params(("broker" = u64, Path, description = "Its id", example = 1, maximum = 2_147_483_647)),
    responses(
        (status = 200, description = "Removed, and nothing counts on it any more", body = Removed),
        (status = 202, description = "Removed for good; the metadata group is still doing without its vote", body = Removed),
        (status = 404, description = "There is none; `broker_removed` if there was", body = Problem),
        (status = 409, description = "It cannot be removed yet, for a reason given", body = Problem),
        (status = 503, description = "Nothing was changed", body = Problem),
        (status = 504, description = "It may have been removed", body = Problem)
    )
)]
pub(super) async fn remove_broker(
    State(context): State<Context>,
    Options(Nothing {}): Options<Nothing>,
    Parameters(broker): Parameters<u64>,
) -> Result<(StatusCode, Json<Removed>), Problem> {
    let removal = context.controller.remove_broker(broker, patience(&context)).await?;
    let status = if removal.finished { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(Removed { broker, metadata_voters: removal.voters })))
}
