//! Produce (key 0), versions 3–13: records into partitions.
//!
//! Two steps. [`begin`] checks every batch and hands it to its partition's log, in the order of the request, and
//! returns; from then on its place is fixed and the connection may begin the next produce. The work it returns
//! waits for the commits and makes the answer. acks=1 and acks=all are both answered after the commit on a majority;
//! acks=0 gets no answer, and its failure closes the connection, the only way to tell such a producer anything.
//!
//! Partitions fail one by one. What may have been written is REQUEST_TIMED_OUT and nothing else is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_wire::ProduceRequest;
use kafka_wire::produce_request::PartitionProduceData;
use kafka_wire_core::Decoder;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::change_wait_of;
use crate::kafka::connection::{Answer, Closed};
use crate::kafka::error::ErrorCode;
use crate::kafka::face::{Face, now_ms};
use crate::kafka::frame::{self, Call, FrameError};
use crate::kafka::pipeline::Ticket;
use crate::kafka::route::{self, Refused, TopicKey};
use crate::kafka::table::{Accepted, Work};
use crate::metadata::{self, Image, Leader, PartitionInfo, TimestampType, TopicConfigs};
use crate::partition::{AppendError, Appended, PendingAppend, WallClock};
use crate::record::{
    self, BatchError, CheckedBatch, Codec, Header, INFLATED_BYTES_LITTLE, INFLATED_BYTES_MAX,
    Limits, TimestampRule,
};

mod answer;

/// The version from which topics are named by id alone (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;
/// The version from which zstd may be sent (KIP-110).
const ZSTD_FROM: i16 = 7;
/// A producer states how long to wait for replicas, so Kafka does not apply it to acks=1, which waits for none. Here it
/// waits for a majority as well: as long as clients wait for an answer by default.
const ACKS_ONE_WAIT_MIN: Duration = Duration::from_secs(30);
/// A compressed batch above this size is checked on a thread that may take its time. A smaller one takes less than
/// sending it there would, unless it unfolds to much.
const INLINE_COMPRESSED_BYTES_MAX: usize = 16 * 1024;

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
pub(super) struct Begun {
    index: i32,
    append: Result<UnderWay, Failure>,
}

/// A batch in the hands of its partition's log.
pub(super) struct UnderWay {
    append: PendingAppend,
    ticket: Option<Ticket>,
    /// Whether this broker's disk hangs, so that nobody may answer.
    aside: watch::Receiver<bool>,
}

/// One topic of a request, named as the request did.
pub(super) struct Topic {
    name: kafka_wire_core::StrBytes,
    id: kafka_wire_core::Uuid,
    partitions: Vec<Begun>,
}

/// Hands the records of a request to their partitions, in order.
pub(in crate::kafka) async fn begin(
    face: Arc<Face>,
    call: Call,
    mut body: Decoder,
) -> Result<Accepted, Closed> {
    let (request, held) =
        frame::decode::<ProduceRequest>(&mut body, call.version).map_err(FrameError::from)?;
    drop(body);
    let deadline = Instant::now() + commit_wait_of(request.acks, request.timeout_ms);
    let acks = request.acks;
    let refusal = refused_as_a_whole(&request);
    let image = face.context.metadata.image();
    let ready_by = route::ready_by(Some(deadline));
    let mut topics = Vec::with_capacity(request.topic_data.len());
    for data in request.topic_data {
        let key = TopicKey::of(call.version >= TOPIC_IDS_FROM, &data.name, data.topic_id);
        let mut partitions = Vec::with_capacity(data.partition_data.len());
        for partition in data.partition_data {
            let index = partition.index;
            let append = match refusal {
                Some(code) => Err(code.into()),
                None => append(&face, &image, &call, &key, partition, ready_by).await,
            };
            partitions.push(Begun { index, append });
        }
        topics.push(Topic { name: data.name, id: data.topic_id, partitions });
    }
    let work: Work = match acks {
        0 => Box::pin(unanswered(topics)),
        _ => Box::pin(answer::when_committed(face, call, topics, deadline)),
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
        // Its partitions were never added to a transaction, as there are none.
        -1..=1 if request.transactional_id.is_some() => Some(ErrorCode::InvalidTxnState),
        -1..=1 => None,
        _ => Some(ErrorCode::InvalidRequiredAcks),
    }
}

/// Checks one partition's records and puts them into its log.
async fn append(
    face: &Face,
    image: &Image,
    call: &Call,
    topic: &TopicKey,
    data: PartitionProduceData,
    ready_by: Instant,
) -> Result<UnderWay, Failure> {
    let topic = topic.find(image)?;
    let info = topic.partition(data.index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let records = data.records.unwrap_or_default();
    // As far as it can be read; whether it may be believed is checked later.
    let header = Header::parse(&records);
    let appended = append_to(face, call, image, (topic, info), records, ready_by).await;
    if let (Err(_), Some(header)) = (&appended, header) {
        call.pipeline.refused(info.group, &header);
    }
    appended
}

async fn append_to(
    face: &Face,
    call: &Call,
    image: &Image,
    (topic, info): (&metadata::Topic, &PartitionInfo),
    records: Bytes,
    ready_by: Instant,
) -> Result<UnderWay, Failure> {
    let led = route::lead_soon(face, info, -1, ready_by).await?;
    let trusted_ms = face.context.controller.clock().trusted_ms();
    let now_ms = trusted_ms.unwrap_or_else(now_ms);
    let mut limits = limits_of(&topic.configs, now_ms, call.version);
    if trusted_ms.is_none() {
        limits.timestamps = limits.timestamps.unbounded();
    }
    let batch = check(face, records, limits).await?;
    if batch.header().is_transactional() {
        return Err(ErrorCode::InvalidTxnState.into());
    }
    let producer_id = batch.header().producer_id;
    let knows = || led.partition.group().machine().knows_producer(producer_id);
    if !knows() {
        check_allocated(face, image, producer_id, ready_by).await?;
    }
    let ticket = call.pipeline.enter(info.group, led.epoch, batch.header(), knows())?;
    match led.partition.append(batch, now_ms, led.epoch).await {
        Ok(append) => Ok(UnderWay { append, ticket, aside: led.partition.group().aside() }),
        Err(error) => {
            if let Some(ticket) = ticket {
                ticket.failed();
            }
            Err(Failure::of_append(face, error))
        }
    }
}

/// Refuses a producer id that the cluster never gave out: a partition remembers so many producers and no more, and
/// made-up ones would make it forget others.
///
/// Refused with UNKNOWN_PRODUCER_ID, upon which librdkafka and franz-go ask for a new id; an id of before the
/// cluster was made anew is refused as well.
async fn check_allocated(
    face: &Face,
    image: &Image,
    producer_id: i64,
    deadline: Instant,
) -> Result<(), Failure> {
    if producer_id < image.next_producer_id {
        return Ok(());
    }
    // Given out by another broker a moment ago, perhaps, and this image lags.
    if face.context.controller.catch_up(deadline).await.is_err() {
        return Err(Failure {
            message: Some(format!(
                "whether producer id {producer_id} was given out cannot be found out now"
            )),
            ..ErrorCode::NotEnoughReplicas.into()
        });
    }
    match producer_id < face.context.metadata.image().next_producer_id {
        true => Ok(()),
        false => Err(Failure {
            message: Some(format!(
                "producer id {producer_id} was never given out by this cluster; ask for one with InitProducerId"
            )),
            ..ErrorCode::UnknownProducerId.into()
        }),
    }
}

fn limits_of(configs: &TopicConfigs, now_ms: i64, version: i16) -> Limits {
    let timestamps = match configs.timestamp_type() {
        TimestampType::LogAppendTime => TimestampRule::LogAppend,
        TimestampType::CreateTime => TimestampRule::Create {
            before_ms_max: configs.timestamp_before_max_ms(),
            after_ms_max: configs.timestamp_after_max_ms(),
        },
    };
    let bytes_max = configs.max_message_bytes();
    let zstd = version >= ZSTD_FROM;
    Limits { bytes_max, now_ms, timestamps, zstd, inflated_bytes_max: INFLATED_BYTES_MAX }
}

/// Checks a batch, on another thread when decompressing it would hold this one up.
async fn check(face: &Face, records: Bytes, limits: Limits) -> Result<CheckedBatch, Failure> {
    if let Some(checked) = check_inline(&records, &limits) {
        return Ok(checked?);
    }
    let turn = Arc::clone(&face.checks).acquire_owned().await;
    let turn = turn.expect("this semaphore is never closed");
    let checked = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        record::check(records, &limits)
    });
    match checked.await {
        Ok(checked) => Ok(checked?),
        // The runtime is going away, and the connection with it.
        Err(_) => Err(ErrorCode::NotLeaderOrFollower.into()),
    }
}

/// Checks a batch here and now; `None` when that would take long, or takes another look to say what is wrong.
fn check_inline(records: &Bytes, limits: &Limits) -> Option<Result<CheckedBatch, BatchError>> {
    let compressed = Header::parse(records).is_some_and(|it| it.codec() != Some(Codec::None));
    if !compressed {
        return Some(record::check(records.clone(), limits));
    }
    if records.len() > INLINE_COMPRESSED_BYTES_MAX {
        return None;
    }
    // A few KiB may unfold to the whole of what is allowed, so little is allowed here.
    let little = Limits { inflated_bytes_max: INFLATED_BYTES_LITTLE, ..*limits };
    match record::check(records.clone(), &little) {
        Err(BatchError::Records(_)) => None,
        checked => Some(checked),
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
    face: &Face,
    append: Result<UnderWay, Failure>,
    deadline: Instant,
) -> Result<Appended, Failure> {
    let UnderWay { append, ticket, mut aside } = append?;
    let answered = async {
        tokio::select! {
            biased;
            outcome = append => outcome,
            // The sender lives as long as the partition; without it the log answers.
            Ok(_) = aside.wait_for(|aside| *aside) => Err(AppendError::Indeterminate),
        }
    };
    let outcome = timeout_at(deadline, answered).await;
    // A batch that the log itself refused leaves no gap: the log knows the producer, so it will judge
    // what follows as well, and the refused batch may never come again.
    let settled = matches!(outcome, Ok(Ok(_) | Err(AppendError::Refused(_))));
    let committed = match outcome {
        Ok(appended) => appended.map_err(|error| Failure::of_append(face, error)),
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

impl Failure {
    fn of_append(face: &Face, error: AppendError) -> Failure {
        let leader = match error {
            AppendError::NotLeader { leader } => route::hint(face, leader),
            AppendError::Busy
            | AppendError::NoSpace { .. }
            | AppendError::Refused(_)
            | AppendError::Indeterminate
            | AppendError::Closed => None,
        };
        Failure {
            code: (&error).into(),
            message: Some(error.to_string()),
            records: Vec::new(),
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

impl From<BatchError> for Failure {
    fn from(error: BatchError) -> Failure {
        let (code, message) = ((&error).into(), Some(error.to_string()));
        let records = match error {
            BatchError::Timestamps { records, .. } => records,
            BatchError::OffsetDelta { index, .. } => vec![index],
            _ => Vec::new(),
        };
        Failure { code, message, records, leader: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;

    fn limits() -> Limits {
        limits_of(&TopicConfigs::default(), now_ms(), ZSTD_FROM)
    }

    fn batch(codec: Codec, bytes: usize) -> Bytes {
        BatchBuilder::new().codec(codec).record(now_ms(), None, Some(&vec![0; bytes])).build()
    }

    #[test]
    fn a_small_batch_that_unfolds_to_much_is_not_unfolded_on_the_connections_thread() {
        for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
            let small = batch(codec, 100_000);
            assert!(matches!(check_inline(&small, &limits()), Some(Ok(_))), "{codec:?}");
            let much = batch(codec, 3 << 20);
            assert!(much.len() <= INLINE_COMPRESSED_BYTES_MAX, "{codec:?}: {}", much.len());
            assert!(check_inline(&much, &limits()).is_none(), "{codec:?}");
            record::check(much, &limits()).unwrap();
        }
        assert!(matches!(check_inline(&batch(Codec::None, 1_000_000), &limits()), Some(Ok(_))));
    }
}
