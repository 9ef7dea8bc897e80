//! `quorate topic`: create, list, describe, alter, delete; compaction is `compact.rs`.

mod compact;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::terminal::{Admin, Failure, Format, HttpServers, Table, line, note, print_json};

#[derive(Debug, Subcommand)]
pub(super) enum TopicCommand {
    /// Create a topic.
    #[command(after_help = "Example:\n  \
        quorate topic create orders --partitions 6 --replication 3 --config retention.ms=86400000")]
    Create(CreateOptions),
    /// List the topics.
    #[command(after_help = "Example:\n  quorate topic list --format json")]
    List(Options),
    /// Show a topic's partitions, replicas and leaders, and how far a compacted one is compacted.
    #[command(after_help = "Example:\n  quorate topic describe orders")]
    Describe(NamedOptions),
    /// Change a topic's configs, or show all with their values and meanings.
    #[command(after_help = "Examples:\n  \
        quorate topic alter orders --config retention.ms=86400000 --default retention.bytes\n  \
        quorate topic alter orders            shows all, changes nothing")]
    Alter(AlterOptions),
    /// Compact a topic with cleanup.policy=compact now, whatever its dirty ratio.
    ///
    /// The leaders decide, and the replicas follow. Records younger than min.compaction.lag.ms stay. To pause compaction
    /// on all brokers or on one, set log.cleaner.enable to false; log.cleaner.io.max.bytes.per.second slows it down.
    #[command(after_help = "Examples:\n  \
        quorate topic compact orders\n  \
        quorate topic compact orders --partition 2\n  \
        quorate config set cluster log.cleaner.enable=false      pauses compaction\n  \
        quorate config set cluster --unset log.cleaner.enable    goes on\n  \
        quorate config set broker 2 log.cleaner.io.max.bytes.per.second=10485760")]
    Compact(compact::CompactOptions),
    /// Delete a topic and all its records.
    #[command(after_help = "Example:\n  quorate topic delete orders")]
    Delete(NamedOptions),
}

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    servers: HttpServers,
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Debug, Args)]
pub(super) struct NamedOptions {
    /// The topic's name.
    name: String,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
pub(super) struct CreateOptions {
    /// The topic's name: letters, digits, '.', '_' and '-'.
    name: String,
    /// Number of partitions [default: the broker's `topics.partitions`].
    #[arg(long, short)]
    partitions: Option<u32>,
    /// Replicas of each partition [default: three, or as many as the cluster has brokers].
    #[arg(long, short)]
    replication: Option<u16>,
    /// A topic config by Kafka's name; may be given several times.
    #[arg(long = "config", short = 'c', value_name = "NAME=VALUE", value_parser = super::serve::pair)]
    configs: Vec<(String, String)>,
    /// How many seconds to wait until every partition has a leader; 0 does not wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=30))]
    wait: u32,
    /// Only check, and show what would be created.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
pub(super) struct AlterOptions {
    /// A topic config by Kafka's name and its new value; may be given several times.
    #[arg(long = "config", short = 'c', value_name = "NAME=VALUE", value_parser = super::serve::pair)]
    configs: Vec<(String, String)>,
    /// A topic config that shall have its default again; may be given several times.
    #[arg(long = "default", short = 'd', value_name = "NAME")]
    defaults: Vec<String>,
    /// Only check, and show what would be.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    named: NamedOptions,
}

pub(super) async fn run(command: TopicCommand) -> Result<(), Failure> {
    match command {
        TopicCommand::Create(options) => create(options).await,
        TopicCommand::List(options) => list(options).await,
        TopicCommand::Describe(options) => describe(options).await,
        TopicCommand::Alter(options) => alter(options).await,
        TopicCommand::Compact(options) => compact::compact(options).await,
        TopicCommand::Delete(options) => delete(options).await,
    }
}

async fn create(wanted: CreateOptions) -> Result<(), Failure> {
    let configs: Map<String, Value> =
        wanted.configs.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    let body = json!({
        "name": wanted.name,
        "partitions": wanted.partitions,
        "replication_factor": wanted.replication,
        "configs": configs,
        "dry_run": wanted.dry_run,
    });
    let path = format!("/v1/topics?leader_wait_ms={}", u64::from(wanted.wait) * 1_000);
    let topic = Admin::new(wanted.options.servers.http).post(&path, &body).await?;
    show(&topic, wanted.options.format)?;
    let leaderless = topic["leaderless"].as_u64().unwrap_or(0);
    if leaderless > 0 && wanted.wait > 0 && !wanted.dry_run {
        note(&format!(
            "the topic is created, but {leaderless} of its partitions have no leader yet; \
             `quorate cluster status` says why"
        ))?;
    }
    Ok(())
}

async fn list(options: Options) -> Result<(), Failure> {
    let admin = Admin::new(options.servers.http);
    let mut topics = Vec::new();
    let mut page = admin.get("/v1/topics").await?;
    loop {
        topics.append(page["topics"].as_array_mut().unwrap_or(&mut Vec::new()));
        let Some(after) = page["next"].as_str() else { break };
        // A topic's name needs no escaping in a URL.
        let path = format!("/v1/topics?after={after}");
        page = admin.get(&path).await?;
    }
    match options.format {
        Format::Json => print_json(&json!({ "topics": topics })),
        Format::Table => {
            let mut table = Table::new(["TOPIC", "PARTITIONS", "REPLICATION", "LEADERLESS", "ID"]);
            for topic in &topics {
                let cell = |name: &str| text(&topic[name]);
                let numbers = ["partitions", "replication_factor", "leaderless"].map(cell);
                let [partitions, replication, leaderless] = numbers;
                table.row([cell("name"), partitions, replication, leaderless, cell("id")]);
            }
            table.print()
        }
    }
}

async fn describe(named: NamedOptions) -> Result<(), Failure> {
    let path = format!("/v1/topics/{}", checked(&named.name)?);
    let admin = Admin::new(named.options.servers.http);
    let mut topic = admin.get(&path).await?;
    compact::add(&admin, &named.name, &mut topic).await?;
    show(&topic, named.options.format)
}

async fn alter(wanted: AlterOptions) -> Result<(), Failure> {
    let path = format!("/v1/topics/{}/configs", checked(&wanted.named.name)?);
    let NamedOptions { options: Options { servers, format }, .. } = wanted.named;
    let mut changes = Map::new();
    let set = wanted.configs.into_iter().map(|(name, value)| (name, Value::String(value)));
    for (name, value) in set.chain(wanted.defaults.into_iter().map(|name| (name, Value::Null))) {
        if changes.insert(name.clone(), value).is_some() {
            return Err(Failure::usage(format!("{name} is named twice; name it once")));
        }
    }
    let admin = Admin::new(servers.http);
    let now = if changes.is_empty() {
        admin.get(&path).await?
    } else {
        admin.patch(&path, &json!({ "configs": changes, "dry_run": wanted.dry_run })).await?
    };
    if format == Format::Json {
        return print_json(&now);
    }
    let mut table = Table::new(["CONFIG", "VALUE", "DEFAULT", "MEANING"]);
    for config in now["configs"].as_array().unwrap_or(&Vec::new()) {
        table.row(["name", "value", "default", "doc"].map(|column| text(&config[column])));
    }
    table.print()
}

async fn delete(named: NamedOptions) -> Result<(), Failure> {
    let path = format!("/v1/topics/{}", checked(&named.name)?);
    Admin::new(named.options.servers.http).delete(&path).await?;
    match named.options.format {
        Format::Json => print_json(&json!({ "deleted": named.name })),
        Format::Table => line(&format!("topic {} is deleted", named.name)),
    }
}

/// A name that is no topic's must not become another path.
pub(super) fn checked(name: &str) -> Result<&str, Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.is_empty() && name != "." && name != ".." && name.chars().all(fits) {
        return Ok(name);
    }
    Err(Failure::usage(format!(
        "{name:?} is no topic's name: they have letters, digits, '.', '_' and '-'"
    )))
}

fn show(topic: &Value, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        return print_json(topic);
    }
    let configs = topic["configs"].as_object().filter(|configs| !configs.is_empty());
    let configs = configs.map(|configs| {
        let shown: Vec<String> =
            configs.iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
        format!(", {}", shown.join(", "))
    });
    let (name, id) = (text(&topic["name"]), text(&topic["id"]));
    let replication = text(&topic["replication_factor"]);
    line(&format!("{name} ({id}), replication {replication}{}", configs.unwrap_or_default()))?;
    let mut table = Table::new(["PARTITION", "LEADER", "EPOCH", "REPLICAS", "TARGET", "GROUP"]);
    for partition in topic["partitions"].as_array().unwrap_or(&Vec::new()) {
        let columns = ["partition", "leader", "leader_epoch", "replicas", "target", "group"];
        table.row(columns.map(|column| text(&partition[column])));
    }
    table.print()?;
    compact::show(topic)?;
    match topic["out_of_service"].as_array().filter(|brokers| !brokers.is_empty()) {
        None => Ok(()),
        Some(brokers) => {
            let named: Vec<String> = brokers.iter().map(text).collect();
            line(&format!(
                "out of service: broker {}; its replicas are made, or catch up, when it is back",
                named.join(", ")
            ))
        }
    }
}

/// A JSON value as a cell: lists with commas, nothing as a dash.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
