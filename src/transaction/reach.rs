//! How the end of a transaction gets to everything that it is in: partitions and coordinators of groups, on this broker and
//! on others.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt, StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use super::outbox::Mailbox;
use super::record::{Ending, Part};
use super::{END_OFFSETS, MARK, TransactionResult};
use crate::controller::Controller;
use crate::coordinator::{COORDINATORS, Coordinators, OffsetsTransaction};
use crate::metadata::{Image, InternalId, Metadata};
use crate::partition::{AppendError, Marker, NotInTransaction, Partitions, Refusal};

/// Partitions that one question names.
const MARKED_AT_ONCE: usize = 500;
/// Markers that are written at a time for one question.
const WRITTEN_AT_ONCE: usize = 64;
/// Markers that are written at a time on this broker.
const WRITTEN_MAX: usize = 16_384;
/// How long a marker may take before it is asked for again. It is written meanwhile, and asking again does no harm.
const MARK_WAIT: Duration = Duration::from_secs(2);
/// How long the metadata may take to be current.
const CURRENT_WAIT: Duration = Duration::from_secs(5);

/// See the file's header.
pub(super) struct Reach {
    pub(super) metadata: Arc<Metadata>,
    pub(super) partitions: Arc<Partitions>,
    pub(super) coordinators: Arc<Coordinators>,
    pub(super) mailbox: Mailbox,
    /// The controller, which is made later, and holds on to the kinds of groups.
    pub(super) controller: OnceLock<Weak<Controller>>,
    pub(super) writing: Semaphore,
}

/// What a transaction's markers say, and into which partitions they belong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) end: End,
    pub(super) partitions: Vec<(Uuid, i32)>,
}

/// The end of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    producer_id: i64,
    epoch: i16,
    number: u64,
    commit: bool,
    /// The term of who coordinates.
    coordinator_epoch: i32,
}

/// The end of what a transaction is in of a group coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EndOffsets {
    pub(super) end: End,
    pub(super) coordinator: u32,
}

impl End {
    pub(super) fn new(ending: &Ending, number: u64, term: u64) -> Self {
        Self {
            producer_id: ending.producer_id,
            epoch: ending.epoch,
            number,
            commit: ending.result == TransactionResult::Commit,
            coordinator_epoch: i32::try_from(term).unwrap_or(i32::MAX),
        }
    }
}

impl Reach {
    pub(super) fn new(
        metadata: Arc<Metadata>,
        partitions: Arc<Partitions>,
        coordinators: Arc<Coordinators>,
        mailbox: Mailbox,
    ) -> Arc<Self> {
        let (controller, writing) = (OnceLock::new(), Semaphore::new(WRITTEN_MAX));
        Arc::new(Self { metadata, partitions, coordinators, mailbox, controller, writing })
    }

    /// Returns the controller, while the broker runs.
    pub(super) fn controller(&self) -> Option<Arc<Controller>> {
        self.controller.get()?.upgrade()
    }

    /// Tells everything of `parts` how the transaction ends; returns what has to be told again.
    pub(super) async fn tell(&self, end: End, parts: Vec<Part>) -> Vec<Part> {
        let image = self.metadata.image();
        let mut by_broker: HashMap<u64, Vec<(Uuid, i32)>> = HashMap::new();
        let (mut offsets, mut left, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for part in parts {
            let Some(group) = group_of(&image, part) else {
                missing.push(part);
                continue;
            };
            match (self.metadata.leader(group), part) {
                (None, _) => left.push(part),
                (Some(leader), Part::Partition(topic, partition)) => {
                    by_broker.entry(leader.id).or_default().push((topic, partition));
                }
                (Some(leader), Part::Offsets(coordinator)) => {
                    offsets.push((leader.id, coordinator));
                }
            }
        }
        drop(image);
        let marks = by_broker.iter().flat_map(|(broker, all)| {
            all.chunks(MARKED_AT_ONCE).map(|some| (*broker, some.to_vec()))
        });
        let marks = marks.map(|(broker, partitions)| self.mark(broker, Mark { end, partitions }));
        let offsets = offsets
            .into_iter()
            .map(|(broker, coordinator)| self.end_offsets(broker, EndOffsets { end, coordinator }));
        let (marks, offsets, missing) =
            tokio::join!(join_all(marks), join_all(offsets), self.existing(missing));
        left.extend(marks.into_iter().flatten());
        left.extend(offsets.into_iter().flatten());
        left.extend(missing);
        left
    }

    /// Of what this broker's image does not show those that exist all the same, or may.
    async fn existing(&self, mut parts: Vec<Part>) -> Vec<Part> {
        if parts.is_empty() {
            return parts;
        }
        let Some(controller) = self.controller() else { return parts };
        if controller.catch_up(Instant::now() + CURRENT_WAIT).await.is_err() {
            return parts;
        }
        let image = self.metadata.image();
        parts.retain(|part| group_of(&image, *part).is_some());
        parts
    }

    /// Has a broker write markers; returns the partitions that are to be asked for again.
    async fn mark(&self, broker: u64, mark: Mark) -> Vec<Part> {
        let done: Vec<bool> = if self.is_here(broker) {
            self.mark_here(mark.clone()).await
        } else {
            self.mailbox.ask(broker, MARK, &mark).await.unwrap_or_default()
        };
        let done = done.into_iter().chain(std::iter::repeat(false));
        let left = mark.partitions.into_iter().zip(done).filter(|(_, done)| !done);
        left.map(|((topic, partition), _)| Part::Partition(topic, partition)).collect()
    }

    async fn end_offsets(&self, broker: u64, ended: EndOffsets) -> Option<Part> {
        let done = if self.is_here(broker) {
            self.end_offsets_here(ended).await
        } else {
            self.mailbox.ask(broker, END_OFFSETS, &ended).await.unwrap_or(false)
        };
        (!done).then_some(Part::Offsets(ended.coordinator))
    }

    fn is_here(&self, broker: u64) -> bool {
        self.controller().is_some_and(|it| it.node().id() == broker)
    }

    /// Writes markers into partitions that this broker leads; says of each whether that is done.
    pub(super) async fn mark_here(&self, mark: Mark) -> Vec<bool> {
        let end = mark.end;
        // Of all of them: whoever waits for this call waits for others that came with it.
        let deadline = Instant::now() + MARK_WAIT;
        let write = |(topic, partition)| self.write(end, topic, partition, deadline);
        each(mark.partitions, WRITTEN_AT_ONCE, write).await
    }

    async fn write(&self, end: End, topic: Uuid, number: i32, deadline: Instant) -> bool {
        let Some(group) = group_of(&self.metadata.image(), Part::Partition(topic, number)) else {
            return false;
        };
        let Some(partition) = self.partitions.get(group) else { return false };
        let Ok(Ok(_place)) = timeout_at(deadline, self.writing.acquire()).await else {
            return false;
        };
        let marker = Marker {
            producer_id: end.producer_id,
            epoch: end.epoch,
            number: Some(end.number),
            commit: end.commit,
            coordinator_epoch: end.coordinator_epoch,
        };
        match timeout_at(deadline, partition.end_transaction(marker)).await {
            Ok(Ok(())) => true,
            // An earlier one, which has to end first.
            Ok(Err(AppendError::Refused(Refusal::Transaction(NotInTransaction::OtherOpen {
                number: open,
            }))))
                if open < end.number =>
            {
                tracing::warn!(%topic, number, open, transaction = end.number, "a marker waits for another transaction");
                false
            }
            // It will never be taken, and the producer must not wait for it for ever.
            Ok(Err(AppendError::Refused(refusal))) => {
                let (producer, transaction) = (end.producer_id, end.number);
                tracing::warn!(%topic, number, producer, transaction, ?refusal, "a marker is not taken");
                true
            }
            Ok(Err(error)) => {
                tracing::debug!(%topic, number, %error, "a marker is not written yet");
                false
            }
            Err(_) => false,
        }
    }

    /// Ends what a transaction is in of a group coordinator that this broker leads; says whether that is done.
    pub(super) async fn end_offsets_here(&self, ended: EndOffsets) -> bool {
        let group = group_of(&self.metadata.image(), Part::Offsets(ended.coordinator));
        let Some(coordinator) = group.and_then(|group| self.coordinators.get(group)) else {
            return false;
        };
        let End { producer_id, epoch, number, commit, .. } = ended.end;
        let transaction = OffsetsTransaction { producer_id, epoch, number };
        match timeout(MARK_WAIT, coordinator.end_transaction(transaction, commit)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::debug!(coordinator = ended.coordinator, %error, "offsets are not ended yet");
                false
            }
            Err(_) => false,
        }
    }
}

/// Does something with each of them, so many at a time, and says of each whether that is done. What takes long keeps one place
/// and nobody else waiting.
async fn each<T, F>(all: Vec<T>, at_a_time: usize, act: impl Fn(T) -> F) -> Vec<bool>
where
    F: Future<Output = bool>,
{
    let mut done = vec![false; all.len()];
    let acts: Vec<_> =
        all.into_iter().enumerate().map(|(at, it)| act(it).map(move |done| (at, done))).collect();
    let mut ended = stream::iter(acts).buffer_unordered(at_a_time);
    while let Some((at, is_done)) = ended.next().await {
        done[at] = is_done;
    }
    done
}

/// The Raft group of something that a transaction is in; `None` if the image has no such thing.
fn group_of(image: &Image, part: Part) -> Option<quorate_storage::GroupId> {
    match part {
        Part::Partition(topic, partition) => {
            image.topic_by_id(topic)?.partition(partition).map(|info| info.group)
        }
        Part::Offsets(number) => {
            image.internal.get(InternalId { kind: COORDINATORS, number }).map(|info| info.group)
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;

    #[test]
    fn who_takes_long_keeps_one_place_and_nobody_else_waiting() {
        let last = Notify::new();
        // The first is done when the last has been, and there are two places.
        let act = async |it: usize| match it {
            0 => {
                last.notified().await;
                true
            }
            9 => {
                last.notify_one();
                true
            }
            it => it % 2 == 0,
        };
        let done = each((0..10).collect(), 2, act).now_or_never();
        let expected = (0..10).map(|it| it % 2 == 0 || it == 9).collect();
        assert_eq!(done, Some(expected), "each is told of in its place");
    }
}
