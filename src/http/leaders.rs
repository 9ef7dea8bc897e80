//! Who leads what: only the leader of a partition can tell of it, or decide.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::HeaderMap;

use super::forward;
use crate::context::Context;
use crate::metadata::Topic;
use crate::partition::Partition;

/// The partitions of a topic that this broker leads.
pub(super) fn led_here(context: &Context, topic: &Topic) -> Vec<(i32, Arc<Partition>)> {
    let here = topic.numbered().filter_map(|(index, info)| {
        let here = context.partitions.get(info.group)?;
        here.leader_epoch_if_ready().is_ok().then_some((index, here))
    });
    here.collect()
}

/// The other brokers that lead partitions of a topic.
pub(super) fn others(context: &Context, topic: &Topic) -> BTreeSet<u64> {
    let leaders = topic.partitions.iter().filter_map(|it| context.metadata.leader(it.group));
    leaders.map(|leader| leader.id).filter(|leader| *leader != context.node.id()).collect()
}

/// The broker to pass a request on to: the leader, unless that is this one, or the request was passed on before.
pub(super) fn elsewhere(
    context: &Context,
    leader: Option<u64>,
    headers: &HeaderMap,
) -> Option<u64> {
    leader.filter(|leader| *leader != context.node.id() && !forward::is_forwarded(headers))
}
