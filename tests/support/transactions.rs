//! The requests of transactional producers, sent by hand, and those of operators who look at them.

use super::cluster::Cluster;
use super::kafka::{
    COORDINATOR_LOADING, FIND_COORDINATOR, INIT_PRODUCER_ID, NONE, NOT_COORDINATOR, PRODUCE,
};
use super::wire::{Batch, Decoder, Encoder, Wire};

const OFFSET_FETCH: i16 = 9;
pub const ADD_PARTITIONS: i16 = 24;
pub const ADD_OFFSETS: i16 = 25;
pub const END: i16 = 26;
const WRITE_MARKERS: i16 = 27;
const COMMIT_OFFSETS: i16 = 28;
const DESCRIBE_PRODUCERS: i16 = 61;
const DESCRIBE: i16 = 65;
const LIST: i16 = 66;

pub const INVALID_STATE: i16 = 48;
pub const INVALID_PRODUCER_ID: i16 = 49;
pub const INVALID_TIMEOUT: i16 = 50;
pub const CONCURRENT: i16 = 51;
pub const NOT_ALLOWED: i16 = 53;
pub const NOT_ATTEMPTED: i16 = 55;
pub const UNSTABLE: i16 = 88;
pub const FENCED: i16 = 90;
pub const ID_NOT_FOUND: i16 = 105;
pub const ABORTABLE: i16 = 120;

/// The bit of a batch that is part of a transaction.
const TRANSACTIONAL: i16 = 0x10;

/// A producer as it names itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Producer {
    pub id: String,
    pub producer: i64,
    pub epoch: i16,
}

/// InitProducerId version 4 of who has that producer id and epoch, -1 and -1 for nobody: (error, producer id, epoch).
pub fn init(wire: &mut Wire, id: &str, timeout_ms: i32, had: (i64, i16)) -> (i16, i64, i16) {
    let body = Encoder::default().text(id).i32(timeout_ms).i64(had.0).i16(had.1);
    let mut decoder = wire.call_flexible(INIT_PRODUCER_ID, 4, body);
    decoder.i32();
    let told = (decoder.i16(), decoder.i64(), decoder.i16());
    decoder.tags();
    decoder.end();
    told
}

/// FindCoordinator version 1 of a transactional id, asked of broker 1: (error, the coordinator's id).
pub fn coordinator(cluster: &Cluster, id: &str) -> (i16, i32) {
    let mut wire = Wire::connect(cluster.broker(1).kafka);
    let mut decoder = wire.call(FIND_COORDINATOR, 1, &Encoder::default().string(id).i8(1));
    decoder.i32();
    let error = decoder.i16();
    decoder.string();
    (error, decoder.i32())
}

/// A connection to the coordinator of an id, and the id's producer: whoever was it before is fenced off.
pub fn begin(cluster: &Cluster, id: &str) -> (Wire, Producer) {
    cluster.wait(&format!("{id} has a producer"), || {
        let (error, broker) = coordinator(cluster, id);
        let broker = u64::try_from(broker).ok().filter(|_| error == NONE)?;
        let mut wire = Wire::connect(cluster.broker(broker).kafka);
        let (error, producer, epoch) = init(&mut wire, id, 60_000, (-1, -1));
        if (COORDINATOR_LOADING..=NOT_COORDINATOR).contains(&error) || error == CONCURRENT {
            return None;
        }
        assert_eq!(error, NONE, "{id}");
        Some((wire, Producer { id: id.to_owned(), producer, epoch }))
    })
}

impl Producer {
    fn claim(&self) -> Encoder {
        Encoder::default().text(&self.id).i64(self.producer).i16(self.epoch)
    }

    /// AddPartitionsToTxn version 3 of partitions of one topic: the error of each.
    pub fn add(&self, wire: &mut Wire, topic: &str, partitions: &[i32]) -> Vec<i16> {
        let body = self.claim().count(1).text(topic).count(partitions.len());
        let body = partitions.iter().fold(body, |body, index| body.i32(*index)).zero();
        let mut decoder = wire.call_flexible(ADD_PARTITIONS, 3, body);
        decoder.i32();
        rows(&mut decoder).into_iter().map(|(_, error)| error).collect()
    }

    /// The same of one partition, again until the transaction before has ended everywhere.
    pub fn join(&self, cluster: &Cluster, wire: &mut Wire, topic: &str) {
        let error = cluster.wait("the transaction before has ended", || {
            let error = self.add(wire, topic, &[0]).remove(0);
            (error != CONCURRENT).then_some(error)
        });
        assert_eq!(error, NONE);
    }

    /// AddOffsetsToTxn version 3.
    pub fn add_offsets(&self, wire: &mut Wire, group: &str) -> i16 {
        let mut decoder = wire.call_flexible(ADD_OFFSETS, 3, self.claim().text(group));
        decoder.i32();
        decoder.i16()
    }

    /// EndTxn version 3.
    pub fn end(&self, wire: &mut Wire, commit: bool) -> i16 {
        let mut decoder = wire.call_flexible(END, 3, self.claim().i8(commit.into()));
        decoder.i32();
        decoder.i16()
    }

    /// EndTxn version 5: its error, and the producer of the next transaction.
    pub fn end_and_bump(&self, wire: &mut Wire, commit: bool) -> (i16, Producer) {
        let mut decoder = wire.call_flexible(END, 5, self.claim().i8(commit.into()));
        decoder.i32();
        let error = decoder.i16();
        let (producer, epoch) = (decoder.i64(), decoder.i16());
        decoder.tags();
        decoder.end();
        (error, Producer { id: self.id.clone(), producer, epoch })
    }

    /// A batch of a transaction.
    pub fn batch(&self, sequence: i32, values: &[&str]) -> Vec<u8> {
        let batch = Batch { attributes: TRANSACTIONAL, ..Batch::of(values) };
        batch.from((self.producer, self.epoch), sequence).bytes()
    }

    /// Produce of a batch of a transaction into partition 0: (error, base offset).
    pub fn produce(
        &self,
        wire: &mut Wire,
        version: i16,
        topic: &str,
        sequence: i32,
        value: &str,
    ) -> (i16, i64) {
        let batch = self.batch(sequence, &[value]);
        produce(wire, version, Some(&self.id), topic, &batch)
    }

    /// Produce of the newest form, again until the transaction before has ended everywhere.
    pub fn write(&self, cluster: &Cluster, wire: &mut Wire, topic: &str, value: &str) -> i64 {
        let (error, base) = cluster.wait("the transaction before has ended", || {
            let (error, base) = self.produce(wire, 12, topic, 0, value);
            (error != CONCURRENT).then_some((error, base))
        });
        assert_eq!(error, NONE);
        base
    }

    /// TxnOffsetCommit of partition 0 of a topic, by a member of a group.
    pub fn commit(
        &self,
        wire: &mut Wire,
        version: i16,
        (group, generation, member): (&str, i32, &str),
        topic: &str,
        offset: i64,
    ) -> i16 {
        let body = Encoder::default().text(&self.id).text(group);
        let body = body.i64(self.producer).i16(self.epoch).i32(generation).text(member).zero();
        let body = body.count(1).text(topic).count(1).i32(0).i64(offset).i32(-1).text("");
        let mut decoder = wire.call_flexible(COMMIT_OFFSETS, version, body.zero().zero());
        decoder.i32();
        rows(&mut decoder).remove(0).1
    }

    /// WriteTxnMarkers version 1 into partition 0.
    pub fn mark(&self, wire: &mut Wire, topic: &str, commit: bool) -> i16 {
        let body = Encoder::default().count(1).i64(self.producer).i16(self.epoch);
        let body = body.i8(commit.into()).count(1).text(topic).count(1).i32(0).zero();
        let mut decoder = wire.call_flexible(WRITE_MARKERS, 1, body.i32(0).zero());
        let markers = decoder.rows(|decoder| (decoder.i64(), rows(decoder)));
        let (producer, mut rows) = markers.unwrap().remove(0);
        assert_eq!(producer, self.producer);
        rows.remove(0).1
    }
}

/// Topics with an error for each partition.
fn rows(decoder: &mut Decoder) -> Vec<(i32, i16)> {
    let topics = decoder.rows(|decoder| {
        decoder.text();
        decoder.rows(|decoder| (decoder.i32(), decoder.i16())).unwrap()
    });
    topics.unwrap().into_iter().flatten().collect()
}

/// Produce version 7, or 9 to 12, into partition 0: (error, base offset).
pub fn produce(
    wire: &mut Wire,
    version: i16,
    id: Option<&str>,
    topic: &str,
    records: &[u8],
) -> (i16, i64) {
    let row = |decoder: &mut Decoder| (decoder.i32(), decoder.i16(), decoder.i64());
    if version < 9 {
        let body = Encoder::default();
        let body = id.map_or_else(|| body.clone().null(), |id| body.clone().string(id));
        let body = body.i16(-1).i32(30_000).i32(1).string(topic).i32(1).i32(0).bytes(records);
        let mut decoder = wire.call(PRODUCE, version, &body);
        assert_eq!(decoder.i32(), 1);
        decoder.string();
        assert_eq!(decoder.i32(), 1);
        let (_, error, base) = row(&mut decoder);
        return (error, base);
    }
    let body = Encoder::default();
    let body = id.map_or_else(|| body.clone().zero(), |id| body.clone().text(id));
    let body = body.i16(-1).i32(30_000).count(1).text(topic).count(1).i32(0).blob(records);
    let mut decoder = wire.call_flexible(PRODUCE, version, body.zero().zero());
    let topics = decoder.rows(|decoder| {
        decoder.text();
        let partitions = decoder.rows(|decoder| {
            let row = row(decoder);
            decoder.i64();
            decoder.i64();
            decoder.rows(|decoder| (decoder.i32(), decoder.text()));
            decoder.text();
            row
        });
        partitions.unwrap().remove(0)
    });
    let (_, error, base) = topics.unwrap().remove(0);
    (error, base)
}

/// OffsetFetch version 7 of partition 0 of a topic: (error, offset), and -1 where the group has the error.
pub fn committed(wire: &mut Wire, group: &str, topic: &str, stable: bool) -> (i16, i64) {
    let body = Encoder::default().text(group).count(1).text(topic).count(1).i32(0).zero();
    let mut decoder = wire.call_flexible(OFFSET_FETCH, 7, body.i8(stable.into()));
    decoder.i32();
    let topics = decoder.rows(|decoder| {
        decoder.text();
        let partitions = decoder.rows(|decoder| {
            decoder.i32();
            let (offset, _, _) = (decoder.i64(), decoder.i32(), decoder.text());
            (decoder.i16(), offset)
        });
        partitions.unwrap().remove(0)
    });
    match decoder.i16() {
        NONE => topics.unwrap().remove(0),
        error => (error, -1),
    }
}

/// A producer in DescribeProducers: its id, epoch, last sequence, coordinator epoch, and where its open transaction begins.
pub type Described = (i64, i32, i32, i32, i64);

/// DescribeProducers of a partition: its error and producers.
pub fn producers(wire: &mut Wire, topic: &str, index: i32) -> (i16, Vec<Described>) {
    let body = Encoder::default().count(1).text(topic).count(1).i32(index).zero();
    let mut decoder = wire.call_flexible(DESCRIBE_PRODUCERS, 0, body);
    decoder.i32();
    let topics = decoder.rows(|decoder| {
        decoder.text();
        let partitions = decoder.rows(|decoder| {
            let (_, error, _) = (decoder.i32(), decoder.i16(), decoder.text());
            let producers = decoder.rows(|decoder| {
                let (id, epoch, sequence) = (decoder.i64(), decoder.i32(), decoder.i32());
                decoder.i64();
                (id, epoch, sequence, decoder.i32(), decoder.i64())
            });
            (error, producers.unwrap())
        });
        partitions.unwrap().remove(0)
    });
    decoder.tags();
    decoder.end();
    topics.unwrap().remove(0)
}

/// What DescribeTransactions says of an id.
#[derive(Debug, PartialEq)]
pub struct Transaction {
    pub error: i16,
    pub state: String,
    pub timeout_ms: i32,
    /// Whether it is told when it began.
    pub has_begun: bool,
    pub producer: (i64, i16),
    pub topics: Vec<(String, Vec<i32>)>,
}

pub fn describe(wire: &mut Wire, id: &str) -> Transaction {
    let mut decoder = wire.call_flexible(DESCRIBE, 0, Encoder::default().count(1).text(id));
    decoder.i32();
    let rows = decoder.rows(|decoder| {
        let (error, named) = (decoder.i16(), decoder.text());
        assert_eq!(named.as_deref(), Some(id));
        Transaction {
            error,
            state: decoder.text().unwrap(),
            timeout_ms: decoder.i32(),
            has_begun: decoder.i64() > 0,
            producer: (decoder.i64(), decoder.i16()),
            topics: decoder.rows(|decoder| (decoder.text().unwrap(), decoder.numbers())).unwrap(),
        }
    });
    decoder.tags();
    decoder.end();
    rows.unwrap().remove(0)
}

/// What ListTransactions version 2 is asked for.
#[derive(Clone, Default)]
pub struct Filters<'a> {
    pub states: &'a [&'a str],
    pub producers: &'a [i64],
    /// In milliseconds; `None` for all.
    pub open_for: Option<i64>,
    pub pattern: Option<&'a str>,
}

/// Its error, the states that nobody knows, and (id, producer id, state) of each.
pub fn list(
    wire: &mut Wire,
    filters: &Filters<'_>,
) -> (i16, Vec<String>, Vec<(String, i64, String)>) {
    let body = Encoder::default().count(filters.states.len());
    let body = filters.states.iter().fold(body, |body, state| body.text(state));
    let body = body.count(filters.producers.len());
    let body = filters.producers.iter().fold(body, |body, id| body.i64(*id));
    let body = body.i64(filters.open_for.unwrap_or(-1));
    let body = match filters.pattern {
        Some(pattern) => body.text(pattern),
        None => body.zero(),
    };
    let mut decoder = wire.call_flexible(LIST, 2, body);
    decoder.i32();
    let (error, unknown) = (decoder.i16(), decoder.texts());
    let rows = decoder
        .rows(|decoder| (decoder.text().unwrap(), decoder.i64(), decoder.text().unwrap()))
        .unwrap();
    decoder.tags();
    decoder.end();
    (error, unknown, rows)
}
