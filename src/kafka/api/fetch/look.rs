//! One look at the partitions of a fetch: what could be answered now.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, timeout_at};

use crate::kafka::error::ErrorCode;
use crate::kafka::keys::PartitionKey;
use crate::kafka::memory::MemoryPermit;
use crate::kafka::route::{self, Led, Refused};
use crate::kafka::server::KafkaServer;
use crate::kafka::sessions::{PartitionFetch, Plan};
use crate::metadata::Image;
use crate::partition::{AbortedTransaction, Partition, ReadError, Records};
use crate::record::{Batches, Codec};

use super::FetchOptions;

/// The version from which a consumer understands zstd (KIP-110).
const ZSTD_FROM: i16 = 10;
/// What an aborted transaction takes in an answer and in its making.
const ABORTED_BYTES: usize = 64;
/// How long the partitions of one look may take, together, to hear from their majorities, which is only asked about
/// a place beyond the end; then the client wants an answer more than to wait.
const CONFIRM_WAIT_MAX: Duration = Duration::from_secs(2);

/// What was found in one partition.
#[derive(Debug, Clone)]
pub(super) enum PartitionRead {
    /// Records, or none.
    Records(Read),
    /// The consumer's log and ours part at `end_offset` (KIP-595).
    Diverged {
        epoch: i32,
        end_offset: i64,
        high_watermark: i64,
        stable: i64,
        log_start: i64,
    },
    Refused(Refused),
}

/// Records of one partition, and what a reader is told beside them.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) records: Records,
    /// The aborted transactions among the records; `None` for who reads what is not committed, too.
    pub(super) aborted: Option<Vec<AbortedTransaction>>,
}

impl Read {
    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let aborted = self.aborted.as_ref().map_or(0, Vec::len);
        self.records.bytes.len() + aborted * ABORTED_BYTES
    }
}

/// The partitions of a plan at one moment, in its order: who leads them, or what there is to say at once. Nothing is
/// read yet.
pub(super) struct Found {
    pub(super) led: Vec<Result<Led, PartitionRead>>,
    image: Arc<Image>,
}

/// What was found in all of them, in the plan's order, and the memory it takes.
pub(super) struct ReadPass {
    pub(super) seen: Vec<PartitionRead>,
    pub(super) permit: Option<MemoryPermit>,
    /// Bytes that count towards what the client waits for. A partition that had more than it may give counts as full,
    /// though batches are not cut, and then fill it less.
    pub(super) counted: usize,
    /// There is more, and the answer has no room for it.
    pub(super) full: bool,
}

impl ReadPass {
    /// Returns whether the client would rather have this now than wait.
    pub(super) fn is_enough(&self, bytes_needed: usize) -> bool {
        self.seen.is_empty()
            || self.full
            || self.counted >= bytes_needed
            || !self.seen.iter().all(|seen| matches!(seen, PartitionRead::Records(_)))
    }

    /// Takes what was read of a partition that may give `bytes_max`, with `left` left of the answer.
    pub(super) fn take(&mut self, seen: PartitionRead, bytes_max: usize, left: usize) {
        if let PartitionRead::Records(read) = &seen {
            let cut = read.records.is_cut();
            let bytes = read.records.bytes.len();
            self.counted += if cut { bytes.max(bytes_max) } else { bytes };
            self.full |= cut && bytes_max > left;
        }
        self.seen.push(seen);
    }

    fn bytes(&self) -> usize {
        let bytes_of = |seen: &PartitionRead| match seen {
            PartitionRead::Records(read) => read.bytes(),
            PartitionRead::Diverged { .. } | PartitionRead::Refused(_) => 0,
        };
        self.seen.iter().map(bytes_of).sum()
    }
}

/// Finds the leaders of all partitions of the plan.
pub(super) async fn find_all(server: &KafkaServer, plan: &Plan, terms: &FetchOptions) -> Found {
    let image = server.context.metadata.image();
    let ready_by = route::ready_by(Some(terms.deadline));
    let confirm_by = Instant::now() + CONFIRM_WAIT_MAX;
    let mut led: Vec<_> = plan.wanted.iter().map(|it| find_now(server, &image, it)).collect();
    // All that have to be waited for at the same time, or one without a majority would hold up the others.
    let mut waits = Vec::new();
    for (at, (key, wanted)) in plan.wanted.iter().enumerate().filter(|(at, _)| led[*at].is_none()) {
        let (server, image) = (server, &image);
        waits.push(
            async move { (at, find(server, image, key, wanted, ready_by, confirm_by).await) },
        );
    }
    for (at, found) in join_all(waits).await {
        led[at] = Some(found);
    }
    let unknown = || Err(ErrorCode::NotLeaderOrFollower.into());
    let led = led.into_iter().map(|led| led.unwrap_or_else(unknown)).collect();
    Found { led, image }
}

/// Reads every partition of the plan as far as the limits allow.
pub(super) async fn read_all(
    server: &KafkaServer,
    plan: &Plan,
    terms: &FetchOptions,
    found: Found,
) -> ReadPass {
    let Found { led, image } = found;
    // Memory is taken before reading, but not for nothing: most looks of a waiting fetch find nothing.
    let Some(Need { asked, mut first }) = Need::of(plan, &led, &image, terms.read_committed) else {
        return read_within(plan, terms, &led, terms.bytes_max).await;
    };
    let asked = asked.min(terms.bytes_max);
    loop {
        let (mut permit, granted) = server.answer_permit(asked.max(first), first).await;
        let mut look = read_within(plan, terms, &led, granted.min(asked)).await;
        let bytes = look.bytes();
        // A batch from when the topic took larger ones: it waits for as much as it takes.
        if bytes > granted.max(first) {
            first = bytes;
            continue;
        }
        if bytes > 0 {
            permit.shrink(bytes);
            look.permit = Some(permit);
        }
        return look;
    }
}

/// Reads the partitions of a plan one after the other, within so many bytes; of the first that has any a whole batch.
async fn read_within(
    plan: &Plan,
    terms: &FetchOptions,
    led: &[Result<Led, PartitionRead>],
    mut left: usize,
) -> ReadPass {
    let seen = Vec::with_capacity(led.len());
    let mut look = ReadPass { seen, permit: None, counted: 0, full: false };
    let mut found_any = false;
    for ((_, wanted), led) in plan.wanted.iter().zip(led) {
        let seen = match led {
            Err(seen) => seen.clone(),
            Ok(led) => read(led.clone(), wanted, left, !found_any, terms).await,
        };
        let bytes = match &seen {
            PartitionRead::Records(read) => read.records.bytes.len(),
            PartitionRead::Diverged { .. } | PartitionRead::Refused(_) => 0,
        };
        look.take(seen, wanted.bytes_max, left);
        left = left.saturating_sub(bytes);
        found_any |= bytes > 0;
    }
    look
}

/// The memory that records will take which are there to be read.
struct Need {
    /// What the client asks for, in bytes.
    asked: usize,
    /// What a single batch may take: the first is given whole, however little is asked for.
    first: usize,
}

impl Need {
    fn of(
        plan: &Plan,
        led: &[Result<Led, PartitionRead>],
        image: &Image,
        read_committed: bool,
    ) -> Option<Need> {
        let found = plan.wanted.iter().zip(led).filter(|((_, wanted), led)| {
            led.as_ref().is_ok_and(|led| end_of(&led.partition, read_committed) > wanted.offset)
        });
        found.fold(None, |need, ((key, wanted), _)| {
            let Need { asked, first } = need.unwrap_or(Need { asked: 0, first: 0 });
            let batch = key.topic.find(image).map_or(0, |topic| topic.configs.max_message_bytes());
            Some(Need { asked: asked.saturating_add(wanted.bytes_max), first: first.max(batch) })
        })
    }
}

/// Finds the leader of a partition; `None` when that takes a wait.
fn find_now(
    server: &KafkaServer,
    image: &Image,
    (key, wanted): &(PartitionKey, PartitionFetch),
) -> Option<Result<Led, PartitionRead>> {
    let info = match key.find(image) {
        Ok(info) => info,
        Err(code) => return Some(Err(code.into())),
    };
    match route::lead_of(server, info, wanted.leader_epoch) {
        Ok(led) => stands(&led.partition, wanted).then_some(Ok(led)),
        Err(_) if server.context.partitions.get(info.group).is_some() => None,
        Err(refused) => Some(Err(PartitionRead::Refused(refused))),
    }
}

/// Returns whether what the consumer has is the beginning of our log, for all that we know.
fn stands(partition: &Partition, wanted: &PartitionFetch) -> bool {
    partition.high_watermark() >= wanted.offset && parting(partition, wanted).is_none()
}

async fn find(
    server: &KafkaServer,
    image: &Image,
    key: &PartitionKey,
    wanted: &PartitionFetch,
    ready_by: Instant,
    confirm_by: Instant,
) -> Result<Led, PartitionRead> {
    let info = key.find(image)?;
    let led = route::lead_soon(server, info, wanted.leader_epoch, ready_by).await;
    let led = led.map_err(PartitionRead::Refused)?;
    let partition = &led.partition;
    if stands(partition, wanted) {
        return Ok(led);
    }
    // A leader that was deposed unheard ends before what its successor acknowledged; told that its place
    // is beyond the end, a consumer would start over.
    match timeout_at(confirm_by, partition.read_barrier()).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) => return Err(ErrorCode::NotLeaderOrFollower.into()),
    }
    parting(partition, wanted).map_or(Ok(led), Err)
}

/// What there is to say of a consumer whose log is not the beginning of ours.
fn parting(partition: &Partition, wanted: &PartitionFetch) -> Option<PartitionRead> {
    if wanted.fetched_epoch < 0 {
        return None;
    }
    let (epoch, end_offset) = partition.end_offset_for_epoch(wanted.fetched_epoch);
    if end_offset < 0 {
        return Some(ErrorCode::OffsetOutOfRange.into());
    }
    let (stable, log_start) = (partition.last_stable_offset(), partition.log_start());
    let high_watermark = partition.high_watermark();
    let parted = epoch < wanted.fetched_epoch || end_offset < wanted.offset;
    parted.then_some(PartitionRead::Diverged {
        epoch,
        end_offset,
        high_watermark,
        stable,
        log_start,
    })
}

/// Returns the offset before which a reader sees everything.
fn end_of(partition: &Partition, read_committed: bool) -> i64 {
    if read_committed { partition.last_stable_offset() } else { partition.high_watermark() }
}

/// Reads records, and what a reader is told beside them.
async fn read_of(
    partition: &Partition,
    wanted: &PartitionFetch,
    bytes_max: usize,
    first: bool,
    read_committed: bool,
) -> Result<Read, ReadError> {
    if !read_committed {
        let records = partition.read(wanted.offset, bytes_max, first).await?;
        return Ok(Read { records, aborted: None });
    }
    let (records, aborted) = partition.read_committed(wanted.offset, bytes_max, first).await?;
    Ok(Read { records, aborted: Some(aborted) })
}

async fn read(
    led: Led,
    wanted: &PartitionFetch,
    left: usize,
    first: bool,
    terms: &FetchOptions,
) -> PartitionRead {
    let bytes_max = wanted.bytes_max.min(left);
    let read = read_of(&led.partition, wanted, bytes_max, first, terms.read_committed).await;
    let read = match read {
        Ok(read) => read,
        Err(error) => return PartitionRead::of_error(&error),
    };
    // Reading may have taken a while; what another leader wrote meanwhile must not be missed for what is here.
    match led.partition.leader_epoch_if_ready() {
        Ok(epoch) if epoch == led.epoch => {}
        _ => return ErrorCode::NotLeaderOrFollower.into(),
    }
    let zstd = |header: &crate::record::Header| header.codec() == Some(Codec::Zstd);
    let mut batches = Batches::new(&read.records.bytes);
    if terms.version < ZSTD_FROM && batches.any(|(header, _)| zstd(&header)) {
        return ErrorCode::UnsupportedCompressionType.into();
    }
    PartitionRead::Records(read)
}

impl PartitionRead {
    fn of_error(error: &ReadError) -> PartitionRead {
        ErrorCode::from(error).into()
    }
}
