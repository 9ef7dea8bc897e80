//! `quorate cluster features` and `finalize`: the level that the cluster keeps to.

use clap::Args;
use serde_json::json;

use super::topic::text;
use crate::terminal::{Admin, Failure, Format, HttpServers, Table, line, print_json};

const PATH: &str = "/v1/cluster/features";

#[derive(Debug, Args)]
pub(super) struct FeaturesOptions {
    #[command(flatten)]
    servers: HttpServers,
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Debug, Args)]
pub(super) struct FinalizeOptions {
    /// The feature level; every registered broker must support it.
    #[arg(value_parser = clap::value_parser!(u16).range(1..=32_767))]
    level: u16,
    /// Do it. Without this nothing is changed, and only said whether it could be done.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    servers: HttpServers,
}

pub(super) async fn features(options: FeaturesOptions) -> Result<(), Failure> {
    let features = Admin::new(options.servers.http).get(PATH).await?;
    if options.format == Format::Json {
        return print_json(&features);
    }
    let cell = |name: &str| text(&features[name]);
    line(&format!(
        "{}: level {} is finalized, {} is the highest that every broker supports",
        cell("feature"),
        cell("finalized"),
        cell("possible"),
    ))?;
    let mut table = Table::new(["BROKER", "LOWEST", "HIGHEST"]);
    for broker in features["brokers"].as_array().unwrap_or(&Vec::new()) {
        table.row(["broker", "lowest", "highest"].map(|name| text(&broker[name])));
    }
    table.print()
}

pub(super) async fn finalize(options: FinalizeOptions) -> Result<(), Failure> {
    let FinalizeOptions { level, yes, servers } = options;
    let admin = Admin::new(servers.http);
    if !yes {
        let finalized = admin.post(PATH, &json!({ "level": level, "dry_run": true })).await?;
        let now = text(&finalized["finalized"]);
        return Err(Failure::error(format!(
            "nothing was changed: every broker supports level {level}, but there is no way back from it to {now}, and \
             brokers of older releases would be refused for ever"
        ))
        .hint(format!("`quorate cluster finalize {level} --yes` does it")));
    }
    let finalized = admin.post(PATH, &json!({ "level": level, "confirm": true })).await?;
    line(&format!("level {} is finalized", text(&finalized["finalized"])))
}
