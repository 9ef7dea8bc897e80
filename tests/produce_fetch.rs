//! Every client writes and reads a hundred thousand records with every codec it has, and what one
//! wrote another reads.

use crate::support::clients::Client;
use crate::support::cluster::{Cluster, fresh_dir};
use crate::support::records;

const RECORDS: usize = 100_000;
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// Writes with each codec, reads with the writer and with the next client of the list.
fn exchange(writer: Client) {
    let cluster = Cluster::shared();
    let dir = fresh_dir("records");
    let position = Client::ALL.iter().position(|client| *client == writer).unwrap();
    for (n, codec) in CODECS.iter().enumerate() {
        let topic = format!("{writer:?}-{codec}").to_lowercase();
        cluster.create_topic(&topic, 1, 3);
        let written = records::write_file(&dir, &topic, RECORDS);
        writer.write(&cluster.bootstrap(), &topic, codec, &written);
        // Over the codecs every pair of clients meets.
        let other = Client::ALL[(position + 1 + n % 3) % 4];
        for reader in [writer, other] {
            let read = dir.join(format!("{topic}.{reader:?}"));
            reader.read(&cluster.bootstrap(), &topic, RECORDS, &read);
            records::assert_same(&written, &read, &format!("{topic} read by {reader:?}"));
        }
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn kcat_writes_100_000_records_with_every_codec_and_others_read_the_same() {
    exchange(Client::Kcat);
}

#[test]
fn python_writes_100_000_records_with_every_codec_and_others_read_the_same() {
    exchange(Client::Python);
}

#[test]
fn java_writes_100_000_records_with_every_codec_and_others_read_the_same() {
    exchange(Client::Java);
}

#[test]
fn rust_writes_100_000_records_with_every_codec_and_others_read_the_same() {
    exchange(Client::Rust);
}

#[test]
fn keys_headers_nulls_and_timestamps_come_back_as_they_were_sent() {
    use rdkafka::message::{Header, Headers, Message, OwnedHeaders, Timestamp};
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

    use crate::support::clients;
    use crate::support::cluster::SOON;

    let cluster = Cluster::shared();
    let topic = "rust-shapes";
    cluster.create_topic(topic, 1, 3);
    let producer: BaseProducer = clients::producer(&cluster.bootstrap()).create().unwrap();
    let headers = OwnedHeaders::new()
        .insert(Header { key: "a", value: Some(b"1") })
        .insert(Header { key: "a", value: Some(b"2") })
        .insert(Header { key: "none", value: None::<&[u8]> });
    let binary: Vec<u8> = (0..=255).collect();
    let record = BaseRecord::to(topic).partition(0).key(&binary).payload(&binary);
    producer.send(record.timestamp(1_234_567_890_123).headers(headers)).unwrap();
    producer.send(BaseRecord::<[u8], [u8]>::to(topic).partition(0).key(b"k")).unwrap();
    producer.send(BaseRecord::<[u8], [u8]>::to(topic).partition(0).payload(b"")).unwrap();
    producer.flush(SOON).unwrap();

    let consumer = clients::consumer_at(&cluster.bootstrap(), topic, 0, 0);
    let next = || consumer.poll(SOON).unwrap().unwrap().detach();
    let first = next();
    assert_eq!((first.key(), first.payload()), (Some(&binary[..]), Some(&binary[..])));
    assert_eq!(first.timestamp(), Timestamp::CreateTime(1_234_567_890_123));
    let headers = first.headers().unwrap();
    let headers: Vec<_> = headers.iter().map(|header| (header.key, header.value)).collect();
    assert_eq!(headers, [("a", Some(&b"1"[..])), ("a", Some(&b"2"[..])), ("none", None)]);
    let second = next();
    assert_eq!((second.key(), second.payload()), (Some(&b"k"[..]), None));
    let third = next();
    assert_eq!((third.key(), third.payload()), (None, Some(&b""[..])));
}
