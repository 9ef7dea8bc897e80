//! Connections that are reset while the network stays whole, and a cut that answers instead of being silent.

use std::time::Duration;

use super::partition::host;
use crate::fault::Outcome;
use crate::net::{HostId, Rule};
use crate::run::{Stage, between};

type Links = Vec<(HostId, HostId)>;

/// How long the leader's connections last while it answers: a few requests.
const SHORT: Duration = Duration::from_millis(50);
/// The same between brokers: a few rounds of replication.
const BRIEF: Duration = Duration::from_millis(150);
/// Connections that there are end once, those made later last.
const ONCE: Duration = Duration::MAX;

/// A storm of resets where the leader answers clients; between it and the others; all connections once; and the leader
/// cut off by a network that says so.
pub(super) fn storm(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let clients: Vec<HostId> = stage.cluster.client_hosts().iter().map(|host| host.id).collect();
    while stage.another_round() {
        let leader = stage.busiest()?;
        let others: Vec<HostId> =
            stage.cluster.ids().into_iter().filter(|id| *id != leader).map(host).collect();
        let answers: Links = clients.iter().map(|client| (host(leader), *client)).collect();
        let peers = between(&[host(leader)], &others);
        let all = [&peers[..], &between(&[host(leader)], &clients)].concat();
        let resets = |after| Rule { reset: Some(after), ..Rule::default() };
        let reject = Rule { reject: true, ..Rule::default() };
        for (what, links, rule, seconds) in [
            ("its answers end connections", answers, resets(SHORT), 3.0),
            ("its connections with brokers end soon", peers.clone(), resets(BRIEF), 2.0),
            ("all its connections end once", all, resets(ONCE), 1.5),
            ("the others reject what it sends, and it them", peers, reject, 3.0),
        ] {
            during(stage, &format!("broker {leader}: {what}"), &links, &rule, seconds)?;
            stage.rest(1.0);
        }
    }
    Ok(())
}

/// Gives links a rule for a while; that packets were answered by RST is the proof.
fn during(
    stage: &mut Stage<'_>,
    what: &str,
    links: &Links,
    rule: &Rule,
    seconds: f64,
) -> anyhow::Result<()> {
    let network = stage.cluster.network();
    let before = network.counters(links);
    network.change(links.iter().map(|link| (*link, rule.clone())));
    let proof = "rules set".to_owned();
    stage.began("reset", Outcome::Installed { what: what.to_owned(), proof })?;
    stage.rest(seconds);
    let network = stage.cluster.network();
    network.change(links.iter().map(|link| (*link, Rule::default())));
    let met = network.counters(links).since(&before);
    let outcome = match met.reset {
        0 => Outcome::Skipped { reason: format!("{what}: met no packet") },
        _ => Outcome::Installed { what: what.to_owned(), proof: met.to_string() },
    };
    stage.ended("reset", outcome)
}
