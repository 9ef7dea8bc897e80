//! Reading a topic's partitions in offset order each, following their leaders.
//!
//! All partitions led by one broker are asked for in one fetch, because answers on a connection come in order: a
//! fetch that waits for records would hold up the next one. Which partitions it reads in a group is decided in
//! `group_consumer.rs`.
//!
//! What was fetched stays as it came and is taken apart record by record: a megabyte may unfold to millions of them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use kafka_wire::fetch_request::{FetchPartition, FetchTopic};
use kafka_wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_wire::{FetchRequest, FetchResponse, ListOffsetsRequest};
use tokio::time::{Instant, sleep};

use super::{Client, ClientError, ErrorCode};
use crate::record::{Aborted, Batches, Header, Headers, Projection, RecordError, Records};

const FETCH: i16 = 12;
const LIST_OFFSETS: i16 = 7;
/// How long a broker may wait for records; short, so that a change of leader is noticed soon.
const WAIT: Duration = Duration::from_millis(500);
const BYTES_MAX: i32 = 8 * 1024 * 1024;
const PARTITION_BYTES_MAX: i32 = 1024 * 1024;
const PAUSE: Duration = Duration::from_millis(50);

/// Where to begin reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Beginning,
    End,
    Offset(i64),
}

/// Which records of transactions are read (KIP-98).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i8)]
pub enum Isolation {
    /// All that are stored, also of transactions that are open or aborted.
    Uncommitted = 0,
    /// Those of committed transactions, up to the first that is open.
    #[default]
    Committed = 1,
}

/// A record read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Headers,
}

/// A reader of some partitions of one topic.
pub struct Consumer {
    client: Client,
    topic: String,
    isolation: Isolation,
    /// The next offset wanted of each partition.
    positions: BTreeMap<i32, i64>,
    fetched: VecDeque<Batch>,
    /// The one being taken apart; only one is open, for decompression takes memory.
    reading: Option<(Batch, Records<Bytes>)>,
    asked: FuturesUnordered<BoxFuture<'static, Fetched>>,
    asked_of: HashMap<i32, Vec<i32>>,
    failing_since: Option<Instant>,
    /// When it last looked for leaders.
    looked: Option<Instant>,
}

/// A batch as it came.
struct Batch {
    partition: i32,
    /// The first offset wanted: a fetch begins with the batch that holds an offset, not with the offset.
    from: i64,
    header: Header,
    bytes: Bytes,
}

impl Batch {
    fn open(&self) -> Result<Records<Bytes>, ClientError> {
        Records::open(self.bytes.clone(), Projection::Everything)
            .map_err(|error| self.unreadable(&error))
    }

    /// Returns the next record at or above `from`; none at the end.
    fn next(&self, records: &mut Records<Bytes>) -> Result<Option<Delivery>, ClientError> {
        for record in records {
            let record = record.map_err(|error| self.unreadable(&error))?;
            let offset = self.header.base_offset + i64::from(record.offset_delta);
            if offset >= self.from {
                return Ok(Some(Delivery {
                    partition: self.partition,
                    offset,
                    timestamp_ms: record.timestamp,
                    key: record.key,
                    value: record.value,
                    headers: record.headers,
                }));
            }
        }
        Ok(None)
    }

    fn unreadable(&self, error: &RecordError) -> ClientError {
        ClientError::Unreadable {
            partition: self.partition,
            offset: self.header.base_offset,
            reason: error.to_string(),
        }
    }
}

struct Fetched {
    broker: i32,
    outcome: Result<FetchResponse, ClientError>,
}

impl Consumer {
    /// Begins reading that partition, or all partitions of the topic.
    pub async fn open(
        client: Client,
        topic: &str,
        partition: Option<i32>,
        start: Start,
        isolation: Isolation,
    ) -> Result<Self, ClientError> {
        let topology = client.refresh_patiently(topic, false).await?;
        let mut partitions = topology.partitions(topic);
        if let Some(wanted) = partition {
            partitions.retain(|partition| *partition == wanted);
            if partitions.is_empty() {
                return Err(ClientError::UnknownPartition {
                    topic: topic.to_owned(),
                    partition: wanted,
                });
            }
        }
        let mut positions = BTreeMap::new();
        for partition in partitions {
            let position = match start {
                Start::Offset(offset) => offset,
                Start::Beginning => client.offset(topic, partition, -2, isolation).await?,
                Start::End => client.offset(topic, partition, -1, isolation).await?,
            };
            positions.insert(partition, position);
        }
        let mut consumer = Self::of_nothing(client, topic, isolation);
        consumer.positions = positions;
        Ok(consumer)
    }

    /// A reader of no partition yet.
    pub(super) fn of_nothing(client: Client, topic: &str, isolation: Isolation) -> Self {
        Self {
            client,
            topic: topic.to_owned(),
            isolation,
            positions: BTreeMap::new(),
            fetched: VecDeque::new(),
            reading: None,
            asked: FuturesUnordered::new(),
            asked_of: HashMap::new(),
            failing_since: None,
            looked: None,
        }
    }

    pub(super) fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// The next offset of each partition that is to be fetched.
    pub(super) fn positions(&self) -> &BTreeMap<i32, i64> {
        &self.positions
    }

    /// Reads these partitions instead, from these offsets on. What was fetched of others, or is read from elsewhere now, is
    /// forgotten, and so are answers under way: they belong to the positions of before.
    pub(super) fn assign(&mut self, positions: BTreeMap<i32, i64>) {
        let kept = |partition: i32| positions.get(&partition) == self.positions.get(&partition);
        self.fetched.retain(|batch| kept(batch.partition));
        self.reading = self.reading.take().filter(|(batch, _)| kept(batch.partition));
        self.asked.clear();
        self.asked_of.clear();
        self.positions = positions;
    }

    /// Returns for each partition the offset after its last record now, or that of the first whose transaction is open.
    pub async fn ends(&self) -> Result<BTreeMap<i32, i64>, ClientError> {
        let mut ends = BTreeMap::new();
        for partition in self.positions.keys() {
            let end = self.client.offset(&self.topic, *partition, -1, self.isolation).await?;
            ends.insert(*partition, end);
        }
        Ok(ends)
    }

    /// Returns whether everything before these offsets has been returned by [`Consumer::next`].
    pub fn reached(&self, ends: &BTreeMap<i32, i64>) -> bool {
        !self.has_ready()
            && self
                .positions
                .iter()
                .all(|(partition, at)| ends.get(partition).is_none_or(|end| at >= end))
    }

    /// Returns whether the next record is here already.
    pub fn has_ready(&self) -> bool {
        self.reading.is_some() || !self.fetched.is_empty()
    }

    /// Returns the next record, waiting for one; None when a round of waiting brought none. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Delivery>, ClientError> {
        if let Some(delivery) = self.take_next()? {
            return Ok(Some(delivery));
        }
        self.round().await?;
        self.take_next()
    }

    /// Takes a record of what was fetched, and lets go of each batch with its last one.
    fn take_next(&mut self) -> Result<Option<Delivery>, ClientError> {
        loop {
            let (batch, mut records) = match self.reading.take() {
                Some(reading) => reading,
                None => match self.fetched.pop_front() {
                    Some(batch) => {
                        let records = batch.open()?;
                        (batch, records)
                    }
                    None => return Ok(None),
                },
            };
            let delivery = batch.next(&mut records)?;
            if records.has_more() {
                self.reading = Some((batch, records));
            }
            if delivery.is_some() {
                return Ok(delivery);
            }
        }
    }

    async fn round(&mut self) -> Result<(), ClientError> {
        self.look_for_leaders().await?;
        let trouble = match self.ask().await {
            Ok(()) => match self.asked.next().await {
                Some(fetched) => {
                    self.asked_of.remove(&fetched.broker);
                    fetched.outcome.and_then(|response| self.take(response)).err()
                }
                None => Some(ClientError::NoLeader { topic: self.topic.clone(), partition: 0 }),
            },
            Err(error) => Some(error),
        };
        let Some(error) = trouble else {
            self.failing_since = None;
            return Ok(());
        };
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if !error.retriable() {
            return Err(error);
        }
        if since.elapsed() > self.client.config().patience {
            return Err(ClientError::GaveUp {
                seconds: since.elapsed().as_secs(),
                last: Box::new(error),
            });
        }
        sleep(PAUSE).await;
        // What the brokers say next counts, not whether they can be asked.
        self.client
            .refresh(&self.topic, false)
            .await
            .map(drop)
            .or_else(|error| if error.retriable() { Ok(()) } else { Err(error) })
    }

    /// Asks the brokers again for the leaders of partitions that had none when they last told. Nothing fails on account of such
    /// a partition as long as others are read, so nothing else would ever look.
    async fn look_for_leaders(&mut self) -> Result<(), ClientError> {
        let topology = self.client.topology();
        let has_leader = |partition: &i32| topology.leader(&self.topic, *partition).is_some();
        let is_recent = self.looked.is_some_and(|looked| looked.elapsed() < PAUSE);
        if is_recent || self.positions.keys().all(has_leader) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        match self.client.refresh(&self.topic, false).await {
            Err(error) if !error.retriable() => Err(error),
            _ => Ok(()),
        }
    }

    /// Asks each leader that is not being asked for all its partitions.
    async fn ask(&mut self) -> Result<(), ClientError> {
        let busy: BTreeSet<i32> = self.asked_of.values().flatten().copied().collect();
        let topology = self.client.topology();
        let mut wanted = BTreeMap::<i32, Vec<i32>>::new();
        for partition in self.positions.keys().filter(|partition| !busy.contains(partition)) {
            if let Some(leader) = topology.leader(&self.topic, *partition) {
                wanted.entry(leader.broker).or_default().push(*partition);
            }
        }
        wanted.retain(|broker, _| !self.asked_of.contains_key(broker));
        let wait = self.client.config().request_timeout + WAIT;
        for (broker, partitions) in wanted {
            let Some(address) = topology.brokers.get(&broker) else { continue };
            let connection = match self.client.connection(address).await {
                Ok(connection) => connection,
                Err(error) => {
                    self.forget(&partitions);
                    return Err(error);
                }
            };
            let request = self.request(&partitions);
            self.asked_of.insert(broker, partitions);
            self.asked.push(Box::pin(async move {
                Fetched { broker, outcome: connection.call(&request, FETCH, wait).await }
            }));
        }
        Ok(())
    }

    fn request(&self, partitions: &[i32]) -> FetchRequest {
        let partitions = partitions.iter().map(|partition| {
            message!(FetchPartition {
                partition: *partition,
                current_leader_epoch: -1,
                fetch_offset: self.positions[partition],
                last_fetched_epoch: -1,
                log_start_offset: -1,
                partition_max_bytes: PARTITION_BYTES_MAX
            })
        });
        message!(FetchRequest {
            replica_id: -1,
            max_wait_ms: i32::try_from(WAIT.as_millis()).expect("half a second"),
            min_bytes: 1,
            max_bytes: BYTES_MAX,
            isolation_level: self.isolation as i8,
            session_id: 0,
            session_epoch: -1,
            topics: vec![message!(FetchTopic {
                topic: self.topic.as_str().into(),
                partitions: partitions.collect()
            })]
        })
    }

    fn take(&mut self, response: FetchResponse) -> Result<(), ClientError> {
        ErrorCode::check(response.error_code, "fetch")?;
        let mut trouble = Ok(());
        for data in response.responses.into_iter().flat_map(|topic| topic.partitions) {
            let partition = data.partition_index;
            match ErrorCode::check(data.error_code, "fetch") {
                Ok(()) => {
                    let aborted = data.aborted_transactions.unwrap_or_default().into_iter();
                    let aborted = Aborted::new(aborted.map(|it| (it.producer_id, it.first_offset)));
                    self.keep(partition, &data.records.unwrap_or_default(), aborted);
                }
                Err(error) => {
                    self.forget(&[partition]);
                    trouble = Err(error);
                }
            }
        }
        trouble
    }

    fn keep(&mut self, partition: i32, bytes: &Bytes, mut aborted: Aborted) {
        let Some(position) = self.positions.get_mut(&partition) else { return };
        for (header, batch) in Batches::new(bytes) {
            let is_seen = !aborted.passes_over(&header, batch);
            if is_seen && header.last_offset() >= *position {
                let (from, bytes) = (*position, bytes.slice_ref(batch));
                self.fetched.push_back(Batch { partition, from, header, bytes });
            }
            *position = (*position).max(header.last_offset() + 1);
        }
    }

    fn forget(&self, partitions: &[i32]) {
        for partition in partitions {
            self.client.forget_leader(&self.topic, *partition);
        }
    }
}

impl Client {
    /// Returns an offset of the partition: -2 asks for its first record's, -1 for the one after its last, of those that are
    /// read.
    pub async fn offset(
        &self,
        topic: &str,
        partition: i32,
        which: i64,
        isolation: Isolation,
    ) -> Result<i64, ClientError> {
        let started = Instant::now();
        loop {
            match self.offset_once(topic, partition, which, isolation).await {
                Err(error) if error.retriable() && started.elapsed() < self.config().patience => {
                    self.forget_leader(topic, partition);
                    sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn offset_once(
        &self,
        topic: &str,
        partition: i32,
        which: i64,
        isolation: Isolation,
    ) -> Result<i64, ClientError> {
        let leader = self.leader(topic, partition).await?;
        let connection = self.connection(&leader.address).await?;
        let asked = message!(ListOffsetsPartition {
            partition_index: partition,
            current_leader_epoch: -1,
            timestamp: which
        });
        let request = message!(ListOffsetsRequest {
            replica_id: -1,
            isolation_level: isolation as i8,
            topics: vec![message!(ListOffsetsTopic {
                name: topic.into(),
                partitions: vec![asked]
            })]
        });
        let answer = connection.call(&request, LIST_OFFSETS, self.config().request_timeout).await?;
        let partition = answer.topics.first().and_then(|topic| topic.partitions.first());
        let partition =
            partition.ok_or(ClientError::Broker { api: "list offsets", code: ErrorCode(-1) })?;
        ErrorCode::check(partition.error_code, "list offsets")?;
        Ok(partition.offset)
    }
}
