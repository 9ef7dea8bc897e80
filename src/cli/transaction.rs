//! `quorate transaction`: list, describe and abort transactions, of the cluster or of one partition.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::topic::text;
use crate::percent;
use crate::terminal::{
    Admin, Failure, Format, HttpServers, Table, line, note, print_json, printable,
};

#[derive(Debug, Subcommand)]
pub(super) enum TransactionCommand {
    /// List the transactional ids, or what is open in one partition.
    #[command(after_help = "Examples:\n  \
        quorate transaction list --state ongoing\n  \
        quorate transaction list --producer-id 1000 --format json\n  \
        quorate transaction list --topic orders --partition 0")]
    List(ListOptions),
    /// Show the producer of a transactional id, its state, and the partitions of its open transaction.
    #[command(after_help = "Example:\n  quorate transaction describe payments-1")]
    Describe(DescribeOptions),
    /// Abort the open transaction of a transactional id; or one that hangs in a partition, unknown to its coordinator.
    #[command(after_help = "Examples:\n  \
        quorate transaction abort payments-1\n  \
        quorate transaction abort --topic orders --partition 0 --producer-id 1000")]
    Abort(AbortOptions),
}

#[derive(Debug, Args)]
pub(super) struct ListOptions {
    /// Only transactional ids in this state.
    #[arg(long, value_enum, conflicts_with = "topic")]
    state: Option<State>,
    /// Only that of this producer.
    #[arg(long, value_name = "ID", conflicts_with = "topic", value_parser = clap::value_parser!(i64).range(0..))]
    producer_id: Option<i64>,
    /// List what is open in a partition of this topic instead.
    #[arg(long, short, requires = "partition")]
    topic: Option<String>,
    /// The partition's number.
    #[arg(long, short, requires = "topic", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    #[command(flatten)]
    servers: HttpServers,
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// A state of a transactional id, which the HTTP interface calls as Kafka does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
    PrepareEpochFence,
}

#[derive(Debug, Args)]
pub(super) struct DescribeOptions {
    /// The transactional id.
    id: String,
    #[command(flatten)]
    servers: HttpServers,
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Debug, Args)]
pub(super) struct AbortOptions {
    /// The transactional id.
    #[arg(required_unless_present = "topic", conflicts_with = "topic")]
    id: Option<String>,
    /// Abort what hangs in a partition of this topic instead.
    #[arg(long, short, requires = "partition", requires = "producer_id")]
    topic: Option<String>,
    /// The partition's number.
    #[arg(long, short, requires = "topic", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// The producer whose transaction hangs there.
    #[arg(long, value_name = "ID", requires = "topic", value_parser = clap::value_parser!(i64).range(0..))]
    producer_id: Option<i64>,
    #[command(flatten)]
    servers: HttpServers,
}

pub(super) async fn run(command: TransactionCommand) -> Result<(), Failure> {
    match command {
        TransactionCommand::List(options) => list(options).await,
        TransactionCommand::Describe(options) => describe(options).await,
        TransactionCommand::Abort(options) => abort(options).await,
    }
}

async fn list(options: ListOptions) -> Result<(), Failure> {
    let admin = Admin::new(options.servers.http.clone());
    if let (Some(topic), Some(partition)) = (&options.topic, options.partition) {
        return list_of_partition(&admin, topic, partition, options.format).await;
    }
    let found = all(&admin, &options).await?;
    if options.format == Format::Json {
        return print_json(&found);
    }
    let mut table =
        Table::new(["TRANSACTIONAL ID", "STATE", "PRODUCER", "EPOCH", "OPEN FOR", "COORDINATOR"]);
    for it in rows(&found, "transactions") {
        let [id, state, producer, epoch, coordinator] =
            ["transactional_id", "state", "producer_id", "epoch", "coordinator"]
                .map(|column| text(&it[column]));
        table.row([id, state, producer, epoch, open_for(&it), coordinator]);
    }
    table.print()?;
    match rows(&found, "missing").len() {
        0 => Ok(()),
        missing => note(&format!(
            "{missing} of the coordinators have no leader that answers; their transactions are not listed"
        )),
    }
}

/// All that are wanted, asked for page by page.
async fn all(admin: &Admin, options: &ListOptions) -> Result<Value, Failure> {
    let mut query = String::from("/v1/transactions?limit=1000");
    if let Some(state) = options.state {
        query.push_str(&format!("&state={}", state.name()));
    }
    if let Some(producer_id) = options.producer_id {
        query.push_str(&format!("&producer_id={producer_id}"));
    }
    let (mut transactions, mut path) = (Vec::new(), query.clone());
    loop {
        let mut page = admin.get(&path).await?;
        transactions.append(&mut rows(&page, "transactions"));
        let Some(next) = page["next"].as_str() else {
            page["transactions"] = transactions.into();
            return Ok(page);
        };
        path = format!("{query}&after={}", percent::encoded(next));
    }
}

async fn list_of_partition(
    admin: &Admin,
    topic: &str,
    partition: i32,
    format: Format,
) -> Result<(), Failure> {
    let topic = percent::encoded(topic);
    let path = format!("/v1/topics/{topic}/partitions/{partition}/transactions");
    let found = admin.get(&path).await?;
    if format == Format::Json {
        return print_json(&found);
    }
    let mut table = Table::new(["PRODUCER", "EPOCH", "NUMBER", "FIRST OFFSET", "OPEN FOR"]);
    for it in rows(&found, "transactions") {
        let [producer, epoch, number, first] =
            ["producer_id", "epoch", "number", "first_offset"].map(|column| text(&it[column]));
        table.row([producer, epoch, number, first, open_for(&it)]);
    }
    table.print()?;
    note(&format!(
        "readers of committed records see what is before offset {}; the log ends at {}",
        text(&found["last_stable_offset"]),
        text(&found["high_watermark"])
    ))
}

async fn describe(options: DescribeOptions) -> Result<(), Failure> {
    let path = format!("/v1/transactions/{}", percent::encoded(&options.id));
    let it = Admin::new(options.servers.http).get(&path).await?;
    if options.format == Format::Json {
        return print_json(&it);
    }
    let cell = |name: &str| printable(&text(&it[name]));
    line(&format!(
        "{}: {}, producer {} of epoch {}, open for {}, aborted after {} ms, coordinated by broker {}",
        cell("transactional_id"),
        cell("state"),
        cell("producer_id"),
        cell("epoch"),
        open_for(&it),
        cell("timeout_ms"),
        cell("coordinator")
    ))?;
    let mut table = Table::new(["TOPIC", "PARTITION"]);
    for partition in rows(&it, "partitions") {
        table.row(["topic", "partition"].map(|column| text(&partition[column])));
    }
    table.print()
}

async fn abort(options: AbortOptions) -> Result<(), Failure> {
    let admin = Admin::new(options.servers.http);
    if let (Some(topic), Some(partition), Some(producer_id)) =
        (&options.topic, options.partition, options.producer_id)
    {
        let path = format!(
            "/v1/topics/{}/partitions/{partition}/transactions/{producer_id}/abort",
            percent::encoded(topic)
        );
        admin.post(&path, &json!({})).await?;
        return line(&format!(
            "the transaction of producer {producer_id} in {}-{partition} is aborted",
            printable(topic)
        ));
    }
    let id = options.id.unwrap_or_default();
    let path = format!("/v1/transactions/{}/abort", percent::encoded(&id));
    admin.post(&path, &json!({})).await?;
    line(&format!("the transaction of {} is aborted", printable(&id)))
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
            Self::PrepareEpochFence => "PrepareEpochFence",
        }
    }
}

fn rows(of: &Value, name: &str) -> Vec<Value> {
    of[name].as_array().cloned().unwrap_or_default()
}

/// How long a transaction has been open, in seconds.
fn open_for(it: &Value) -> String {
    match it["open_ms"].as_u64() {
        Some(ms) => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_it_is_open_is_told_in_seconds() {
        assert_eq!(open_for(&json!({ "open_ms": 0 })), "0.0 s");
        assert_eq!(open_for(&json!({ "open_ms": 61_290 })), "61.2 s");
        assert_eq!(open_for(&json!({ "open_ms": null })), "-");
    }
}
