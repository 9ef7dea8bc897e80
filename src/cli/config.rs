//! `quorate config`: the settings of a broker's file, and the configs that are changed while brokers run.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::serve::{self, ConfigOptions, pair};
use super::topic::{checked, text};
use crate::percent;
use crate::terminal::{Admin, Failure, Format, HttpServers, Table, print_json};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  \
        quorate config > quorate.toml\n  \
        QUORATE_TOPICS_PARTITIONS=6 quorate config --effective --config quorate.toml\n  \
        quorate config get topic orders\n  \
        quorate config set cluster log.retention.ms=86400000"
)]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    command: Option<Change>,
    #[command(flatten)]
    file: ConfigOptions,
}

#[derive(Debug, Subcommand)]
enum Change {
    /// Show the configs of a topic, a group, a broker or all brokers, and where their values come from.
    #[command(after_help = "Examples:\n  \
        quorate config get topic orders\n  \
        quorate config get broker 2\n  \
        quorate config get cluster --format json")]
    Get(GetOptions),
    /// Change configs of a topic, a group, a broker or all brokers while they run, all that are named or none.
    #[command(after_help = "Examples:\n  \
        quorate config set topic orders retention.ms=86400000\n  \
        quorate config set group billing consumer.session.timeout.ms=60000\n  \
        quorate config set cluster log.retention.ms=86400000 --unset num.partitions\n  \
        quorate config set broker 2 max.connections=500 --dry-run")]
    Set(SetOptions),
}

#[derive(Debug, Args)]
struct GetOptions {
    #[command(subcommand)]
    of: Shown,
}

#[derive(Debug, Subcommand)]
enum Shown {
    /// A topic's.
    #[command(after_help = "Example:\n  quorate config get topic orders")]
    Topic(Named),
    /// A consumer group's.
    #[command(after_help = "Example:\n  quorate config get group billing")]
    Group(Named),
    /// One broker's.
    #[command(after_help = "Example:\n  quorate config get broker 2")]
    Broker(Named),
    /// Those of all brokers together, which topics without their own follow.
    #[command(after_help = "Example:\n  quorate config get cluster")]
    Cluster(Options),
}

#[derive(Debug, Args)]
struct SetOptions {
    #[command(subcommand)]
    of: Changed,
}

#[derive(Debug, Subcommand)]
enum Changed {
    /// A topic's.
    #[command(after_help = "Example:\n  quorate config set topic orders retention.ms=86400000")]
    Topic(NamedChange),
    /// A consumer group's.
    #[command(
        after_help = "Example:\n  quorate config set group billing consumer.session.timeout.ms=60000"
    )]
    Group(NamedChange),
    /// One broker's.
    #[command(after_help = "Example:\n  quorate config set broker 2 max.connections=500")]
    Broker(NamedChange),
    /// Those of all brokers together, which topics without their own follow.
    #[command(after_help = "Example:\n  quorate config set cluster --unset log.retention.ms")]
    Cluster(Changes),
}

#[derive(Debug, Args)]
struct Options {
    #[command(flatten)]
    servers: HttpServers,
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Debug, Args)]
struct Named {
    /// The name, or a broker's id.
    name: String,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
struct NamedChange {
    /// The name, or a broker's id.
    name: String,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Debug, Args)]
struct Changes {
    /// Configs and their new values.
    #[arg(value_name = "NAME=VALUE", value_parser = pair, required_unless_present = "unset")]
    set: Vec<(String, String)>,
    /// A config to set no more; may be given several times.
    #[arg(long, value_name = "NAME")]
    unset: Vec<String>,
    /// Only check the change.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(command: ConfigCommand) -> Result<(), Failure> {
    match command.command {
        None => serve::print_config(&command.file),
        Some(Change::Get(GetOptions { of })) => {
            let (path, options) = match of {
                Shown::Topic(it) => (topic(&it.name)?, it.options),
                Shown::Group(it) => (group(&it.name), it.options),
                Shown::Broker(it) => (broker(&it.name)?, it.options),
                Shown::Cluster(options) => (CLUSTER.to_owned(), options),
            };
            show(&Admin::new(options.servers.http).get(&path).await?, options.format)
        }
        Some(Change::Set(SetOptions { of })) => {
            let (path, changes) = match of {
                Changed::Topic(it) => (topic(&it.name)?, it.changes),
                Changed::Group(it) => (group(&it.name), it.changes),
                Changed::Broker(it) => (broker(&it.name)?, it.changes),
                Changed::Cluster(changes) => (CLUSTER.to_owned(), changes),
            };
            change(&path, changes).await
        }
    }
}

const CLUSTER: &str = "/v1/cluster/configs";

fn topic(name: &str) -> Result<String, Failure> {
    Ok(format!("/v1/topics/{}/configs", checked(name)?))
}

fn group(name: &str) -> String {
    format!("/v1/groups/{}/configs", percent::encoded(name))
}

fn broker(id: &str) -> Result<String, Failure> {
    let id: u64 = id.parse().map_err(|_| {
        Failure::usage(format!("{id:?} is no broker's id; `quorate cluster status` lists them"))
    })?;
    Ok(format!("/v1/brokers/{id}/configs"))
}

async fn change(path: &str, wanted: Changes) -> Result<(), Failure> {
    let mut changes = Map::new();
    let set = wanted.set.into_iter().map(|(name, value)| (name, Value::String(value)));
    for (name, value) in set.chain(wanted.unset.into_iter().map(|name| (name, Value::Null))) {
        if changes.insert(name.clone(), value).is_some() {
            return Err(Failure::usage(format!("{name} is named twice; name it once")));
        }
    }
    let body = json!({ "configs": changes, "dry_run": wanted.dry_run });
    let Options { servers, format } = wanted.options;
    show(&Admin::new(servers.http).patch(path, &body).await?, format)
}

fn show(told: &Value, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        return print_json(told);
    }
    let mut table = Table::new(["CONFIG", "VALUE", "SOURCE", "MEANING"]);
    for config in told["configs"].as_array().unwrap_or(&Vec::new()) {
        table.row(["name", "value", "source", "doc"].map(|column| text(&config[column])));
    }
    table.print()
}
