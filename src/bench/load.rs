//! Writing records: how long each takes at a steady rate, or how many fit into a second.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Args;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rand::RngCore;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Common;
use super::report::Report;
use super::statistics::{Samples, milliseconds};
use crate::client::{
    Client, ClientConfig, ClientError, NewRecord, PendingBatch, Producer, ProducerConfig,
};
use crate::record::{Codec, batch_bytes_max};
use crate::terminal::Failure;

/// Samples kept; a longer run at a higher rate is refused.
const SAMPLES_MAX: u64 = 20_000_000;
/// Batches of a throughput run that are queued or on their way, over all partitions.
const PENDING_MAX: usize = 4_096;

#[derive(Debug, Clone, Args)]
pub(crate) struct ProduceOptions {
    /// Records per second, evenly; batched only while five batches are on their way. Left out: as fast as possible.
    #[arg(long)]
    rate: Option<u32>,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 1_024)]
    record_bytes: usize,
    /// Without --rate: bytes of a batch at most, with what the format adds to each record.
    #[arg(long, default_value_t = 16_384)]
    batch_bytes: usize,
    #[arg(long, short, default_value_t = 1)]
    partitions: u32,
    /// Without --rate: producers with a connection each, which write to all partitions in turn. Left out: one, which
    /// writes to all partitions at the same time.
    #[arg(long)]
    producers: Option<u32>,
    /// Batches that a producer has on their way to one partition, at most 5; in all with --producers.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=5))]
    in_flight: u8,
    /// How long to measure, after two seconds to warm up.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Keep the topic afterwards.
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    common: Common,
}

/// What a topic takes when nobody says otherwise.
const MESSAGE_BYTES_DEFAULT: usize = 1_048_588;
/// Not measured: connections, caches and the brokers' own start.
const WARM_UP: Duration = Duration::from_secs(2);

impl ProduceOptions {
    /// As many as fit, and one at least.
    fn records_per_batch(&self) -> usize {
        let (mut fit, mut more) = (1, self.batch_bytes.max(1) + 1);
        while more - fit > 1 {
            let middle = fit + (more - fit) / 2;
            if batch_bytes_max(middle, self.record_bytes) <= self.batch_bytes {
                fit = middle;
            } else {
                more = middle;
            }
        }
        fit
    }
}

pub(super) async fn run(options: ProduceOptions) -> Result<(), Failure> {
    if u64::from(options.rate.unwrap_or(0)) * options.seconds > SAMPLES_MAX {
        return Err(Failure::usage(format!(
            "more than {SAMPLES_MAX} samples; ask for fewer seconds"
        )));
    }
    let counts = [Some(options.partitions), options.rate, options.producers];
    if options.seconds == 0 || counts.contains(&Some(0)) {
        return Err(Failure::usage("partitions, producers, seconds and rate are at least 1"));
    }
    if options.rate.is_some() && options.producers.is_some() {
        return Err(Failure::usage("--rate is the rate of one producer; leave out --producers"));
    }
    let batch = batch_bytes_max(options.records_per_batch(), options.record_bytes);
    let configs = json!({ "max.message.bytes": batch.max(MESSAGE_BYTES_DEFAULT).to_string() });
    let topic = options.common.create_topic_with("produce", options.partitions, configs).await?;
    let mut report = Report::new(&options.common).await?;
    report.condition("partitions written to", options.partitions);
    report.condition("acks", "all, idempotent");
    report.condition("record bytes", options.record_bytes);
    report.condition("seconds", options.seconds);
    let client = Client::new(ClientConfig::new(options.common.kafka.server.clone()));
    client.refresh_patiently(&topic, false).await?;
    match options.rate {
        Some(rate) => latencies(&options, &client, &topic, rate, &mut report).await?,
        None => throughput(&options, &client, &topic, &mut report).await?,
    }
    if !options.keep {
        options.common.delete_topic(&topic).await?;
    }
    report.print(options.common.format)
}

/// Records are due at fixed times, and a latency counts from when a record was due: a broker that stalls is
/// charged for all the records it kept waiting, not only for the one it held.
async fn latencies(
    options: &ProduceOptions,
    client: &Client,
    topic: &str,
    rate: u32,
    report: &mut Report,
) -> Result<(), Failure> {
    report.condition("records per second", rate);
    let producer =
        Producer::new(client.clone(), ProducerConfig { queued: 1_024, ..config_of(options) })
            .await?;
    let end = Instant::now() + WARM_UP + Duration::from_secs(options.seconds);
    let to = Paced { topic, partitions: options.partitions, rate, bytes: options.record_bytes };
    let mut samples = paced(&producer, to, |due| due >= end).await?;
    report.condition("records measured", samples.count());
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
        report.number(
            format!("produce latency {name}"),
            milliseconds(samples.percentile(share)),
            "ms",
        );
    }
    Ok(())
}

/// Where records are due, how many a second, and how large.
#[derive(Clone, Copy)]
pub(super) struct Paced<'a> {
    pub(super) topic: &'a str,
    pub(super) partitions: u32,
    pub(super) rate: u32,
    pub(super) bytes: usize,
}

/// Writes evenly until a record is due that is not wanted; the first two seconds are not measured.
pub(super) async fn paced(
    producer: &Producer,
    to: Paced<'_>,
    ended: impl Fn(Instant) -> bool,
) -> Result<Samples, Failure> {
    let Paced { topic, partitions, rate, bytes } = to;
    let value = incompressible(bytes);
    let begin = Instant::now();
    let measured_from = begin + WARM_UP;
    let (sender, receiver) = mpsc::channel::<(Instant, PendingBatch)>(PENDING_MAX);
    let collector = tokio::spawn(collect_latencies(receiver, measured_from));
    for number in 0_u32.. {
        let due = begin + Duration::from_secs(1) * number / rate;
        if ended(due) {
            break;
        }
        sleep_until(due).await;
        let partition = i32::try_from(number % partitions).unwrap_or(0);
        let pending = producer.send(topic, partition, vec![record(&value)]).await?;
        if sender.send((due, pending)).await.is_err() {
            break;
        }
    }
    drop(sender);
    let samples = collector.await.map_err(|error| Failure::error(error.to_string()))??;
    Ok(samples)
}

async fn collect_latencies(
    mut receiver: mpsc::Receiver<(Instant, PendingBatch)>,
    measured_from: Instant,
) -> Result<Samples, ClientError> {
    let mut samples = Samples::default();
    let mut waiting = FuturesUnordered::new();
    let mut open = true;
    while open || !waiting.is_empty() {
        tokio::select! {
            next = receiver.recv(), if open && waiting.len() < PENDING_MAX => match next {
                Some((due, pending)) => waiting.push(async move { pending.stored().await.map(|_| (due, Instant::now())) }),
                None => open = false,
            },
            Some(stored) = waiting.next() => {
                let (due, at) = stored?;
                if due >= measured_from {
                    samples.add(at - due);
                }
            }
        }
    }
    Ok(samples)
}

fn config_of(options: &ProduceOptions) -> ProducerConfig {
    ProducerConfig { in_flight: options.in_flight.into(), ..ProducerConfig::default() }
}

/// One task per partition, or per producer, keeps the window full.
async fn throughput(
    options: &ProduceOptions,
    client: &Client,
    topic: &str,
    report: &mut Report,
) -> Result<(), Failure> {
    let records = options.records_per_batch();
    report.condition("record bytes per batch", records * options.record_bytes);
    let shared = options.producers.is_none();
    report.condition("producers", options.producers.unwrap_or(1));
    let each = if shared { "batches in flight per partition" } else { "... batches in flight" };
    report.condition(each, options.in_flight);
    let producers = producers(options, client, topic).await?;
    let measured_from = Instant::now() + WARM_UP;
    let end = measured_from + Duration::from_secs(options.seconds);
    let value = incompressible(options.record_bytes);
    let mut workers = tokio::task::JoinSet::new();
    // What is queued behind what is on its way, so that a partition never waits for this side.
    let window = if shared { 10 } else { options.in_flight.into() };
    for worker in 0..options.producers.unwrap_or(options.partitions) {
        let producer = Arc::clone(&producers[if shared { 0 } else { worker as usize }]);
        let first = i32::try_from(worker % options.partitions).unwrap_or(0);
        let all = i32::try_from(options.partitions).unwrap_or(i32::MAX);
        let target = Target {
            topic: topic.to_owned(),
            partitions: if shared { first..first + 1 } else { 0..all },
            first,
            window,
        };
        let batch = vec![value.clone(); records];
        workers.spawn(async move { fill(&producer, target, &batch, measured_from, end).await });
    }
    let mut batches = 0_u64;
    let mut samples = Samples::default();
    while let Some(worker) = workers.join_next().await {
        let worker = worker.map_err(|error| Failure::error(error.to_string()))??;
        for sample in worker {
            batches += 1;
            samples.add(sample);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
    let bytes = (batches * (records * options.record_bytes) as u64) as f64;
    #[expect(clippy::cast_precision_loss, reason = "a number of seconds")]
    let seconds = options.seconds as f64;
    report.number("record bytes stored", bytes / seconds / 1e6, "MB/s");
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 batches")]
    report.number("batches stored", batches as f64 / seconds, "1/s");
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        report.number(
            format!("batch latency {name}"),
            milliseconds(samples.percentile(share)),
            "ms",
        );
    }
    Ok(())
}

/// Returns the producers, each but the first with a client of its own.
async fn producers(
    options: &ProduceOptions,
    client: &Client,
    topic: &str,
) -> Result<Vec<Arc<Producer>>, Failure> {
    // Batches of exactly this size: nothing is joined.
    let config =
        ProducerConfig { queued: 5, batch_bytes: 0, codec: Codec::None, ..config_of(options) };
    let mut producers = vec![Arc::new(Producer::new(client.clone(), config.clone()).await?)];
    for _ in 1..options.producers.unwrap_or(1) {
        let client = Client::new(ClientConfig::new(options.common.kafka.server.clone()));
        client.refresh_patiently(topic, false).await?;
        producers.push(Arc::new(Producer::new(client, config.clone()).await?));
    }
    Ok(producers)
}

/// Where a worker writes.
struct Target {
    topic: String,
    /// One after the other.
    partitions: Range<i32>,
    first: i32,
    /// Batches given and not stored.
    window: usize,
}

/// Returns how long each batch took that was stored while it was measured.
async fn fill(
    producer: &Producer,
    target: Target,
    batch: &[Bytes],
    measured_from: Instant,
    end: Instant,
) -> Result<Vec<Duration>, ClientError> {
    let mut took = Vec::new();
    let mut window = VecDeque::new();
    let mut partition = target.first;
    loop {
        let now = Instant::now();
        if now < end && window.len() < target.window {
            let records = batch.iter().map(record).collect();
            window.push_back((now, producer.send(&target.topic, partition, records).await?));
            partition += 1;
            if partition == target.partitions.end {
                partition = target.partitions.start;
            }
            continue;
        }
        let Some((given, pending)) = window.pop_front() else { return Ok(took) };
        pending.stored().await?;
        let stored = Instant::now();
        if (measured_from..end).contains(&stored) {
            took.push(stored - given);
        }
    }
}

fn record(value: &Bytes) -> NewRecord {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let timestamp_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    NewRecord { timestamp_ms, key: None, value: Some(value.clone()), headers: Vec::new() }
}

pub(super) fn incompressible(bytes: usize) -> Bytes {
    let mut value = vec![0; bytes];
    rand::rng().fill_bytes(&mut value);
    Bytes::from(value)
}
