//! Writing records: how long each takes at a steady rate, or how many fit into a second.

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
    if options.partitions == 0 || options.seconds == 0 || options.rate == Some(0) {
        return Err(Failure::usage("partitions, seconds and rate are at least 1"));
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
    let producer = Producer::new(
        client.clone(),
        ProducerConfig { queued: 1_024, ..ProducerConfig::default() },
    )
    .await?;
    let value = incompressible(options.record_bytes);
    let begin = Instant::now();
    let measured_from = begin + WARM_UP;
    let end = measured_from + Duration::from_secs(options.seconds);
    let (sender, receiver) = mpsc::channel::<(Instant, PendingBatch)>(PENDING_MAX);
    let collector = tokio::spawn(collect_latencies(receiver, measured_from));
    for number in 0_u32.. {
        let due = begin + Duration::from_secs(1) * number / rate;
        if due >= end {
            break;
        }
        sleep_until(due).await;
        let partition = i32::try_from(number % options.partitions).unwrap_or(0);
        let pending = producer.send(topic, partition, vec![record(&value)]).await?;
        if sender.send((due, pending)).await.is_err() {
            break;
        }
    }
    drop(sender);
    let mut samples = collector.await.map_err(|error| Failure::error(error.to_string()))??;
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

/// One task per partition keeps its producer's window full.
async fn throughput(
    options: &ProduceOptions,
    client: &Client,
    topic: &str,
    report: &mut Report,
) -> Result<(), Failure> {
    let records = options.records_per_batch();
    report.condition("record bytes per batch", records * options.record_bytes);
    report.condition("batches in flight per partition", ProducerConfig::default().in_flight);
    // Batches of exactly this size: nothing is joined.
    let config = ProducerConfig {
        queued: 5,
        batch_bytes: 0,
        codec: Codec::None,
        ..ProducerConfig::default()
    };
    let producer = std::sync::Arc::new(Producer::new(client.clone(), config).await?);
    let measured_from = Instant::now() + WARM_UP;
    let end = measured_from + Duration::from_secs(options.seconds);
    let value = incompressible(options.record_bytes);
    let mut workers = tokio::task::JoinSet::new();
    for partition in 0..options.partitions {
        let (producer, topic, value) =
            (std::sync::Arc::clone(&producer), topic.to_owned(), value.clone());
        let partition = i32::try_from(partition).unwrap_or(0);
        workers.spawn(async move {
            let batch = vec![value; records];
            fill(&producer, &topic, partition, &batch, measured_from, end).await
        });
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

/// Returns how long each batch took that was stored while it was measured.
async fn fill(
    producer: &Producer,
    topic: &str,
    partition: i32,
    batch: &[Bytes],
    measured_from: Instant,
    end: Instant,
) -> Result<Vec<Duration>, ClientError> {
    let mut took = Vec::new();
    let mut window = std::collections::VecDeque::new();
    loop {
        let now = Instant::now();
        if now < end && window.len() < 10 {
            let records = batch.iter().map(record).collect();
            window.push_back((now, producer.send(topic, partition, records).await?));
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
    NewRecord { timestamp_ms, key: None, value: Some(value.clone()) }
}

fn incompressible(bytes: usize) -> Bytes {
    let mut value = vec![0; bytes];
    rand::rng().fill_bytes(&mut value);
    Bytes::from(value)
}
