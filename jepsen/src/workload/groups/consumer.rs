//! The same, where the coordinator assigns the partitions (KIP-848): members come to their parts by heartbeats alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::Rng;

use super::coordinator::{Coordinator, not_done, pairs};
use super::{GROUP, dice, limits, live, records, wait_until_empty};
use crate::checker::{Finding, Findings};
use crate::client::{self, At, Failure, Heartbeat, Member, Parts};
use crate::environment::{Env, Worker};
use crate::history::{Body, Edn, Kind, Op, int, map, text};
use crate::workload::keys::Keys;
use crate::workload::session::{Extra, Session};
use crate::workload::work::{Step, Work};
use kafka_protocol::ResponseError;

mod check;

/// A member that is silent for so long is gone.
pub const SESSION: Duration = Duration::from_secs(2);
/// Members have so long to give back what they no longer read.
const REBALANCE: Duration = Duration::from_secs(3);
const HEARTBEAT: Duration = Duration::from_millis(300);
const POLL: Duration = Duration::from_millis(20);
const POLL_BYTES: i32 = 64 << 10;
/// Codes of a commit that certainly changed nothing.
const REFUSED: [ResponseError; 4] = [
    ResponseError::StaleMemberEpoch,
    ResponseError::UnknownMemberId,
    ResponseError::FencedInstanceId,
    ResponseError::UnknownTopicOrPartition,
];

/// See the module.
pub struct ConsumerGroups;

impl Work for ConsumerGroups {
    fn name(&self) -> &'static str {
        "consumer-groups"
    }

    fn about(&self) -> &'static str {
        "as groups, where the coordinator assigns the partitions"
    }

    fn broker_settings(&self) -> &'static [(&'static str, &'static str)] {
        &[("groups.consumer_session_timeout_ms", "2000")]
    }

    fn prepare(&self, env: &Env) -> anyhow::Result<Keys> {
        Keys::prepare(env, "consumer-groups", limits(env))
    }

    fn process(&self, session: &mut Session) -> Step {
        let id = format!("member-{:016x}", session.random.random::<u64>());
        live(session, Membership::new(id))
    }

    fn finish(
        &self,
        worker: &mut Worker,
        keys: &Arc<Keys>,
        found: &Mutex<Findings>,
    ) -> anyhow::Result<()> {
        wait_until_empty(worker, keys, found, client::describe_consumer_group)
    }

    fn check(&self, history: &[Op]) -> Vec<Finding> {
        let mut findings = records(history);
        findings.extend(super::check::offsets(history));
        findings.extend(check::check(history));
        findings
    }
}

/// One process as a member.
struct Membership {
    coordinator: Coordinator,
    id: String,
    /// -1 while it is none.
    epoch: i32,
    /// All that it has, also partitions that nobody writes to.
    owned: Parts,
    topics: BTreeMap<u128, String>,
    uncommitted: bool,
    heard: Instant,
}

impl Membership {
    fn new(id: String) -> Membership {
        let coordinator = Coordinator::of(GROUP);
        Membership {
            coordinator,
            id,
            epoch: -1,
            owned: Parts::new(),
            topics: BTreeMap::new(),
            uncommitted: false,
            heard: Instant::now(),
        }
    }

    /// The names of the topics by their ids.
    fn learn_topics(&mut self, session: &mut Session) -> bool {
        let names: Vec<Arc<str>> =
            (0..session.keys.active()).map(|key| session.keys.at(key).topic).collect();
        let mut names: Vec<&str> = names.iter().map(|name| &**name).collect();
        names.dedup();
        let (broker, patience) = (session.client.any_broker(), session.client.patience());
        let seen = session.client.to(broker);
        if let Ok(seen) = seen.and_then(|from| client::metadata(from, Some(&names), patience)) {
            self.topics = seen.topics.into_iter().map(|(name, it)| (it.id, name)).collect();
        }
        !self.topics.is_empty()
    }

    /// What it has is not its own any more.
    fn lose(&mut self, session: &mut Session) {
        self.owned.clear();
        session.positions.clear();
        self.uncommitted = false;
    }

    fn beat(&mut self, session: &mut Session, f: &str, epoch: i32) -> anyhow::Result<()> {
        let body = |fields: Edn| Body::Other(f.to_owned(), fields);
        let (id, owned) = (self.id.clone(), self.owned.clone());
        let said = |epoch: i32, parts: &Parts| {
            map([("member", text(&id)), ("epoch", int(i64::from(epoch))), ("parts", places(parts))])
        };
        let pending = session.invoke(body(said(epoch, &owned)), Extra::new())?;
        let topics: Vec<String> = self.topics.values().cloned().collect();
        let heard = self.coordinator.home.ask(session, |to, patience| {
            let said = Heartbeat {
                group: GROUP,
                member: &id,
                epoch,
                topics: &topics,
                owned: &owned,
                rebalance: REBALANCE,
            };
            client::member_heartbeat(to, &said, patience)
        });
        self.heard = Instant::now();
        let heard = match heard {
            Ok(heard) => heard,
            Err(failure) => {
                self.learn(session, &failure);
                return not_done(session, pending, &failure);
            }
        };
        self.epoch = heard.epoch;
        let parts = heard.parts.unwrap_or(owned);
        session.complete(pending, Kind::Ok, body(said(heard.epoch, &parts)), Extra::new())?;
        if parts == self.owned && f != "join" {
            return Ok(());
        }
        self.take(session, parts)
    }

    /// Goes on where the group is with what is new.
    fn take(&mut self, session: &mut Session, parts: Parts) -> anyhow::Result<()> {
        let mut keys = Vec::new();
        for key in 0..session.keys.active() {
            let At { topic, partition } = session.keys.at(key);
            let id = self.topics.iter().find(|(_, name)| ***name == *topic).map(|(id, _)| *id);
            let has = id.and_then(|id| parts.get(&id)).is_some_and(|it| it.contains(&partition));
            keys.extend(has.then_some(key));
        }
        let before = session.positions.clone();
        let fresh = keys.iter().any(|key| !before.contains_key(key));
        let mut committed = BTreeMap::new();
        if fresh {
            match self.coordinator.committed(session)? {
                Ok(found) => committed = found,
                Err(failure) => {
                    self.learn(session, &failure);
                    // It does not know where to begin, so it begins anew.
                    self.epoch = -1;
                    return Ok(());
                }
            }
        }
        self.owned = parts;
        session.assign(&keys, false)?;
        for key in keys {
            let position = before.get(&key).or(committed.get(&key)).copied().unwrap_or(0);
            session.positions.insert(key, position.max(0));
        }
        Ok(())
    }

    fn commit(&mut self, session: &mut Session) -> anyhow::Result<()> {
        let body = Body::Other(
            "commit".to_owned(),
            map([
                ("member", text(&self.id)),
                ("epoch", int(i64::from(self.epoch))),
                ("offsets", pairs(&session.positions)),
            ]),
        );
        let offsets: Vec<(At, i64)> =
            session.positions.iter().map(|(key, next)| (session.keys.at(*key), *next)).collect();
        let (id, generation) = (self.id.clone(), self.epoch);
        let member = Member { group: GROUP.to_owned(), id, generation };
        let pending = session.invoke(body.clone(), Extra::new())?;
        let done = self
            .coordinator
            .home
            .ask(session, |to, patience| client::commit_offsets(to, &member, &offsets, patience));
        match done {
            Ok(()) => {
                self.uncommitted = false;
                session.complete(pending, Kind::Ok, body, Extra::new())
            }
            Err(failure) => {
                let refused = REFUSED.iter().any(|code| failure.is(*code));
                // It was told a newer epoch in a heartbeat whose answer it is still to read.
                if !failure.is(ResponseError::StaleMemberEpoch) {
                    self.learn(session, &failure);
                }
                let kind = if refused { Kind::Fail } else { failure.kind() };
                let extra = Extra::from([("error".to_owned(), text(failure.to_string()))]);
                session.complete(pending, kind, body, extra)
            }
        }
    }

    fn leave(&mut self, session: &mut Session) -> anyhow::Result<()> {
        let body = Body::Other("leave".to_owned(), map([("member", text(&self.id))]));
        let pending = session.invoke(body.clone(), Extra::new())?;
        let (id, nothing) = (self.id.clone(), Parts::new());
        let left = self.coordinator.home.ask(session, |to, patience| {
            let said = Heartbeat {
                group: GROUP,
                member: &id,
                epoch: -1,
                topics: &[],
                owned: &nothing,
                rebalance: REBALANCE,
            };
            client::member_heartbeat(to, &said, patience)
        });
        self.epoch = -1;
        self.lose(session);
        match left {
            Ok(_) => session.complete(pending, Kind::Ok, body, Extra::new()),
            Err(failure) => not_done(session, pending, &failure),
        }
    }

    /// What a failure says of the membership.
    fn learn(&mut self, session: &mut Session, failure: &Failure) {
        let gone = [
            ResponseError::UnknownMemberId,
            ResponseError::FencedMemberEpoch,
            ResponseError::StaleMemberEpoch,
        ];
        if gone.iter().any(|code| failure.is(*code)) {
            self.epoch = -1;
            self.lose(session);
        } else {
            self.coordinator.home.forget();
        }
    }
}

impl super::Member for Membership {
    fn be_heard(&mut self, session: &mut Session) -> anyhow::Result<()> {
        if self.epoch < 0 || self.heard.elapsed() < HEARTBEAT {
            return Ok(());
        }
        self.beat(session, "heartbeat", self.epoch)
    }

    fn act(&mut self, session: &mut Session) -> anyhow::Result<()> {
        if self.epoch < 0 {
            if self.topics.is_empty() && !self.learn_topics(session) {
                return Ok(());
            }
            self.lose(session);
            return self.beat(session, "join", 0);
        }
        match dice(session) {
            0 => self.leave(session),
            1..=12 if self.uncommitted => self.commit(session),
            _ => {
                let read = session.poll(POLL, POLL_BYTES)?;
                self.uncommitted |= read > 0;
                Ok(())
            }
        }
    }
}

/// Partitions as text, such as `3f2a-0`.
fn places(parts: &Parts) -> Edn {
    let all = parts.iter().flat_map(|(topic, partitions)| {
        let topic = topic >> 96;
        partitions.iter().map(move |partition| text(format!("{topic:08x}-{partition}")))
    });
    Edn::Vector(all.collect())
}
