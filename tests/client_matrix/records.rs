//! What a client writes, another reads byte for byte, and the other way round.

use super::Client;
use super::record::{Record, assert_lines, lines, read, write};
use crate::support::cluster::Cluster;
use crate::support::kafka::{self, Fetch};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const NOW: i64 = 1_700_000_000_000;

fn record(timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Record {
    let (key, value) = (key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec));
    Record { timestamp, key, value, headers: Vec::new() }
}

fn header(name: &str, value: Option<&[u8]>) -> (String, Option<Vec<u8>>) {
    (name.to_owned(), value.map(<[u8]>::to_vec))
}

/// Everything that a record may be and that is easily lost.
pub(super) fn awkward(client: &Client) -> Vec<Record> {
    let every_byte: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..900_u32 << 10).map(|n| (n.wrapping_mul(n >> 3) >> 5) as u8).collect();
    let mut with_headers = record(NOW + 40, Some(b"key"), Some(b"value"));
    with_headers.headers = vec![
        header("twice", Some(b"first")),
        header("twice", Some(b"second")),
        header("empty", Some(b"")),
    ];
    if !client.lacks("null header") {
        with_headers.headers.push(header("null", None));
    }
    if !client.lacks("header order") {
        with_headers.headers.push(header("twice", Some(b"third")));
    }
    let mut all = vec![
        record(NOW, None, Some(b"no key")),
        record(NOW + 10, Some(b""), Some(b"an empty key")),
        record(NOW + 20, Some(b"a tombstone"), None),
        record(NOW + 30, Some(b"an empty value"), Some(b"")),
        with_headers,
        record(NOW - 1_000_000, Some(&every_byte), Some(&every_byte)),
        record(NOW + 60, Some(b"large"), Some(&large)),
    ];
    if !client.lacks("nothing at all") {
        all.push(record(NOW + 70, None, None));
    }
    all
}

/// Has the client write records to partition 0.
fn produce(client: &Client, cluster: &Cluster, topic: &str, codec: &str, records: &[Record]) {
    let said = client.run(&["produce", &cluster.bootstrap(), topic, codec], &lines(records));
    said.ok(&format!("{} writes {topic} with {codec}", client.name));
}

/// Has the client read partition 0, which has to have these records.
fn fetch(client: &Client, cluster: &Cluster, topic: &str, records: &[Record]) {
    let what = format!("{} reads {topic}", client.name);
    let count = records.len().to_string();
    let said = client.run(&["fetch", &cluster.bootstrap(), topic, &count], "").ok(&what);
    assert_lines(&said, records, 0, &what);
}

/// What another reads of what it has written: the same, but for the time where it sends none of its own.
fn kept(client: &Client, cluster: &Cluster, topic: &str, written: &[Record]) -> Vec<Record> {
    let read = read(&cluster.bootstrap(), topic, written.len());
    let mut same = read.clone();
    if client.lacks("timestamps") {
        same.iter_mut().zip(written).for_each(|(it, sent)| it.timestamp = sent.timestamp);
    }
    assert_eq!(same, written, "{topic}");
    read
}

/// Keys, values and headers, null, empty or twice, timestamps that go back, and 900 KiB at once.
pub fn records(client: &Client) {
    let (cluster, own, other) = (Cluster::shared(), client.topic("own"), client.topic("other"));
    let awkward = awkward(client);
    cluster.create_topic(&own, 1, 3);
    produce(client, &cluster, &own, "none", &awkward);
    let kept = kept(client, &cluster, &own, &awkward);
    fetch(client, &cluster, &own, &kept);
    cluster.create_topic(&other, 1, 3);
    write(&cluster.bootstrap(), &other, "none", &awkward);
    fetch(client, &cluster, &other, &awkward);
}

/// Codec and producer id of every batch of partition 0, as the broker keeps them.
fn stored(cluster: &Cluster, topic: &str) -> Vec<(usize, i64)> {
    let mut wire = kafka::at_leader(cluster, topic, 0);
    let bytes = Fetch::of(topic, 0, 0).one(&mut wire).records.unwrap();
    let mut rest = &bytes[..];
    let mut batches = Vec::new();
    while rest.len() > 61 {
        let length = 12 + u32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize;
        let codec = usize::from(rest[22] & 7);
        batches.push((codec, i64::from_be_bytes(rest[43..51].try_into().unwrap())));
        rest = &rest[length.min(rest.len())..];
    }
    batches
}

/// Records that every codec makes smaller.
pub(super) fn compressible(codec: &str) -> Vec<Record> {
    let value = |n: i64| format!("{codec} {n} {}", "the same again and again ".repeat(40));
    let record = |n| record(NOW + n, Some(codec.as_bytes()), Some(value(n).as_bytes()));
    (0..30).map(record).collect()
}

/// What it compresses is kept so, and read by another; it reads what another compressed.
pub fn codecs(client: &Client) {
    let (cluster, other) = (Cluster::shared(), client.topic("codecs"));
    cluster.create_topic(&other, 1, 3);
    let mut all = Vec::new();
    for (number, codec) in CODECS.into_iter().enumerate() {
        if client.lacks(&format!("codec {codec}")) {
            assert!(client.refuses(
                &format!("codec {codec}"),
                &["produce", &cluster.bootstrap(), &other, codec]
            ));
            continue;
        }
        let (own, records) = (client.topic(&format!("codec-{codec}")), compressible(codec));
        cluster.create_topic(&own, 1, 3);
        produce(client, &cluster, &own, codec, &records);
        let batches = stored(&cluster, &own);
        assert!(batches.iter().all(|(it, _)| *it == number), "{own} has batches {batches:?}");
        kept(client, &cluster, &own, &records);
        write(&cluster.bootstrap(), &other, codec, &records);
        all.extend(records);
    }
    fetch(client, &cluster, &other, &all);
}

/// Its producer is idempotent, or the table says that it cannot be.
pub fn idempotent(client: &Client) {
    let (cluster, topic) = (Cluster::shared(), client.topic("idempotent"));
    cluster.create_topic(&topic, 1, 3);
    produce(client, &cluster, &topic, "none", &compressible("none"));
    let batches = stored(&cluster, &topic);
    let idempotent = batches.iter().all(|(_, producer)| *producer >= 0);
    assert_eq!(idempotent, !client.lacks("idempotent"), "{topic} has batches {batches:?}");
}

/// A topic that is not there is made by whoever writes to it.
pub fn auto_create(client: &Client) {
    let (cluster, topic) = (Cluster::shared(), client.topic("auto"));
    let records = compressible("none");
    produce(client, &cluster, &topic, "none", &records);
    kept(client, &cluster, &topic, &records);
}

/// The first record of a time or later, which need not be that of the next timestamp.
pub fn seek_by_time(client: &Client) {
    let (cluster, topic) = (Cluster::shared(), client.topic("time"));
    cluster.create_topic(&topic, 1, 3);
    let times = [NOW, NOW + 3000, NOW + 1000, NOW + 5000];
    let records = times.map(|time| record(time, None, Some(time.to_string().as_bytes())));
    write(&cluster.bootstrap(), &topic, "lz4", &records);
    for (time, offset) in [(NOW - 1, 0), (NOW + 1, 1), (NOW + 3000, 1), (NOW + 3001, 3)] {
        let args = ["at", &cluster.bootstrap(), &topic, &time.to_string()];
        if client.refuses("seek by time", &args) {
            return;
        }
        let what = format!("{} seeks {time} in {topic}", client.name);
        assert_lines(&client.run(&args, "").ok(&what), &records[offset..=offset], offset, &what);
    }
}
