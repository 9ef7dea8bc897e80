//! Produce (key 0), versions 3–13: records into partitions.
//!
//! Two steps. [`begin`] checks every batch and hands it to its partition's log, in the order of the request, and
//! returns; from then on its place is fixed and the connection may begin the next produce. The work it returns
//! waits for the commits and makes the answer. acks=1 and acks=all are both answered after the commit on a majority;
//! acks=0 gets no answer, and its failure closes the connection, the only way to tell such a producer anything.
//!
//! A batch of a transaction is written under the transaction's number. Where the partition does not know it, its
//! coordinator is asked before the batch is handed over; what follows on the connection waits, so no batch overtakes another.
//!
//! Partitions fail one by one. What may have been written is REQUEST_TIMED_OUT and nothing else is.
//!
//! | since version | what is new |
//! |---|---|
//! | 4 | a broken disk has an error of its own (KIP-112) |
//! | 5 | the answer tells the log start (KIP-107) |
//! | 7 | zstd (KIP-110) |
//! | 8 | the records at fault, and a message (KIP-467) |
//! | 9 | flexible (KIP-482) |
//! | 10 | who leads instead (KIP-951) |
//! | 11 | a transaction that can only be aborted has an error of its own (KIP-890) |
//! | 12 | partitions become part of the transaction by being written to (KIP-890 part 2) |
//! | 13 | topics by id (KIP-516) |

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use kafka_wire::ProduceRequest;
use kafka_wire::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_wire_core::{Decoder, StrBytes, Uuid};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::{change_wait_of, repeated};
use crate::kafka::answer::{Accepted, Work};
use crate::kafka::answer::{Answer, Closed};
use crate::kafka::call::Call;
use crate::kafka::codec::{self, FrameError};
use crate::kafka::error::ErrorCode;
use crate::kafka::keys::TopicKey;
use crate::kafka::pipeline::Ticket;
use crate::kafka::route::{self, Refused};
use crate::kafka::server::{KafkaServer, now_ms};
use crate::metadata::{self, Image, Leader, PartitionInfo};
use crate::partition::{AppendError, Appended, PendingAppend, Refusal};
use crate::record::Header;
use crate::wall_clock::WallClock;

mod answer;
mod check;
mod transaction;

use check::Sources;

/// The version from which topics are named by id alone (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;
/// A producer states how long to wait for replicas, so Kafka does not apply it to acks=1, which waits for none. Here it
/// waits for a majority as well: as long as clients wait for an answer by default.
const ACKS_ONE_WAIT_MIN: Duration = Duration::from_secs(30);

/// Why a partition's records were not written, or may not have been.
#[derive(Debug)]
pub(super) struct Failure {
    code: ErrorCode,
    message: Option<String>,
    /// The records at fault, when it is some of them (KIP-467).
    records: Vec<i32>,
    /// Who leads instead (KIP-951).
    leader: Option<Leader>,
}

/// One partition of a request, begun.
pub(super) struct BegunPartition {
    index: i32,
    append: Result<UnderWay, Failure>,
}

/// A batch in the hands of its partition's log.
pub(super) struct UnderWay {
    append: PendingAppend,
    sources: Sources,
    ticket: Option<Ticket>,
    /// Whether this broker's disk hangs, so that nobody may answer.
    aside: watch::Receiver<bool>,
}

/// One topic of a request, named as the request did.
pub(super) struct Topic {
    name: StrBytes,
    id: Uuid,
    partitions: Vec<BegunPartition>,
}

/// A request whose batches are being handed to their partitions' logs.
struct Beginning<'a> {
    server: &'a KafkaServer,
    call: &'a Call,
    image: &'a Image,
    /// Why none of it is written.
    refusal: Option<ErrorCode>,
    /// Of a producer of transactions.
    transactional_id: Option<StrBytes>,
    /// Partitions that it names more than once.
    repeated: HashSet<(StrBytes, Uuid, i32)>,
    /// When the producer has waited long enough.
    deadline: Instant,
    ready_by: Instant,
}

/// Hands the records of a request to their partitions, in order.
pub(in crate::kafka) async fn begin(
    server: Arc<KafkaServer>,
    call: Call,
    mut body: Decoder,
) -> Result<Accepted, Closed> {
    let (request, held) =
        codec::decode::<ProduceRequest>(&mut body, call.version).map_err(FrameError::from)?;
    drop(body);
    let deadline = Instant::now() + commit_wait_of(request.acks, request.timeout_ms);
    let acks = request.acks;
    let refusal = refused_as_a_whole(&request);
    let named = repeated(request.topic_data.iter().flat_map(|topic| {
        let partitions = topic.partition_data.iter();
        partitions.map(|it| (topic.name.clone(), topic.topic_id, it.index))
    }));
    let beginning = Beginning {
        server: &server,
        call: &call,
        image: &server.context.metadata.image(),
        refusal,
        transactional_id: request.transactional_id,
        repeated: named,
        deadline,
        ready_by: route::ready_by(Some(deadline)),
    };
    // At the same time, so that one that waits for room or for its leader keeps no other waiting.
    let topics = join_all(request.topic_data.into_iter().map(|it| beginning.topic(it))).await;
    let work: Work = match acks {
        0 => Box::pin(unanswered(topics)),
        _ => Box::pin(answer::when_committed(server, call, topics, deadline)),
    };
    Ok(Accepted { work, held })
}

/// How long a producer waits for its commit, at least.
fn commit_wait_of(acks: i16, timeout_ms: i32) -> Duration {
    match acks {
        1 => change_wait_of(timeout_ms).max(ACKS_ONE_WAIT_MIN),
        _ => change_wait_of(timeout_ms),
    }
}

fn refused_as_a_whole(request: &ProduceRequest) -> Option<ErrorCode> {
    match request.acks {
        -1..=1 => None,
        _ => Some(ErrorCode::InvalidRequiredAcks),
    }
}

impl Beginning<'_> {
    async fn topic(&self, data: TopicProduceData) -> Topic {
        let id = data.topic_id;
        let key = TopicKey::of(self.call.version >= TOPIC_IDS_FROM, &data.name, id);
        let partitions = data.partition_data.into_iter().map(async |partition| {
            let index = partition.index;
            let again = self.repeated.contains(&(data.name.clone(), id, index));
            let append = match self.refusal {
                Some(code) => Err(code.into()),
                None if again => Err(named_twice()),
                None => self.append(&key, partition).await,
            };
            BegunPartition { index, append }
        });
        let partitions = join_all(partitions).await;
        Topic { name: data.name, id, partitions }
    }

    /// Checks one partition's records and puts them into its log.
    async fn append(
        &self,
        topic: &TopicKey,
        data: PartitionProduceData,
    ) -> Result<UnderWay, Failure> {
        let topic = topic.find(self.image)?;
        let info = topic.partition(data.index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let records = data.records.unwrap_or_default();
        // As far as it can be read; whether it may be believed is checked later.
        let header = Header::parse(&records);
        let appended = self.append_to((topic, info, data.index), records).await;
        if let (Err(_), Some(header)) = (&appended, header) {
            self.call.pipeline.refused(info.group, &header);
        }
        appended
    }

    async fn append_to(
        &self,
        (topic, info, index): (&metadata::Topic, &PartitionInfo, i32),
        records: Bytes,
    ) -> Result<UnderWay, Failure> {
        let Self { server, call, image, ready_by, .. } = *self;
        let led = route::lead_soon(server, info, -1, ready_by).await?;
        let trusted_ms = server.context.controller.clock().trusted_ms();
        let now_ms = trusted_ms.unwrap_or_else(now_ms);
        let mut limits = check::limits_of(&topic.configs, now_ms, call.version);
        if trusted_ms.is_none() {
            limits.timestamps = limits.timestamps.unbounded();
        }
        let batch = check::check(server, records, limits).await?;
        self.check_transactional(batch.header())?;
        led.partition.begin_streams().await.map_err(|error| ErrorCode::from(&error))?;
        let (mut attachments, sources) =
            check::attachments(server, &batch, led.partition.key_rules()).await?;
        let producer_id = batch.header().producer_id;
        let knows = || led.partition.group().machine().knows_producer(producer_id);
        if !knows() {
            check_allocated(server, image, producer_id, ready_by).await?;
        }
        let number = self.transaction_of((topic.id, index), &led.partition, batch.header()).await?;
        if let Some(number) = number {
            attachments.in_transaction(number);
        }
        // A partition that knows the producer would judge by itself, but call what follows a batch whose transaction was not
        // known yet out of order, upon which producers give the transaction up.
        let judges = knows() && number.is_none();
        let ticket = call.pipeline.enter(info.group, led.epoch, batch.header(), judges)?;
        match led.partition.append(batch, &attachments, now_ms, led.epoch).await {
            Ok(append) => {
                let aside = led.partition.group().aside();
                Ok(UnderWay { append, sources, ticket, aside })
            }
            Err(error) => {
                if let Some(ticket) = ticket {
                    ticket.failed();
                }
                Err(Failure::of_append(server, error, &sources))
            }
        }
    }
}

/// Two batches of one partition in one request would be answered in two rows that nobody can tell apart.
fn named_twice() -> Failure {
    Failure {
        message: Some("the request names this partition more than once".to_owned()),
        ..ErrorCode::InvalidRequest.into()
    }
}

/// Refuses a producer id that the cluster never gave out: each takes room on the disks of a partition for a day at least,
/// and may be given to somebody else later.
///
/// Refused with UNKNOWN_PRODUCER_ID, upon which librdkafka and franz-go ask for a new id; an id of before the
/// cluster was made anew is refused as well.
async fn check_allocated(
    server: &KafkaServer,
    image: &Image,
    producer_id: i64,
    deadline: Instant,
) -> Result<(), Failure> {
    if producer_id < image.next_producer_id {
        return Ok(());
    }
    // Given out by another broker a moment ago, perhaps, and this image lags.
    if server.context.controller.catch_up(deadline).await.is_err() {
        return Err(Failure {
            message: Some(format!(
                "whether producer id {producer_id} was given out cannot be found out now"
            )),
            ..ErrorCode::NotEnoughReplicas.into()
        });
    }
    if producer_id < server.context.metadata.image().next_producer_id {
        Ok(())
    } else {
        Err(Failure {
            message: Some(format!(
                "producer id {producer_id} was never given out by this cluster; ask for one with InitProducerId"
            )),
            ..ErrorCode::UnknownProducerId.into()
        })
    }
}

/// Waits until the fate of every batch is known, and closes the connection if one was not written.
async fn unanswered(topics: Vec<Topic>) -> Result<Answer, Closed> {
    for partition in topics.into_iter().flat_map(|topic| topic.partitions) {
        let under_way = partition.append.map_err(|failure| Closed::Unacknowledged(failure.code))?;
        under_way.append.await.map_err(|error| Closed::Unacknowledged((&error).into()))?;
        if let Some(ticket) = under_way.ticket {
            ticket.passed();
        }
    }
    Ok(Answer::none())
}

/// Waits for a commit as long as the producer is willing to.
pub(super) async fn committed(
    server: &KafkaServer,
    append: Result<UnderWay, Failure>,
    deadline: Instant,
) -> Result<Appended, Failure> {
    let UnderWay { append, sources, ticket, mut aside } = append?;
    let answered = async {
        tokio::select! {
            biased;
            outcome = append => outcome,
            // The sender lives as long as the partition; without it the log answers.
            Ok(_) = aside.wait_for(|aside| *aside) => Err(AppendError::Indeterminate),
        }
    };
    let outcome = timeout_at(deadline, answered).await;
    let settled = outcome.as_ref().is_ok_and(is_settled);
    let committed = match outcome {
        Ok(appended) => appended.map_err(|error| Failure::of_append(server, error, &sources)),
        Err(_) => Err(Failure {
            message: Some("no majority of the replicas has answered in time".to_owned()),
            ..ErrorCode::RequestTimedOut.into()
        }),
    };
    match ticket {
        Some(ticket) if settled => ticket.passed(),
        Some(ticket) => ticket.failed(),
        None => {}
    }
    committed
}

/// Returns whether what comes after a batch need not wait for it to come again.
///
/// A batch that the log itself refused leaves no gap: the log knows the producer, so it will judge what follows as well, and the
/// refused batch may never come again. One that was checked against other streams, or whose transaction is not known yet, may
/// well come again, before what follows.
fn is_settled(outcome: &Result<Appended, AppendError>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(AppendError::Refused(Refusal::StreamsChanged)) => false,
        Err(AppendError::Refused(Refusal::Transaction(it))) => !it.may_pass(),
        Err(AppendError::Refused(_)) => true,
        Err(_) => false,
    }
}

impl Failure {
    fn of_append(server: &KafkaServer, error: AppendError, sources: &Sources) -> Failure {
        let leader = match error {
            AppendError::NotLeader { leader } => route::hint(server, leader),
            AppendError::Busy
            | AppendError::NoSpace { .. }
            | AppendError::Refused(_)
            | AppendError::Indeterminate
            | AppendError::Closed => None,
        };
        Failure {
            code: (&error).into(),
            message: Some(error.to_string()),
            records: sources.of(error),
            leader,
        }
    }
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Failure {
        Failure { code, message: None, records: Vec::new(), leader: None }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        Failure { leader: refused.leader, ..refused.code.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::NotInTransaction;

    #[test]
    fn what_may_be_taken_when_it_is_sent_again_is_told_so_and_what_follows_waits_for_it() {
        let may_pass = [NotInTransaction::Ended, NotInTransaction::TooMany { max: 10_000 }];
        let final_ones = [
            NotInTransaction::OtherOpen { number: 7 },
            NotInTransaction::NoneOpen,
            NotInTransaction::Outside,
            NotInTransaction::Unnamed,
        ];
        let refused = |it: NotInTransaction| AppendError::Refused(it.into());
        for it in may_pass {
            assert_eq!(ErrorCode::from(&refused(it)), ErrorCode::NotEnoughReplicas, "{it}");
            assert!(!is_settled(&Err(refused(it))), "{it}");
        }
        for it in final_ones {
            assert_eq!(ErrorCode::from(&refused(it)), ErrorCode::InvalidTxnState, "{it}");
            assert!(is_settled(&Err(refused(it))), "{it}");
        }
        assert!(!is_settled(&Err(AppendError::Refused(Refusal::StreamsChanged))));
        assert!(is_settled(&Err(AppendError::Refused(Refusal::DuplicateSequence))));
        assert!(!is_settled(&Err(AppendError::Indeterminate)));
    }
}
