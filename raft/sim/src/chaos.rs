//! What goes wrong, and when: crashes, network, disks, changes of leaders and members.

use std::collections::{BTreeMap, BTreeSet};

use quorate_storage::simulation::{Crash, Random, SyncDelay};

use crate::cluster::Cluster;
use crate::facts::Facts;
use crate::host::What;
use crate::judge::Judge;
use crate::network::{self, Fault};
use crate::plan::{Plan, Weights};
use crate::trace::Trace;

/// What happened so far, for the summary.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    pub crashes: u64,
    pub lost_records: u64,
    pub networks: u64,
    pub stops: u64,
    pub transfers: u64,
}

/// Everything a fault may touch.
pub struct World<'w, 'a> {
    pub cluster: &'w mut Cluster<'a>,
    pub judge: &'w mut Judge,
    pub trace: &'w mut Trace,
}

/// The faults in place and the next one.
pub struct Chaos {
    random: Random,
    plan: Plan,
    next: u64,
    network_until: Option<u64>,
    slow_until: Option<u64>,
    down: BTreeMap<u64, u64>,
    /// Machines that were told to stop.
    pub stopping: BTreeSet<u64>,
    /// Groups whose members are to change next.
    pub reassign: BTreeSet<u64>,
    /// Orders that nobody will answer any more.
    pub unanswered: BTreeSet<u64>,
    pub counts: Counts,
}

impl Chaos {
    pub fn new(plan: &Plan, random: Random) -> Chaos {
        Chaos {
            random,
            plan: plan.clone(),
            next: 800,
            network_until: None,
            slow_until: None,
            down: BTreeMap::new(),
            stopping: BTreeSet::new(),
            reassign: BTreeSet::new(),
            unanswered: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// Ends what is over and, unless `calm`, begins what is due.
    pub fn tick(&mut self, tick: u64, calm: bool, world: &mut World<'_, '_>) {
        self.stopped(tick, world);
        let due: Vec<u64> =
            self.down.iter().filter(|(_, at)| calm || **at <= tick).map(|(id, _)| *id).collect();
        for node in due {
            self.down.remove(&node);
            world.trace.line(format_args!("node {node} starts"));
            world.cluster.start(node);
        }
        if self.network_until.is_some_and(|until| calm || until <= tick) {
            self.network_until = None;
            world.trace.line(format_args!("the network heals"));
            network::heal(&mut world.cluster.sim, &self.plan);
        }
        if self.slow_until.is_some_and(|until| calm || until <= tick) {
            self.slow_until = None;
            for node in 1..=self.plan.nodes {
                world.cluster.set_delay(node, self.plan.delay);
            }
        }
        if !calm && tick >= self.next {
            self.next = tick + self.random.between(self.plan.calm.0, self.plan.calm.1);
            self.begin(tick, world);
        }
    }

    fn begin(&mut self, tick: u64, world: &mut World<'_, '_>) {
        let Weights { crash, network, disk, transfer, membership, stop } = self.plan.weights;
        let mut drawn = self.random.below(crash + network + disk + transfer + membership + stop);
        let mut is = |weight: u64| {
            let hit = drawn < weight;
            drawn = drawn.wrapping_sub(weight);
            hit
        };
        if is(crash) {
            self.crash(tick, world);
        } else if is(network) {
            self.network(tick, None, world);
        } else if is(disk) {
            self.slow_disk(tick, world);
        } else if is(transfer) {
            self.transfer(world);
        } else if is(membership) {
            self.reassign.insert(self.random.between(1, self.plan.groups));
        } else {
            self.stop(world);
        }
    }

    /// One machine, a minority, or all; their power or only their process; for an instant or long
    /// enough that others take over. A machine may be cut off first, so that nobody is told.
    fn crash(&mut self, tick: u64, world: &mut World<'_, '_>) {
        let up = world.cluster.up();
        let count = match self.random.below(10) {
            0..6 => 1,
            6..8 => self.plan.nodes / 2,
            _ => self.plan.nodes,
        };
        let how = if self.random.chance(70) { Crash::Power } else { Crash::Process };
        let pause = match self.random.below(3) {
            0 => self.random.between(1, 30),
            1 => self.random.between(30, 900),
            _ => self.random.between(900, 5_000),
        };
        let mut victims: Vec<u64> = up.into_iter().filter(|n| !self.stopping.contains(n)).collect();
        while victims.len() as u64 > count {
            let at = self.random.below(victims.len() as u64);
            victims.remove(usize::try_from(at).unwrap_or(0));
        }
        if count == 1 && self.random.chance(30) {
            self.network(tick, Some(Fault::Split { side: victims.clone() }), world);
        }
        for node in victims {
            world.judge.before_crash(node, &world.cluster.machines[&node]);
            let (lost, orders) = world.cluster.crash(node, how);
            self.unanswered.extend(orders);
            world.trace.line(format_args!("node {node} crashes: {how:?}, {lost} records lost"));
            self.counts.crashes += 1;
            self.counts.lost_records += lost;
            self.down.insert(node, tick + pause + self.random.below(pause / 4 + 1));
        }
    }

    fn network(&mut self, tick: u64, fault: Option<Fault>, world: &mut World<'_, '_>) {
        if self.network_until.is_some() {
            return;
        }
        let fault = fault.unwrap_or_else(|| Fault::draw(&mut self.random, self.plan.nodes));
        world.trace.line(format_args!("{fault:?}"));
        fault.begin(&mut world.cluster.sim, self.plan.nodes);
        let longest = if self.random.chance(50) { 800 } else { 5_000 };
        self.network_until = Some(tick + self.random.between(20, longest));
        self.counts.networks += 1;
    }

    fn slow_disk(&mut self, tick: u64, world: &mut World<'_, '_>) {
        let node = self.random.between(1, self.plan.nodes);
        let max = self.random.between(50, 700);
        let delay = SyncDelay { min: max / 3, max, stall_percent: 0, stall: 0 };
        world.trace.line(format_args!("the disk of node {node} is slow: {max} ms"));
        world.cluster.set_delay(node, delay);
        self.slow_until = Some(tick + self.random.between(500, 4_000));
    }

    fn transfer(&mut self, world: &mut World<'_, '_>) {
        let group = self.random.between(1, self.plan.groups);
        let to = self.random.between(1, self.plan.nodes);
        let leader = world.judge.facts.get(&group).and_then(Facts::newest_leader);
        let Some(leader) = leader.filter(|node| world.cluster.machines[node].up) else { return };
        world.trace.line(format_args!("group {group} is to be led by {to} instead of {leader}"));
        world.cluster.order(leader, group, What::Transfer { to });
        self.counts.transfers += 1;
    }

    /// A machine stops in order and comes back.
    fn stop(&mut self, world: &mut World<'_, '_>) {
        let node = self.random.between(1, self.plan.nodes);
        if world.cluster.machines[&node].up && self.stopping.insert(node) {
            world.trace.line(format_args!("node {node} is told to stop"));
            world.cluster.order(node, 0, What::Stop);
            self.counts.stops += 1;
        }
    }

    /// Those that have stopped come back.
    fn stopped(&mut self, tick: u64, world: &mut World<'_, '_>) {
        let stopping: Vec<u64> = self.stopping.iter().copied().collect();
        for node in stopping {
            let machine = &world.cluster.machines[&node];
            if machine.up && world.cluster.sim.is_host_running(crate::host::name(node)) {
                continue;
            }
            self.stopping.remove(&node);
            if machine.up {
                world.judge.before_crash(node, machine);
                self.unanswered.extend(world.cluster.ended(node));
                self.down.insert(node, tick + self.random.between(1, 1_500));
            }
        }
    }
}
