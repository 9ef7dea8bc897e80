//! The clients of all groups, and what they hold the groups to.
//!
//! A client has one request under way. One whose outcome it does not know it proposes again under
//! the same serial number, as a producer does. Whatever is answered is checked, however late.

use std::collections::{BTreeMap, BTreeSet};

use quorate_storage::EntryId;
use quorate_storage::simulation::Random;

use crate::cluster::Cluster;
use crate::facts::{Facts, Violation};
use crate::host::{Answer, What};
use crate::ledger::{Done, Request};
use crate::plan::Plan;
use crate::trace::Trace;

/// Ticks after which a client gives up waiting.
const DEADLINE: u64 = 4_000;

/// A client; `acked` is its last request that it knows to be applied.
struct Client {
    id: u64,
    group: u64,
    acked: u64,
    idle_until: u64,
    waits_for: Option<(u64, u64)>,
    asks: Option<u64>,
}

/// What was asked for.
enum Asked {
    Propose { client: u64, request: Request },
    Read { floor: Option<u64>, acked: BTreeMap<u64, u64> },
}

/// What happened so far, for the summary.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    pub acked: u64,
    pub reads: u64,
    pub refused: u64,
    pub unknown: u64,
}

/// All clients.
pub struct Clients {
    clients: BTreeMap<u64, Client>,
    open: BTreeMap<u64, (u64, Asked)>,
    /// Greatest index anybody was told of, by group.
    floor: BTreeMap<u64, Option<u64>>,
    random: Random,
    think: u64,
    filler: u64,
    /// Logs may be purged.
    purge: bool,
    next_attempt: u64,
    pub counts: Counts,
    /// Clients begin nothing new.
    pub quiet: bool,
}

impl Clients {
    pub fn new(plan: &Plan, random: Random) -> Clients {
        let client = |group: u64, number: u64| {
            let id = group * 100 + number;
            let (waits_for, asks) = (None, None);
            (id, Client { id, group, acked: 0, idle_until: 0, waits_for, asks })
        };
        let clients = (1..=plan.groups)
            .flat_map(|group| (0..plan.clients).map(move |number| client(group, number)))
            .collect();
        Clients {
            clients,
            open: BTreeMap::new(),
            floor: BTreeMap::new(),
            random,
            think: plan.think,
            filler: plan.filler,
            purge: !plan.wrong,
            next_attempt: 0,
            counts: Counts::default(),
            quiet: false,
        }
    }

    /// Lets clients begin something.
    pub fn tick(&mut self, tick: u64, cluster: &mut Cluster<'_>, facts: &BTreeMap<u64, Facts>) {
        let ids: Vec<u64> = self.clients.keys().copied().collect();
        for id in ids {
            let client = self.clients.get_mut(&id).expect("listed above");
            if client.waits_for.is_some_and(|(_, since)| tick > since + DEADLINE) {
                client.waits_for = None;
            }
            if self.quiet || client.waits_for.is_some() || tick < client.idle_until {
                continue;
            }
            client.idle_until = tick + self.random.between(1, self.think);
            let group = client.group;
            let Some(node) = self.choose_node(id, cluster, facts.get(&group)) else { continue };
            let order = self.begin(id, group, node, cluster);
            let client = self.clients.get_mut(&id).expect("listed above");
            client.waits_for = Some((order, tick));
        }
    }

    /// Where the client was sent, or the leader it may know, or anybody.
    fn choose_node(
        &mut self,
        id: u64,
        cluster: &Cluster<'_>,
        facts: Option<&Facts>,
    ) -> Option<u64> {
        let hint = self.clients.get_mut(&id)?.asks.take();
        let known = hint.or_else(|| facts.and_then(Facts::newest_leader));
        let known = known.filter(|node| cluster.machines[node].up);
        match known {
            Some(node) if self.random.chance(90) => Some(node),
            _ => self.random.pick(&cluster.up()).copied(),
        }
    }

    fn begin(&mut self, id: u64, group: u64, node: u64, cluster: &mut Cluster<'_>) -> u64 {
        self.next_attempt += 1;
        let attempt = self.next_attempt;
        let serial = self.clients[&id].acked + 1;
        let floor = self.floor.get(&group).copied().flatten();
        let (what, asked) = match self.random.below(100) {
            0..12 => {
                let acked = self.clients.values().filter(|client| client.group == group);
                let acked = acked.map(|client| (client.id, client.acked)).collect();
                (What::Read, Asked::Read { floor, acked })
            }
            kind => {
                let below = floor.unwrap_or(0).saturating_sub(self.random.below(80));
                let below = if self.purge { below } else { 0 };
                let request = match kind {
                    12..18 => Request::Trim { below, attempt },
                    _ => Request::Note { client: id, serial, attempt },
                };
                let filler = self.random.below(self.filler + 1);
                let payload = request.encode(usize::try_from(filler).unwrap_or(0));
                let fence = self.fence(group, node, cluster);
                let asked = Asked::Propose { client: id, request };
                (What::Propose { payload, fence }, asked)
            }
        };
        let order = cluster.order(node, group, what);
        self.open.insert(order, (group, asked));
        order
    }

    /// Half of the proposals are fenced to the term their node believes it leads.
    fn fence(&mut self, group: u64, node: u64, cluster: &Cluster<'_>) -> Option<u64> {
        let running = cluster.running(node).filter(|_| self.random.chance(50))?;
        let leadership = running.groups.get(&group)?.leadership();
        let now = *leadership.borrow();
        (now.leader == Some(node)).then_some(now.term)
    }

    /// Takes an answer if it belongs to a client.
    pub fn answer(
        &mut self,
        tick: u64,
        order: u64,
        answer: &Answer,
        facts: &mut BTreeMap<u64, Facts>,
        trace: &mut Trace,
    ) -> Result<(), Violation> {
        let Some((group, asked)) = self.open.remove(&order) else { return Ok(()) };
        let facts = facts.entry(group).or_default();
        let owner = self.clients.values_mut().find(|c| c.waits_for.is_some_and(|w| w.0 == order));
        let owner = owner.map(|client| {
            client.waits_for = None;
            client.asks = match answer {
                Answer::NotInLog { leader } | Answer::Failed { leader, .. } => *leader,
                _ => None,
            };
            // Who is refused comes back, but not at once.
            client.idle_until = client.idle_until.max(tick + 3);
            client.id
        });
        match (asked, answer) {
            (Asked::Propose { request, client }, Answer::Applied { done, index, term }) => {
                let id = EntryId { term: *term, index: *index };
                trace.line(format_args!("group {group} acknowledges {request:?} as {id}"));
                self.counts.acked += 1;
                facts.acknowledged(request.attempt(), id)?;
                self.raise(group, Some(*index));
                if let (Some(_), Request::Note { serial, .. }) = (owner, request) {
                    self.applied(client, serial, *done, *index)?;
                }
            }
            (Asked::Propose { request, .. }, Answer::NotInLog { .. }) => {
                self.counts.refused += 1;
                facts.never(request.attempt())?;
            }
            (Asked::Propose { .. }, _) => self.counts.unknown += 1,
            (Asked::Read { floor, acked }, Answer::State { applied, clients }) => {
                self.counts.reads += 1;
                trace.line(format_args!("group {group} is read at {applied:?}"));
                check_read(floor, &acked, *applied, clients)
                    .map_err(|what| format!("group {group}: {what}"))?;
                self.raise(group, *applied);
            }
            (Asked::Read { .. }, _) => {}
        }
        Ok(())
    }

    fn raise(&mut self, group: u64, index: Option<u64>) {
        let floor = self.floor.entry(group).or_default();
        *floor = (*floor).max(index);
    }

    fn applied(&mut self, id: u64, serial: u64, done: Done, index: u64) -> Result<(), Violation> {
        let client = self.clients.get_mut(&id).expect("it asked");
        if serial != client.acked + 1 {
            return Ok(());
        }
        client.acked = serial;
        if done.serial == serial && done.index <= index {
            Ok(())
        } else {
            Err(format!("client {id} is told {done:?} for {serial} at {index}"))
        }
    }

    /// Nobody will answer these.
    pub fn lost(&mut self, orders: &BTreeSet<u64>) {
        for order in orders {
            if self.open.remove(order).is_some() {
                self.counts.unknown += 1;
            }
        }
        for client in self.clients.values_mut() {
            if client.waits_for.is_some_and(|(order, _)| orders.contains(&order)) {
                client.waits_for = None;
            }
        }
    }

    /// No request is under way.
    pub fn idle(&self) -> bool {
        self.clients.values().all(|client| client.waits_for.is_none())
    }

    /// Requests known to be applied, by client.
    pub fn acked(&self) -> BTreeMap<u64, u64> {
        self.clients.values().map(|client| (client.id, client.acked)).collect()
    }

    /// Clients of a group.
    pub fn of(&self, group: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let of = self.clients.values().filter(move |client| client.group == group);
        of.map(|client| (client.id, client.acked))
    }
}

/// A read sees everything that was acknowledged, or read, before it began.
fn check_read(
    floor: Option<u64>,
    acked: &BTreeMap<u64, u64>,
    applied: Option<u64>,
    clients: &BTreeMap<u64, Done>,
) -> Result<(), Violation> {
    if applied < floor {
        return Err(format!("stale read: sees {applied:?}, {floor:?} was acknowledged before"));
    }
    for (client, acked) in acked {
        let seen = clients.get(client).map_or(0, |done| done.serial);
        if seen < *acked {
            return Err(format!("stale read: sees request {seen} of {client}, not {acked}"));
        }
    }
    Ok(())
}
