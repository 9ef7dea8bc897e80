//! Compaction of a table: what it costs, and what others notice of it.
//!
//! Every key is written equally often, in an order that looks random. Then records are written to another topic at a given
//! rate, for a while before and for as long as the table is compacted; the latencies of both stand beside each other.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Common;
use super::load::{Paced, incompressible, paced};
use super::report::Report;
use super::statistics::{Samples, milliseconds};
use crate::client::{Client, ClientConfig, NewRecord, PendingBatch, Producer, ProducerConfig};
use crate::demo::default_data_dir;
use crate::telemetry::usage_of;
use crate::terminal::{Failure, note};

/// How long the other topic is written to before.
const BEFORE: Duration = Duration::from_secs(12);
/// Records of a batch.
const BATCH: u64 = 100;
/// Batches under way.
const PENDING_MAX: usize = 64;
/// A prime, so that steps of it go through all numbers below another one before one comes again.
const STRIDE: u64 = 2_654_435_761;

#[derive(Debug, Clone, Args)]
pub(crate) struct CompactOptions {
    /// Different keys.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    keys: u64,
    /// Records, of all keys in turn.
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    records: u64,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 230, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    record_bytes: u32,
    #[arg(long, short, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    partitions: u32,
    /// Records of 1 KiB a second that are written to another topic meanwhile.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// A compacted topic that is there: it is filled, and no more.
    #[arg(long)]
    topic: Option<String>,
    /// The demo's data directory, where the brokers' pid files are [default: the demo's default].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(options: CompactOptions) -> Result<(), Failure> {
    let client = Client::new(ClientConfig::new(options.common.kafka.server.clone()));
    let Some(topic) = options.topic.clone() else { return measure(&options, &client).await };
    let mut report = Report::of_machine();
    fill(&options, &client, &topic, &mut report).await?;
    report.print(options.common.format)
}

async fn measure(options: &CompactOptions, client: &Client) -> Result<(), Failure> {
    let common = &options.common;
    // It is compacted when it is asked to be, and not before.
    let patient = i64::MAX.to_string();
    let configs = json!({
        "cleanup.policy": "compact", "segment.ms": patient, "segment.bytes": i32::MAX.to_string(),
        "min.cleanable.dirty.ratio": "1", "retention.ms": "-1",
    });
    let topic = common.create_topic_with("compact", options.partitions, configs).await?;
    let other = common.create_topic("compact-beside", 3).await?;
    let mut report = Report::new(common).await?;
    fill(options, client, &topic, &mut report).await?;
    report.condition("written beside", format!("{} records of 1024 bytes a second", options.rate));
    client.refresh_patiently(&other, false).await?;
    let end = Instant::now() + BEFORE;
    note("measuring without compaction")?;
    let mut before = beside(options, client, &other, |due| due >= end).await?;
    latencies("before", &mut before, &mut report);

    note("compacting")?;
    let (ended, cpu) = (Arc::new(AtomicBool::new(false)), processor(options)?);
    let (begun, is_ended) = (Instant::now(), Arc::clone(&ended));
    let compacting = async {
        let done = compact(options, &topic).await;
        ended.store(true, Ordering::Relaxed);
        done
    };
    let meanwhile = beside(options, client, &other, |_| is_ended.load(Ordering::Relaxed));
    let (done, during) = tokio::join!(compacting, meanwhile);
    let (bytes, mut during) = (done?, during?);
    let took = begun.elapsed();
    report.number("compaction took", took.as_secs_f64(), "s");
    let used = processor(options)?.saturating_sub(cpu).as_secs_f64();
    report.number("processor of all brokers meanwhile", used, "s");
    for (name, bytes) in bytes {
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
        report.number(format!("leaders: {name}"), bytes as f64 / 1e6, "MB");
    }
    latencies("during", &mut during, &mut report);
    common.delete_topic(&topic).await?;
    common.delete_topic(&other).await?;
    report.print(common.format)
}

/// Writes the table.
async fn fill(
    options: &CompactOptions,
    client: &Client,
    topic: &str,
    report: &mut Report,
) -> Result<(), Failure> {
    note(&format!("writing {} records of {} keys", options.records, options.keys))?;
    client.refresh_patiently(topic, false).await?;
    let producer = Producer::new(client.clone(), ProducerConfig::default()).await?;
    let value = incompressible(options.record_bytes as usize);
    let (begun, mut told) = (Instant::now(), Instant::now());
    let mut pending: VecDeque<PendingBatch> = VecDeque::new();
    let mut number = 0;
    while number < options.records {
        // A key is always in the same partition, so a batch ends where the keys begin anew.
        let place = number % options.keys;
        let count = BATCH.min(options.records - number).min(options.keys - place);
        let partition = place / BATCH % u64::from(options.partitions);
        let records = (number..number + count).map(|number| record(options, number, &value));
        let partition = i32::try_from(partition).unwrap_or(0);
        pending.push_back(producer.send(topic, partition, records.collect()).await?);
        number += count;
        if pending.len() >= PENDING_MAX
            && let Some(oldest) = pending.pop_front()
        {
            oldest.stored().await?;
        }
        if told.elapsed() > Duration::from_secs(10) {
            note(&format!("{number} of {} records written", options.records))?;
            told = Instant::now();
        }
    }
    for batch in pending {
        batch.stored().await?;
    }
    report.condition("keys", options.keys);
    report.condition("records", options.records);
    report.condition("bytes of a value", options.record_bytes);
    report.condition("partitions of the table", options.partitions);
    #[expect(clippy::cast_precision_loss, reason = "a count of records")]
    let rate = options.records as f64 / begun.elapsed().as_secs_f64();
    report.number("records written", rate, "1/s");
    Ok(())
}

fn record(options: &CompactOptions, number: u64, value: &Bytes) -> NewRecord {
    let key = number % options.keys * STRIDE % options.keys;
    let key = Bytes::from(format!("key-{key:012}"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let timestamp_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    NewRecord { timestamp_ms, key: Some(key), value: Some(value.clone()), headers: Vec::new() }
}

async fn beside(
    options: &CompactOptions,
    client: &Client,
    topic: &str,
    ended: impl Fn(Instant) -> bool,
) -> Result<Samples, Failure> {
    let config = ProducerConfig { queued: 1_024, ..ProducerConfig::default() };
    let producer = Producer::new(client.clone(), config).await?;
    let to = Paced { topic, partitions: 3, rate: options.rate, bytes: 1_024 };
    paced(&producer, to, ended).await
}

fn latencies(when: &str, samples: &mut Samples, report: &mut Report) {
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        let value = milliseconds(samples.percentile(share));
        report.number(format!("produce latency {when}, {name}"), value, "ms");
    }
}

/// Asks for compaction and waits until the leaders have done it; returns what they read, wrote and saved.
async fn compact(
    options: &CompactOptions,
    topic: &str,
) -> Result<Vec<(&'static str, u64)>, Failure> {
    let admin = options.common.admin();
    admin.post(&format!("/v1/topics/{topic}/compaction"), &json!({})).await?;
    let mut totals = vec![("read", 0), ("written", 0), ("saved", 0)];
    for partition in 0..options.partitions {
        let path = format!("/v1/topics/{topic}/partitions/{partition}");
        let state = loop {
            let state = admin.get(&path).await?["compaction"].take();
            let number = |name: &str| state[name].as_u64().unwrap_or(0);
            let decided = number("decided_upto");
            let running = state["running"].as_bool().unwrap_or(false);
            if decided > 0 && number("compacted_upto") == decided && !running {
                break state;
            }
            sleep(Duration::from_millis(200)).await;
        };
        for ((_, total), name) in
            totals.iter_mut().zip(["bytes_read", "bytes_written", "bytes_saved"])
        {
            *total += state[name].as_u64().unwrap_or(0);
        }
    }
    Ok(totals)
}

/// What the demo's brokers have used of the processor.
fn processor(options: &CompactOptions) -> Result<Duration, Failure> {
    let directory = match &options.data_dir {
        Some(directory) => directory.clone(),
        None => default_data_dir()?,
    };
    let brokers = super::failover::running_brokers(&directory)?;
    Ok(brokers.iter().filter_map(|(_, pid)| usage_of(*pid)).map(|usage| usage.cpu).sum())
}
