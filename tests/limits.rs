//! Hostile and broken peers: clear refusals, bounded memory, and everybody else is still served.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::clients::Client;
use crate::support::cluster::{Broker, Cluster, SOON, fresh_dir};
use crate::support::kafka::{self, Fetch, INVALID_RECORD, NONE, produce};
use crate::support::wire::{Batch, Encoder, Wire};
use crate::support::{process, records};

const MIB: u64 = 1 << 20;

/// The broker still takes and gives records.
fn serves(cluster: &Cluster, topic: &str) {
    let dir = fresh_dir(topic);
    cluster.create_topic(topic, 1, 1);
    let written = records::write_file(&dir, topic, 1_000);
    let read = dir.join("read");
    Client::Rust.write(&cluster.bootstrap(), topic, "lz4", &written);
    Client::Rust.read(&cluster.bootstrap(), topic, 1_000, &read);
    records::assert_same(&written, &read, topic);
}

/// Sends bytes and waits until the broker has closed the connection, whatever it says before.
fn closes(port: u16, bytes: &[u8], what: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let _ = stream.write_all(bytes);
    let mut rest = Vec::new();
    let end = (&stream).take(10 * MIB).read_to_end(&mut rest);
    let closed = match end {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    assert!(closed, "{what}: the connection is still open after 30 s");
}

fn frame(length: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

fn ports(broker: &Broker) -> [(&'static str, u16); 3] {
    [("kafka", broker.kafka), ("peer", broker.peer), ("http", broker.http)]
}

#[test]
fn garbage_on_any_port_closes_that_connection_and_nothing_else() {
    let cluster = Cluster::start("garbage", 1);
    let broker = cluster.broker(1);
    let seed = std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    eprintln!("SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for (what, port) in ports(broker) {
        for n in 0..50 {
            let length = random.random_range(1..2_000);
            let bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
            // Random bytes may look like the start of something longer; the end of the stream ends it.
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(Shutdown::Write);
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let mut rest = Vec::new();
            let end = stream.read_to_end(&mut rest).map_err(|error| error.kind());
            assert!(!matches!(end, Err(std::io::ErrorKind::WouldBlock)), "{what} {n}: still open");
        }
    }
    for length in [0, -1, i32::MIN, i32::MAX, 200 << 20] {
        closes(broker.kafka, &frame(length, &[0; 64]), &format!("a kafka frame of {length} bytes"));
    }
    closes(broker.http, &[b'G'; 200_000], "an endless request line");
    serves(&cluster, "after-garbage");
}

#[test]
fn truncated_and_lying_requests_are_refused_without_allocating_what_they_claim() {
    let cluster = Cluster::start("lies", 1);
    let broker = cluster.broker(1);
    cluster.create_topic("lied-to", 1, 1);
    let before = broker.memory();
    // Arrays and strings that claim two billion elements, in requests of every shape.
    let huge = [
        (kafka::METADATA, 7, Encoder::default().i32(i32::MAX)),
        (kafka::METADATA, 7, Encoder::default().i32(1).i16(i16::MAX)),
        (kafka::PRODUCE, 7, Encoder::default().null().i16(-1).i32(1000).i32(i32::MAX)),
        (
            kafka::PRODUCE,
            7,
            Encoder::default().null().i16(-1).i32(1).i32(1).string("x").i32(i32::MAX),
        ),
        (
            kafka::FETCH,
            11,
            Encoder::default().i32(-1).i32(0).i32(0).i32(0).i8(0).i32(0).i32(-1).i32(i32::MAX),
        ),
        (kafka::LIST_OFFSETS, 5, Encoder::default().i32(-1).i8(0).i32(i32::MAX)),
        (kafka::CREATE_TOPICS, 4, Encoder::default().i32(i32::MAX)),
        (kafka::DELETE_RECORDS, 1, Encoder::default().i32(i32::MAX)),
        (kafka::OFFSET_FOR_LEADER_EPOCH, 3, Encoder::default().i32(-1).i32(i32::MAX)),
    ];
    for (api, version, body) in &huge {
        for _ in 0..20 {
            let mut wire = Wire::connect(broker.kafka);
            wire.send(*api, *version, body);
            assert!(wire.closed(), "api {api}: {body:?}", body = body.0);
        }
    }
    // A batch that claims two billion records in a few bytes.
    let mut wire = kafka::at_leader(&cluster, "lied-to", 0);
    let liar = Batch { count_error: i32::MAX - 1, ..Batch::of(&["x"]) };
    assert_eq!(produce(&mut wire, "lied-to", 0, &liar.bytes()).error, INVALID_RECORD);
    // Every prefix of a good request, then the end of the stream.
    let body = kafka::produce_body("lied-to", 0, -1, &Batch::of(&["x"]).bytes()).0;
    for length in 0..body.len() {
        let mut wire = Wire::connect(broker.kafka);
        wire.send(kafka::PRODUCE, 7, &Encoder(body[..length].to_vec()));
        let answer = wire.receive().map(|(_, decoder)| kafka::produced(decoder).error);
        assert!(!matches!(answer, Ok(NONE)), "{length} bytes of {} are accepted", body.len());
    }
    let grown = broker.memory().saturating_sub(before);
    assert!(grown < 200 * MIB, "grown by {} MiB", grown / MIB);
    serves(&cluster, "after-lies");
}

/// A batch that claims so many records, with a right checksum.
fn zstd_batch(records: i32, packed: &[u8]) -> Vec<u8> {
    let mut bytes = Batch { attributes: 4, ..Batch::of(&[]) }.bytes();
    bytes.extend(packed);
    let length = bytes.len() as i32 - 12;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&records.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// A length as records have it: zigzag, seven bits a byte.
fn length(number: usize) -> Vec<u8> {
    let mut rest = number << 1;
    let mut out = Vec::new();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

#[test]
fn valid_batches_that_unfold_to_millions_of_parts_cost_a_consumer_no_gigabytes() {
    const RECORDS: usize = 8_000_000;
    const HEADERS: usize = 40_000_000;
    let cluster = Cluster::start("unfold", 1);
    let topic =
        r#"{"name": "unfolding", "partitions": 1, "configs": {"max.message.bytes": "50331648"}}"#;
    cluster.request("POST", "/v1/topics", Some(topic)).ok();
    let mut wire = kafka::at_leader(&cluster, "unfolding", 0);
    // Millions of records without anything in them: attributes, time, offset, no key, no value, no headers.
    let mut plain = Vec::new();
    for index in 0..RECORDS {
        let offset = length(index);
        plain.extend(length(5 + offset.len()));
        plain.extend([0, 0]);
        plain.extend(offset);
        plain.extend([1, 1, 0]);
    }
    let packed = zstd::encode_all(&plain[..], 1).unwrap();
    // One record with millions of headers of an empty name and an empty value.
    let mut body = vec![0, 0, 0, 1, 1];
    body.extend(length(HEADERS));
    body.resize(body.len() + 2 * HEADERS, 0);
    let mut plain = length(body.len());
    plain.extend(body);
    let headers = zstd::encode_all(&plain[..], 1).unwrap();
    for batch in [zstd_batch(RECORDS as i32, &packed), zstd_batch(1, &headers)] {
        assert!(batch.len() < 48 << 20, "{}", batch.len());
        let answer = produce(&mut wire, "unfolding", 0, &batch);
        assert_eq!(answer.error, NONE, "{answer:?}");
    }
    let last = RECORDS.to_string();
    for (from, count) in [("0", "3"), (last.as_str(), "1")] {
        let mut command = process::command("prlimit");
        let bootstrap = cluster.bootstrap();
        command.arg("--as=1073741824").arg(env!("CARGO_BIN_EXE_quorate"));
        command.args(["consume", "unfolding", "--from", from, "-n", count, "--format", "full"]);
        command.args(["--server", &bootstrap]);
        let output = process::run(command, SOON);
        let lines = output.ok("consume").lines().count();
        assert_eq!(lines.to_string(), count, "from {from}");
    }
}

#[test]
fn health_is_answered_while_silent_and_half_sent_requests_hold_every_place() {
    let settings = [("QUORATE_HTTP_REQUEST_TIMEOUT_MS", "600000")];
    let cluster = Cluster::start_with("places", 1, &settings);
    let broker = cluster.broker(1);
    process::raise_open_files();
    let half = b"POST /v1/topics HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
        content-length: 100\r\n\r\n{";
    for (what, start) in [("half-sent", &half[..]), ("silent", &[])] {
        let strangers: Vec<TcpStream> = (0..1_200)
            .map(|_| {
                let mut stream = TcpStream::connect(("127.0.0.1", broker.http)).unwrap();
                stream.write_all(start).unwrap();
                stream.set_nonblocking(true).unwrap();
                stream
            })
            .collect();
        // More often than there are places for it.
        for _ in 0..100 {
            assert_eq!(broker.get("/livez").unwrap().text, "ok\n", "{what}");
            assert!(broker.ready(), "{what}");
        }
        let refused = broker.get("/v1/cluster").unwrap();
        assert_eq!(refused.problem(503), "too_many_connections", "{what}");
        // It was not that the strangers had to go first.
        let waits = |mut stream: &TcpStream| {
            let read = stream.read(&mut [0]).map_err(|error| error.kind());
            read == Err(std::io::ErrorKind::WouldBlock)
        };
        let held = strangers.iter().filter(|stream| waits(stream)).count();
        assert!(held >= 1_000, "{what}: {held}");
        drop(strangers);
        cluster.wait("places are free again", || {
            broker.get("/v1/cluster").filter(|answer| answer.status == 200)
        });
    }
}

#[test]
fn a_compression_bomb_is_refused_within_bounded_memory() {
    let cluster = Cluster::start("bomb", 1);
    let broker = cluster.broker(1);
    cluster.create_topic("bombed", 1, 1);
    kafka::leader(&cluster, "bombed", 0);
    let before = broker.memory();
    // A megabyte of zstd that unpacks to a gigabyte, in a batch that claims one record.
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    for _ in 0..1024 {
        encoder.write_all(&[0; 1 << 20]).unwrap();
    }
    let packed = encoder.finish().unwrap();
    assert!(packed.len() < 1_000_000, "{}", packed.len());
    let bytes = zstd_batch(1, &packed);
    for _ in 0..5 {
        let mut wire = Wire::connect(broker.kafka);
        let answer = produce(&mut wire, "bombed", 0, &bytes);
        assert_eq!((answer.error, answer.base), (INVALID_RECORD, -1), "{answer:?}");
    }
    let grown = broker.memory().saturating_sub(before);
    assert!(grown < 300 * MIB, "grown by {} MiB", grown / MIB);
    serves(&cluster, "after-bomb");
}

#[test]
fn half_open_and_silent_connections_hold_up_nobody() {
    let cluster = Cluster::start("silent", 1);
    let broker = cluster.broker(1);
    let mut open = Vec::new();
    for (_, port) in ports(broker) {
        for n in 0..100 {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            // Nothing, half a length, a length without its frame, half a frame.
            let start: &[u8] = match n % 4 {
                0 => &[],
                1 => &[0, 0],
                2 => &[0, 0, 0, 100],
                _ => &[0, 0, 0, 100, 0, 18, 0, 2, 0, 0],
            };
            stream.write_all(start).unwrap();
            if n % 2 == 0 {
                let _ = stream.shutdown(Shutdown::Write);
            }
            open.push(stream);
        }
    }
    // Readers that ask for much and never read.
    cluster.create_topic("unread", 1, 1);
    let mut wire = kafka::at_leader(&cluster, "unread", 0);
    let value = "x".repeat(1_000_000);
    for _ in 0..50 {
        assert_eq!(produce(&mut wire, "unread", 0, &Batch::of(&[&value]).bytes()).error, NONE);
    }
    let before = broker.memory();
    let greedy = Fetch { partition_max_bytes: 50 << 20, ..Fetch::of("unread", 0, 0) };
    let mut readers: Vec<Wire> = (0..100).map(|_| Wire::connect(broker.kafka)).collect();
    for wire in &mut readers {
        for _ in 0..5 {
            wire.send(kafka::FETCH, 11, &greedy.body());
        }
    }
    serves(&cluster, "after-silence");
    let grown = broker.memory().saturating_sub(before);
    assert!(grown < 1_500 * MIB, "grown by {} MiB for readers that do not read", grown / MIB);
}

#[test]
fn a_batch_larger_than_what_was_asked_for_takes_its_room_too() {
    let settings = [
        ("QUORATE_KAFKA_REQUESTS_BYTES_MAX", "67108864"),
        ("QUORATE_KAFKA_REQUEST_BYTES_MAX", "33554432"),
    ];
    let cluster = Cluster::start_with("whole", 1, &settings);
    let broker = cluster.broker(1);
    let topic =
        r#"{"name": "large", "partitions": 1, "configs": {"max.message.bytes": "20971520"}}"#;
    cluster.request("POST", "/v1/topics", Some(topic)).ok();
    cluster.create_topic("beside", 1, 1);
    let mut wire = kafka::at_leader(&cluster, "large", 0);
    let large = Batch::of(&[&"x".repeat(12_000_000)]).bytes();
    assert_eq!(produce(&mut wire, "large", 0, &large).error, NONE);
    let mut beside = kafka::at_leader(&cluster, "beside", 0);
    let before = broker.memory();
    // Each asks for one byte, is owed a whole batch, and does not read it.
    let one_byte = Fetch { partition_max_bytes: 1, ..Fetch::of("large", 0, 0) };
    let mut readers: Vec<Wire> = (0..100).map(|_| Wire::connect(broker.kafka)).collect();
    for reader in &mut readers {
        reader.send(kafka::FETCH, 11, &one_byte.body());
    }
    // Time for all of them, were there no bound: two hundred commits one after the other.
    for _ in 0..200 {
        assert_eq!(produce(&mut beside, "beside", 0, &Batch::of(&["x"]).bytes()).error, NONE);
    }
    let grown = broker.memory().saturating_sub(before);
    assert!(grown < 300 * MIB, "grown by {} MiB", grown / MIB);
    drop(readers);
    let whole = Fetch { partition_max_bytes: 1, ..Fetch::of("large", 0, 0) }.one(&mut wire);
    assert_eq!(whole.records.map(|records| records.len()), Some(large.len()));
    serves(&cluster, "after-whole");
}

#[test]
fn a_topic_named_a_hundred_thousand_times_is_described_once() {
    let cluster = Cluster::start("named", 1);
    cluster.create_topic("often", 20, 1);
    let before = cluster.broker(1).memory();
    let mut wire = Wire::connect(cluster.broker(1).kafka);
    let seen = kafka::metadata(&mut wire, Some(&vec!["often"; 100_000]), false);
    assert_eq!((seen.topics.len(), seen.topics[0].partitions.len()), (1, 20));
    let grown = cluster.broker(1).memory().saturating_sub(before);
    assert!(grown < 100 * MIB, "grown by {} MiB", grown / MIB);
}

/// CreateTopics version 4 of topics with one partition each, only to be validated: how often each error comes.
fn validated(wire: &mut Wire, topics: usize, partitions: i32) -> Vec<(i16, usize)> {
    let mut body = Encoder::default().i32(topics as i32);
    for n in 0..topics {
        body = body.string(&format!("{n}")).i32(partitions).i16(1).i32(0).i32(0);
    }
    let mut decoder = wire.call(kafka::CREATE_TOPICS, 4, &body.i32(30_000).i8(1));
    decoder.i32();
    let mut errors = decoder.list(|decoder| {
        decoder.string();
        (decoder.i16(), decoder.string()).0
    });
    errors.sort_unstable();
    errors.chunk_by(|a, b| a == b).map(|same| (same[0], same.len())).collect()
}

#[test]
fn topics_that_are_only_validated_take_little_however_many_they_are() {
    let cluster = Cluster::start("validated", 1);
    let broker = cluster.broker(1);
    let mut wire = Wire::connect(broker.kafka);
    assert_eq!(validated(&mut wire, 10, 10), [(NONE, 10)]);
    let before = broker.peak_memory();
    assert_eq!(validated(&mut wire, 10_000, 1), [(NONE, 10_000)]);
    assert_eq!(validated(&mut wire, 170_000, 1), [(kafka::INVALID_REQUEST, 170_000)]);
    assert_eq!(validated(&mut wire, 1_000, 10_000), [(kafka::INVALID_REQUEST, 1_000)]);
    let grown = broker.peak_memory().saturating_sub(before);
    assert!(grown < 250 * MIB, "grown by {} MiB", grown / MIB);
    serves(&cluster, "after-validated");
}

#[test]
fn an_answer_takes_the_memory_of_its_records_once() {
    let settings = [
        ("QUORATE_KAFKA_REQUESTS_BYTES_MAX", "4294967296"),
        ("QUORATE_STORAGE_CACHE_BYTES", "1048576"),
    ];
    let cluster = Cluster::start_with("once", 1, &settings);
    let broker = cluster.broker(1);
    cluster.create_topic("once", 4, 1);
    let value = "x".repeat(1_000_000);
    let batch = Batch::of(&[&value]).bytes();
    for index in 0..4 {
        let mut wire = kafka::at_leader(&cluster, "once", index);
        for _ in 0..13 {
            assert_eq!(produce(&mut wire, "once", index, &batch).error, NONE);
        }
    }
    let mut wire = Wire::connect(broker.kafka);
    let body = Encoder::default().i32(-1).i32(0).i32(1).i32(60 << 20).i8(0).i32(0).i32(-1);
    let mut body = body.i32(1).string("once").i32(4);
    for index in 0..4 {
        body = body.i32(index).i32(-1).i64(0).i64(-1).i32(20 << 20);
    }
    let body = body.i32(0).string("");
    broker.forget_peak_memory();
    let before = broker.peak_memory();
    let fetched = kafka::fetched(wire.call(kafka::FETCH, 11, &body));
    let bytes = |it: &kafka::Fetched| it.records.as_ref().map_or(0, Vec::len) as u64;
    let bytes: u64 = fetched.partitions.iter().map(bytes).sum();
    assert!(bytes > 52_000_000, "{bytes}");
    let grown = broker.peak_memory().saturating_sub(before);
    assert!(grown < bytes * 3 / 2, "grown by {} MiB for {} MiB", grown / MIB, bytes / MIB);
}

#[test]
fn five_thousand_idle_connections_are_held_in_little_memory_beside_working_ones() {
    let cluster = Cluster::start("idle", 1);
    let broker = cluster.broker(1);
    process::raise_open_files();
    let before = broker.memory();
    let mut idle: Vec<Wire> = (0..5_000).map(|_| Wire::connect(broker.kafka)).collect();
    // Each has spoken once, so each is accepted and set up.
    for wire in &mut idle {
        wire.send(kafka::API_VERSIONS, 2, &Encoder::default());
    }
    for wire in &mut idle {
        wire.receive().unwrap();
    }
    let each = broker.memory().saturating_sub(before) / 5_000;
    assert!(each < 32 << 10, "{each} bytes for each idle connection");
    serves(&cluster, "beside-idle");
    drop(idle);
    serves(&cluster, "after-idle");
}
