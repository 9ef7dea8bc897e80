//! Which brokers keep a new partition; pure.
//!
//! Greedy, one replica at a time, by what each broker carries already. Greedy is enough because replicas
//! weigh alike, and it needs no memory between topics: the image's load is the memory. Leaders are chosen
//! before followers, as leading costs more than following.
//!
//! Brokers that are out of service come last and are taken all the same where the others are too few: they will
//! be back, and a replica that was never made would be missed for ever.
//!
//! Invariant: the result is a function of the arguments, for every broker computes it by itself.

use std::collections::BTreeMap;

use crate::metadata::{Broker, Image, Load};

/// A broker that may take replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub id: u64,
    pub rack: Option<String>,
    /// Out of service now.
    pub fenced: bool,
    pub load: Load,
}

impl Candidate {
    /// Returns a broker with what it carries.
    pub fn of(image: &Image, broker: &Broker) -> Self {
        Self {
            id: broker.id,
            rack: broker.rack.clone(),
            fenced: broker.fenced,
            load: image.load.get(&broker.id).copied().unwrap_or_default(),
        }
    }
}

/// Returns the replicas of each of `partitions` partitions, the preferred leader first.
///
/// Replicas of one partition stand on different brokers, and on different racks as far as there are
/// enough. Fewer candidates than `replication` gives as many replicas as there are candidates.
pub fn place(
    mut candidates: Vec<Candidate>,
    partitions: usize,
    replication: usize,
) -> Vec<Vec<u64>> {
    candidates.sort_by_key(|candidate| candidate.id);
    (0..partitions).map(|_| place_one(&mut candidates, replication)).collect()
}

fn place_one(candidates: &mut [Candidate], replication: usize) -> Vec<u64> {
    let mut chosen: Vec<usize> = Vec::with_capacity(replication);
    while chosen.len() < replication {
        let racks = racks(candidates, &chosen);
        let free = (0..candidates.len()).filter(|at| !chosen.contains(at));
        let best = free.min_by_key(|at| {
            let Candidate { load, rack, fenced, .. } = &candidates[*at];
            let crowd = rack.as_deref().map_or(0, |rack| racks.get(rack).copied().unwrap_or(0));
            let leads = if chosen.is_empty() { load.leaders } else { 0 };
            (*fenced, crowd, leads, load.replicas, turn(candidates, chosen.first(), *at))
        });
        let Some(best) = best else { break };
        let load = &mut candidates[best].load;
        load.replicas += 1;
        load.leaders += u64::from(chosen.is_empty());
        chosen.push(best);
    }
    chosen.into_iter().map(|at| candidates[at].id).collect()
}

/// Equals are taken in turn, each time from another start: were the followers of one broker's partitions
/// always the same two brokers, its death would double their load.
fn turn(candidates: &[Candidate], leader: Option<&usize>, at: usize) -> usize {
    let brokers = candidates.len();
    let start = leader.map_or(0, |leader| {
        let led = usize::try_from(candidates[*leader].load.leaders).unwrap_or(0);
        leader + led
    });
    (at + brokers - start % brokers) % brokers
}

fn racks<'a>(candidates: &'a [Candidate], chosen: &[usize]) -> BTreeMap<&'a str, usize> {
    let mut racks = BTreeMap::new();
    for at in chosen {
        if let Some(rack) = candidates[*at].rack.as_deref() {
            *racks.entry(rack).or_default() += 1;
        }
    }
    racks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers(racks: &[Option<&str>]) -> Vec<Candidate> {
        let candidate = |(id, rack): (u64, &Option<&str>)| Candidate {
            id,
            rack: rack.map(str::to_owned),
            fenced: false,
            load: Load::default(),
        };
        (1..).zip(racks).map(candidate).collect()
    }

    fn counts(placed: &[Vec<u64>], of: impl Fn(&Vec<u64>) -> Vec<u64>) -> Vec<usize> {
        let mut counts = BTreeMap::<u64, usize>::new();
        placed.iter().flat_map(of).for_each(|id| *counts.entry(id).or_default() += 1);
        counts.into_values().collect()
    }

    #[test]
    fn replicas_and_leaders_are_spread_evenly() {
        let placed = place(brokers(&[None; 5]), 100, 3);
        assert_eq!(counts(&placed, |replicas| vec![replicas[0]]), [20; 5]);
        assert_eq!(counts(&placed, Clone::clone), [60; 5]);
        for replicas in &placed {
            let distinct: std::collections::BTreeSet<_> = replicas.iter().collect();
            assert_eq!(distinct.len(), 3);
        }
    }

    #[test]
    fn one_partition_topics_spread_by_the_load_there_is() {
        let mut load = BTreeMap::<u64, Load>::new();
        let mut first = Vec::new();
        for _ in 0..6 {
            let mut candidates = brokers(&[None; 3]);
            for candidate in &mut candidates {
                candidate.load = load.get(&candidate.id).copied().unwrap_or_default();
            }
            let replicas = place(candidates, 1, 2).remove(0);
            load.entry(replicas[0]).or_default().leaders += 1;
            replicas.iter().for_each(|id| load.entry(*id).or_default().replicas += 1);
            first.push(replicas[0]);
        }
        assert_eq!(first, [1, 3, 2, 1, 2, 3]);
        assert!(load.values().all(|load| *load == Load { replicas: 4, leaders: 2 }));
    }

    #[test]
    fn racks_are_not_shared_while_there_are_enough() {
        let racks = [Some("a"), Some("a"), Some("b"), Some("b"), Some("c"), Some("c")];
        let rack_of = |id: u64| racks[usize::try_from(id).unwrap() - 1].unwrap();
        let placed = place(brokers(&racks), 60, 3);
        for replicas in &placed {
            let distinct: std::collections::BTreeSet<_> =
                replicas.iter().map(|id| rack_of(*id)).collect();
            assert_eq!(distinct.len(), 3, "{replicas:?}");
        }
        assert_eq!(counts(&placed, |replicas| vec![replicas[0]]), [10; 6]);
        let crowded = place(brokers(&racks), 1, 4).remove(0);
        assert_eq!(crowded.len(), 4);
    }

    #[test]
    fn who_is_out_of_service_is_taken_last_and_never_to_lead() {
        let mut candidates = brokers(&[None; 3]);
        candidates[0].fenced = true;
        for replicas in place(candidates.clone(), 10, 2) {
            assert!(!replicas.contains(&1), "{replicas:?}");
        }
        for replicas in place(candidates, 10, 3) {
            assert_eq!(replicas[2], 1, "{replicas:?}");
        }
    }

    #[test]
    fn the_same_arguments_give_the_same_places() {
        let mut reversed = brokers(&[None, Some("a"), Some("b"), None]);
        let placed = place(reversed.clone(), 50, 3);
        reversed.reverse();
        assert_eq!(place(reversed, 50, 3), placed);
    }

    #[test]
    fn followers_of_one_leader_differ() {
        let placed = place(brokers(&[None; 5]), 100, 3);
        let pairs: std::collections::BTreeSet<_> =
            placed.iter().filter(|replicas| replicas[0] == 1).map(|it| it[1..].to_vec()).collect();
        assert!(pairs.len() > 1, "{pairs:?}");
    }
}
