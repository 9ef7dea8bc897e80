//! Who writes into several partitions at once, and what goes wrong with that on purpose: transactions that are aborted or
//! left alone, ends that come twice or late, instances that do not know that another has taken their id over.

use std::time::Duration;

use anyhow::Result;
use rand::Rng;
use rand::seq::{IteratorRandom, SliceRandom};

use super::instance::Instance;
use super::running::{Plan, Running, Tries};
use super::{Layout, flow, is_writer, writer_id};
use crate::client::{Claim, Flow};
use crate::history::{Kind, Process};
use crate::workload::session::Session;

/// Partitions of a transaction, and batches in each.
const KEYS: std::ops::RangeInclusive<usize> = 2..=4;
const BATCHES: std::ops::RangeInclusive<usize> = 1..=2;
const RECORDS: std::ops::RangeInclusive<u32> = 1..=3;
/// Transactions of a process.
const LIFE: std::ops::Range<u32> = 10..40;
/// One process in so many takes the id of another worker, for so many transactions.
const HIJACKS: u32 = 8;
const HIJACKED: u32 = 4;
/// One step in so many is that of an instance that was replaced, and of one whose epoch is over.
const ZOMBIES: u32 = 12;
const OUTDATED: u32 = 8;
/// One transaction in so many stays open for a while, up to so long.
const HELD: u32 = 4;
const HOLD_MS: u64 = 400;

/// One process as a producer.
pub struct Writer {
    layout: Layout,
    id: String,
    flow: Flow,
    instance: Option<Instance>,
    /// What the last instance had, if it was not replaced.
    had: Option<Claim>,
    /// How many transactions it has yet.
    left: u32,
}

impl Writer {
    pub fn new(session: &mut Session, layout: Layout) -> Writer {
        let hijacks = session.random.random_ratio(1, HIJACKS);
        let mut number = session.worker;
        if hijacks {
            let writers = (0..session.env.settings.workers).filter(|it| is_writer(*it));
            number = writers.choose(&mut session.random).unwrap_or(number);
        }
        let left = if hijacks { HIJACKED } else { session.random.random_range(LIFE) };
        let (id, flow) = (writer_id(number), flow(session));
        Writer { layout, id, flow, instance: None, had: None, left }
    }

    /// The next thing it does.
    pub fn step(&mut self, session: &mut Session) -> Result<()> {
        if self.left == 0 {
            return session.crash();
        }
        let Some(mut instance) = self.instance(session)? else {
            // Somebody else has the id, or nobody gives it.
            session.ended = true;
            return Ok(());
        };
        if session.random.random_ratio(1, OUTDATED)
            && let Some((claim, key)) = instance.over.pop()
        {
            self.outdated(session, &instance, claim, key)?;
            self.instance = Some(instance);
            return Ok(());
        }
        self.left -= 1;
        if session.random.random_ratio(1, ZOMBIES) {
            self.instance = self.zombie(session, instance)?;
            return Ok(());
        }
        let process = session.process;
        let (kind, goes_on) = self.transact(session, process, &mut instance)?;
        session.ended |= kind == Kind::Info;
        if goes_on {
            self.instance = Some(instance);
        } else if session.random.random() {
            self.had = Some(instance.claim);
        }
        Ok(())
    }

    fn instance(&mut self, session: &mut Session) -> Result<Option<Instance>> {
        if let Some(instance) = self.instance.take() {
            return Ok(Some(instance));
        }
        let had = self.had.take();
        let given = had.as_ref().map(|claim| (claim.producer_id, claim.epoch));
        let begun = Instance::begin(session, session.process, &self.id, self.flow, given)?;
        let Some(mut instance) = begun else { return Ok(None) };
        if let Some(before) = had.filter(|it| it.producer_id == instance.claim.producer_id) {
            let key = session.random.random_range(0..self.layout.targets());
            instance.passed(&before, &[key]);
        }
        Ok(Some(instance))
    }

    /// What a transaction writes.
    fn plan(&self, session: &mut Session) -> Plan {
        let count = session.random.random_range(KEYS);
        let all: Vec<i64> = (0..self.layout.targets()).collect();
        let count = count.min(all.len());
        let places = rand::seq::index::sample(&mut session.random, all.len(), count);
        let mut keys: Vec<i64> = Vec::new();
        for place in places {
            let batches = session.random.random_range(BATCHES);
            keys.extend(std::iter::repeat_n(all[place], batches));
        }
        keys.shuffle(&mut session.random);
        let mut plan = Plan::new();
        for key in keys {
            let count = session.random.random_range(RECORDS);
            plan.push((key, session.keys.values(key, count, &mut session.random)));
        }
        plan
    }

    /// One transaction; how it ended, and whether the instance may begin another.
    fn transact(
        &self,
        session: &mut Session,
        process: Process,
        instance: &mut Instance,
    ) -> Result<(Kind, bool)> {
        let plan = self.plan(session);
        let before = instance.before.clone();
        let mut running = Running::begin(session, process, instance, &plan)?;
        let all_at_once = session.random.random();
        if all_at_once {
            running.add(session, instance, &keys(&plan));
        }
        for (key, values) in &plan {
            if running.broken || !(all_at_once || running.add(session, instance, &[*key])) {
                break;
            }
            running.send(session, instance, (*key, values), Tries::Patient);
            if instance.flow == Flow::Implicit && session.random.random_ratio(1, 8) {
                running.end_before(session, instance);
            }
        }
        hold(session);
        let dice = session.random.random_range(0..12);
        if running.broken {
            if !running.fenced {
                running.end(session, instance, false, Tries::Patient);
            }
        } else if dice < 11 {
            running.end(session, instance, dice < 7, Tries::Patient);
        }
        // Otherwise it is left alone, and whoever has the id next, or its timeout, ends it.
        let (acked, goes_on) = (running.acked(), running.may_go_on(instance.flow));
        let kind = running.complete(session)?;
        if let Some(before) = before {
            instance.passed(&before, &acked);
        }
        Ok((kind, goes_on))
    }

    /// An instance is replaced in the middle of a transaction, does not notice, and goes on as if it still had its id.
    /// Returns the instance that has it now.
    fn zombie(&self, session: &mut Session, mut old: Instance) -> Result<Option<Instance>> {
        let plan = self.plan(session);
        let (first, rest) = plan.split_at(1);
        let process = session.process;
        let mut running = Running::begin(session, process, &old, &plan)?;
        if running.add(session, &mut old, &keys(&plan)) {
            for (key, values) in first {
                running.send(session, &mut old, (*key, values), Tries::Patient);
            }
        }
        let other = session.env.new_process();
        let new = Instance::begin(session, other, &self.id, self.flow, None)?;
        let Some(mut new) = new else {
            running.end(session, &mut old, false, Tries::Once);
            running.complete(session)?;
            return Ok(None);
        };
        let mut goes_on = true;
        if session.random.random() {
            let (kind, may) = self.transact(session, other, &mut new)?;
            goes_on = may && kind != Kind::Info;
        }
        hold(session);
        // One of these partitions may be part of its transaction already, the others are not.
        for (key, values) in rest {
            running.send(session, &mut old, (*key, values), Tries::Once);
        }
        running.end(session, &mut old, true, Tries::Once);
        let kind = running.complete(session)?;
        session.ended |= kind == Kind::Info;
        Ok(goes_on.then_some(new))
    }

    /// A batch in an epoch that is over.
    fn outdated(
        &self,
        session: &mut Session,
        instance: &Instance,
        claim: Claim,
        key: i64,
    ) -> Result<()> {
        let sequence = if session.random.random() { 0 } else { session.random.random_range(1..6) };
        let mut outdated = instance.outdated(claim, key, sequence);
        let values = session.keys.values(key, 1, &mut session.random);
        let plan = vec![(key, values)];
        let process = session.process;
        let mut running = Running::begin(session, process, &outdated, &plan)?;
        for (key, values) in &plan {
            running.send(session, &mut outdated, (*key, values), Tries::Once);
        }
        running.complete(session).map(drop)
    }
}

/// Each key of a plan once.
pub fn keys(plan: &Plan) -> Vec<i64> {
    let mut keys: Vec<i64> = plan.iter().map(|(key, _)| *key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Lets a transaction be open for a while, now and then.
pub fn hold(session: &mut Session) {
    if session.random.random_ratio(1, HELD) {
        let most = session.random.random_range(0..=HOLD_MS);
        std::thread::sleep(Duration::from_millis(most));
    }
}
