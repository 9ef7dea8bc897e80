//! Transactions: how many commit in a second, and how long their end takes, by how many partitions each writes to.
//!
//! Every producer has a transactional id and connections of its own, and one transaction at a time: it writes one batch to each
//! of its partitions, waits until all are stored, and commits. The next one begins as soon as the commit is answered, which is
//! before all partitions have their markers, so what a coordinator has to do behind its answer is in the numbers too.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Args;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Common;
use super::load::incompressible;
use super::report::Report;
use super::statistics::{Samples, milliseconds};
use crate::client::{
    Client, ClientConfig, NewRecord, TransactionVersion, TransactionalConfig, TransactionalProducer,
};
use crate::terminal::{Failure, note};

/// Not measured: connections, caches, and the first transaction of each producer.
const WARM_UP: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Args)]
pub(crate) struct TransactionsOptions {
    /// Partitions that a transaction writes to; each number is measured by itself.
    #[arg(
        long,
        short,
        value_delimiter = ',',
        default_value = "1,10,100",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    partitions: Vec<u32>,
    /// Producers, each with a transactional id and connections of its own.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    producers: u32,
    /// How long to measure each number of partitions, after two seconds to warm up.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Records that a transaction writes to each of its partitions.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    records: u32,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    record_bytes: u32,
    /// Add partitions before they are written to, as clients before Kafka 4.0 do.
    #[arg(long)]
    classic: bool,
    /// A topic that is there, instead of one for this run; then the HTTP API is not needed.
    #[arg(long)]
    topic: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(options: TransactionsOptions) -> Result<(), Failure> {
    let most = options.partitions.iter().copied().max().unwrap_or(1);
    let (topic, mut report) = match &options.topic {
        Some(topic) => (topic.clone(), Report::of_machine()),
        None => {
            let topic = options.common.create_topic("transactions", most).await?;
            (topic, Report::new(&options.common).await?)
        }
    };
    let client = Client::new(ClientConfig::new(options.common.kafka.server.clone()));
    let partitions = client.refresh_patiently(&topic, false).await?.partitions(&topic).len();
    if partitions < most as usize {
        let detail = format!("topic {topic} has {partitions} partitions, fewer than {most}");
        return Err(Failure::usage(detail).hint("name a larger topic, or fewer --partitions"));
    }
    let version = if options.classic {
        TransactionVersion::Classic
    } else {
        client.transaction_version().await?
    };
    conditions(&options, partitions, version, &mut report);
    for count in &options.partitions {
        note(&format!("{} producers, {count} partitions a transaction", options.producers))?;
        let round = Round { topic: topic.clone(), partitions, count: *count, version };
        measure(&options, &round, &mut report).await?;
    }
    if options.topic.is_none() {
        options.common.delete_topic(&topic).await?;
    }
    report.print(options.common.format)
}

fn conditions(
    options: &TransactionsOptions,
    partitions: usize,
    version: TransactionVersion,
    report: &mut Report,
) {
    let flow = match version {
        TransactionVersion::Classic => "classic: partitions are added first",
        TransactionVersion::Second => "second version (KIP-890): writing adds a partition",
    };
    report.condition("transactions", flow);
    report.condition("partitions of the topic", partitions);
    report.condition("producers", format!("{}, one transaction each at a time", options.producers));
    report.condition("records in each partition of a transaction", options.records);
    report.condition("record bytes", options.record_bytes);
    report.condition("seconds for each number of partitions", options.seconds);
}

/// What is measured by itself.
#[derive(Clone)]
struct Round {
    topic: String,
    /// Of the topic.
    partitions: usize,
    /// Of a transaction.
    count: u32,
    version: TransactionVersion,
}

/// How long a transaction took, and the request that ended it.
struct Took {
    end: Duration,
    whole: Duration,
}

/// What a producer has done while it was measured.
#[derive(Default)]
struct Done {
    took: Vec<Took>,
    concurrent: u64,
}

async fn measure(
    options: &TransactionsOptions,
    round: &Round,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut writers = Vec::new();
    for number in 0..options.producers {
        writers.push(Writer::new(options, round, number).await?);
    }
    let measured_from = Instant::now() + WARM_UP;
    let end = measured_from + Duration::from_secs(options.seconds);
    let mut running = JoinSet::new();
    for writer in writers {
        running.spawn(writer.run(measured_from, end));
    }
    let (mut ends, mut whole, mut concurrent) = (Samples::default(), Samples::default(), 0);
    while let Some(done) = running.join_next().await {
        let done = done.map_err(|error| Failure::error(error.to_string()))??;
        concurrent += done.concurrent;
        for took in done.took {
            ends.add(took.end);
            whole.add(took.whole);
        }
    }
    let count = round.count;
    #[expect(clippy::cast_precision_loss, reason = "a count of transactions")]
    let per_second = |number: f64| number / options.seconds as f64;
    #[expect(clippy::cast_precision_loss, reason = "a count of transactions")]
    let (committed, asked_again) = (whole.count() as f64, concurrent as f64);
    report.number(format!("{count} partitions: committed"), per_second(committed), "1/s");
    for (of, samples) in [("EndTxn", &mut ends), ("transaction", &mut whole)] {
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let value = milliseconds(samples.percentile(share));
            report.number(format!("{count} partitions: {of} {name}"), value, "ms");
        }
    }
    let again = format!("{count} partitions: asked again, the transaction before had not ended");
    report.number(again, per_second(asked_again), "1/s");
    Ok(())
}

/// A producer that is measured.
struct Writer {
    producer: TransactionalProducer,
    round: Round,
    /// Where its next transaction begins: its partitions follow each other.
    first: usize,
    records: u32,
    value: Bytes,
}

impl Writer {
    async fn new(
        options: &TransactionsOptions,
        round: &Round,
        number: u32,
    ) -> Result<Self, Failure> {
        let client = Client::new(ClientConfig::new(options.common.kafka.server.clone()));
        client.refresh_patiently(&round.topic, false).await?;
        let id = format!("bench-{}-{}-{number}", std::process::id(), round.count);
        let config =
            TransactionalConfig { version: Some(round.version), ..TransactionalConfig::default() };
        // Spread over the topic, so that at first few meet in one partition.
        let first = round.partitions * number as usize / options.producers as usize;
        Ok(Self {
            producer: TransactionalProducer::open(client, &id, config).await?,
            round: round.clone(),
            first,
            records: options.records,
            value: incompressible(options.record_bytes as usize),
        })
    }

    async fn run(mut self, measured_from: Instant, end: Instant) -> Result<Done, Failure> {
        let mut done = Done::default();
        let mut before = 0;
        while Instant::now() < end {
            let took = self.transaction().await?;
            let concurrent = self.producer.concurrent();
            if (measured_from..end).contains(&Instant::now()) {
                done.took.push(took);
                done.concurrent += concurrent - before;
            }
            before = concurrent;
        }
        Ok(done)
    }

    async fn transaction(&mut self) -> Result<Took, Failure> {
        let begun = Instant::now();
        let records = self.next_records();
        self.producer.write(records).await?;
        let written = Instant::now();
        self.producer.commit().await?;
        Ok(Took { end: written.elapsed(), whole: begun.elapsed() })
    }

    fn next_records(&mut self) -> BTreeMap<(String, i32), Vec<NewRecord>> {
        let (all, count) = (self.round.partitions, self.round.count as usize);
        let places = (self.first..self.first + count).map(|number| {
            let partition = i32::try_from(number % all).unwrap_or(0);
            let records = (0..self.records).map(|_| record(&self.value)).collect();
            ((self.round.topic.clone(), partition), records)
        });
        let records = places.collect();
        self.first = (self.first + count) % all;
        records
    }
}

fn record(value: &Bytes) -> NewRecord {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let timestamp_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    NewRecord { timestamp_ms, key: None, value: Some(value.clone()), headers: Vec::new() }
}
