//! The machines: starting them, crashing them, giving them orders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_storage::simulation::{Crash, Disk, Fault, Random, SyncDelay};
use turmoil::Sim;

use crate::host::{self, Answer, Desk, Home, Order, Running, What, name};
use crate::plan::{Control, Plan, WRONG};

/// One machine.
pub struct Machine {
    pub home: Home,
    pub disk: Arc<Disk>,
    /// Its software runs.
    pub up: bool,
    /// Orders that were given to the present run and not answered.
    pub waiting: BTreeSet<u64>,
}

/// All machines and the network between them.
pub struct Cluster<'a> {
    pub sim: Sim<'a>,
    pub machines: BTreeMap<u64, Machine>,
    next_order: u64,
}

impl Cluster<'_> {
    /// Registers the machines of a plan; they start with the first tick.
    pub fn new(plan: &Plan, random: &mut Random) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(random.bits())
            .tick_duration(Duration::from_millis(1))
            .simulation_duration(Duration::from_secs(1 << 30))
            .epoch(std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
            .min_message_latency(Duration::from_millis(plan.latency.0))
            .max_message_latency(Duration::from_millis(plan.latency.1))
            .tcp_capacity(4096)
            .enable_random_order()
            .build();
        let dead_after = Duration::from_millis(random.between(400, 900));
        let mut machines = BTreeMap::new();
        for id in 1..=plan.nodes {
            let path = PathBuf::from(format!("/simulated/{id}"));
            let disk = Disk::create(&path, random.bits());
            disk.set_delay(plan.delay);
            disk.watch();
            match plan.control {
                Some(Control::AckBeforeFsync) => disk.set_fault(Fault::AckBeforeSync),
                Some(Control::ForgetVote) => disk.set_fault(Fault::ForgetVote),
                Some(Control::LeaderRestore) | None => {}
            }
            let wrong = plan.wrong.then_some(WRONG.1);
            let home = Home {
                id,
                nodes: plan.nodes,
                path,
                restore: plan.control == Some(Control::LeaderRestore),
                wrong: Arc::new(Mutex::new(wrong.filter(|_| id == WRONG.0))),
                dead_after,
                desk: Arc::new(Desk::default()),
                assigned: Arc::new(Mutex::default()),
            };
            let software = home.clone();
            sim.host(name(id), move || host::run(software.clone()));
            machines.insert(id, Machine { home, disk, up: true, waiting: BTreeSet::new() });
        }
        Cluster { sim, machines, next_order: 0 }
    }

    /// Gives an order to a node; the number its answer comes with. Nobody answers for a machine
    /// that is down.
    pub fn order(&mut self, node: u64, group: u64, what: What) -> u64 {
        self.next_order += 1;
        let id = self.next_order;
        let machine = self.machines.get_mut(&node).expect("the plan names the machines");
        if machine.up {
            machine.waiting.insert(id);
            machine.home.desk.orders.lock().push_back(Order { id, group, what });
            machine.home.desk.wake.notify_one();
        }
        id
    }

    /// Answers since the last call: node, order, answer.
    pub fn answers(&mut self) -> Vec<(u64, u64, Answer)> {
        let mut all = Vec::new();
        for (node, machine) in &mut self.machines {
            for (id, answer) in std::mem::take(&mut *machine.home.desk.answers.lock()) {
                machine.waiting.remove(&id);
                all.push((*node, id, answer));
            }
        }
        all
    }

    /// The node of a machine, if it has started.
    pub fn running(&self, id: u64) -> Option<Running> {
        let machine = &self.machines[&id];
        machine.home.desk.running.lock().clone().filter(|_| machine.up)
    }

    /// Ends a machine's software at once. Gives the records its disk lost and the orders that will
    /// not be answered.
    pub fn crash(&mut self, id: u64, how: Crash) -> (u64, BTreeSet<u64>) {
        let machine = self.machines.get_mut(&id).expect("the plan names the machines");
        let lost = machine.disk.crash(how);
        self.sim.crash(name(id));
        machine.up = false;
        let desk = &machine.home.desk;
        desk.orders.lock().clear();
        desk.answers.lock().clear();
        drop(desk.running.lock().take());
        (lost, std::mem::take(&mut machine.waiting))
    }

    /// The software has ended by itself; gives the orders that will not be answered.
    pub fn ended(&mut self, id: u64) -> BTreeSet<u64> {
        let machine = self.machines.get_mut(&id).expect("the plan names the machines");
        machine.up = false;
        machine.home.desk.orders.lock().clear();
        std::mem::take(&mut machine.waiting)
    }

    /// Starts a machine that is down.
    pub fn start(&mut self, id: u64) {
        self.sim.bounce(name(id));
        self.machines.get_mut(&id).expect("the plan names the machines").up = true;
    }

    pub fn set_delay(&self, id: u64, delay: SyncDelay) {
        self.machines[&id].disk.set_delay(delay);
    }

    /// Machines whose software runs.
    pub fn up(&self) -> Vec<u64> {
        self.machines.iter().filter(|(_, machine)| machine.up).map(|(id, _)| *id).collect()
    }
}
