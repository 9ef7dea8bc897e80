//! `quorate group`: list, describe and delete consumer groups; their offsets are `offsets.rs`.

mod offsets;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::topic::text;
use crate::percent;
use crate::terminal::{
    Admin, Failure, Format, HttpServers, Table, line, note, print_json, printable,
};

#[derive(Debug, Subcommand)]
pub(super) enum GroupCommand {
    /// List the consumer groups.
    #[command(after_help = "Example:\n  quorate group list --format json")]
    List(Options),
    /// Show a group's members, offsets and how far it is behind.
    #[command(after_help = "Example:\n  quorate group describe billing")]
    Describe(NamedOptions),
    /// Delete groups that have no members, with their offsets.
    #[command(after_help = "Example:\n  quorate group delete billing audit")]
    Delete(DeleteOptions),
    /// Set where a group without members reads on; all partitions that are named, or none.
    #[command(after_help = "Examples:\n  \
        quorate group reset-offsets billing --to-earliest --dry-run\n  \
        quorate group reset-offsets billing --topic orders:0,1 --to-offset 1500\n  \
        quorate group reset-offsets billing --topic orders --to-time 2026-11-27T05:30:00Z\n  \
        quorate group reset-offsets billing --shift-by -10")]
    ResetOffsets(offsets::ResetOptions),
    /// Delete the offsets of a group, of topics that its members do not read.
    #[command(after_help = "Example:\n  quorate group delete-offsets billing --topic orders:2")]
    DeleteOffsets(offsets::DeleteOptions),
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
    /// The group's name.
    name: String,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
pub(super) struct DeleteOptions {
    /// The groups' names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    servers: HttpServers,
}

pub(super) async fn run(command: GroupCommand) -> Result<(), Failure> {
    match command {
        GroupCommand::List(options) => list(options).await,
        GroupCommand::Describe(options) => describe(options).await,
        GroupCommand::Delete(options) => delete(options).await,
        GroupCommand::ResetOffsets(options) => offsets::reset(options).await,
        GroupCommand::DeleteOffsets(options) => offsets::delete(options).await,
    }
}

async fn list(options: Options) -> Result<(), Failure> {
    let found = all(&Admin::new(options.servers.http)).await?;
    if options.format == Format::Json {
        return print_json(&found);
    }
    let mut table = Table::new(["GROUP", "STATE", "PROTOCOL", "TYPE", "COORDINATOR"]);
    for group in found["groups"].as_array().unwrap_or(&Vec::new()) {
        let columns = ["group", "state", "protocol", "protocol_type", "coordinator"];
        table.row(columns.map(|it| text(&group[it])));
    }
    table.print()?;
    if let Some(missing) = found["missing"].as_array().filter(|missing| !missing.is_empty()) {
        note(&format!(
            "{} of the coordinators have no leader that answers; their groups are not listed",
            missing.len()
        ))?;
    }
    match found["unreachable"].as_array().filter(|brokers| !brokers.is_empty()) {
        None => Ok(()),
        Some(_) => note(&format!(
            "broker {} did not say which groups it coordinates; `quorate cluster status` says why",
            text(&found["unreachable"])
        )),
    }
}

/// All groups, asked for page by page.
async fn all(admin: &Admin) -> Result<Value, Failure> {
    let mut groups = Vec::new();
    let mut path = "/v1/groups".to_owned();
    loop {
        let mut page = admin.get(&path).await?;
        groups.extend(page["groups"].as_array_mut().map(std::mem::take).unwrap_or_default());
        let Some(next) = page["next"].as_str() else {
            page["groups"] = groups.into();
            return Ok(page);
        };
        path = format!("/v1/groups?after={}", percent::encoded(next));
    }
}

async fn delete(options: DeleteOptions) -> Result<(), Failure> {
    let admin = Admin::new(options.servers.http);
    for name in &options.names {
        admin.delete(&format!("/v1/groups/{}", percent::encoded(name))).await?;
        line(&format!("{} is deleted", printable(name)))?;
    }
    Ok(())
}

async fn describe(named: NamedOptions) -> Result<(), Failure> {
    let path = format!("/v1/groups/{}", percent::encoded(&named.name));
    let group = Admin::new(named.options.servers.http).get(&path).await?;
    if named.options.format == Format::Json {
        return print_json(&group);
    }
    let cell = |name: &str| printable(&text(&group[name]));
    line(&format!(
        "{}: {}, assigned by {} ({} protocol), coordinated by broker {}, lag {}",
        cell("group"),
        cell("state"),
        if group["assignor"] == "" { "nobody".to_owned() } else { cell("assignor") },
        cell("protocol"),
        cell("coordinator"),
        cell("lag")
    ))?;
    let rows = |name: &str| group[name].as_array().cloned().unwrap_or_default();
    let mut members = Table::new(["MEMBER", "INSTANCE", "CLIENT", "HOST", "PARTITIONS"]);
    for member in rows("members") {
        let columns = ["member", "instance", "client", "host", "partitions"];
        members.row(columns.map(|column| text(&member[column])));
    }
    members.print()?;
    let mut offsets = Table::new(["TOPIC", "PARTITION", "OFFSET", "END", "LAG", "METADATA"]);
    for offset in rows("offsets") {
        let columns = ["topic", "partition", "offset", "high_watermark", "lag", "metadata"];
        offsets.row(columns.map(|column| text(&offset[column])));
    }
    offsets.print()
}
