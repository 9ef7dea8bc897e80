//! What the APIs of consumer groups have in common: the coordinator of a group, if it is here.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use kafka_wire_core::StrBytes;
use tokio::time::{Instant, timeout_at};

use super::call::Call;
use super::error::ErrorCode;
use super::server::{KafkaServer, stopped};
pub(super) use crate::coordinator::GROUP_NAME_BYTES_MAX as NAME_BYTES_MAX;
use crate::coordinator::{Coordinator, Coordinators, GroupError};

/// How long all groups of a request may take, together.
const REQUEST_WAIT: Duration = Duration::from_secs(10);
/// Groups of a request that are asked for at the same time.
const AT_A_TIME: usize = 16;
/// Bytes of what one request is told of its groups; of more than that it has to ask in parts.
pub(super) const ANSWER_BYTES_MAX: usize = 32 << 20;

/// Returns the replica here of the coordinator of a group. Whether it leads it knows best itself.
pub(super) fn coordinator_of(
    server: &KafkaServer,
    group: &str,
) -> Result<Arc<Coordinator>, GroupError> {
    let image = server.context.metadata.image();
    let home = Coordinators::home(&image, group).ok_or(GroupError::NotCoordinator)?;
    server.context.coordinators.get(home.group).ok_or(GroupError::NotCoordinator)
}

/// A copy: what a string of a request came in may be far larger.
pub(super) fn text(it: &StrBytes) -> String {
    it.as_str().to_owned()
}

/// Returns what a client writes beside an offset.
pub(super) fn offset_metadata(
    it: Option<&StrBytes>,
    bytes_max: usize,
) -> Result<String, ErrorCode> {
    match it {
        Some(it) if it.len() > bytes_max => Err(ErrorCode::OffsetMetadataTooLarge),
        it => Ok(optional(it).unwrap_or_default()),
    }
}

pub(super) fn optional(it: Option<&StrBytes>) -> Option<String> {
    it.map(text)
}

/// Where a client is, as Kafka's tools show it.
pub(super) fn host(call: &Call) -> String {
    call.host.map_or_else(String::new, |host| format!("/{host}"))
}

/// Asks about each of some groups, several at the same time, and each once however often it is named. Those that have
/// not answered in time are not available.
pub(super) async fn each<Q, T, F, A>(
    asked: Vec<Q>,
    name: impl Fn(&Q) -> StrBytes,
    ask: F,
) -> Vec<(Q, Result<T, GroupError>)>
where
    F: Fn(StrBytes) -> A,
    A: Future<Output = Result<T, GroupError>>,
{
    let deadline = Instant::now() + REQUEST_WAIT;
    let mut seen = HashSet::new();
    let once: Vec<Q> = asked.into_iter().filter(|it| seen.insert(name(it))).collect();
    let answers = once.into_iter().map(|it| {
        let answer = timeout_at(deadline, ask(name(&it)));
        answer.map(|answer| (it, answer.unwrap_or(Err(GroupError::NotAvailable))))
    });
    stream::iter(answers).buffered(AT_A_TIME).collect().await
}

/// Waits for what may take as long as a rebalance, and no longer than this broker goes on.
pub(super) async fn until_stopped<T>(
    server: &KafkaServer,
    answer: impl Future<Output = Result<T, GroupError>>,
) -> Result<T, GroupError> {
    let mut stopping = server.stopping.clone();
    tokio::select! {
        answer = answer => answer,
        () = stopped(&mut stopping) => Err(GroupError::NotCoordinator),
    }
}
