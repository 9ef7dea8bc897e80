//! Consumer groups: how soon many of them are stable, how soon a large one has rebalanced, and how many commits fit into
//! a second.
//!
//! Members are clients of the protocol that read nothing, each with a connection of its own. A group counts as stable when
//! every member has been told its part of one and the same generation (or, of the consumer protocol, epoch) and the parts
//! together are the whole topic: what a broker says of the group does not count.

mod board;
mod commits;
mod party;

use std::time::Duration;

use clap::{Args, ValueEnum};
use futures::future::try_join_all;
use tokio::time::Instant;

use super::Common;
use super::report::Report;
use super::statistics::{Samples, milliseconds};
use crate::client::{Client, ClientConfig, MemberProtocol};
use crate::terminal::{Failure, note};
use party::{Party, Place};

/// Members of the groups that are many say so often that they are alive.
const HEARTBEAT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Args)]
pub(crate) struct GroupsOptions {
    /// Groups that become stable, and then commit.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    groups: u32,
    /// Members of each of them.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    members: u32,
    /// Members of the large group that rebalances.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    large: u32,
    /// Partitions of the topic that all of them read.
    #[arg(long, short, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    partitions: u32,
    /// How often the large group rebalances: as often a member comes, and leaves.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Milliseconds between two heartbeats of a member of the large group; members hear of a rebalance by them.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(10..=10_000))]
    heartbeat_ms: u64,
    /// How long to commit: first as fast as possible, then at --commit-rate.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    commit_seconds: u64,
    /// Commits per second of all groups together, evenly.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    commit_rate: u32,
    #[arg(long, value_enum, value_delimiter = ',', default_value = "classic,consumer")]
    protocols: Vec<Protocol>,
    /// A topic that is there, instead of one for this run; then the HTTP API is not needed.
    #[arg(long)]
    topic: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Protocol {
    Classic,
    Consumer,
}

pub(super) async fn run(options: GroupsOptions) -> Result<(), Failure> {
    let topic = match &options.topic {
        Some(topic) => topic.clone(),
        None => options.common.create_topic("groups", options.partitions).await?,
    };
    let mut report = match &options.topic {
        Some(_) => Report::of_machine(),
        None => Report::new(&options.common).await?,
    };
    let client = Client::new(ClientConfig::new(options.common.kafka.server.clone()));
    let partitions = client.refresh_patiently(&topic, false).await?.partitions(&topic).len();
    conditions(&options, partitions, &mut report);
    for protocol in &options.protocols {
        let (protocol, name) = match protocol {
            Protocol::Classic => (MemberProtocol::Classic, "classic"),
            Protocol::Consumer => (MemberProtocol::Consumer, "consumer"),
        };
        let group = format!("bench-{name}-{}", std::process::id());
        let place = Place { client: client.clone(), protocol, topic: topic.clone(), partitions };
        many(&options, &place, &group, name, &mut report).await?;
        large(&options, &place, &group, name, &mut report).await?;
    }
    if options.topic.is_none() {
        options.common.delete_topic(&topic).await?;
    }
    report.print(options.common.format)
}

fn conditions(options: &GroupsOptions, partitions: usize, report: &mut Report) {
    let GroupsOptions { groups, members, large, .. } = options;
    report.condition("partitions of the topic", partitions);
    report.condition("groups", format!("{groups} of {members}, and one of {large}"));
    report.condition("of the classic protocol", "the cluster's initial delay of a group included");
    report.condition("heartbeats of the many", format!("every {} ms", HEARTBEAT.as_millis()));
    let heartbeat = format!("every {} ms", options.heartbeat_ms);
    report.condition("heartbeats of the large group", heartbeat);
    report.condition("rebalances of the large group", format!("{} each", options.rounds));
    let committers = groups * members;
    let of_each = "one of one partition under way from each member";
    report.condition("commits", format!("{committers} members, {of_each}"));
    report.condition("seconds of commits", options.commit_seconds);
}

/// Many groups become stable at once, and then commit.
async fn many(
    options: &GroupsOptions,
    place: &Place,
    prefix: &str,
    name: &str,
    report: &mut Report,
) -> Result<(), Failure> {
    let GroupsOptions { groups, members, .. } = options;
    note(&format!("{name}: {groups} groups of {members} become stable"))?;
    let parties = (0..*groups).map(|number| Party::new(place, format!("{prefix}-{number}")));
    let mut parties = try_join_all(parties).await?;
    let started = Instant::now();
    let stable = parties.iter_mut().map(async |party| {
        (0..*members).for_each(|_| party.enter(HEARTBEAT));
        party.stable().await?;
        Ok::<_, Failure>(started.elapsed())
    });
    let mut took = Samples::default();
    try_join_all(stable).await?.into_iter().for_each(|it| took.add(it));
    for (what, share) in [("half of the groups", 0.5), ("all groups", 1.0)] {
        let value = milliseconds(took.percentile(share));
        report.number(format!("{name}: {what} stable after"), value, "ms");
    }
    let mut all = Vec::new();
    for party in parties {
        all.extend(party.end().await?);
    }
    note(&format!("{name}: {} members commit", all.len()))?;
    commits::measure(options, &mut all, name, report).await?;
    for member in all {
        member.leave().await?;
    }
    Ok(())
}

/// A large group rebalances because a member comes, and because it leaves.
async fn large(
    options: &GroupsOptions,
    place: &Place,
    prefix: &str,
    name: &str,
    report: &mut Report,
) -> Result<(), Failure> {
    let heartbeat = Duration::from_millis(options.heartbeat_ms);
    let count = options.large;
    note(&format!("{name}: a group of {count} rebalances"))?;
    let mut party = Party::new(place, format!("{prefix}-large")).await?;
    let started = Instant::now();
    (1..count).for_each(|_| party.enter(heartbeat));
    party.stable().await?;
    let value = milliseconds(started.elapsed());
    report.number(format!("{name}: {} members from none", count - 1), value, "ms");
    let (mut coming, mut leaving) = (Samples::default(), Samples::default());
    for round in 1..=options.rounds {
        let started = Instant::now();
        party.enter(heartbeat);
        party.stable().await?;
        coming.add(started.elapsed());
        let started = Instant::now();
        party.let_go().await?;
        party.stable().await?;
        leaving.add(started.elapsed());
        note(&format!("{name}: rebalanced {round} of {} times", options.rounds))?;
    }
    for (what, mut took) in [("one more joined", coming), ("one of them left", leaving)] {
        for (which, share) in [("median", 0.5), ("max", 1.0)] {
            let value = milliseconds(took.percentile(share));
            let what = format!("{name}: {count} members, {what}, all have their parts, {which}");
            report.number(what, value, "ms");
        }
    }
    for member in party.end().await? {
        member.leave().await?;
    }
    Ok(())
}
