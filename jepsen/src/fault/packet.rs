//! A bad network: packets are late, lost, doubled, out of order, damaged, or few.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::target::{TargetClass, brokers, clients, lines, named, sent_by};
use super::{Fault, Outcome, installed, skipped};
use crate::net::{Counters, HostId, Rule};
use crate::sandbox::Cluster;

#[derive(Default)]
struct Packet {
    what: String,
    links: Vec<(HostId, HostId)>,
    before: Counters,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<Packet>::default()
}

/// What happens to packets, with which strength, chosen by chance.
fn rule(random: &mut StdRng) -> (&'static str, Rule) {
    let ms = Duration::from_millis;
    let some = random.random_range(0.02..0.2);
    let kinds = [
        ("delay", Rule { delay: ms(50), jitter: ms(20), ..Rule::default() }),
        ("long delay", Rule { delay: ms(200), jitter: ms(300), ..Rule::default() }),
        ("loss", Rule { loss: some, ..Rule::default() }),
        ("duplicates", Rule { duplicate: some, ..Rule::default() }),
        ("reordering", Rule { reorder: some, reorder_by: ms(20), delay: ms(1), ..Rule::default() }),
        ("damage", Rule { corrupt: some, ..Rule::default() }),
        ("1 Mbit/s", Rule { rate: Some(125_000), ..Rule::default() }),
        (
            "everything",
            Rule {
                delay: ms(10),
                jitter: ms(20),
                loss: 0.02,
                duplicate: 0.05,
                reorder: 0.05,
                reorder_by: ms(10),
                corrupt: 0.02,
                ..Rule::default()
            },
        ),
    ];
    let place = random.random_range(0..kinds.len());
    kinds[place].clone()
}

/// A rule for packets, under what other faults do to connections.
fn under(other: &Rule, rule: &Rule) -> Rule {
    Rule { cut: other.cut, reject: other.reject, reset: other.reset, ..rule.clone() }
}

impl Fault for Packet {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let (kind, rule) = rule(random);
        let who = TargetClass::any(
            &[TargetClass::Leader, TargetClass::One, TargetClass::Minority, TargetClass::All],
            random,
        );
        let some = who.pick(cluster, random);
        if some.is_empty() {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        }
        let mut far = brokers(cluster);
        if random.random_bool(0.5) {
            far.extend(clients(cluster));
        }
        self.links = lines(&some, &far);
        if random.random_bool(0.25) {
            sent_by(&some, &mut self.links);
        }
        self.what = format!("{kind} at {}", named(&some));
        self.before = cluster.network().counters(&self.links);
        cluster.network().adjust(&self.links, |it| *it = under(it, &rule));
        Ok(installed(&self.what, format!("rules of {} directed links", self.links.len())))
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let network = cluster.network();
        network.adjust(&self.links, |it| *it = under(it, &Rule::default()));
        let mut met = network.counters(&self.links).since(&self.before);
        self.links.clear();
        (met.cut, met.reset) = (0, 0);
        match met.harm() {
            0 => Ok(skipped(format!("{}: no packet met it", self.what))),
            _ => Ok(installed("as before", met.to_string())),
        }
    }
}
