//! Streams by key: what a condition costs an append, and what it takes to read a stream out of a large partition.
//!
//! Appends come from writers with a stream each, one event at a time, as commands of aggregates do; rounds with and
//! without a condition alternate, so that both meet the same machine. Then a partition is filled with other records,
//! among which the events of some streams lie far apart, and these are read over HTTP from its leader. What writers who
//! contend on one key do to the others is in `storm.rs`.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Args;
use serde_json::json;
use tokio::time::Instant;

use super::Common;
use super::load::incompressible;
use super::report::Report;
use super::statistics::{Samples, milliseconds};
use super::storm::{self, Storm};
use crate::client::{Client, ClientConfig, NewRecord, PendingBatch, Producer, ProducerConfig};
use crate::config::HostPort;
use crate::record::partition_for_key;
use crate::terminal::{Admin, Failure, note};

/// Records of a batch that fills the partition: as a command of an aggregate appends.
const BATCH: u64 = 10;
/// Batches under way.
const PENDING_MAX: usize = 256;
/// Streams whose events lie among the others.
const STREAMS: u64 = 10;
/// Different keys of the others: every so many records have one.
const RECORDS_PER_KEY: u64 = 10;

#[derive(Debug, Clone, Args)]
pub(crate) struct StreamsOptions {
    /// Writers, each with a stream and a connection of its own.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    writers: u32,
    /// Rounds with a condition, and as many without.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long a round takes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Writers who contend on one key beside the others; 0 leaves that out.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    contenders: u32,
    /// Bytes of an event.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    record_bytes: u32,
    /// Records of the partition that streams are read from.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    records: u64,
    /// Events of a stream that is read.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    events: u64,
    /// Reads of each kind.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    reads: u64,
    /// Seconds between writing that partition and reading it.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    settle: u64,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(options: StreamsOptions) -> Result<(), Failure> {
    let client = Client::new(ClientConfig::new(options.common.kafka.server.clone()));
    let mut report = Report::new(&options.common).await?;
    report.condition("bytes of an event", options.record_bytes);
    report.condition("writers", options.writers);
    appends(&options, &client, &mut report).await?;
    if options.contenders > 0 {
        let storm = Storm {
            writers: options.writers,
            contenders: options.contenders,
            rounds: options.rounds,
            length: Duration::from_secs(options.seconds),
            record_bytes: options.record_bytes,
        };
        storm::run(storm, &options.common, &mut report).await?;
    }
    reads(&options, &client, &mut report).await?;
    report.print(options.common.format)
}

/// Appends with and without a condition in turn.
async fn appends(
    options: &StreamsOptions,
    client: &Client,
    report: &mut Report,
) -> Result<(), Failure> {
    const PARTITIONS: u32 = 3;
    let configs = json!({ "quorate.streams": "true" });
    let topic = options.common.create_topic_with("streams", PARTITIONS, configs).await?;
    client.refresh_patiently(&topic, false).await?;
    let mut writers = Vec::new();
    for number in 0..options.writers {
        let client = Client::new(ClientConfig::new(options.common.kafka.server.clone()));
        let config = ProducerConfig { in_flight: 1, ..ProducerConfig::default() };
        let key = format!("aggregate-{number}");
        let partition = partition_for_key(key.as_bytes(), PARTITIONS);
        writers.push(Writer {
            producer: Producer::new(client, config).await?,
            topic: topic.clone(),
            partition: i32::try_from(partition).unwrap_or(0),
            key: Bytes::from(key),
            version: 0,
            value: incompressible(options.record_bytes as usize),
        });
    }
    // Connections and caches.
    (writers, _) = round(writers, false, Duration::from_secs(1)).await?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let (mut with_latency, mut without_latency) = (Samples::default(), Samples::default());
    for number in 0..options.rounds {
        note(&format!("appending, round {} of {}", number + 1, options.rounds))?;
        // Who goes first goes second in the next.
        for conditional in [number % 2 == 0, number % 2 == 1] {
            let length = Duration::from_secs(options.seconds);
            let (back, samples) = round(writers, conditional, length).await?;
            writers = back;
            #[expect(clippy::cast_precision_loss, reason = "a count of appends")]
            let rate = samples.len() as f64 / length.as_secs_f64();
            let (rates, latencies) = if conditional {
                (&mut with, &mut with_latency)
            } else {
                (&mut without, &mut without_latency)
            };
            rates.push(rate);
            samples.into_iter().for_each(|sample| latencies.add(sample));
        }
    }
    let (with, without) = (median(&mut with), median(&mut without));
    report.number("appends without a condition, median of rounds", without, "1/s");
    report.number("appends with an expected version, median of rounds", with, "1/s");
    report.number("conditional / unconditional", with / without, "");
    for (name, latencies) in
        [("without a condition", &mut without_latency), ("with one", &mut with_latency)]
    {
        for (of, share) in [("p50", 0.5), ("p99", 0.99)] {
            let value = milliseconds(latencies.percentile(share));
            report.number(format!("append latency {name}, {of}"), value, "ms");
        }
    }
    options.common.delete_topic(&topic).await.map(drop)
}

fn median(of: &mut [f64]) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or_default()
}

struct Writer {
    producer: Producer,
    topic: String,
    partition: i32,
    key: Bytes,
    version: i64,
    value: Bytes,
}

/// All writers append until the time is over; returns them and how long each append took.
async fn round(
    writers: Vec<Writer>,
    conditional: bool,
    length: Duration,
) -> Result<(Vec<Writer>, Vec<Duration>), Failure> {
    let end = Instant::now() + length;
    let running: Vec<_> = writers
        .into_iter()
        .map(|mut writer| {
            tokio::spawn(async move {
                let mut samples = Vec::new();
                while Instant::now() < end {
                    let begun = Instant::now();
                    writer.append(conditional).await?;
                    samples.push(begun.elapsed());
                }
                Ok::<_, Failure>((writer, samples))
            })
        })
        .collect();
    let (mut writers, mut samples) = (Vec::new(), Vec::new());
    for writer in running {
        let (writer, of_one) =
            writer.await.map_err(|error| Failure::error(error.to_string()))??;
        writers.push(writer);
        samples.extend(of_one);
    }
    Ok((writers, samples))
}

impl Writer {
    async fn append(&mut self, conditional: bool) -> Result<(), Failure> {
        let mut record = record(self.key.clone(), self.value.clone());
        if conditional {
            let version = Bytes::from(self.version.to_string());
            record.headers.push(("quorate-expected-version".to_owned(), version));
        }
        let pending = self.producer.send(&self.topic, self.partition, vec![record]).await?;
        pending.stored().await?;
        self.version += 1;
        Ok(())
    }
}

fn record(key: Bytes, value: Bytes) -> NewRecord {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let timestamp_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    NewRecord { timestamp_ms, key: Some(key), value: Some(value), headers: Vec::new() }
}

/// Fills a partition and reads streams out of it.
async fn reads(
    options: &StreamsOptions,
    client: &Client,
    report: &mut Report,
) -> Result<(), Failure> {
    let configs = json!({ "quorate.streams": "true" });
    let topic = options.common.create_topic_with("streams-read", 1, configs).await?;
    client.refresh_patiently(&topic, false).await?;
    fill(options, client, &topic, report).await?;
    let leader = leader_of(options, &topic).await?;
    report.condition("records of the partition read from", options.records);
    report.condition("records of its batches", BATCH);
    report.condition("events of a stream read", options.events);
    note(&format!("waiting {} s, as brokers move what was just written", options.settle))?;
    tokio::time::sleep(Duration::from_secs(options.settle)).await;
    let kinds = ["committed", "linearizable"];
    let mut samples = kinds.map(|_| Samples::default());
    note("reading streams")?;
    for number in 0..options.reads {
        // In turn, so that both meet the same machine.
        for (consistency, samples) in kinds.iter().zip(&mut samples) {
            samples.add(read(options, &leader, &topic, consistency, number).await?);
        }
    }
    let mut medians = Vec::new();
    for (consistency, mut samples) in kinds.iter().zip(samples) {
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let value = milliseconds(samples.percentile(share));
            report.number(format!("reading a stream, {consistency}, {name}"), value, "ms");
        }
        medians.push(milliseconds(samples.percentile(0.5)));
    }
    report.number("linearizable / committed, p50", medians[1] / medians[0], "");
    options.common.delete_topic(&topic).await.map(drop)
}

/// Reads one of the streams, and returns how long that took.
async fn read(
    options: &StreamsOptions,
    leader: &Admin,
    topic: &str,
    consistency: &str,
    number: u64,
) -> Result<Duration, Failure> {
    let path = format!(
        "/v1/topics/{topic}/streams/{}?consistency={consistency}&limit={}",
        stream(number % STREAMS),
        options.events
    );
    let begun = Instant::now();
    let read = leader.get(&path).await?;
    let took = begun.elapsed();
    let found = read["events"].as_array().map_or(0, Vec::len) as u64;
    if found == options.events {
        Ok(took)
    } else {
        Err(Failure::error(format!("{found} events of a stream were read")))
    }
}

/// The leader of the only partition, asked directly.
async fn leader_of(options: &StreamsOptions, topic: &str) -> Result<Admin, Failure> {
    let admin = options.common.admin();
    let leader = admin.get(&format!("/v1/topics/{topic}/partitions/0")).await?["leader"].take();
    let brokers = admin.get("/v1/brokers").await?;
    let rows = brokers["brokers"].as_array().or(brokers.as_array());
    let row = rows.and_then(|rows| rows.iter().find(|row| row["id"] == leader));
    let address =
        row.and_then(|row| row["http"].as_str()).and_then(|it| it.parse::<HostPort>().ok());
    let address = address.ok_or_else(|| Failure::error("the partition has no leader"))?;
    Ok(Admin::new(vec![address]))
}

fn stream(number: u64) -> String {
    format!("stream-{number}")
}

/// Writes the partition: events of the streams at even distances among other records.
async fn fill(
    options: &StreamsOptions,
    client: &Client,
    topic: &str,
    report: &mut Report,
) -> Result<(), Failure> {
    note(&format!("writing {} records", options.records))?;
    let producer = Producer::new(client.clone(), ProducerConfig::default()).await?;
    let value = incompressible(options.record_bytes as usize);
    let (begun, mut told) = (Instant::now(), Instant::now());
    let mut pending: VecDeque<PendingBatch> = VecDeque::new();
    let keys = (options.records / RECORDS_PER_KEY).max(1);
    let batches = options.records.div_ceil(BATCH).max(options.events);
    let (mut written, mut events) = (0, 0);
    for number in 0..batches {
        let mut records = Vec::new();
        for _ in 0..BATCH {
            let key = Bytes::from(format!("other-{}", written % keys));
            records.push(record(key, value.clone()));
            written += 1;
        }
        // As many as are due by now.
        while events < options.events && events * batches <= number * options.events {
            for of in 0..STREAMS {
                records.push(record(Bytes::from(stream(of)), value.clone()));
            }
            events += 1;
        }
        pending.push_back(producer.send(topic, 0, records).await?);
        if pending.len() >= PENDING_MAX
            && let Some(oldest) = pending.pop_front()
        {
            oldest.stored().await?;
        }
        if told.elapsed() > Duration::from_secs(10) {
            note(&format!("{written} of {} records written", options.records))?;
            told = Instant::now();
        }
    }
    for batch in pending {
        batch.stored().await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of records")]
    let rate = written as f64 / begun.elapsed().as_secs_f64();
    report.number("records written into one partition with streams", rate, "1/s");
    Ok(())
}
