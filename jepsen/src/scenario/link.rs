//! One link of many: the one between the broker that leads the metadata and another. Both have a majority without it, and
//! so has everything they lead; what clients are told must not depend on who is asked.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::seq::IndexedRandom;

use super::partition::host;
use crate::client::{self, At, Connection, Record, Write};
use crate::environment::Address;
use crate::run::{Sign, Stage, between};

/// A topic of the scenario's own: workloads do not judge what is in it.
const PROBE: &str = "probe";
const PARTITIONS: u32 = 6;
/// Until fresh clients have to be served by every leader after the cut, and how long they are from then on.
const NOTICED: Duration = Duration::from_secs(6);
const SERVED: Duration = Duration::from_secs(4);
const WHOLE: f64 = 2.0;
const PATIENCE: Duration = Duration::from_secs(2);

/// The link to each other broker in its turn, from whoever leads the metadata by then.
pub(super) fn to_each(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let replication = stage.plan.replication;
    stage.cluster.admin().create_topic(PROBE, PARTITIONS, replication, &[])?;
    let mut waiting = stage.cluster.ids();
    while !waiting.is_empty() {
        stage.rest(WHOLE);
        let controller = stage.cluster.admin().controller().context("nobody leads the metadata")?;
        // Who leads the metadata all the time is an end of every link.
        let Some(other) = waiting.iter().copied().find(|id| *id != controller) else { break };
        waiting.retain(|id| *id != other);
        lead_some(stage, other)?;
        let struck = stage.strike(other);
        let what = format!("broker {controller}, which leads the metadata, from broker {other}");
        stage.cut(&what, &between(&[host(controller)], &[host(other)]), |stage| {
            fresh_clients(stage, &what)?;
            stage.recover(&struck);
            Ok(())
        })?;
    }
    Ok(())
}

/// Makes a broker the leader of half of the partitions that it has a replica of.
fn lead_some(stage: &mut Stage<'_>, id: u64) -> anyhow::Result<()> {
    let admin = stage.cluster.admin();
    let partitions = admin.topic(PROBE)?.partitions;
    for it in partitions.iter().filter(|it| it.replicas.contains(&id)).step_by(2) {
        stage.lead(PROBE, it.partition, id)?;
    }
    Ok(())
}

/// Client after client that knows nothing yet is told a leader by each broker, and stores a record with it.
fn fresh_clients(stage: &mut Stage<'_>, what: &str) -> anyhow::Result<()> {
    let started = Instant::now();
    let (mut served, mut failed) = (0, Vec::new());
    while started.elapsed() < NOTICED + SERVED {
        let late = started.elapsed() >= NOTICED;
        let hosts = stage.cluster.client_hosts();
        let from = hosts.choose(&mut stage.random).context("a client host")?;
        let brokers = stage.cluster.addresses();
        let errors = from.run(|| brokers.iter().flat_map(|it| ask(it, &brokers)).collect());
        let errors: Vec<String> = errors?;
        match errors.is_empty() {
            true => served += usize::from(late),
            false if late => failed.extend(errors),
            false => {}
        }
        stage.rest(0.2);
    }
    stage.saw(Sign::FreshlyServed, served);
    if !failed.is_empty() {
        let case = format!("without the link of {what}: {}", failed.join("; "));
        stage.cluster.find("not-served", vec![case]);
    }
    Ok(())
}

/// What goes wrong for a client that begins with this broker.
fn ask(first: &Address, brokers: &[Address]) -> Vec<String> {
    let told = Connection::open(first.kafka, PATIENCE)
        .and_then(|mut to| client::metadata(&mut to, Some(&[PROBE]), PATIENCE));
    let partitions = match told {
        Ok(mut seen) => seen.topics.remove(PROBE).map(|topic| topic.partitions).unwrap_or_default(),
        Err(failure) => return vec![format!("broker {}: {failure}", first.id)],
    };
    if partitions.len() != PARTITIONS as usize {
        return vec![format!("broker {} knows {} partitions", first.id, partitions.len())];
    }
    let mut wrong = Vec::new();
    for (number, partition) in partitions {
        let leader = partition.leader.and_then(|id| brokers.iter().find(|it| it.id == id));
        let stored = match leader {
            None => Err("it has no leader".to_owned()),
            Some(leader) => store(leader.kafka, number).map_err(|failure| failure.to_string()),
        };
        if let Err(why) = stored {
            wrong.push(format!("by broker {}: {PROBE}-{number}: {why}", first.id));
        }
    }
    wrong
}

fn store(leader: SocketAddr, partition: i32) -> Result<(), client::Failure> {
    let record = Record { timestamp: 0, key: None, value: None, headers: Vec::new() };
    let mut to = Connection::open(leader, PATIENCE)?;
    let at = At::new(PROBE, partition);
    client::produce(&mut to, &at, -1, Write::PLAIN.batch(&[record]), PATIENCE).map(drop)
}
