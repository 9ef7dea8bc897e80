//! Changes of a group's members, driven as a broker's controller does: look, do what is missing,
//! look again.

use std::collections::{BTreeMap, BTreeSet};

use quorate_storage::simulation::Random;

use crate::cluster::Cluster;
use crate::facts::Facts;
use crate::host::{Answer, What};
use crate::plan::Plan;
use crate::trace::Trace;

/// Ticks between two looks at a group.
const LOOK: u64 = 100;
/// Ticks after which an order is given again: whoever got it may have forgotten it.
const GIVE_UP: u64 = 15_000;

/// A group's members as they are to be.
struct Goal {
    target: BTreeSet<u64>,
    /// The order to change the voters, and when it was given.
    order: Option<(u64, u64)>,
    asks: Option<u64>,
}

/// Members of all groups.
pub struct Members {
    random: Random,
    nodes: u64,
    /// How many voters a group may have.
    sizes: Vec<u64>,
    goals: BTreeMap<u64, Goal>,
    /// Voters a group was last known to have.
    pub voters: BTreeMap<u64, BTreeSet<u64>>,
    pub changed: u64,
}

impl Members {
    /// Gives every group its first voters.
    pub fn new(plan: &Plan, mut random: Random, cluster: &mut Cluster<'_>) -> Members {
        let mut voters = BTreeMap::new();
        for group in 1..=plan.groups {
            let first = random.below(plan.nodes);
            let preferred: Vec<u64> =
                (0..plan.voters).map(|place| (first + place) % plan.nodes + 1).collect();
            for node in &preferred {
                assign(cluster, *node, group, &preferred);
            }
            let set: BTreeSet<u64> = preferred.iter().copied().collect();
            cluster.order(preferred[0], group, What::Initialize { voters: set.clone() });
            voters.insert(group, set);
        }
        // Two voters that differ are no majority, and on the way to one there are two.
        let least = if plan.wrong { 3 } else { 1 };
        let sizes = [1, 3, 5].into_iter().filter(|size| (least..=plan.nodes).contains(size));
        let (nodes, sizes) = (plan.nodes, sizes.collect());
        Members { random, nodes, sizes, goals: BTreeMap::new(), voters, changed: 0 }
    }

    /// Draws other members for a group, unless a change is under way.
    pub fn reassign(&mut self, group: u64, trace: &mut Trace) {
        if self.goals.contains_key(&group) {
            return;
        }
        let size = self.random.pick(&self.sizes).copied().unwrap_or(1);
        let mut all: Vec<u64> = (1..=self.nodes).collect();
        while all.len() as u64 > size {
            let at = self.random.below(all.len() as u64);
            all.remove(usize::try_from(at).unwrap_or(0));
        }
        let target: BTreeSet<u64> = all.into_iter().collect();
        trace.line(format_args!("group {group} is to have the voters {target:?}"));
        self.goals.insert(group, Goal { target, order: None, asks: None });
    }

    /// Does what is missing.
    pub fn tick(&mut self, tick: u64, cluster: &mut Cluster<'_>, facts: &BTreeMap<u64, Facts>) {
        if !tick.is_multiple_of(LOOK) {
            return;
        }
        for (group, goal) in &mut self.goals {
            if goal.order.is_some_and(|(_, since)| tick < since + GIVE_UP) {
                continue;
            }
            let preferred: Vec<u64> = goal.target.iter().copied().collect();
            for node in &preferred {
                assign(cluster, *node, *group, &preferred);
            }
            let known = facts.get(group).and_then(Facts::newest_leader);
            let Some(leader) = goal.asks.take().or(known) else { continue };
            if cluster.machines[&leader].up {
                let what = What::ChangeVoters { target: goal.target.clone() };
                goal.order = Some((cluster.order(leader, *group, what), tick));
            }
        }
    }

    /// Takes an answer if it belongs to a change.
    pub fn answer(
        &mut self,
        order: u64,
        answer: &Answer,
        cluster: &mut Cluster<'_>,
        trace: &mut Trace,
    ) {
        let found =
            self.goals.iter_mut().find(|(_, goal)| goal.order.is_some_and(|o| o.0 == order));
        let Some((group, goal)) = found else { return };
        goal.order = None;
        if let Answer::Failed { leader, text } = answer {
            trace.line(format_args!("group {group} did not change its voters: {text}"));
            goal.asks = *leader;
            return;
        }
        let (group, target) = (*group, goal.target.clone());
        trace.line(format_args!("group {group} has the voters {target:?}"));
        self.goals.remove(&group);
        self.changed += 1;
        // Who is no member any more forgets the group, or is only told later, if ever.
        for node in (1..=self.nodes).filter(|node| !target.contains(node)) {
            if self.random.chance(70) {
                let had = cluster.machines[&node].home.assigned.lock().remove(&group).is_some();
                if had {
                    cluster.order(node, group, What::Delete);
                }
            }
        }
        self.voters.insert(group, target);
    }

    /// Orders that nobody will answer.
    pub fn lost(&mut self, orders: &BTreeSet<u64>) {
        for goal in self.goals.values_mut() {
            if goal.order.is_some_and(|(order, _)| orders.contains(&order)) {
                goal.order = None;
            }
        }
    }

    /// No change is under way.
    pub fn settled(&self) -> bool {
        self.goals.is_empty()
    }
}

/// Opens the group on the node, now and at every start.
fn assign(cluster: &mut Cluster<'_>, node: u64, group: u64, preferred: &[u64]) {
    let preferred = preferred.to_vec();
    let before = cluster.machines[&node].home.assigned.lock().insert(group, preferred.clone());
    if before.is_none() {
        cluster.order(node, group, What::Open { preferred });
    }
}
