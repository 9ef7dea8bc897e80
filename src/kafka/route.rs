//! From what a request names to the replica that serves it, or the reason why this broker does not.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use quorate_storage::GroupId;
use tokio::time::{Instant, timeout_at};

use super::error::ErrorCode;
use super::server::{KafkaServer, broker_id};
use crate::metadata::{Image, Leader, PartitionInfo};
use crate::partition::{NotReady, Partition};

/// An elected leader serves once it has applied one entry of its own, a commit later.
const READY_WAIT_MAX: Duration = Duration::from_millis(1_000);

/// How long the partitions of one request may take, together, to be ready: a moment, and no longer than the
/// client is willing to wait.
pub(crate) fn ready_by(client: Option<Instant>) -> Instant {
    let moment = Instant::now() + READY_WAIT_MAX;
    client.map_or(moment, |client| client.min(moment))
}

/// This broker does not serve the partition now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: ErrorCode,
    /// Who does, when that is known and is another broker (KIP-951).
    pub(crate) leader: Option<Leader>,
}

/// A replica that leads and may answer.
#[derive(Clone)]
pub(crate) struct Led {
    pub(crate) partition: Arc<Partition>,
    pub(crate) epoch: i32,
}

impl std::fmt::Debug for Led {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Led").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Refused {
        Refused { code, leader: None }
    }
}

/// Finds a partition of a topic that is named by its name.
pub(crate) fn find<'i>(
    image: &'i Image,
    topic: &str,
    index: i32,
) -> Result<&'i PartitionInfo, ErrorCode> {
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)
}

/// Finds the replica that leads a partition, if it is here. `claimed` is the leader epoch that the client
/// believes in, -1 when it says nothing of it (KIP-320).
pub(crate) fn lead_of(
    server: &KafkaServer,
    info: &PartitionInfo,
    claimed: i32,
) -> Result<Led, Refused> {
    let elsewhere = || Refused {
        code: ErrorCode::NotLeaderOrFollower,
        leader: hint(server, server.context.metadata.leader(info.group)),
    };
    let partition = server.context.partitions.get(info.group).ok_or_else(elsewhere)?;
    let epoch = partition.leader_epoch_if_ready().map_err(|_| elsewhere())?;
    let led = Led { partition, epoch };
    led.check(claimed)?;
    Ok(led)
}

impl Led {
    /// Compares with the leader epoch that a client believes in, -1 when it says nothing of it (KIP-320).
    pub(crate) fn check(&self, claimed: i32) -> Result<(), ErrorCode> {
        match claimed {
            -1 => Ok(()),
            claimed if claimed < self.epoch => Err(ErrorCode::FencedLeaderEpoch),
            claimed if claimed > self.epoch => Err(ErrorCode::UnknownLeaderEpoch),
            _ => Ok(()),
        }
    }
}

/// The leaders here of the partitions that a request names, or why this broker does not answer for them.
pub(crate) struct Leaders(HashMap<GroupId, Result<Led, Refused>>);

impl Leaders {
    /// Finds the leaders of all of them at the same time, so that one that is slow to be ready keeps no other waiting.
    pub(crate) async fn of(
        server: &KafkaServer,
        partitions: &[&PartitionInfo],
        deadline: Instant,
    ) -> Leaders {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        for info in partitions {
            // Of those that are elsewhere, which may be named in thousands, there is nothing to wait for.
            if server.context.partitions.get(info.group).is_some() && seen.insert(info.group) {
                found.push(async { (info.group, lead_soon(server, info, -1, deadline).await) });
            }
        }
        Leaders(join_all(found).await.into_iter().collect())
    }

    /// Has majorities confirm, all at the same time, that those for which `asked` holds lead still (ReadIndex, Raft
    /// § 6.4). Those of which no majority is heard within two seconds are leaders no more.
    pub(crate) async fn confirm(&mut self, asked: impl Fn(&Led) -> bool) {
        let mut barriers = Vec::new();
        for led in self.0.values().flatten().filter(|led| asked(led)) {
            barriers.push(async { (led.partition.id(), led.partition.read_barrier().await) });
        }
        let confirmed = join_all(barriers).await;
        for (group, confirmed) in confirmed {
            if confirmed.is_err() {
                self.0.insert(group, Err(ErrorCode::NotLeaderOrFollower.into()));
            }
        }
    }

    /// Returns the leader of a partition, as [`lead_of`] does.
    pub(crate) fn get(
        &self,
        server: &KafkaServer,
        info: &PartitionInfo,
        claimed: i32,
    ) -> Result<Led, Refused> {
        match self.0.get(&info.group) {
            Some(found) => {
                let led = found.clone()?;
                led.check(claimed)?;
                Ok(led)
            }
            None => lead_of(server, info, claimed),
        }
    }
}

/// As [`lead_of`], but waits until [`ready_by`] for a replica here that won its election and is about to serve:
/// sending the client away would only bring it back later.
pub(crate) async fn lead_soon(
    server: &KafkaServer,
    info: &PartitionInfo,
    claimed: i32,
    deadline: Instant,
) -> Result<Led, Refused> {
    while let Some(partition) = server.context.partitions.get(info.group) {
        // Taken before looking, so that what changes in between is not missed.
        let mut changes = partition.changed();
        let me = server.context.node.id();
        match partition.leader_epoch_if_ready() {
            Err(NotReady { leader: Some(leader) }) if leader.id == me => {}
            _ => break,
        }
        if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
            break;
        }
    }
    lead_of(server, info, claimed)
}

/// A leader worth telling a client of: another broker than this one, and not one that is dead, which leads until its
/// followers have elected another.
pub(crate) fn hint(server: &KafkaServer, leader: Option<Leader>) -> Option<Leader> {
    let image = server.context.metadata.image();
    let me = server.context.node.id();
    leader.filter(|leader| leader.id != me && reached(server, &image, leader.id))
}

/// Returns whether a broker can lead for all that is known here. One that is fenced and heard here leads by its majority
/// all the same, until it has handed over.
pub(crate) fn reached(server: &KafkaServer, image: &Image, id: u64) -> bool {
    let live = image.brokers.get(&id).is_some_and(|broker| !broker.fenced);
    live || server.context.node.alive(id)
}

/// Where clients reach a broker, for the endpoints beside leader hints.
pub(crate) struct Endpoint {
    pub(crate) id: i32,
    pub(crate) host: String,
    pub(crate) port: i32,
    pub(crate) rack: Option<String>,
}

/// Returns the endpoints of the brokers that `leaders` names, each once.
pub(crate) fn endpoints(image: &Image, leaders: impl Iterator<Item = Leader>) -> Vec<Endpoint> {
    let mut ids: Vec<u64> = leaders.map(|leader| leader.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let known = ids.iter().filter_map(|id| image.brokers.get(id));
    known
        .map(|broker| Endpoint {
            id: broker_id(broker.id),
            host: broker.kafka.host.clone(),
            port: i32::from(broker.kafka.port),
            rack: broker.rack.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_waits_a_moment_for_its_partitions_and_no_longer_than_its_client() {
        let now = Instant::now();
        let moment = now + READY_WAIT_MAX..now + READY_WAIT_MAX * 2;
        assert!(moment.contains(&ready_by(None)));
        assert!(moment.contains(&ready_by(Some(now + READY_WAIT_MAX * 9))));
        assert_eq!(ready_by(Some(now)), now);
    }
}
