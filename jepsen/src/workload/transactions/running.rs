//! One transaction under way: a single operation of the history, from its first request to what is known of its end.
//!
//! It succeeds if its commit was acknowledged, and fails if nobody ever asked to commit it or was certainly refused. Otherwise
//! nobody knows.

use std::time::{Duration, Instant};

use rand::Rng;

use super::instance::{Instance, PAUSE, answer, is_over};
use crate::checker::transactions::{Answer, End, Late, Told, Wrote};
use crate::client::{self, At, Claim, Failure, Flow, Produced, Record};
use crate::environment::Phase;
use crate::history::{Body, Kind, Mop, Pending, Process, Sent, text};
use crate::workload::home::Home;
use crate::workload::session::{Extra, Session, sends};

/// How long one step is tried.
const TRIES: Duration = Duration::from_secs(4);

/// Values by key, in the order in which they are sent.
pub type Plan = Vec<(i64, Vec<i64>)>;

/// How often something is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tries {
    Once,
    /// Until it is answered, or for some seconds.
    Patient,
}

/// See the module.
pub struct Running {
    pending: Pending,
    pub told: Told,
    /// Nothing more is to be done in this transaction but to abort it.
    pub broken: bool,
    /// There is no use in that either.
    pub fenced: bool,
    /// Something may arrive later, and harm the next transaction where that has the same epoch.
    unsure: bool,
    errors: Vec<String>,
}

fn now(session: &Session) -> i64 {
    i64::try_from(session.env.recorder.now()).unwrap_or(i64::MAX)
}

impl Running {
    pub fn begin(
        session: &mut Session,
        process: Process,
        instance: &Instance,
        plan: &Plan,
    ) -> anyhow::Result<Running> {
        let claim = &instance.claim;
        let told = Told {
            id: claim.transactional_id.clone(),
            producer: claim.producer_id,
            epoch: i64::from(claim.epoch),
            flow: instance.flow.name().to_owned(),
            ..Told::default()
        };
        let mops = plan.iter().flat_map(|(key, values)| sends(*key, values, |_| Sent::Plain));
        let body = Body::Txn(mops.collect());
        let pending = session.env.recorder.invoke(process, body, told.extra())?;
        Ok(Running {
            pending,
            told,
            broken: false,
            fenced: false,
            unsure: false,
            errors: Vec::new(),
        })
    }

    /// Tries one step again and again, as long as that may help. `ask` may have been received whenever it has no answer.
    fn step<T>(
        &mut self,
        session: &mut Session,
        tries: Tries,
        mut ask: impl FnMut(&mut Session) -> Result<T, Failure>,
    ) -> Option<T> {
        let deadline = Instant::now() + TRIES;
        let mut unanswered = false;
        loop {
            let failure = match ask(session) {
                Ok(answer) => {
                    self.unsure |= unanswered;
                    return Some(answer);
                }
                Err(failure) => failure,
            };
            self.errors.push(failure.to_string());
            unanswered |= !matches!(failure, Failure::Unsent(_));
            let over = is_over(&failure);
            let late = Instant::now() >= deadline || session.env.phase() == Phase::Over;
            if over || late || tries == Tries::Once {
                self.fenced |= over && answer(&failure) == Answer::Refused;
                (self.broken, self.unsure) = (true, self.unsure | unanswered);
                return None;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Adds partitions, where that is done.
    pub fn add(&mut self, session: &mut Session, instance: &mut Instance, keys: &[i64]) -> bool {
        if instance.flow == Flow::Implicit || keys.is_empty() {
            return true;
        }
        let partitions: Vec<At> = keys.iter().map(|key| session.keys.at(*key)).collect();
        let claim = instance.claim.clone();
        let added = self.step(session, Tries::Patient, |session| {
            let ask = |to: &mut client::Connection, patience| {
                client::add_partitions(to, &claim, &partitions, patience)
            };
            instance.home.ask(session, ask)
        });
        added.is_some()
    }

    /// Adds the offsets of a group, where that is done.
    pub fn add_group(
        &mut self,
        session: &mut Session,
        instance: &mut Instance,
        group: &str,
    ) -> bool {
        if instance.flow == Flow::Implicit {
            return true;
        }
        let claim = instance.claim.clone();
        let added = self.step(session, Tries::Patient, |session| {
            let ask = |to: &mut client::Connection, patience| {
                client::add_offsets(to, &claim, group, patience)
            };
            instance.home.ask(session, ask)
        });
        added.is_some()
    }

    /// Sends one batch; whether it was acknowledged.
    pub fn send(
        &mut self,
        session: &mut Session,
        instance: &mut Instance,
        (key, values): (i64, &[i64]),
        tries: Tries,
    ) -> bool {
        let records = session.records(key, values);
        let epoch = i64::from(instance.claim.epoch);
        let mut rows: Vec<Wrote> = Vec::new();
        let sent = self.step(session, tries, |session| {
            let sent_ns = now(session);
            let produced = produce(session, instance, key, &records);
            if rows.is_empty() && !matches!(produced, Err(Failure::Unsent(_))) {
                let row = |value: &i64| Wrote {
                    key,
                    value: *value,
                    epoch,
                    sent_ns,
                    acked_ns: -1,
                    offset: -1,
                };
                rows = values.iter().map(row).collect();
            }
            produced
        });
        if let Some(produced) = &sent {
            let acked_ns = now(session);
            instance.acked(key, records.len());
            for (row, place) in rows.iter_mut().zip(0..) {
                row.acked_ns = acked_ns;
                row.offset = produced.base_offset.map_or(-1, |base| base + place);
            }
        }
        self.told.writes.extend(rows);
        sent.is_some()
    }

    /// Sends offsets of a group.
    pub fn send_offsets(
        &mut self,
        session: &mut Session,
        instance: &Instance,
        group: &mut Home,
        (name, offsets): (&str, &[(i64, i64)]),
    ) -> bool {
        let places: Vec<(At, i64)> =
            offsets.iter().map(|(key, offset)| (session.keys.at(*key), *offset)).collect();
        let (claim, flow) = (instance.claim.clone(), instance.flow);
        self.told.offsets = offsets.to_vec();
        let sent = self.step(session, Tries::Patient, |session| {
            group.ask(session, |to, patience| {
                client::commit_offsets_in(to, &claim, flow, name, &places, patience)
            })
        });
        sent.is_some()
    }

    /// Sends the end of the transaction before once more; what is answered is of no interest, only what it does.
    pub fn end_before(&mut self, session: &mut Session, instance: &mut Instance) {
        let Some(claim) = instance.before.clone() else { return };
        let (flow, commit) = (instance.flow, session.random.random());
        let sent_ns = now(session);
        let ended = instance.home.ask(session, |to, patience| {
            client::end_transaction(to, &claim, flow, commit, patience)
        });
        let answer = match ended {
            Ok(_) => Answer::Done,
            Err(Failure::Unsent(_)) => return,
            Err(failure) => answer(&failure),
        };
        self.told.late.push(Late { epoch: i64::from(claim.epoch), commit, sent_ns, answer });
    }

    /// Asks to end the transaction. Whoever is left without an answer asks again, or does not.
    pub fn end(
        &mut self,
        session: &mut Session,
        instance: &mut Instance,
        commit: bool,
        tries: Tries,
    ) {
        let deadline = Instant::now() + TRIES;
        let twice = tries == Tries::Patient && session.random.random_ratio(1, 6);
        let mut next = None;
        loop {
            let sent_ns = now(session);
            let (claim, flow) = (instance.claim.clone(), instance.flow);
            let ended = instance.home.ask(session, |to, patience| {
                if twice {
                    end_twice(to, &claim, flow, commit, patience)
                } else {
                    let ended = client::end_transaction(to, &claim, flow, commit, patience);
                    ended.map(|next| (next, true))
                }
            });
            let answered_ns = now(session);
            let (answer, unsent) = match &ended {
                Ok(_) => (Answer::Done, false),
                Err(failure) => (answer(failure), matches!(failure, Failure::Unsent(_))),
            };
            if !unsent {
                self.told.ends.push(End { commit, sent_ns, answered_ns, answer });
            }
            match ended {
                Ok((claim, all)) => {
                    next = Some(claim);
                    self.unsure |= !all;
                }
                Err(failure) => self.errors.push(failure.to_string()),
            }
            self.unsure |= answer == Answer::Unknown && !unsent;
            self.fenced |= answer == Answer::Refused;
            let over = Instant::now() >= deadline || session.env.phase() == Phase::Over;
            let gives_up = !unsent && session.random.random_ratio(1, 3);
            if answer != Answer::Unknown || tries == Tries::Once || over || gives_up {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        match next {
            Some(next) => instance.goes_on(next),
            None => self.broken = true,
        }
    }

    /// The keys in which something of it was acknowledged.
    pub fn acked(&self) -> Vec<i64> {
        let acked = self.told.writes.iter().filter(|wrote| wrote.acked_ns >= 0);
        let mut keys: Vec<i64> = acked.map(|wrote| wrote.key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Whether the instance may begin another transaction: nothing of this one may do harm to it.
    pub fn may_go_on(&self, flow: Flow) -> bool {
        let ended = self.told.ends.last().is_some_and(|end| end.answer == Answer::Done);
        ended && !self.fenced && (flow == Flow::Implicit || !self.unsure)
    }

    /// Records what is known of its end.
    pub fn complete(self, session: &mut Session) -> anyhow::Result<Kind> {
        let commits = || self.told.ends.iter().filter(|end| end.commit);
        let kind = if commits().any(|end| end.answer == Answer::Done) {
            Kind::Ok
        } else if commits().any(|end| end.answer == Answer::Unknown) {
            Kind::Info
        } else {
            Kind::Fail
        };
        let mop = |wrote: &Wrote| Mop::Send {
            key: wrote.key,
            value: wrote.value,
            sent: if wrote.offset >= 0 { Sent::At(wrote.offset) } else { Sent::OffsetUnknown },
        };
        let body = Body::Txn(self.told.writes.iter().map(mop).collect());
        let mut extra: Extra = self.told.extra();
        if let Some(error) = self.errors.last() {
            extra.insert("error".to_owned(), text(error));
        }
        if kind == Kind::Ok {
            for wrote in &self.told.writes {
                session.keys.acked(wrote.key, wrote.offset);
            }
        }
        session.env.recorder.complete(self.pending, kind, body, extra)?;
        Ok(kind)
    }
}

/// One attempt at a batch, to whoever is believed to lead.
fn produce(
    session: &mut Session,
    instance: &Instance,
    key: i64,
    records: &[Record],
) -> Result<Produced, Failure> {
    let at = session.keys.at(key);
    let leader = session.client.leader(&at)?;
    let batch = instance.number(key).transactional(records);
    let patience = session.client.patience();
    let to = session.client.to(leader.broker);
    let produced = to.and_then(|to| {
        client::produce_in(to, &instance.claim, instance.flow, &at, batch, patience)
    });
    produced.inspect_err(|failure| session.client.learn(leader.broker, &at, failure))
}

/// Sends the same end twice in a row. What the first is answered counts; whether the second was answered comes with it.
fn end_twice(
    to: &mut client::Connection,
    claim: &Claim,
    flow: Flow,
    commit: bool,
    patience: Duration,
) -> Result<((i64, i16), bool), Failure> {
    let deadline = Instant::now() + patience;
    client::send_end(to, claim, flow, commit, patience)?;
    // An error leaves the connection of no use, which shows in the answer.
    let again = client::send_end(to, claim, flow, commit, patience);
    let first = client::receive_ended(to, claim, flow, deadline);
    let second = again.and_then(|()| client::receive_ended(to, claim, flow, deadline));
    let answered = !matches!(second, Err(Failure::Unanswered(_)));
    match (first, second) {
        (Ok(next), _) => Ok((next, answered)),
        // The first was told to come again, the second that it is done.
        (Err(Failure::Code(_)), Ok(next)) => Ok((next, true)),
        (Err(failure), _) => Err(failure),
    }
}
