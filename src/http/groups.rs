//! Consumer groups: who they are, who reads what in them, and how far behind the end.
//!
//! Each group is known to the broker that coordinates it, and each end to the leader of its partition; any broker asks
//! them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use utoipa::ToSchema;
use uuid::Uuid;

use super::coordinator_list::{CoordinatorList, PAGE_MAX, Row};
use super::ends::{self, Question};
use super::extract::{Options, Parameters, within};
use super::forward::{self, Told};
use super::leaders;
use super::problem::Problem;
use crate::context::Context;
use crate::coordinator::{
    COORDINATORS, CommittedOffset, ConsumerMemberDescription, Coordinator, Coordinators, Described,
    GroupError, GroupProtocol, MemberDescription, locate, parts,
};
use crate::metadata::{Image, InternalKind};

/// The code of the problem that there is no such group.
const UNKNOWN: &str = "unknown_consumer_group";
/// How long the leaders may take together: less than a broker waits that forwards the request.
const ENDS_WAIT: Duration = Duration::from_secs(1);
/// How long the first coordinators may take to be made and to have leaders.
const LOCATE_WAIT: Duration = Duration::from_secs(10);
/// How long one that is there may take.
const SERVING_WAIT: Duration = Duration::from_secs(2);
/// Between two looks whether a coordinator serves that was just elected.
const SERVING_LOOK: Duration = Duration::from_millis(20);

/// Some of the groups of the cluster, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConsumerGroups {
    groups: Vec<ConsumerGroup>,
    /// Ask again with `after` set to this name for the rest; none at the end.
    next: Option<String>,
    /// Brokers that did not say which groups they coordinate.
    unreachable: Vec<u64>,
    /// The coordinators that brokers spoke for, by number.
    coordinators: BTreeSet<u32>,
    /// The coordinators that nobody spoke for: their groups are missing here.
    missing: BTreeSet<u32>,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct GroupPage {
    /// Begin after this name.
    after: Option<String>,
    /// At most so many groups; 1000 if left out.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
}

/// A group in a list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ConsumerGroup {
    #[schema(example = "billing")]
    group: String,
    /// Empty, PreparingRebalance, CompletingRebalance, Reconciling or Stable.
    state: String,
    /// By which its members come to their parts: classic or consumer (KIP-848).
    #[schema(example = "consumer")]
    protocol: String,
    /// What its members are, such as `consumer`; empty before somebody joined.
    protocol_type: String,
    /// The broker that coordinates it.
    coordinator: u64,
}

/// A group in full.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ConsumerGroupDetail {
    #[serde(flatten)]
    summary: ConsumerGroup,
    /// The assignor its members agreed on; empty while they have not.
    assignor: String,
    members: Vec<ConsumerGroupMember>,
    offsets: Vec<ConsumerGroupOffset>,
    /// Partitions, such as `orders-3`, of which an offset is committed in a transaction that has not ended: until it does,
    /// consumers that want stable offsets wait, and nothing of the group expires.
    #[serde(default)]
    pending: Vec<String>,
    /// Records that are still to be read, of all partitions with an offset; none while the end of one is not known.
    lag: Option<i64>,
}

/// A member of a group.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ConsumerGroupMember {
    member: String,
    /// What a static member is known by.
    instance: Option<String>,
    client: String,
    host: String,
    /// What it reads, such as `orders-3`; empty while a group of the classic protocol rebalances.
    partitions: Vec<String>,
}

/// How far a group has read a partition.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ConsumerGroupOffset {
    topic: String,
    partition: i32,
    /// The next offset it will read.
    offset: i64,
    /// The offset after the last committed record; none while the partition's leader does not answer.
    high_watermark: Option<i64>,
    lag: Option<i64>,
    /// What a consumer wrote beside it.
    metadata: String,
}

/// Lists the consumer groups of the cluster by name.
#[utoipa::path(
    get, path = "/v1/groups", tag = "groups", params(GroupPage),
    responses((status = 200, body = ConsumerGroups))
)]
pub(super) async fn list(
    State(context): State<Context>,
    headers: HeaderMap,
    uri: Uri,
    Options(page): Options<GroupPage>,
) -> Result<Json<ConsumerGroups>, Problem> {
    let limit = within("limit", page.limit.unwrap_or(PAGE_MAX), 1..=PAGE_MAX)?;
    let found = here(&context, page.after.as_deref().unwrap_or_default(), limit).await;
    let found = found.page(&context, &headers, &uri, limit).await;
    Ok(Json(ConsumerGroups::of(found, &context)))
}

impl Row for ConsumerGroup {
    const KIND: InternalKind = COORDINATORS;

    fn name(&self) -> &str {
        &self.group
    }
}

impl ConsumerGroups {
    fn of(found: CoordinatorList<ConsumerGroup>, context: &Context) -> Self {
        let missing = found.missing(context);
        let CoordinatorList { rows: groups, next, unreachable, coordinators } = found;
        Self { groups, next, unreachable: unreachable.into_iter().collect(), coordinators, missing }
    }
}

/// The first groups behind a name that this broker coordinates.
async fn here(context: &Context, after: &str, limit: usize) -> CoordinatorList<ConsumerGroup> {
    let me = context.node.id();
    let mut led = context.coordinators.all();
    led.retain(|it| it.group().leadership().borrow().leader == Some(me));
    let listed = join_all(led.iter().map(|coordinator| coordinator.list())).await;
    let is_whole = listed.iter().all(Result::is_ok);
    let image = context.metadata.image();
    let spoken_for = led.iter().zip(&listed).filter(|(_, listed)| listed.is_ok());
    let coordinators = spoken_for
        .filter_map(|(led, _)| image.internal.of(led.group().id()))
        .map(|(id, _)| id.number)
        .collect();
    let wanted = listed.into_iter().flatten().flatten().filter(|it| it.group.as_str() > after);
    let groups = wanted.map(|group| ConsumerGroup {
        group: group.group,
        state: group.state.name().to_owned(),
        protocol: group.protocol.name().to_owned(),
        protocol_type: group.protocol_type,
        coordinator: me,
    });
    let mut here = CoordinatorList::here(context, groups.collect(), coordinators, is_whole);
    here.cut(limit);
    here
}

/// Returns a group: its members with what they read, and its offsets with how far they are behind.
#[utoipa::path(
    get, path = "/v1/groups/{group}", tag = "groups",
    params(("group" = String, Path, description = "Its name", example = "billing")),
    responses(
        (status = 200, body = ConsumerGroupDetail),
        (status = 404, description = "There is none", body = Problem),
        (status = 503, description = "Its coordinator does not answer", body = Problem)
    )
)]
pub(super) async fn describe(
    State(context): State<Context>,
    headers: HeaderMap,
    uri: Uri,
    Parameters(group): Parameters<String>,
) -> Result<Json<ConsumerGroupDetail>, Problem> {
    let coordinator = match home(&context, &group, &headers).await? {
        Home::Here(coordinator) => coordinator,
        Home::At(leader) => {
            return match forward::find(&context, leader, uri.path().to_owned(), UNKNOWN).await {
                Told::Found(told) => Ok(Json(told)),
                Told::Missing => Err(unknown(&group)),
                Told::Nothing => Err(unavailable(&group)),
            };
        }
    };
    let problem = |_: GroupError| unavailable(&group);
    let description = coordinator.describe(group.clone()).await.map_err(problem)?;
    let description = description.ok_or_else(|| unknown(&group))?;
    let unstable = coordinator.unstable_offsets(&group).await.map_err(problem)?;
    let offsets = coordinator.offsets(&group).await.map_err(problem)?;
    let offsets = with_ends(&context, offsets).await;
    let pending = named(&context.metadata.image(), unstable);
    Ok(Json(ConsumerGroupDetail { pending, ..detail(&context, group, description, offsets) }))
}

/// Who coordinates a group.
pub(super) enum Home {
    Here(Arc<Coordinator>),
    /// Another broker, which has not been asked yet.
    At(u64),
}

/// Finds who coordinates a group; a request that was forwarded is answered here or not at all.
pub(super) async fn home(
    context: &Context,
    group: &str,
    headers: &HeaderMap,
) -> Result<Home, Problem> {
    // As long as no client has asked for a coordinator there are none, and no group.
    Coordinators::home(&context.metadata.image(), group).ok_or_else(|| unknown(group))?;
    home_within(context, group, headers, SERVING_WAIT).await
}

/// Finds the same for a group that may be new, and waits for its coordinator if there has been none yet.
pub(super) async fn home_of_new(
    context: &Context,
    group: &str,
    headers: &HeaderMap,
) -> Result<Home, Problem> {
    home_within(context, group, headers, LOCATE_WAIT).await
}

/// Waits until there is a coordinator, it has a leader, and that serves.
async fn home_within(
    context: &Context,
    group: &str,
    headers: &HeaderMap,
    wait: Duration,
) -> Result<Home, Problem> {
    let deadline = Instant::now() + wait;
    let located = locate(&context.controller, group, deadline).await;
    let leader = located.map_err(|_| unavailable(group))?.id;
    if let Some(leader) = leaders::elsewhere(context, Some(leader), headers) {
        return Ok(Home::At(leader));
    }
    let image = context.metadata.image();
    let home = Coordinators::home(&image, group);
    let coordinator = home.and_then(|home| context.coordinators.get(home.group));
    let coordinator = coordinator.ok_or_else(|| unavailable(group))?;
    // Just elected, it reads its groups first.
    let described = async || coordinator.describe(group.to_owned()).await;
    while matches!(described().await, Err(GroupError::NotCoordinator | GroupError::NotAvailable)) {
        if Instant::now() > deadline {
            return Err(unavailable(group));
        }
        sleep(SERVING_LOOK).await;
    }
    Ok(Home::Here(coordinator))
}

fn detail(
    context: &Context,
    group: String,
    description: Described,
    offsets: Vec<ConsumerGroupOffset>,
) -> ConsumerGroupDetail {
    let (state, protocol, protocol_type, assignor, members) = match description {
        Described::Classic(it) => {
            let members = classic_members(it.members, &it.protocol_type);
            (it.state, GroupProtocol::Classic, it.protocol_type, it.protocol, members)
        }
        Described::Consumer(it) => {
            let members = it.members.into_iter().map(consumer_member).collect();
            (it.state, GroupProtocol::Consumer, "consumer".to_owned(), it.assignor, members)
        }
    };
    let summary = ConsumerGroup {
        group,
        state: state.name().to_owned(),
        protocol: protocol.name().to_owned(),
        protocol_type,
        coordinator: context.node.id(),
    };
    let lag = total(offsets.iter().map(|offset| offset.lag));
    let pending = Vec::new();
    ConsumerGroupDetail { summary, assignor, members, offsets, pending, lag }
}

/// What members of other kinds than consumers are assigned they understand alone.
fn classic_members(
    members: Vec<MemberDescription>,
    protocol_type: &str,
) -> Vec<ConsumerGroupMember> {
    let is_consumer = protocol_type == "consumer";
    let shown = parts(members.iter().map(|it| if is_consumer { &it.part[..] } else { &[] }));
    let member = |(member, partitions): (MemberDescription, Vec<String>)| ConsumerGroupMember {
        partitions,
        member: member.member_id,
        instance: member.instance_id,
        client: member.client_id,
        host: member.client_host,
    };
    members.into_iter().zip(shown).map(member).collect()
}

fn total(mut lags: impl Iterator<Item = Option<i64>>) -> Option<i64> {
    lags.try_fold(0_i64, |total, lag| Some(total.saturating_add(lag?)))
}

fn consumer_member(member: ConsumerMemberDescription) -> ConsumerGroupMember {
    let parts = member.parts.iter().flat_map(|(_, topic, partitions)| {
        partitions.iter().map(move |partition| format!("{topic}-{partition}"))
    });
    ConsumerGroupMember {
        partitions: parts.collect(),
        member: member.member_id,
        instance: member.instance_id,
        client: member.client_id,
        host: member.client_host,
    }
}

/// Offsets with the ends of their partitions; those of topics that are deleted are left out.
async fn with_ends(context: &Context, committed: Vec<CommittedOffset>) -> Vec<ConsumerGroupOffset> {
    let partitions: Vec<_> = committed.iter().map(|it| (it.topic, it.partition)).collect();
    let question = Question { time_ms: None, confirmed: false, wait: ENDS_WAIT };
    let ends = ends::of(context, &partitions, question).await;
    let image = context.metadata.image();
    let row = |it: CommittedOffset| {
        let topic = image.topic_by_id(it.topic)?;
        let high_watermark = ends.get(&(it.topic, it.partition)).map(|end| end.high_watermark);
        Some(ConsumerGroupOffset {
            topic: topic.name.clone(),
            partition: it.partition,
            offset: it.offset,
            high_watermark,
            lag: high_watermark.map(|end| lag(end, it.offset)),
            metadata: it.metadata,
        })
    };
    committed.into_iter().filter_map(row).collect()
}

/// Partitions by name; those of topics that are deleted are left out.
fn named(image: &Image, partitions: Vec<(Uuid, i32)>) -> Vec<String> {
    let name = |(topic, partition): (Uuid, i32)| {
        Some(format!("{}-{partition}", image.topic_by_id(topic)?.name))
    };
    partitions.into_iter().filter_map(name).collect()
}

/// What is still to be read. Strangers say how far they are, so it may be anything.
pub(super) fn lag(high_watermark: i64, offset: i64) -> i64 {
    high_watermark.saturating_sub(offset.max(0)).max(0)
}

pub(super) fn unknown(group: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, UNKNOWN, format!("there is no consumer group {group:?}"))
        .hint("GET /v1/groups lists the groups")
}

pub(super) fn unavailable(group: &str) -> Problem {
    let detail = format!("the coordinator of consumer group {group:?} does not answer");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "coordinator_unavailable", detail)
        .hint("ask again; GET /v1/brokers shows which brokers are alive")
}

#[cfg(test)]
mod tests {
    use super::total;

    #[test]
    fn the_total_is_known_when_all_is_and_never_overflows() {
        let total = |lags: &[Option<i64>]| total(lags.iter().copied());
        assert_eq!(total(&[]), Some(0));
        assert_eq!(total(&[Some(3), Some(4)]), Some(7));
        assert_eq!(total(&[Some(i64::MAX), Some(i64::MAX)]), Some(i64::MAX));
        assert_eq!(total(&[Some(3), None]), None);
    }
}
