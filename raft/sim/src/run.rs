//! One seed: twenty seconds of faults, then a healed cluster that has to settle.

use std::collections::BTreeSet;
use std::fmt;

use parking_lot::Mutex;
use quorate_raft::Machine;
use quorate_storage::Log;
use quorate_storage::simulation::Random;

use crate::Shape;
use crate::chaos::{self, Chaos, World};
use crate::clients::{self, Clients};
use crate::cluster::Cluster;
use crate::entropy;
use crate::facts::{Facts, Violation};
use crate::judge::{self, Judge};
use crate::ledger::{self, Ledger, effect_key};
use crate::members::Members;
use crate::plan::{PATIENCE, Plan, WRONG};
use crate::records;
use crate::trace::Trace;

/// Ticks during which clients of a healed cluster go on.
const AFTERMATH: u64 = 3_000;

/// Panics of tasks, which the runtime would swallow.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Panics so far, in words.
pub fn panics() -> Vec<String> {
    PANICS.lock().clone()
}

/// What a run did, if it found nothing.
#[derive(Debug, Clone)]
pub struct Summary {
    pub plan: Plan,
    pub ticks: u64,
    pub terms: usize,
    pub committed: usize,
    pub changed: u64,
    /// Bytes of randomness that were drawn.
    pub chance: u64,
    pub judged: judge::Counts,
    pub clients: clients::Counts,
    pub chaos: chaos::Counts,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plan, chaos, clients) = (&self.plan, &self.chaos, &self.clients);
        write!(
            f,
            "nodes={} groups={} ticks={} terms={} committed={} acked={} reads={} refused={} \
             unknown={} crashes={} lost_records={} network_faults={} transfers={} \
             voter_changes={} stops={} snapshots={} deleted={} rebuilt={} chance={}",
            plan.nodes,
            plan.groups,
            self.ticks,
            self.terms,
            self.committed,
            clients.acked,
            clients.reads,
            clients.refused,
            clients.unknown,
            chaos.crashes,
            chaos.lost_records,
            chaos.networks,
            chaos.transfers,
            self.changed,
            chaos.stops,
            self.judged.snapshots,
            self.judged.deleted,
            self.judged.rebuilt,
            self.chance,
        )
    }
}

/// The parts of a run.
struct Run<'a> {
    plan: Plan,
    cluster: Cluster<'a>,
    chaos: Chaos,
    clients: Clients,
    members: Members,
    judge: Judge,
    tick: u64,
}

/// Runs a seed. The trace is left behind in any case.
pub fn run(seed: u64, shape: &Shape, trace: &mut Trace) -> Result<Summary, Violation> {
    entropy::begin(seed);
    std::panic::set_hook(Box::new(|panic| PANICS.lock().push(panic.to_string())));
    let mut random = Random::new(seed);
    let mut plan = Plan::new(&mut random.fork(), shape.control);
    if shape.wrong {
        plan.wrong = true;
        plan.voters = plan.voters.max(3);
    }
    trace.line(format_args!("{plan:?}"));
    let mut cluster = Cluster::new(&plan, &mut random.fork());
    let members = Members::new(&plan, random.fork(), &mut cluster);
    let mut run = Run {
        chaos: Chaos::new(&plan, random.fork()),
        clients: Clients::new(&plan, random.fork()),
        judge: Judge::new(plan.wrong.then_some(WRONG)),
        cluster,
        members,
        plan,
        tick: 0,
    };
    while run.tick < shape.ticks {
        run.step(false, trace)?;
    }
    trace.line(format_args!("everything heals"));
    run.settle(trace)?;
    trace.line(format_args!("settled, {} bytes of chance drawn", entropy::taken()));
    Ok(run.summary())
}

impl Run<'_> {
    fn step(&mut self, calm: bool, trace: &mut Trace) -> Result<(), Violation> {
        trace.at(self.tick);
        let mut world = World { cluster: &mut self.cluster, judge: &mut self.judge, trace };
        self.chaos.tick(self.tick, calm, &mut world);
        let unanswered = std::mem::take(&mut self.chaos.unanswered);
        self.clients.lost(&unanswered);
        self.members.lost(&unanswered);
        for group in std::mem::take(&mut self.chaos.reassign) {
            self.members.reassign(group, trace);
        }
        self.members.tick(self.tick, &mut self.cluster, &self.judge.facts);
        self.clients.tick(self.tick, &mut self.cluster, &self.judge.facts);
        self.cluster.sim.step().map_err(|error| format!("a node ended: {error}"))?;
        if let Some(panic) = PANICS.lock().first() {
            return Err(format!("a task panicked: {panic}"));
        }
        self.judge.look(&self.cluster, &self.chaos.stopping, self.tick, trace)?;
        for (_, order, answer) in self.cluster.answers() {
            self.clients.answer(self.tick, order, &answer, &mut self.judge.facts, trace)?;
            self.members.answer(order, &answer, &mut self.cluster, trace);
        }
        self.tick += 1;
        Ok(())
    }

    /// A healed cluster elects leaders, finishes what was begun, takes requests, and agrees.
    fn settle(&mut self, trace: &mut Trace) -> Result<(), Violation> {
        let healed = self.tick;
        let before = self.clients.acked();
        let mut clients_since = None;
        loop {
            self.step(true, trace)?;
            let progress = self.clients.acked().iter().all(|(id, acked)| *acked > before[id]);
            if progress && self.members.settled() && self.tick > healed + AFTERMATH {
                self.clients.quiet = true;
            }
            if self.clients.quiet && self.clients.idle() && clients_since.is_none() {
                clients_since = Some(self.tick);
            }
            let complaint = match clients_since {
                None => Some(format!(
                    "clients progress: {progress}, membership settled: {}",
                    self.members.settled()
                )),
                Some(_) => self.disagreement(),
            };
            match complaint {
                None => return Ok(()),
                Some(what) if self.tick > healed + PATIENCE => {
                    return Err(format!("liveness: not settled after {PATIENCE} ticks: {what}"));
                }
                Some(_) => {}
            }
        }
    }

    /// The first group whose members do not hold the same, or less than was acknowledged.
    fn disagreement(&self) -> Option<String> {
        (1..=self.plan.groups).find_map(|group| {
            self.group_disagreement(group).map(|what| format!("group {group}: {what}"))
        })
    }

    fn group_disagreement(&self, id: u64) -> Option<String> {
        let mut machines = Vec::new();
        for node in &self.members.voters[&id] {
            let running = self.cluster.running(*node);
            let group = running.as_ref().and_then(|running| running.groups.get(&id).cloned());
            let Some(group) = group else { return Some(format!("not open on node {node}")) };
            let status = group.status();
            let voters: BTreeSet<u64> = status.voters.iter().copied().collect();
            if voters != self.members.voters[&id] || !status.learners.is_empty() {
                return Some(format!("node {node} has the members {status:?}"));
            }
            let machine = group.machine().clone();
            if machine.applied != status.last_index {
                return Some(format!("node {node} has not applied everything: {status:?}"));
            }
            // Of what was trimmed whoever was given a snapshot has none.
            let kept = |done: &ledger::Done| done.index >= machine.needed_from();
            for (client, done) in machine.clients.iter().filter(|(_, done)| kept(done)) {
                let key = effect_key(*client, done.index);
                if group.log().state_get(&key).ok().flatten().is_none() {
                    return Some(format!("node {node} lost the effect of client {client}"));
                }
            }
            if let Some(wrong) = self.records(id, group.log(), &machine) {
                return Some(format!("node {node}: {wrong}"));
            }
            machines.push(machine);
        }
        for (client, acked) in self.clients.of(id) {
            let serials = machines.iter().map(|m| m.clients.get(&client).map_or(0, |d| d.serial));
            if let Some(less) = serials.into_iter().find(|serial| *serial < acked) {
                return Some(format!("client {client} lost {acked}, {less} is left"));
            }
        }
        if machines.windows(2).all(|pair| pair[0] == pair[1]) {
            None
        } else {
            Some(format!("machines differ: {machines:?}"))
        }
    }

    /// What of the records that a machine needs is not what was committed.
    fn records(&self, group: u64, log: &Log, machine: &Ledger) -> Option<String> {
        let facts = self.judge.facts.get(&group)?;
        match records::all(log, machine) {
            Ok(all) => all.iter().find_map(|entry| facts.is_committed(entry).err()),
            Err(error) => Some(error.to_string()),
        }
    }

    fn summary(&self) -> Summary {
        let facts = self.judge.facts.values();
        Summary {
            plan: self.plan.clone(),
            ticks: self.tick,
            terms: facts.clone().map(Facts::terms).sum(),
            committed: facts.map(|facts| facts.committed.len()).sum(),
            changed: self.members.changed,
            chance: entropy::taken(),
            judged: self.judge.counts,
            clients: self.clients.counts,
            chaos: self.chaos.counts,
        }
    }
}
