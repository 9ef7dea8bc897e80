//! `quorate cluster`: how the cluster fares, who leaves it, and what level it keeps to.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::features::{FeaturesOptions, FinalizeOptions, features, finalize};
use super::topic::text;
use crate::terminal::{
    Admin, Failure, Format, HttpServers, Table, line, print_json, wait_until_healthy,
};

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Show the brokers and whether the cluster is healthy. Exit code 1 when it is not.
    #[command(after_help = "Examples:\n  \
        quorate cluster status\n  \
        quorate cluster status --wait --timeout 60 && echo healthy")]
    Status(StatusOptions),
    /// Remove a broker that is gone for good: stopped, fenced, and without replicas. It cannot come back.
    #[command(after_help = "Example, after broker 3 was lost and broker 4 has joined:\n  \
        curl -X PUT http://127.0.0.1:8080/v1/topics/orders/partitions/0/replicas \\\n    \
        -H 'content-type: application/json' -d '{\"brokers\": [1, 2, 4]}'\n  \
        quorate cluster remove-broker 3")]
    RemoveBroker(RemoveOptions),
    /// Take the clock of a lone broker as right, after it was set: until then it deletes no records for their age.
    #[command(after_help = "Example:\n  quorate cluster confirm-clock")]
    ConfirmClock(ConfirmOptions),
    /// Show the feature level that is finalized, and which levels each broker's release supports.
    #[command(after_help = "Example:\n  quorate cluster features --format json")]
    Features(FeaturesOptions),
    /// Raise the feature level once every broker is upgraded. There is no way back: brokers of releases that do not
    /// support the level are refused from then on. Says what would be done unless --yes is given.
    #[command(after_help = "Example, after every broker was restarted with the new release:\n  \
        quorate cluster features\n  \
        quorate cluster finalize 2\n  \
        quorate cluster finalize 2 --yes")]
    Finalize(FinalizeOptions),
}

#[derive(Debug, Args)]
pub(super) struct ConfirmOptions {
    #[command(flatten)]
    servers: HttpServers,
}

#[derive(Debug, Args)]
pub(super) struct StatusOptions {
    /// Return when the cluster is healthy.
    #[arg(long)]
    wait: bool,
    /// With --wait: seconds to wait at most.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    #[command(flatten)]
    servers: HttpServers,
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Debug, Args)]
pub(super) struct RemoveOptions {
    /// The broker's id; it is never used again.
    id: u64,
    #[command(flatten)]
    servers: HttpServers,
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

pub(super) async fn run(command: ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Status(options) => status(options).await,
        ClusterCommand::RemoveBroker(options) => remove(options).await,
        ClusterCommand::ConfirmClock(options) => confirm_clock(options).await,
        ClusterCommand::Features(options) => features(options).await,
        ClusterCommand::Finalize(options) => finalize(options).await,
    }
}

async fn confirm_clock(options: ConfirmOptions) -> Result<(), Failure> {
    Admin::new(options.servers.http).post("/v1/clock/confirm", &json!({})).await?;
    line("the clock is taken as right")
}

async fn remove(options: RemoveOptions) -> Result<(), Failure> {
    let id = options.id;
    let removed = Admin::new(options.servers.http).delete(&format!("/v1/brokers/{id}")).await?;
    match options.format {
        Format::Json => print_json(&removed),
        Format::Table => {
            let voters = text(&removed["metadata_voters"]);
            line(&format!("broker {id} is removed; the metadata group's voters are {voters}"))
        }
    }
}

async fn status(options: StatusOptions) -> Result<(), Failure> {
    let admin = Admin::new(options.servers.http);
    let patience = if options.wait { Duration::from_secs(options.timeout) } else { Duration::ZERO };
    let cluster = wait_until_healthy(&admin, patience).await?;
    let brokers = admin.get("/v1/brokers").await?;
    show(&cluster, &brokers, options.format)?;
    if cluster["healthy"] == Value::Bool(true) {
        return Ok(());
    }
    let reasons: Vec<String> =
        cluster["reasons"].as_array().into_iter().flatten().map(text).collect();
    let reasons = reasons.join("; ");
    Err(Failure::error(format!("the cluster is not healthy: {reasons}"))
        .hint("`quorate cluster status --wait` returns when it is"))
}

fn show(cluster: &Value, brokers: &Value, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        return print_json(&json!({ "cluster": cluster, "brokers": brokers["brokers"] }));
    }
    let cell = |name: &str| text(&cluster[name]);
    let healthy = cluster["healthy"] == Value::Bool(true);
    line(&format!(
        "cluster {}: {}, {} brokers, {} topics, {} partitions, controller {}",
        cell("cluster_id"),
        if healthy { "healthy" } else { "not healthy" },
        cell("brokers"),
        cell("topics"),
        cell("partitions"),
        cell("controller"),
    ))?;
    let mut table =
        Table::new(["BROKER", "STATE", "LEADING", "REPLICAS", "RACK", "KAFKA", "HTTP", "PEER"]);
    for broker in brokers["brokers"].as_array().unwrap_or(&Vec::new()) {
        let state =
            match (broker["alive"] == Value::Bool(true), broker["fenced"] == Value::Bool(true)) {
                (true, false) => "alive",
                (true, true) => "fenced",
                (false, false) => "silent",
                (false, true) => "dead",
            };
        let cell = |name: &str| text(&broker[name]);
        let [id, leading, replicas, rack] = ["id", "leading", "replicas", "rack"].map(cell);
        table.row([
            id,
            state.to_owned(),
            leading,
            replicas,
            rack,
            cell("kafka"),
            cell("http"),
            cell("peer"),
        ]);
    }
    table.print()
}
