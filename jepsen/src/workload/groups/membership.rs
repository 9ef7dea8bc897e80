//! One process as a member: it joins, learns its part, reads and commits, and joins again when it is told to.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::coordinator::{Coordinator, not_done, pairs};
use super::dice;
use crate::client::{self, At, Failure, Joined, Member};
use crate::history::{Body, Edn, Kind, int, map, text};
use crate::workload::session::{Extra, Session};

/// A member that is silent for so long is gone.
const SESSION: Duration = Duration::from_secs(2);
/// Members have so long to join again.
const REBALANCE: Duration = Duration::from_secs(3);
const HEARTBEAT: Duration = Duration::from_millis(400);
const POLL: Duration = Duration::from_millis(20);
const POLL_BYTES: i32 = 64 << 10;

/// Codes of a commit that certainly changed nothing.
const REFUSED: [ResponseError; 5] = [
    ResponseError::IllegalGeneration,
    ResponseError::UnknownMemberId,
    ResponseError::RebalanceInProgress,
    ResponseError::FencedInstanceId,
    ResponseError::UnknownTopicOrPartition,
];

/// See the module.
pub struct Membership {
    coordinator: Coordinator,
    /// Kept for as long as the group knows it.
    id: String,
    member: Option<Member>,
    /// What it has not told the group yet.
    uncommitted: bool,
    heard: Instant,
}

impl Membership {
    pub fn new(group: &'static str) -> Membership {
        let (id, heard) = (String::new(), Instant::now());
        let coordinator = Coordinator::of(group);
        Membership { coordinator, id, member: None, uncommitted: false, heard }
    }

    fn join(&mut self, session: &mut Session) -> anyhow::Result<()> {
        let body = |fields: Edn| Body::Other("join".to_owned(), fields);
        let pending = session.invoke(body(Edn::Nil), Extra::new())?;
        let (group, mut id) = (self.coordinator.group, self.id.clone());
        let mut joined = Err(Failure::Unsent("it never tried".to_owned()));
        for _ in 0..2 {
            joined = self.coordinator.home.ask(session, |to, patience| {
                let timeouts = (SESSION, REBALANCE);
                client::join_group(to, group, &id, timeouts, patience + REBALANCE)
            });
            match &joined {
                Ok(Joined::IdGiven(given)) => id.clone_from(given),
                _ => break,
            }
        }
        self.heard = Instant::now();
        let (member, members) = match joined {
            Ok(Joined::Generation { member, members }) => (member, members),
            Ok(Joined::IdGiven(id)) => {
                self.id = id;
                let failure = Failure::Unsent("another id was given".to_owned());
                return not_done(session, pending, &failure);
            }
            Err(failure) => {
                self.id = id;
                self.learn(&failure);
                return not_done(session, pending, &failure);
            }
        };
        self.id.clone_from(&member.id);
        let told = body(map([
            ("generation", int(i64::from(member.generation))),
            ("member", text(&member.id)),
        ]));
        session.complete(pending, Kind::Ok, told, Extra::new())?;
        self.sync(session, &member, &members)
    }

    /// Learns its part, and goes on where the group is.
    fn sync(
        &mut self,
        session: &mut Session,
        member: &Member,
        members: &[String],
    ) -> anyhow::Result<()> {
        let parts = parts(members, 0..session.keys.active());
        let generation = ("generation", int(i64::from(member.generation)));
        let body = |fields: Edn| Body::Other("sync".to_owned(), fields);
        let dealt = parts.iter().map(|(id, part)| {
            let keys = keys_of(part).into_iter().map(int).collect();
            Edn::Vector(vec![text(id), Edn::Vector(keys)])
        });
        let dealt = ("parts", Edn::Vector(dealt.collect()));
        let pending = session.invoke(body(map([generation.clone(), dealt])), Extra::new())?;
        let synced = self.coordinator.home.ask(session, |to, patience| {
            client::sync_group(to, member, &parts, patience + SESSION)
        });
        self.heard = Instant::now();
        let keys = match synced {
            Ok(part) => keys_of(&part),
            Err(failure) => {
                self.learn(&failure);
                return not_done(session, pending, &failure);
            }
        };
        let list = Edn::Vector(keys.iter().map(|key| int(*key)).collect());
        let told = map([generation, ("member", text(&member.id)), ("keys", list)]);
        session.complete(pending, Kind::Ok, body(told), Extra::new())?;
        let kept = std::mem::take(&mut session.positions);
        let committed = match self.coordinator.committed(session)? {
            Ok(committed) => committed,
            Err(failure) => {
                self.learn(&failure);
                session.positions = BTreeMap::new();
                return Ok(());
            }
        };
        session.positions = BTreeMap::new();
        session.assign(&keys, false)?;
        for key in keys {
            // Nobody else had it meanwhile, so nothing is behind what it read itself.
            let position = committed.get(&key).copied().unwrap_or(0);
            let own = kept.get(&key).copied().unwrap_or(0);
            session.positions.insert(key, position.max(own));
        }
        (self.member, self.uncommitted) = (Some(member.clone()), false);
        Ok(())
    }

    fn commit(&mut self, session: &mut Session, member: &Member) -> anyhow::Result<()> {
        let body = Body::Other(
            "commit".to_owned(),
            map([
                ("generation", int(i64::from(member.generation))),
                ("offsets", pairs(&session.positions)),
            ]),
        );
        let offsets: Vec<(At, i64)> =
            session.positions.iter().map(|(key, next)| (session.keys.at(*key), *next)).collect();
        let pending = session.invoke(body.clone(), Extra::new())?;
        let done = self
            .coordinator
            .home
            .ask(session, |to, patience| client::commit_offsets(to, member, &offsets, patience));
        match done {
            Ok(()) => {
                self.uncommitted = false;
                session.complete(pending, Kind::Ok, body, Extra::new())
            }
            Err(failure) => {
                self.learn(&failure);
                let refused = REFUSED.iter().any(|code| failure.is(*code));
                let kind = if refused { Kind::Fail } else { failure.kind() };
                let extra = Extra::from([("error".to_owned(), text(failure.to_string()))]);
                session.complete(pending, kind, body, extra)
            }
        }
    }

    fn leave(&mut self, session: &mut Session, member: &Member) -> anyhow::Result<()> {
        let body = Body::Other("leave".to_owned(), map([("member", text(&member.id))]));
        let pending = session.invoke(body.clone(), Extra::new())?;
        let left = self
            .coordinator
            .home
            .ask(session, |to, patience| client::leave_group(to, member, patience));
        (self.member, self.id) = (None, String::new());
        session.positions.clear();
        match left {
            Ok(()) => session.complete(pending, Kind::Ok, body, Extra::new()),
            Err(failure) => not_done(session, pending, &failure),
        }
    }

    /// What a failure says of the membership.
    fn learn(&mut self, failure: &Failure) {
        let rejoin = [ResponseError::RebalanceInProgress];
        let forget = [ResponseError::UnknownMemberId, ResponseError::IllegalGeneration];
        let is = |codes: &[ResponseError]| codes.iter().any(|code| failure.is(*code));
        if is(&rejoin) || is(&forget) {
            self.member = None;
        } else {
            self.coordinator.home.forget();
        }
        if is(&forget) {
            self.id = String::new();
        }
    }
}

impl super::Member for Membership {
    fn be_heard(&mut self, session: &mut Session) -> anyhow::Result<()> {
        let Some(member) = self.member.clone().filter(|_| self.heard.elapsed() >= HEARTBEAT) else {
            return Ok(());
        };
        let beat = self
            .coordinator
            .home
            .ask(session, |to, patience| client::heartbeat(to, &member, patience));
        self.heard = Instant::now();
        if let Err(failure) = beat {
            self.learn(&failure);
        }
        Ok(())
    }

    fn act(&mut self, session: &mut Session) -> anyhow::Result<()> {
        let Some(member) = self.member.clone() else { return self.join(session) };
        match dice(session) {
            0 => self.leave(session, &member),
            1..=12 if self.uncommitted => self.commit(session, &member),
            _ => {
                let read = session.poll(POLL, POLL_BYTES)?;
                self.uncommitted |= read > 0;
                Ok(())
            }
        }
    }
}

/// Everybody's keys, dealt out in turn.
fn parts(members: &[String], keys: Range<i64>) -> BTreeMap<String, Bytes> {
    let mut parts: BTreeMap<&String, Vec<String>> =
        members.iter().map(|member| (member, Vec::new())).collect();
    for (member, key) in members.iter().cycle().zip(keys) {
        parts.entry(member).or_default().push(key.to_string());
    }
    parts.into_iter().map(|(member, keys)| (member.clone(), keys.join(",").into())).collect()
}

fn keys_of(part: &[u8]) -> Vec<i64> {
    String::from_utf8_lossy(part).split(',').filter_map(|key| key.parse().ok()).collect()
}
