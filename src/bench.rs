//! `quorate bench`: measuring a running cluster from outside, as its clients see it.
//!
//! Every number is printed with the conditions it was measured under, because without them it is no number.
//! The load runs on the same machine as the brokers of a demo and takes its share of the processors.

mod compact;
mod failover;
mod groups;
mod idle;
mod load;
mod report;
mod statistics;
mod storm;
mod streams;
mod transactions;
mod transfer;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::terminal::wait_until_healthy;
use crate::terminal::{Admin, Failure, Format, HttpServers, KafkaServers};

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Write records: latencies at a given rate, or the throughput without one.
    #[command(after_help = "Examples:\n  \
        quorate bench produce --rate 1000 --record-bytes 1024 --seconds 20\n  \
        quorate bench produce --batch-bytes 16384 --partitions 100 --seconds 20\n  \
        quorate bench produce --batch-bytes 1 --record-bytes 100 --producers 256")]
    Produce(load::ProduceOptions),
    /// Kill the broker that leads most partitions and measure until each takes writes again.
    #[command(after_help = "Examples:\n  \
        quorate bench failover --partitions 100\n  \
        quorate bench failover --partitions 100 --rounds 5 --restart --format json")]
    Failover(failover::FailoverOptions),
    /// Hand leaderships over in order and measure until the new leader takes writes.
    #[command(after_help = "Example:\n  quorate bench transfer --partitions 100")]
    Transfer(transfer::TransferOptions),
    /// Measure consumer groups: until many are stable, until a large one has rebalanced, and commits.
    #[command(after_help = "Examples:\n  \
        quorate bench groups --groups 200 --members 3\n  \
        quorate bench groups --protocols consumer --large 50 --rounds 5\n  \
        quorate bench groups --server 127.0.0.1:9092 --topic mine   (of any Kafka cluster)")]
    Groups(groups::GroupsOptions),
    /// Write a table's changes, compact it, and measure what that costs and what others notice of it.
    #[command(after_help = "Examples:\n  \
        quorate bench compact --keys 10000000 --records 20000000 --record-bytes 230\n  \
        quorate bench compact --topic mine   (of any Kafka cluster: only writes)")]
    Compact(compact::CompactOptions),
    /// Measure conditional appends beside unconditional ones, writers beside others who contend on one key, and reading
    /// streams out of a large partition.
    #[command(after_help = "Examples:\n  \
        quorate bench streams --writers 64 --rounds 5\n  \
        quorate bench streams --records 10000000 --events 100 --reads 2000")]
    Streams(streams::StreamsOptions),
    /// Measure transactions: how many commit in a second, and how long that takes, by how many partitions each writes to.
    #[command(after_help = "Examples:\n  \
        quorate bench transactions --partitions 1,10,100 --producers 10 --seconds 20\n  \
        quorate bench transactions --classic   (as clients before Kafka 4.0 do)\n  \
        quorate bench transactions --server 127.0.0.1:9092 --topic mine   (of any Kafka cluster)")]
    Transactions(transactions::TransactionsOptions),
    /// Measure what idle brokers cost in memory and processor time.
    #[command(after_help = "Example:\n  quorate bench idle --partitions 3,100,1000 --seconds 20")]
    Idle(idle::IdleOptions),
}

/// What every benchmark needs to know.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    kafka: KafkaServers,
    #[command(flatten)]
    http: HttpServers,
    /// Replicas of each partition.
    #[arg(long, short, default_value_t = 3)]
    replication: u16,
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

pub(crate) async fn run(command: BenchCommand) -> Result<(), Failure> {
    match command {
        BenchCommand::Produce(options) => load::run(options).await,
        BenchCommand::Failover(options) => failover::run(options).await,
        BenchCommand::Transfer(options) => transfer::run(options).await,
        BenchCommand::Groups(options) => groups::run(options).await,
        BenchCommand::Compact(options) => compact::run(options).await,
        BenchCommand::Streams(options) => streams::run(options).await,
        BenchCommand::Transactions(options) => transactions::run(options).await,
        BenchCommand::Idle(options) => idle::run(options).await,
    }
}

impl Common {
    fn admin(&self) -> Admin {
        Admin::new(self.http.http.clone())
    }

    /// Creates a topic for this run and waits until the cluster is healthy with it.
    async fn create_topic(&self, kind: &str, partitions: u32) -> Result<String, Failure> {
        self.create_topic_with(kind, partitions, json!({})).await
    }

    /// The same with topic configs.
    async fn create_topic_with(
        &self,
        kind: &str,
        partitions: u32,
        configs: serde_json::Value,
    ) -> Result<String, Failure> {
        let name = format!("bench-{kind}-{}", std::process::id());
        let body = json!({
            "name": name, "partitions": partitions, "replication_factor": self.replication, "configs": configs,
        });
        self.admin().post("/v1/topics", &body).await?;
        self.wait_until_healthy().await?;
        Ok(name)
    }

    async fn wait_until_healthy(&self) -> Result<(), Failure> {
        let cluster =
            wait_until_healthy(&self.admin(), std::time::Duration::from_secs(120)).await?;
        if cluster["healthy"] == serde_json::Value::Bool(true) {
            Ok(())
        } else {
            Err(Failure::error(format!("the cluster is not healthy: {}", cluster["reasons"])))
        }
    }

    async fn delete_topic(&self, name: &str) -> Result<(), Failure> {
        self.admin().delete(&format!("/v1/topics/{name}")).await.map(drop)
    }
}
