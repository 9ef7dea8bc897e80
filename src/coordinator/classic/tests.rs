use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::coordinator::call::{Join, Joined, Sync, Synced};

mod failover;
mod statics;

const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(60);
const DELAY: Duration = Duration::from_secs(3);

fn limits(initial_delay: Duration) -> Limits {
    Limits { initial_delay, members_max: 4, consumer_session: SESSION }
}

/// A group, a clock, and what came of it so far.
struct Scene {
    group: Group,
    now: Instant,
    last: u64,
    output: Output,
}

impl Scene {
    /// A group that begins as soon as its first member joins.
    fn new() -> Self {
        Self::with(limits(Duration::ZERO))
    }

    fn with(limits: Limits) -> Self {
        let group = Group::new("g".to_owned(), limits);
        Self { group, now: Instant::now(), last: 0, output: Output::default() }
    }

    fn token(&mut self) -> Token {
        self.last += 1;
        Token(self.last)
    }

    fn ask(&mut self, join: Join) -> Token {
        let token = self.token();
        self.group.join(join, token, self.now, &mut self.output);
        token
    }

    /// Joins as version 3 does, without an id of its own.
    fn join_new(&mut self, id: &str) -> Token {
        self.ask(Join { fresh_id: id.to_owned(), ..join("", "range") })
    }

    fn join_again(&mut self, id: &str) -> Token {
        self.ask(join(id, "range"))
    }

    fn sync(&mut self, id: &str, parts: &[(&str, &str)]) -> Token {
        let parts = parts.iter().map(|(id, part)| ((*id).to_owned(), bytes(part))).collect();
        self.sync_as(Sync { parts, ..sync(id, self.group.generation) })
    }

    fn sync_as(&mut self, sync: Sync) -> Token {
        let token = self.token();
        self.group.sync(sync, token, self.now, &mut self.output);
        token
    }

    fn heartbeat(&mut self, id: &str) -> Result<(), GroupError> {
        let who = identity(id, self.group.generation);
        self.group.heartbeat(&who, self.now)
    }

    fn leave(&mut self, id: &str) -> Result<(), GroupError> {
        let who = vec![(id.to_owned(), None)];
        self.group.leave(who, self.now, &mut self.output).remove(0)
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.group.pass(self.now, &mut self.output);
    }

    /// What the call was answered; `None` while it waits.
    fn answer(&self, token: Token) -> Option<&Answer> {
        self.output.answers.iter().find(|(asked, _)| *asked == token).map(|(_, answer)| answer)
    }

    fn joined(&self, token: Token) -> Result<Joined, GroupError> {
        match self.answer(token) {
            Some(Answer::Join(answer)) => answer.clone(),
            other => panic!("no answer to a join: {other:?}"),
        }
    }

    fn part(&self, token: Token) -> Result<Bytes, GroupError> {
        match self.answer(token) {
            Some(Answer::Sync(answer)) => answer.clone().map(|synced: Synced| synced.part),
            other => panic!("no answer to a sync: {other:?}"),
        }
    }

    fn waits(&self, token: Token) -> bool {
        self.answer(token).is_none()
    }

    fn take_commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.output.commands)
    }
}

/// A stable group of these members, the first of which leads.
fn stable(ids: &[&str]) -> Scene {
    let mut scene = Scene::new();
    for id in ids {
        scene.join_new(id);
        // The first one began alone, and begins again with each who comes.
        for other in ids.iter().take_while(|other| *other != id) {
            scene.join_again(other);
        }
    }
    let parts: Vec<(&str, &str)> = ids.iter().map(|id| (*id, *id)).collect();
    for id in ids {
        let parts = if *id == ids[0] { &parts[..] } else { &[] };
        scene.sync(id, parts);
    }
    assert_eq!(scene.group.state(), GroupState::Stable);
    scene.output = Output::default();
    scene
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn join(id: &str, protocol: &str) -> Join {
    Join {
        group: "g".to_owned(),
        member_id: id.to_owned(),
        instance_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![(protocol.to_owned(), bytes("topics"))],
        needs_known_id: false,
        can_skip_assignment: false,
        fresh_id: String::new(),
    }
}

fn identity(id: &str, generation: i32) -> Identity {
    Identity { group: "g".to_owned(), member_id: id.to_owned(), instance_id: None, generation }
}

fn sync(id: &str, generation: i32) -> Sync {
    let who = identity(id, generation);
    Sync { who, protocol_type: None, protocol: None, parts: Vec::new() }
}

#[test]
fn a_lone_member_leads_and_has_its_part_when_it_told_it() {
    let mut scene = Scene::new();
    let token = scene.join_new("a");
    let joined = scene.joined(token).unwrap();
    assert_eq!((joined.generation, joined.leader.as_str()), (1, "a"));
    assert_eq!((joined.protocol.as_str(), joined.protocol_type.as_str()), ("range", "consumer"));
    assert_eq!(joined.members.len(), 1, "the leader is told of all");
    assert_eq!(scene.group.state(), GroupState::CompletingRebalance);
    assert_eq!(scene.heartbeat("a"), Ok(()), "not a rebalance, as in Kafka");
    let token = scene.sync("a", &[("a", "all"), ("stranger", "none")]);
    assert_eq!(scene.part(token).unwrap(), "all");
    assert_eq!(scene.group.state(), GroupState::Stable);
    let commands = scene.take_commands();
    let [Command::Begin { membership, .. }, Command::Assign { generation: 1, parts, .. }] =
        &commands[..]
    else {
        panic!("{commands:?}");
    };
    assert_eq!((membership.generation, membership.is_assigned), (1, false));
    assert_eq!(parts.len(), 1, "strangers get nothing");
}

#[test]
fn a_group_that_was_empty_waits_for_more_and_longer_while_they_come() {
    let mut scene = Scene::with(limits(DELAY));
    let first = scene.join_new("a");
    scene.pass(DELAY / 2);
    let second = scene.join_new("b");
    scene.pass(DELAY / 2);
    assert!(scene.waits(first), "somebody came meanwhile");
    scene.pass(DELAY);
    let leader = scene.joined(first).unwrap();
    assert_eq!(leader.members.len(), 2);
    let other = scene.joined(second).unwrap();
    assert_eq!((other.leader.as_str(), other.members.len()), ("a", 0));
    // It has members now, so the next generation begins when all are there.
    let third = scene.join_new("c");
    assert!(scene.waits(third));
    scene.join_again("a");
    scene.join_again("b");
    assert_eq!(scene.joined(third).unwrap().generation, 2);
}

#[test]
fn who_keeps_coming_does_not_hold_an_empty_group_up_beyond_the_rebalance_timeout() {
    let mut scene = Scene::with(Limits { members_max: 1000, ..limits(DELAY) });
    let first = scene.join_new("0");
    let mut seconds = 0;
    while scene.waits(first) {
        scene.pass(Duration::from_secs(1));
        seconds += 1;
        scene.join_new(&seconds.to_string());
        assert!(Duration::from_secs(seconds) <= REBALANCE + DELAY, "{seconds} s");
    }
    assert!(Duration::from_secs(seconds) >= REBALANCE);
}

#[test]
fn who_has_no_id_is_promised_one_first_and_is_waited_for() {
    let mut scene = stable(&["a"]);
    let newcomer = Join { needs_known_id: true, fresh_id: "b".to_owned(), ..join("", "range") };
    let token = scene.ask(newcomer);
    assert_eq!(scene.joined(token), Err(GroupError::MemberIdRequired("b".to_owned())));
    assert_eq!(scene.group.state(), GroupState::Stable, "a promise disturbs nobody");
    let again = scene.join_again("a");
    assert!(scene.waits(again), "the leader joined again, and b is waited for");
    let token = scene.join_again("b");
    assert_eq!(scene.joined(token).unwrap().generation, scene.joined(again).unwrap().generation);
}

#[test]
fn a_promise_that_is_not_taken_up_holds_nobody_up_for_longer_than_a_session() {
    let mut scene = stable(&["a"]);
    scene.ask(Join { needs_known_id: true, fresh_id: "b".to_owned(), ..join("", "range") });
    let again = scene.join_again("a");
    scene.pass(SESSION);
    assert_eq!(scene.joined(again).unwrap().members.len(), 1);
    let late = scene.join_again("b");
    assert_eq!(scene.joined(late), Err(GroupError::UnknownMember));
}

#[test]
fn a_member_that_joins_again_for_nothing_is_told_the_present_generation() {
    let mut scene = stable(&["a", "b"]);
    let generation = scene.group.generation;
    let same = scene.join_again("b");
    assert_eq!(scene.joined(same).unwrap().generation, generation);
    assert_eq!(scene.group.state(), GroupState::Stable);
    let other = Join { protocols: vec![("range".to_owned(), bytes("more"))], ..join("b", "") };
    let changed = scene.ask(other);
    assert!(scene.waits(changed));
    assert_eq!(scene.heartbeat("a"), Err(GroupError::Rebalancing));
    let leader = scene.join_again("a");
    assert_eq!(scene.joined(changed).unwrap().generation, generation + 1);
    // While parts are given out the same holds for the leader, whose answer may be lost.
    assert_eq!(scene.joined(leader).unwrap().members.len(), 2);
    let again = scene.join_again("a");
    let again = scene.joined(again).unwrap();
    assert_eq!((again.generation, again.members.len()), (generation + 1, 2));
}

#[test]
fn a_leader_that_joins_again_wants_a_rebalance() {
    let mut scene = stable(&["a", "b"]);
    let token = scene.join_again("a");
    assert!(scene.waits(token));
    assert_eq!(scene.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn parts_go_to_whoever_asks_before_or_after_the_leader_told_them() {
    let mut scene = Scene::new();
    scene.join_new("a");
    scene.join_new("b");
    scene.join_again("a");
    let before = scene.sync("b", &[]);
    assert!(scene.waits(before));
    let leader = scene.sync("a", &[("a", "1")]);
    assert_eq!(scene.part(leader).unwrap(), "1");
    assert_eq!(scene.part(before).unwrap(), "", "the leader left it out");
    let lost = scene.sync("a", &[("a", "other")]);
    assert_eq!(scene.part(lost).unwrap(), "1", "what was told stays");
}

#[test]
fn a_sync_is_compared_with_the_group() {
    let mut scene = stable(&["a"]);
    let generation = scene.group.generation;
    let refused = |scene: &mut Scene, sync: Sync| {
        let token = scene.sync_as(sync);
        scene.part(token).unwrap_err()
    };
    let wrong = sync("stranger", generation);
    assert_eq!(refused(&mut scene, wrong), GroupError::UnknownMember);
    let wrong = sync("a", generation - 1);
    assert_eq!(refused(&mut scene, wrong), GroupError::IllegalGeneration);
    let wrong = Sync { protocol: Some("sticky".to_owned()), ..sync("a", generation) };
    assert_eq!(refused(&mut scene, wrong), GroupError::InconsistentProtocol);
    let wrong = Sync { protocol_type: Some("connect".to_owned()), ..sync("a", generation) };
    assert_eq!(refused(&mut scene, wrong), GroupError::InconsistentProtocol);
    scene.join_new("b");
    let early = sync("a", generation);
    assert_eq!(refused(&mut scene, early), GroupError::Rebalancing);
}

#[test]
fn a_rebalance_answers_who_waits_for_its_part() {
    let mut scene = Scene::new();
    scene.join_new("a");
    scene.join_new("b");
    scene.join_again("a");
    let waiting = scene.sync("b", &[]);
    scene.join_new("c");
    assert_eq!(scene.part(waiting), Err(GroupError::Rebalancing));
}

#[test]
fn who_does_not_join_in_time_is_gone_and_another_leads() {
    let mut scene = stable(&["a", "b"]);
    let changed = Join { protocols: vec![("range".to_owned(), bytes("more"))], ..join("b", "") };
    let token = scene.ask(changed);
    for _ in 0..6 {
        scene.pass(SESSION / 2);
        // It hears of the rebalance and does not join.
        assert_eq!(scene.heartbeat("a"), Err(GroupError::Rebalancing));
    }
    scene.pass(REBALANCE / 2);
    let joined = scene.joined(token).unwrap();
    assert_eq!((joined.leader.as_str(), joined.members.len()), ("b", 1));
    assert_eq!(scene.heartbeat("a"), Err(GroupError::UnknownMember));
}

#[test]
fn who_is_silent_is_gone_and_whoever_speaks_is_not() {
    let mut scene = stable(&["a", "b"]);
    scene.pass(SESSION / 2);
    scene.heartbeat("a").unwrap();
    scene.pass(SESSION / 2);
    assert_eq!(scene.group.state(), GroupState::PreparingRebalance);
    let commands = scene.take_commands();
    let [Command::Remove { members, .. }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(members, &["b"]);
    let token = scene.join_again("a");
    assert_eq!(scene.joined(token).unwrap().members.len(), 1);
}

#[test]
fn who_never_asks_for_its_part_is_gone_also_when_all_others_have_theirs() {
    for leader_told in [false, true] {
        let mut scene = Scene::new();
        scene.join_new("a");
        scene.join_new("b");
        scene.join_again("a");
        let (here, lazy) = if leader_told { ("a", "b") } else { ("b", "a") };
        let token = scene.sync(here, &[("a", "1")]);
        for _ in 0..12 {
            scene.pass(SESSION / 2);
            let _ = scene.heartbeat(lazy);
            let _ = scene.heartbeat(here);
        }
        assert_eq!(scene.heartbeat(lazy), Err(GroupError::UnknownMember), "{leader_told}");
        assert_eq!(scene.group.state(), GroupState::PreparingRebalance);
        assert_eq!(scene.part(token).is_ok(), leader_told);
    }
}

#[test]
fn the_last_one_to_leave_ends_the_generation() {
    let mut scene = stable(&["a", "b"]);
    let generation = scene.group.generation;
    assert_eq!(scene.leave("a"), Ok(()));
    assert_eq!(scene.leave("a"), Err(GroupError::UnknownMember));
    assert_eq!(scene.group.state(), GroupState::PreparingRebalance);
    assert_eq!(scene.leave("b"), Ok(()));
    assert_eq!((scene.group.state(), scene.group.generation), (GroupState::Empty, generation + 1));
    let commands = scene.take_commands();
    let Some(Command::Begin { membership, .. }) = commands.last() else { panic!("{commands:?}") };
    assert_eq!((membership.members.len(), membership.protocol.as_ref()), (0, None));
    assert!(scene.group.is_at_rest());
    let token = scene.join_new("c");
    assert_eq!(scene.joined(token).unwrap().generation, generation + 2, "it goes on counting");
}

#[test]
fn who_leaves_while_it_waits_is_answered() {
    let mut scene = stable(&["a"]);
    let token = scene.join_new("b");
    assert!(scene.waits(token));
    scene.leave("b").unwrap();
    assert_eq!(scene.joined(token), Err(GroupError::UnknownMember));
    let promised = Join { needs_known_id: true, fresh_id: "c".to_owned(), ..join("", "range") };
    scene.ask(promised);
    assert_eq!(scene.leave("c"), Ok(()), "a promise can be given back");
}

#[test]
fn all_must_know_the_assignor_and_the_one_most_like_is_chosen() {
    let mut scene = Scene::new();
    let knows = |id: &str, names: &[&str]| Join {
        protocols: names.iter().map(|name| ((*name).to_owned(), bytes(name))).collect(),
        fresh_id: id.to_owned(),
        ..join("", "")
    };
    scene.ask(knows("a", &["range", "sticky", "robin"]));
    let stranger = scene.ask(knows("x", &["other"]));
    assert_eq!(scene.joined(stranger), Err(GroupError::InconsistentProtocol));
    let worker = Join { protocol_type: "connect".to_owned(), ..knows("x", &["range"]) };
    let worker = scene.ask(worker);
    assert_eq!(scene.joined(worker), Err(GroupError::InconsistentProtocol));
    let nothing = scene.ask(knows("x", &[]));
    assert_eq!(scene.joined(nothing), Err(GroupError::InconsistentProtocol));
    scene.ask(knows("b", &["robin", "sticky"]));
    scene.ask(knows("c", &["robin", "sticky"]));
    let token =
        scene.ask(Join { member_id: "a".to_owned(), ..knows("", &["range", "sticky", "robin"]) });
    let joined = scene.joined(token).unwrap();
    assert_eq!(joined.protocol, "robin");
    assert!(joined.members.iter().all(|member| member.metadata == "robin"));
}

#[test]
fn a_group_has_so_many_members_and_no_more() {
    let mut scene = stable(&["a", "b", "c"]);
    scene.ask(Join { needs_known_id: true, fresh_id: "d".to_owned(), ..join("", "range") });
    let token = scene.join_new("e");
    assert_eq!(scene.joined(token), Err(GroupError::Full), "one place is promised");
    let promised = scene.join_again("d");
    assert!(scene.waits(promised));
}

#[test]
fn offsets_are_taken_of_members_and_of_anybody_while_there_are_none() {
    let mut scene = Scene::new();
    let now = scene.now;
    assert_eq!(scene.group.check_commit(&identity("", -1), now), Ok(()));
    let mut scene = stable(&["a"]);
    let generation = scene.group.generation;
    let mut check = |id: &str, generation| scene.group.check_commit(&identity(id, generation), now);
    assert_eq!(check("a", generation), Ok(()));
    assert_eq!(check("a", generation - 1), Err(GroupError::IllegalGeneration));
    assert_eq!(check("b", generation), Err(GroupError::UnknownMember));
    assert_eq!(check("", -1), Err(GroupError::UnknownMember));
    scene.join_new("b");
    assert_eq!(
        scene.group.check_commit(&identity("a", generation), now),
        Ok(()),
        "it may still say"
    );
    scene.join_again("a");
    let completing = scene.group.check_commit(&identity("a", generation + 1), now);
    assert_eq!(completing, Err(GroupError::Rebalancing));
}

#[test]
fn a_commit_counts_as_a_sign_of_life() {
    let mut scene = stable(&["a"]);
    let who = identity("a", scene.group.generation);
    for _ in 0..5 {
        scene.pass(SESSION / 2);
        scene.group.check_commit(&who, scene.now).unwrap();
    }
    assert_eq!(scene.group.state(), GroupState::Stable);
}

#[test]
fn an_operator_sees_who_has_what_once_it_is_settled() {
    let mut scene = Scene::new();
    scene.join_new("a");
    let before = scene.group.describe();
    assert_eq!((before.state, before.protocol.as_str()), (GroupState::CompletingRebalance, ""));
    assert_eq!(before.members[0].metadata, "");
    scene.sync("a", &[("a", "all")]);
    let after = scene.group.describe();
    assert_eq!(
        (after.protocol.as_str(), after.members[0].metadata.as_ref()),
        ("range", &b"topics"[..])
    );
    assert_eq!(after.members[0].part, "all");
    assert_eq!(after.members[0].client_host, "/127.0.0.1");
}
