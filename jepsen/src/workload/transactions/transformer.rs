//! Consume, transform, produce: who has the id of an input partition reads on where the group is, and sends what it makes
//! of each record together with the offset behind it. Others take the id over now and then.

use std::time::Duration;

use anyhow::Result;
use rand::Rng;

use super::instance::Instance;
use super::running::{Plan, Running, Tries};
use super::writer::{hold, keys};
use super::{GROUP, Layout, flow, transformer_id};
use crate::checker::transactions::{Derived, Peek, group_offsets_of};
use crate::client::{self, Flow, OffsetsSeen};
use crate::history::{Body, Edn, Kind, text};
use crate::workload::home::Home;
use crate::workload::session::{Extra, Session};

const POLL: Duration = Duration::from_millis(20);
/// Some tens of records.
const POLL_BYTES: i32 = 4 << 10;
/// One process in so many takes an input that is not its own, for so many transactions.
const TAKES: u32 = 5;
const TAKEN: u32 = 6;
/// Transactions of one that takes its own.
const LIFE: std::ops::Range<u32> = 10..40;

/// One process that transforms.
pub struct Transformer {
    layout: Layout,
    /// The key that it reads.
    input: i64,
    flow: Flow,
    instance: Option<Instance>,
    group: Home,
    /// Whether it knows where the group is.
    placed: bool,
    left: u32,
}

impl Transformer {
    pub fn new(session: &mut Session, layout: Layout, number: usize) -> Transformer {
        let takes = session.random.random_ratio(1, TAKES);
        let inputs = layout.inputs();
        let own = i64::try_from(number).unwrap_or(0) % (inputs.end - inputs.start);
        let place =
            if takes { session.random.random_range(inputs.clone()) } else { inputs.start + own };
        Transformer {
            layout,
            input: place,
            flow: flow(session),
            instance: None,
            group: Home::of_group(GROUP),
            placed: false,
            left: if takes { TAKEN } else { session.random.random_range(LIFE) },
        }
    }

    pub fn step(&mut self, session: &mut Session) -> Result<()> {
        if self.left == 0 {
            return session.crash();
        }
        if self.instance.is_none() {
            let id = transformer_id(self.input);
            let process = session.process;
            self.instance = Instance::begin(session, process, &id, self.flow, None)?;
            self.placed = false;
            session.ended = self.instance.is_none();
            return Ok(());
        }
        if !self.placed {
            return self.place(session);
        }
        let read = session.poll_records(POLL, POLL_BYTES)?;
        match read.get(&self.input) {
            Some(records) if !records.is_empty() => {
                self.left -= 1;
                self.transform(session, records)
            }
            _ => Ok(()),
        }
    }

    /// Goes on where the group is.
    fn place(&mut self, session: &mut Session) -> Result<()> {
        let offsets = ask_offsets(session, &mut self.group, OffsetsSeen::Stable, false)?;
        let Some(offsets) = offsets else { return Ok(()) };
        let next = offsets.get(&self.input).copied().unwrap_or(-1).max(0);
        // As a consumer that seeks: what was read before is no place to go on from.
        session.assign(&[], false)?;
        session.assign(&[self.input], false)?;
        session.positions.insert(self.input, next);
        self.placed = true;
        Ok(())
    }

    fn transform(&mut self, session: &mut Session, records: &[(i64, i64)]) -> Result<()> {
        let Some(mut instance) = self.instance.take() else { return Ok(()) };
        let next = session.positions.get(&self.input).copied().unwrap_or(0);
        let (plan, derives) = self.derive(session, records);
        let process = session.process;
        let mut running = Running::begin(session, process, &instance, &plan)?;
        running.told.derives = derives;
        let ready = running.add(session, &mut instance, &keys(&plan))
            && running.add_group(session, &mut instance, GROUP);
        if ready {
            for (key, values) in &plan {
                if running.broken {
                    break;
                }
                running.send(session, &mut instance, (*key, values), Tries::Patient);
            }
        }
        if !running.broken {
            let offsets = [(self.input, next)];
            running.send_offsets(session, &instance, &mut self.group, (GROUP, &offsets));
            if session.random.random() {
                self.peek(session, &mut running);
            }
        }
        hold(session);
        if !running.fenced {
            let commit = !running.broken && session.random.random_ratio(5, 6);
            running.end(session, &mut instance, commit, Tries::Patient);
        }
        let goes_on = running.may_go_on(instance.flow);
        let kind = running.complete(session)?;
        session.ended |= kind == Kind::Info;
        self.placed = kind == Kind::Ok;
        self.instance = goes_on.then_some(instance);
        Ok(())
    }

    /// One output of each record, in some output partition.
    fn derive(&self, session: &mut Session, records: &[(i64, i64)]) -> (Plan, Vec<Derived>) {
        let (mut plan, mut derives) = (Plan::new(), Vec::new());
        for (offset, value) in records {
            let key = session.random.random_range(self.layout.outputs());
            let made = session.keys.values(key, 1, &mut session.random);
            derives.extend(made.iter().map(|made| Derived {
                from_key: self.input,
                from_offset: *offset,
                from_value: *value,
                key,
                value: *made,
            }));
            match plan.iter_mut().find(|(other, _)| *other == key) {
                Some((_, values)) => values.extend(made),
                None => plan.push((key, made)),
            }
        }
        (plan, derives)
    }

    /// Looks at the group's offsets while those of this transaction are pending.
    fn peek(&mut self, session: &mut Session, running: &mut Running) {
        let now = |session: &Session| i64::try_from(session.env.recorder.now()).unwrap_or(i64::MAX);
        let asked_ns = now(session);
        let at = session.keys.at(self.input);
        let told = self.group.ask(session, |to, patience| {
            client::committed_offsets_as(to, GROUP, OffsetsSeen::Any, patience)
        });
        let Ok(told) = told else { return };
        let offset = told.get(&at).copied().unwrap_or(-1);
        let answered_ns = now(session);
        running.told.peeks.push(Peek { key: self.input, offset, asked_ns, answered_ns });
    }
}

/// Asks for the group's offsets and records the answer; none if there was none.
pub fn ask_offsets(
    session: &mut Session,
    group: &mut Home,
    seen: OffsetsSeen,
    last: bool,
) -> Result<Option<std::collections::BTreeMap<i64, i64>>> {
    let stable = seen == OffsetsSeen::Stable;
    let name = crate::checker::transactions::GROUP_OFFSETS.to_owned();
    let pending = session.invoke(Body::Other(name, Edn::Nil), Extra::new())?;
    let told =
        group.ask(session, |to, patience| client::committed_offsets_as(to, GROUP, seen, patience));
    match told {
        Ok(told) => {
            let of = |key: i64| Some((key, *told.get(&session.keys.at(key))?));
            let keys = 0..Layout::of(&session.env).all();
            let offsets = keys.filter_map(of).collect();
            let body = group_offsets_of(stable, last, &offsets);
            session.complete(pending, Kind::Ok, body, Extra::new())?;
            Ok(Some(offsets))
        }
        Err(failure) => {
            let extra = Extra::from([("error".to_owned(), text(failure.to_string()))]);
            let body = pending.body.clone();
            session.complete(pending, Kind::Fail, body, extra)?;
            Ok(None)
        }
    }
}
