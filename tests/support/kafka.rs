//! The requests that several tests send by hand, over `wire`. One partition each: what a request
//! with many partitions does is said where it is tested.

use super::cluster::{Broker, Cluster};
use super::wire::{Decoder, Encoder, Wire};

pub const PRODUCE: i16 = 0;
pub const FETCH: i16 = 1;
pub const LIST_OFFSETS: i16 = 2;
pub const METADATA: i16 = 3;
pub const FIND_COORDINATOR: i16 = 10;
pub const HEARTBEAT: i16 = 12;
pub const API_VERSIONS: i16 = 18;
pub const CREATE_TOPICS: i16 = 19;
pub const DELETE_TOPICS: i16 = 20;
pub const DELETE_RECORDS: i16 = 21;
pub const INIT_PRODUCER_ID: i16 = 22;
pub const OFFSET_FOR_LEADER_EPOCH: i16 = 23;
pub const DESCRIBE_CONFIGS: i16 = 32;
pub const CREATE_PARTITIONS: i16 = 37;
pub const DESCRIBE_CLUSTER: i16 = 60;

pub const NONE: i16 = 0;
pub const OFFSET_OUT_OF_RANGE: i16 = 1;
pub const CORRUPT_MESSAGE: i16 = 2;
pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
pub const NOT_LEADER: i16 = 6;
pub const MESSAGE_TOO_LARGE: i16 = 10;
pub const COORDINATOR_LOADING: i16 = 14;
pub const COORDINATOR_NOT_AVAILABLE: i16 = 15;
pub const NOT_COORDINATOR: i16 = 16;
pub const INVALID_TOPIC: i16 = 17;
pub const INVALID_REQUIRED_ACKS: i16 = 21;
pub const INVALID_TIMESTAMP: i16 = 32;
pub const UNSUPPORTED_VERSION: i16 = 35;
pub const TOPIC_EXISTS: i16 = 36;
pub const INVALID_PARTITIONS: i16 = 37;
pub const INVALID_ASSIGNMENT: i16 = 39;
pub const INVALID_REQUEST: i16 = 42;
pub const POLICY_VIOLATION: i16 = 44;
pub const OUT_OF_ORDER_SEQUENCE: i16 = 45;
pub const DUPLICATE_SEQUENCE: i16 = 46;
pub const INVALID_PRODUCER_EPOCH: i16 = 47;
pub const UNKNOWN_PRODUCER: i16 = 59;
pub const UNKNOWN_FETCH_SESSION: i16 = 70;
pub const WRONG_FETCH_SESSION_EPOCH: i16 = 71;
pub const FENCED_LEADER_EPOCH: i16 = 74;
pub const UNKNOWN_LEADER_EPOCH: i16 = 75;
pub const UNSUPPORTED_COMPRESSION: i16 = 76;
pub const INVALID_RECORD: i16 = 87;
pub const UNKNOWN_TOPIC_ID: i16 = 100;
pub const UNSUPPORTED_ENDPOINT: i16 = 115;

#[derive(Clone, Debug, PartialEq)]
pub struct PartitionState {
    pub error: i16,
    pub index: i32,
    pub leader: i32,
    pub epoch: i32,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
}

#[derive(Debug)]
pub struct TopicState {
    pub error: i16,
    pub name: String,
    pub partitions: Vec<PartitionState>,
}

#[derive(Debug)]
pub struct Cluster7 {
    pub brokers: Vec<(i32, i32)>,
    pub cluster_id: String,
    pub controller: i32,
    pub topics: Vec<TopicState>,
}

/// Metadata version 7; `topics` of `None` means all.
pub fn metadata(wire: &mut Wire, topics: Option<&[&str]>, create: bool) -> Cluster7 {
    let mut body = Encoder::default().i32(topics.map_or(-1, |topics| topics.len() as i32));
    for topic in topics.unwrap_or_default() {
        body = body.string(topic);
    }
    let mut decoder = wire.call(METADATA, 7, &body.i8(create.into()));
    decoder.i32();
    let brokers = decoder.list(|decoder| {
        let (id, _host, port) = (decoder.i32(), decoder.string(), decoder.i32());
        decoder.string();
        (id, port)
    });
    let (cluster_id, controller) = (decoder.string().unwrap(), decoder.i32());
    let topics = decoder.list(|decoder| {
        let (error, name) = (decoder.i16(), decoder.string().unwrap());
        decoder.i8();
        let partitions = decoder.list(|decoder| {
            let (error, index, leader, epoch) =
                (decoder.i16(), decoder.i32(), decoder.i32(), decoder.i32());
            let (replicas, in_sync) = (decoder.list(Decoder::i32), decoder.list(Decoder::i32));
            decoder.list(Decoder::i32);
            PartitionState { error, index, leader, epoch, replicas, in_sync }
        });
        TopicState { error, name, partitions }
    });
    decoder.end();
    Cluster7 { brokers, cluster_id, controller, topics }
}

/// A topic in a Metadata answer of versions 10 to 13.
pub struct TopicRow {
    pub error: i16,
    pub name: Option<String>,
    pub id: [u8; 16],
    pub operations: i32,
}

/// Reads such an answer up to its topics.
pub fn topic_rows(decoder: &mut Decoder) -> Vec<TopicRow> {
    decoder.i32();
    decoder.rows(|decoder| (decoder.i32(), decoder.text(), decoder.i32(), decoder.text())).unwrap();
    decoder.text().unwrap();
    decoder.i32();
    let topics = decoder.rows(|decoder| {
        let (error, name, id) = (decoder.i16(), decoder.text(), decoder.id());
        decoder.i8();
        decoder.rows(|decoder| {
            decoder.i16();
            decoder.i32();
            decoder.i32();
            decoder.i32();
            decoder.numbers();
            decoder.numbers();
            decoder.numbers();
        });
        TopicRow { error, name, id, operations: decoder.i32() }
    });
    topics.unwrap()
}

/// The id of a topic, once the broker asked knows it: Metadata version 12.
pub fn topic_id(wire: &mut Wire, name: &str) -> Option<[u8; 16]> {
    let body = Encoder::default().count(1).id([0; 16]).text(name).zero().zero().zero();
    let topic = topic_rows(&mut wire.call_flexible(METADATA, 12, body)).remove(0);
    (topic.error == NONE).then_some(topic.id)
}

/// What a running broker says of a partition; `None` while it knows no leader.
pub fn partition_at(broker: &Broker, topic: &str, index: i32) -> Option<PartitionState> {
    let seen = metadata(&mut Wire::connect(broker.kafka), Some(&[topic]), false);
    let partitions = &seen.topics.first()?.partitions;
    partitions.iter().find(|p| p.index == index && p.error == NONE && p.leader >= 0).cloned()
}

/// Waits for a running leader of a partition on which all running brokers agree.
pub fn leader(cluster: &Cluster, topic: &str, index: i32) -> PartitionState {
    cluster.wait(&format!("{topic}-{index} has a leader known to all"), || {
        let mut seen = cluster.running().map(|broker| partition_at(broker, topic, index));
        let first = seen.next()??;
        let agreed =
            seen.all(|p| p.is_some_and(|p| (p.leader, p.epoch) == (first.leader, first.epoch)));
        (agreed && cluster.broker(first.leader as u64).running()).then_some(first)
    })
}

/// A connection to the leader of a partition once it serves: an elected one has to commit an entry first, and a fetch that
/// does not wait is turned away until then.
pub fn at_leader(cluster: &Cluster, topic: &str, index: i32) -> Wire {
    cluster.wait(&format!("the leader of {topic}-{index} serves"), || {
        let leader = leader(cluster, topic, index).leader as u64;
        let mut wire = Wire::connect(cluster.broker(leader).kafka);
        (list_offset(&mut wire, topic, index, -1, -1).error == NONE).then_some(wire)
    })
}

#[derive(Clone, Debug, PartialEq)]
pub struct Produced {
    pub error: i16,
    pub base: i64,
    pub append_time: i64,
    pub log_start: i64,
}

pub fn produce_body(topic: &str, index: i32, acks: i16, records: &[u8]) -> Encoder {
    let body = Encoder::default().null().i16(acks).i32(30_000);
    body.i32(1).string(topic).i32(1).i32(index).bytes(records)
}

/// Reads the answer of a Produce version 7 with one partition.
pub fn produced(mut decoder: Decoder) -> Produced {
    let mut answers = decoder.list(|decoder| {
        decoder.string();
        let mut partitions = decoder.list(|decoder| {
            decoder.i32();
            let (error, base) = (decoder.i16(), decoder.i64());
            Produced { error, base, append_time: decoder.i64(), log_start: decoder.i64() }
        });
        partitions.remove(0)
    });
    decoder.i32();
    decoder.end();
    answers.remove(0)
}

/// Produce version 7, acks=all.
pub fn produce(wire: &mut Wire, topic: &str, index: i32, records: &[u8]) -> Produced {
    produced(wire.call(PRODUCE, 7, &produce_body(topic, index, -1, records)))
}

/// What a Produce version 8 says of a batch: the error, the records at fault with whether each has a message, and whether
/// there is one for all.
pub fn judged(
    wire: &mut Wire,
    topic: &str,
    index: i32,
    records: &[u8],
) -> (i16, Vec<(i32, bool)>, bool) {
    let mut decoder = wire.call(PRODUCE, 8, &produce_body(topic, index, -1, records));
    let mut topics = decoder.list(|decoder| {
        decoder.string();
        decoder.list(|decoder| {
            let (_, error, _) = (decoder.i32(), decoder.i16(), decoder.i64());
            decoder.i64();
            decoder.i64();
            let records = decoder.list(|decoder| (decoder.i32(), decoder.string().is_some()));
            (error, records, decoder.string().is_some())
        })
    });
    topics.remove(0).remove(0)
}

/// A fetch of one partition; change what a test is about.
#[derive(Clone)]
pub struct Fetch<'a> {
    pub topic: &'a str,
    pub index: i32,
    pub offset: i64,
    pub epoch: i32,
    pub wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub partition_max_bytes: i32,
    pub session: (i32, i32),
    /// 1 for what is committed alone.
    pub isolation: i8,
    /// False leaves the partition out, as an incremental fetch does.
    pub named: bool,
}

impl<'a> Fetch<'a> {
    pub fn of(topic: &'a str, index: i32, offset: i64) -> Fetch<'a> {
        Fetch {
            topic,
            index,
            offset,
            epoch: -1,
            wait_ms: 0,
            min_bytes: 1,
            max_bytes: 50 << 20,
            partition_max_bytes: 1 << 20,
            session: (0, -1),
            isolation: 0,
            named: true,
        }
    }

    /// The body of Fetch version 11.
    pub fn body(&self) -> Encoder {
        let body =
            Encoder::default().i32(-1).i32(self.wait_ms).i32(self.min_bytes).i32(self.max_bytes);
        let body = body.i8(self.isolation).i32(self.session.0).i32(self.session.1);
        let body = if self.named {
            let body = body.i32(1).string(self.topic).i32(1).i32(self.index).i32(self.epoch);
            body.i64(self.offset).i64(-1).i32(self.partition_max_bytes)
        } else {
            body.i32(0)
        };
        body.i32(0).string("")
    }

    pub fn send(&self, wire: &mut Wire) -> FetchedAll {
        fetched(wire.call(FETCH, 11, &self.body()))
    }

    /// The answer for the one partition, which has to be there.
    pub fn one(&self, wire: &mut Wire) -> Fetched {
        let mut all = self.send(wire);
        assert_eq!((all.error, all.partitions.len()), (NONE, 1), "{all:?}");
        all.partitions.remove(0)
    }
}

#[derive(Debug)]
pub struct FetchedAll {
    pub error: i16,
    pub session: i32,
    pub partitions: Vec<Fetched>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    pub index: i32,
    pub error: i16,
    pub high_watermark: i64,
    pub stable: i64,
    pub log_start: i64,
    /// Aborted transactions: the producer's id and the first offset. `None` is null, for who reads all there is.
    pub aborted: Option<Vec<(i64, i64)>>,
    /// `None` is null on the wire, which librdkafka does not bear.
    pub records: Option<Vec<u8>>,
}

/// Reads the answer of a Fetch version 11.
pub fn fetched(mut decoder: Decoder) -> FetchedAll {
    decoder.i32();
    let (error, session) = (decoder.i16(), decoder.i32());
    let topics = decoder.list(|decoder| {
        decoder.string();
        decoder.list(|decoder| {
            let (index, error, high_watermark) = (decoder.i32(), decoder.i16(), decoder.i64());
            let (stable, log_start) = (decoder.i64(), decoder.i64());
            let aborted = decoder.nullable(|decoder| (decoder.i64(), decoder.i64()));
            decoder.i32();
            let records = decoder.bytes();
            Fetched { index, error, high_watermark, stable, log_start, aborted, records }
        })
    });
    decoder.end();
    FetchedAll { error, session, partitions: topics.into_iter().flatten().collect() }
}

#[derive(Debug, PartialEq)]
pub struct Offset {
    pub error: i16,
    pub timestamp: i64,
    pub offset: i64,
    pub epoch: i32,
}

/// ListOffsets version 5: -1 latest, -2 earliest, otherwise a time.
pub fn list_offset(wire: &mut Wire, topic: &str, index: i32, epoch: i32, time: i64) -> Offset {
    list_offset_to(wire, 0, topic, index, epoch, time)
}

/// The same for a reader of that isolation level, 1 for what is committed alone.
pub fn list_offset_to(
    wire: &mut Wire,
    isolation: i8,
    topic: &str,
    index: i32,
    epoch: i32,
    time: i64,
) -> Offset {
    let body = Encoder::default().i32(-1).i8(isolation).i32(1).string(topic);
    let mut decoder = wire.call(LIST_OFFSETS, 5, &body.i32(1).i32(index).i32(epoch).i64(time));
    decoder.i32();
    let mut topics = decoder.list(|decoder| {
        decoder.string();
        decoder.list(|decoder| {
            decoder.i32();
            let (error, timestamp) = (decoder.i16(), decoder.i64());
            Offset { error, timestamp, offset: decoder.i64(), epoch: decoder.i32() }
        })
    });
    decoder.end();
    topics.remove(0).remove(0)
}

/// OffsetForLeaderEpoch version 3: (error, epoch, end offset).
pub fn end_of_epoch(
    wire: &mut Wire,
    topic: &str,
    index: i32,
    current: i32,
    epoch: i32,
) -> (i16, i32, i64) {
    let body = Encoder::default().i32(-1).i32(1).string(topic).i32(1);
    let mut decoder =
        wire.call(OFFSET_FOR_LEADER_EPOCH, 3, &body.i32(index).i32(current).i32(epoch));
    decoder.i32();
    let mut topics = decoder.list(|decoder| {
        decoder.string();
        decoder.list(|decoder| {
            let error = decoder.i16();
            decoder.i32();
            (error, decoder.i32(), decoder.i64())
        })
    });
    decoder.end();
    topics.remove(0).remove(0)
}

/// DeleteRecords version 1: (low watermark, error).
pub fn delete_records(wire: &mut Wire, topic: &str, index: i32, before: i64) -> (i64, i16) {
    let body = Encoder::default().i32(1).string(topic).i32(1).i32(index).i64(before).i32(30_000);
    let mut decoder = wire.call(DELETE_RECORDS, 1, &body);
    decoder.i32();
    let mut topics = decoder.list(|decoder| {
        decoder.string();
        decoder.list(|decoder| {
            decoder.i32();
            (decoder.i64(), decoder.i16())
        })
    });
    decoder.end();
    topics.remove(0).remove(0)
}

/// InitProducerId version 1 without a transactional id: (producer id, epoch).
pub fn producer_id(wire: &mut Wire) -> (i64, i16) {
    let mut decoder = wire.call(INIT_PRODUCER_ID, 1, &Encoder::default().null().i32(60_000));
    decoder.i32();
    assert_eq!(decoder.i16(), NONE);
    let id = (decoder.i64(), decoder.i16());
    decoder.end();
    id
}

/// CreateTopics version 4 of one topic: its error.
pub fn create_topic(
    wire: &mut Wire,
    name: &str,
    partitions: i32,
    replicas: i16,
    check: bool,
) -> i16 {
    let body = Encoder::default().i32(1).string(name).i32(partitions).i16(replicas).i32(0).i32(0);
    let mut decoder = wire.call(CREATE_TOPICS, 4, &body.i32(30_000).i8(check.into()));
    decoder.i32();
    let mut topics = decoder.list(|decoder| {
        decoder.string();
        let error = decoder.i16();
        decoder.string();
        error
    });
    decoder.end();
    topics.remove(0)
}

/// FindCoordinator version 1 of a consumer group, asked of a running broker: (error, the coordinator's id).
pub fn coordinator(broker: &Broker, group: &str) -> (i16, i32) {
    let mut wire = Wire::connect(broker.kafka);
    let mut decoder = wire.call(FIND_COORDINATOR, 1, &Encoder::default().string(group).i8(0));
    decoder.i32();
    let error = decoder.i16();
    decoder.string();
    (error, decoder.i32())
}

/// A connection to the coordinator of a group once it serves, which takes a moment after its election.
pub fn at_coordinator(cluster: &Cluster, group: &str) -> Wire {
    cluster.wait(&format!("the coordinator of {group} serves"), || {
        let (error, id) = coordinator(cluster.broker(1), group);
        let id = u64::try_from(id).ok().filter(|_| error == NONE)?;
        let mut wire = Wire::connect(cluster.broker(id).kafka);
        let nobody = Encoder::default().string(group).i32(0).string("nobody");
        let mut decoder = wire.call(HEARTBEAT, 1, &nobody);
        decoder.i32();
        let not_yet = COORDINATOR_LOADING..=NOT_COORDINATOR;
        (!not_yet.contains(&decoder.i16())).then_some(wire)
    })
}
