//! Partitions: which hosts cannot hear which. Some drop packets, so that a cut shows as silence; some reject them, as a
//! firewall does, so that whoever speaks is told at once that its connection is reset.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::target::{between, clients, host, leader};
use super::{Fault, Outcome, installed, skipped};
use crate::net::{Counters, HostId, Rule};
use crate::sandbox::Cluster;

type Links = Vec<(HostId, HostId)>;

#[derive(Default)]
struct Partition {
    what: String,
    links: Links,
    before: Counters,
    rejects: bool,
}

/// Cuts that reject.
const REJECT: f64 = 0.35;

pub(super) fn make() -> Box<dyn Fault> {
    Box::<Partition>::default()
}

/// What is cut. `first` is a leader if one is known; `others` are the other brokers in any order; `clients` are the
/// client groups.
struct Shape {
    name: &'static str,
    links: fn(first: HostId, others: &[HostId], clients: &[HostId]) -> Links,
}

const SHAPES: [Shape; 9] = [
    Shape {
        name: "the leader alone, clients reach everyone",
        links: |first, others, _| between(&[first], others),
    },
    Shape {
        name: "the leader with some of the clients",
        links: |first, others, clients| {
            let (with, without) = clients.split_at(clients.len().min(1));
            let near: Vec<HostId> = [&[first], with].concat();
            between(&near, &[others, without].concat())
        },
    },
    Shape {
        name: "a majority without the leader, and the rest",
        links: |first, others, _| {
            let (near, far) = others.split_at((others.len() - 1) / 2);
            between(&[&[first], near].concat(), far)
        },
    },
    Shape {
        name: "everyone sees another majority",
        links: |first, others, _| {
            let ring: Vec<HostId> = [&[first], others].concat();
            let count = ring.len();
            // So many neighbours on each side make a majority.
            let reach = (count / 2).div_ceil(2);
            let far = |a: usize, b: usize| {
                let distance = a.abs_diff(b).min(count - a.abs_diff(b));
                distance > reach && count > 3
            };
            let cut = |(a, b): &(usize, usize)| far(*a, *b) || (count == 3 && (*a, *b) == (0, 1));
            let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
            pairs.filter(cut).flat_map(|(a, b)| between(&[ring[a]], &[ring[b]])).collect()
        },
    },
    Shape {
        name: "only one link of the leader",
        links: |first, others, _| between(&[first], &others[..1]),
    },
    Shape {
        name: "nobody hears the leader",
        links: |first, others, _| others.iter().map(|other| (first, *other)).collect(),
    },
    Shape {
        name: "the leader hears nobody",
        links: |first, others, _| others.iter().map(|other| (*other, first)).collect(),
    },
    Shape {
        name: "the leader is the bridge between two halves",
        links: |_, others, _| {
            let (one, other) = others.split_at(others.len() / 2);
            between(one, other)
        },
    },
    Shape {
        name: "a follower alone, clients too",
        links: |first, others, clients| {
            let (alone, rest) = others.split_at(1);
            between(alone, &[&[first], rest, clients].concat())
        },
    },
];

impl Fault for Partition {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let shape = &SHAPES[random.random_range(0..SHAPES.len())];
        let mut brokers = cluster.ids();
        brokers.shuffle(random);
        if let Some(leader) = leader(cluster, random) {
            brokers.sort_by_key(|id| *id != leader);
        }
        let hosts: Vec<HostId> = brokers.into_iter().map(host).collect();
        let Some((first, others)) = hosts.split_first().filter(|(_, others)| !others.is_empty())
        else {
            return Ok(skipped("one broker alone cannot be parted"));
        };
        self.links = (shape.links)(*first, others, &clients(cluster));
        self.rejects = random.random_bool(REJECT);
        let how = if self.rejects { "rejected" } else { "dropped" };
        self.what = format!("{}, {how}: leader {first}, others {others:?}", shape.name);
        if self.links.is_empty() {
            return Ok(skipped(format!("{}: too few brokers", shape.name)));
        }
        self.before = cluster.network().counters(&self.links);
        cluster.network().adjust(&self.links, |rule| *self.side(rule) = true);
        Ok(installed(&self.what, format!("{} directed links cut", self.links.len())))
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let network = cluster.network();
        network.adjust(&self.links, |rule| *self.side(rule) = false);
        let met = network.counters(&self.links).since(&self.before);
        self.links.clear();
        match if self.rejects { met.reset } else { met.cut } {
            0 => Ok(skipped(format!("{}: no packet met it", self.what))),
            _ => Ok(installed("healed", met.to_string())),
        }
    }
}

impl Partition {
    /// The part of a link's rule that is this fault's.
    fn side<'a>(&self, rule: &'a mut Rule) -> &'a mut bool {
        if self.rejects { &mut rule.reject } else { &mut rule.cut }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// For every size: how many other brokers each broker still talks with, both ways.
    fn reach(shape: &Shape, brokers: u8) -> Vec<usize> {
        let hosts: Vec<HostId> = (1..=brokers).collect();
        let cut: BTreeSet<_> = (shape.links)(1, &hosts[1..], &[101, 102]).into_iter().collect();
        let talks = |a: u8, b: u8| a != b && !cut.contains(&(a, b)) && !cut.contains(&(b, a));
        hosts.iter().map(|a| hosts.iter().filter(|b| talks(*a, **b)).count()).collect()
    }

    #[test]
    fn shapes_cut_what_their_names_say() {
        let find = |part: &str| SHAPES.iter().find(|shape| shape.name.contains(part)).unwrap();
        assert_eq!(reach(find("leader alone"), 5), [0, 3, 3, 3, 3]);
        assert_eq!(reach(find("majority without"), 5), [1, 1, 2, 2, 2]);
        assert_eq!(reach(find("another majority"), 5), [2, 2, 2, 2, 2]);
        assert_eq!(reach(find("another majority"), 3), [1, 1, 2]);
        assert_eq!(reach(find("another majority"), 7), [4; 7]);
        assert_eq!(reach(find("only one link"), 5), [3, 3, 4, 4, 4]);
        assert_eq!(reach(find("nobody hears"), 3), [0, 1, 1]);
        assert_eq!(reach(find("bridge"), 5), [4, 2, 2, 2, 2]);
        assert_eq!(reach(find("bridge"), 3), [2, 1, 1]);
        assert_eq!(reach(find("a follower alone"), 3), [1, 0, 1]);
        let with = (find("with some of the clients").links)(1, &[2, 3], &[101, 102]);
        assert!(with.contains(&(101, 2)) && with.contains(&(1, 102)) && !with.contains(&(101, 1)));
        assert!(!with.contains(&(102, 2)));
    }

    #[test]
    fn every_shape_works_with_two_to_seven_brokers() {
        for shape in &SHAPES {
            for brokers in 2..=7 {
                reach(shape, brokers);
            }
        }
    }
}
