use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::coordinator::call::{Joined, Synced};
use crate::coordinator::consumer::tests::catalog::Catalog;
use crate::coordinator::subscription::{Named, Subscription, assigned};

/// A group of a topic with four partitions, and a clock.
struct Scene {
    group: Group,
    topics: Catalog,
    now: Instant,
    last: u64,
    fresh: u8,
    answers: Vec<(Token, Answer)>,
}

impl Scene {
    fn new() -> Self {
        let consumer_session = Duration::from_secs(45);
        let limits = Limits { initial_delay: Duration::ZERO, members_max: 9, consumer_session };
        let mut topics = Catalog::default();
        topics.set("t", 4);
        let group = Group::new("g".to_owned(), limits);
        Self { group, topics, now: Instant::now(), last: 0, fresh: 0, answers: Vec::new() }
    }

    fn answer(&mut self, token: Token) -> Option<Answer> {
        let at = self.answers.iter().position(|(asked, _)| *asked == token)?;
        Some(self.answers.remove(at).1)
    }

    fn ask_to_join(&mut self, id: &str, owned: &[i32]) -> Token {
        self.last += 1;
        let (token, mut output) = (Token(self.last), Output::default());
        let fresh_id = char::from(b'a' + self.fresh).to_string();
        self.fresh += u8::from(id.is_empty());
        let join = Join { fresh_id, ..join(id, owned) };
        self.group.join(join, token, &self.topics, self.now, &mut output);
        self.answers.extend(output.answers);
        token
    }

    fn joined(&mut self, token: Token) -> Result<Joined, GroupError> {
        let Some(Answer::Join(answer)) = self.answer(token) else { panic!("no answer yet") };
        answer
    }

    /// What a classic member is told to read.
    fn sync(&mut self, id: &str, generation: i32) -> Result<Named, GroupError> {
        self.sync_all(id, generation, &[])
    }

    fn sync_all(
        &mut self,
        id: &str,
        generation: i32,
        parts: &[(&str, &[i32])],
    ) -> Result<Named, GroupError> {
        self.last += 1;
        let (token, mut output) = (Token(self.last), Output::default());
        let part = |(id, partitions): &(&str, &[i32])| {
            let part = subscription::assignment(1, &[("t", partitions.to_vec())]);
            ((*id).to_owned(), part)
        };
        let sync = Sync {
            who: identity(id, generation),
            protocol_type: None,
            protocol: None,
            parts: parts.iter().map(part).collect(),
        };
        self.group.sync(sync, token, self.now, &mut output);
        self.answers.extend(output.answers);
        let Some(Answer::Sync(answer)) = self.answer(token) else { panic!("no answer yet") };
        answer.map(|Synced { part, .. }| assigned(&part).unwrap().0)
    }

    fn beat(&mut self, id: &str, generation: i32) -> Result<(), GroupError> {
        self.group.heartbeat(&identity(id, generation), self.now)
    }

    fn hear(&mut self, id: &str, epoch: i32) -> Result<Heard, GroupError> {
        let mut output = Output::default();
        let heartbeat = MemberHeartbeat {
            group: "g".to_owned(),
            member_id: id.to_owned(),
            epoch,
            rebalance_timeout_ms: if epoch == 0 { 10_000 } else { -1 },
            topics: (epoch == 0).then(|| ["t".to_owned()].into()),
            owned: Some(std::collections::BTreeMap::new()),
            ..MemberHeartbeat::default()
        };
        let heard = self.group.member_heartbeat(&heartbeat, &self.topics, self.now, &mut output);
        self.answers.extend(output.answers);
        heard
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let mut output = Output::default();
        self.group.pass(self.now, &mut output);
        self.answers.extend(output.answers);
    }
}

fn identity(id: &str, generation: i32) -> Identity {
    Identity { group: "g".to_owned(), member_id: id.to_owned(), instance_id: None, generation }
}

/// A subscription of version 1 to the topic, with what the member has of it.
fn join(id: &str, owned: &[i32]) -> Join {
    let topics = [0, 1, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff];
    let mut metadata = topics.to_vec();
    let count = i32::try_from(owned.len()).unwrap();
    metadata.extend([0, 0, 0, 1, 0, 1, b't']);
    metadata.extend(count.to_be_bytes());
    owned.iter().for_each(|it| metadata.extend(it.to_be_bytes()));
    assert!(Subscription::read(&metadata).is_some());
    Join {
        group: "g".to_owned(),
        member_id: id.to_owned(),
        instance_id: None,
        client_id: "c".to_owned(),
        client_host: "h".to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("cooperative-sticky".to_owned(), Bytes::from(metadata))],
        needs_known_id: false,
        can_skip_assignment: false,
        fresh_id: String::new(),
    }
}

fn named(partitions: &[i32]) -> Named {
    if partitions.is_empty() { Named::new() } else { vec![("t".to_owned(), partitions.to_vec())] }
}

/// A stable group of the classic protocol with one member, which reads all.
fn classic() -> (Scene, i32) {
    let mut scene = Scene::new();
    let token = scene.ask_to_join("", &[]);
    let generation = scene.joined(token).unwrap().generation;
    scene.sync_all("a", generation, &[("a", &[0, 1, 2, 3])]).unwrap();
    (scene, generation)
}

#[test]
fn a_group_is_upgraded_while_its_members_go_on_reading() {
    let (mut scene, generation) = classic();
    let heard = scene.hear("new", 0).unwrap();
    assert_eq!(scene.group.protocol(), GroupProtocol::Consumer);
    assert_eq!(heard.epoch, generation + 1, "epochs go on where generations were");
    assert_eq!(heard.parts, Some(std::collections::BTreeMap::new()), "a has it all as yet");
    assert_eq!(scene.beat("a", generation), Err(GroupError::Rebalancing));
    // It joins with what it has, is told what it may keep, and joins again without the rest.
    let token = scene.ask_to_join("a", &[0, 1, 2, 3]);
    let joined = scene.joined(token).unwrap();
    assert_eq!((joined.generation, joined.leader.as_str()), (generation, ""));
    let keeps = scene.sync("a", generation).unwrap();
    assert_eq!(keeps, named(&[0, 1]));
    assert_eq!(scene.beat("a", generation), Err(GroupError::Rebalancing), "it has to give back");
    assert!(scene.hear("new", heard.epoch).unwrap().parts.is_none_or(|parts| parts.is_empty()));
    let token = scene.ask_to_join("a", &[0, 1]);
    let epoch = scene.joined(token).unwrap().generation;
    assert_eq!(epoch, heard.epoch);
    assert_eq!(scene.sync("a", epoch), Ok(named(&[0, 1])));
    assert_eq!(scene.beat("a", epoch), Ok(()));
    let got = scene.hear("new", epoch).unwrap().parts.unwrap();
    assert_eq!(got.values().next(), Some(&[2, 3].into()));
    assert_eq!(scene.group.state(), GroupState::Stable);
    let commit = |scene: &mut Scene, epoch| {
        let now = scene.now;
        scene.group.check_commit(&identity("a", epoch), now)
    };
    assert_eq!(commit(&mut scene, epoch), Ok(()));
    assert_eq!(commit(&mut scene, epoch - 1), Err(GroupError::IllegalGeneration));
}

#[test]
fn a_group_is_downgraded_when_the_last_leaves_that_speaks_the_consumer_protocol() {
    let (mut scene, _) = classic();
    let epoch = scene.hear("new", 0).unwrap().epoch;
    let token = scene.ask_to_join("a", &[]);
    assert_eq!(scene.joined(token).unwrap().generation, epoch);
    assert_eq!(scene.sync("a", epoch), Ok(named(&[0, 1])));
    scene.hear("new", -1).unwrap();
    assert_eq!(scene.group.protocol(), GroupProtocol::Classic);
    assert_eq!(scene.beat("a", epoch), Err(GroupError::Rebalancing));
    let token = scene.ask_to_join("a", &[0, 1]);
    let joined = scene.joined(token).unwrap();
    assert_eq!((joined.generation, joined.leader.as_str()), (epoch + 1, "a"));
    assert_eq!(scene.sync_all("a", epoch + 1, &[("a", &[0, 1, 2, 3])]), Ok(named(&[0, 1, 2, 3])));
    assert_eq!(scene.group.state(), GroupState::Stable);
}

#[test]
fn a_classic_member_that_does_not_join_again_or_ask_for_its_part_is_gone() {
    for joins in [false, true] {
        let (mut scene, generation) = classic();
        let epoch = scene.hear("new", 0).unwrap().epoch;
        assert_eq!(scene.beat("a", generation), Err(GroupError::Rebalancing));
        let mut at = generation;
        if joins {
            let token = scene.ask_to_join("a", &[]);
            at = scene.joined(token).unwrap().generation;
        }
        scene.pass(Duration::from_secs(6));
        let _ = scene.beat("a", at);
        scene.pass(Duration::from_secs(4));
        assert_eq!(scene.beat("a", at), Err(GroupError::UnknownMember), "joins: {joins}");
        let got = scene.hear("new", epoch).unwrap().parts.unwrap();
        assert_eq!(got.values().next().map(BTreeSet::len), Some(4));
    }
}

#[test]
fn whoever_waits_for_a_generation_that_does_not_come_is_told_to_join_again() {
    let (mut scene, generation) = classic();
    let waits = scene.ask_to_join("", &[]);
    assert!(scene.answer(waits).is_none(), "the first has not joined yet");
    scene.hear("new", 0).unwrap();
    assert_eq!(scene.joined(waits), Err(GroupError::Rebalancing));
    assert_eq!(scene.beat("a", generation), Err(GroupError::Rebalancing));
}

#[test]
fn members_that_are_no_consumers_are_left_alone() {
    let mut scene = Scene::new();
    scene.last += 1;
    let (token, mut output) = (Token(scene.last), Output::default());
    let connect = Join { protocol_type: "connect".to_owned(), ..join("", &[]) };
    scene.group.join(connect, token, &scene.topics, scene.now, &mut output);
    assert_eq!(scene.hear("new", 0), Err(GroupError::OtherProtocol));
    assert_eq!(scene.group.protocol(), GroupProtocol::Classic);
    assert!(scene.group.has_members());
}

#[test]
fn what_two_were_assigned_is_with_one_of_them() {
    let (mut scene, generation) = classic();
    let second = scene.ask_to_join("", &[]);
    let first = scene.ask_to_join("a", &[0, 1, 2, 3]);
    let (first, second) = (scene.joined(first).unwrap(), scene.joined(second).unwrap());
    assert_eq!((first.generation, &second.member_id[..]), (generation + 1, "b"));
    let parts: &[(&str, &[i32])] = &[("a", &[0, 1, 9]), ("b", &[1, 2])];
    scene.sync_all("a", generation + 1, parts).unwrap();
    scene.hear("new", 0).unwrap();
    let Group::Consumer(group) = &scene.group else { panic!("not upgraded") };
    let described = group.describe();
    let parts = described.members.iter().map(|it| it.parts.clone()).collect::<Vec<_>>();
    let topic = scene.topics.topics["t"].id;
    let part = |it: &[i32]| vec![(topic, "t".to_owned(), it.to_vec())];
    assert_eq!(parts, [part(&[0, 1]), part(&[2]), part(&[3])], "{described:?}");
}

/// A cooperative member reads on while the group rebalances, also when nothing is assigned for a moment.
#[test]
fn a_group_that_is_upgraded_while_it_rebalances_takes_nothing_from_who_reads_it() {
    let (mut scene, _) = classic();
    let second = scene.ask_to_join("", &[]);
    let first = scene.ask_to_join("a", &[0, 1, 2]);
    let (first, second) = (scene.joined(first).unwrap(), scene.joined(second).unwrap());
    assert_eq!(scene.group.state(), GroupState::CompletingRebalance);
    assert_eq!((&first.member_id[..], &second.member_id[..]), ("a", "b"));
    let heard = scene.hear("new", 0).unwrap();
    let got = heard.parts.unwrap();
    assert!(got.values().flatten().all(|partition| *partition == 3), "{got:?}");
}

/// It is not known to have left: in the classic protocol a static member does not say so.
#[test]
fn a_static_member_is_upgraded_in_place() {
    let mut scene = Scene::new();
    let instance = || Some("i".to_owned());
    let (token, mut output) = (Token(1), Output::default());
    let first = Join { instance_id: instance(), fresh_id: "a".to_owned(), ..join("", &[]) };
    scene.group.join(first, token, &scene.topics, scene.now, &mut output);
    let generation = scene.group.generation();
    scene.sync_all("a", generation, &[("a", &[0, 1, 2, 3])]).unwrap();
    let heartbeat = MemberHeartbeat {
        member_id: "b".to_owned(),
        instance_id: instance(),
        rebalance_timeout_ms: 10_000,
        topics: Some(["t".to_owned()].into()),
        owned: Some(std::collections::BTreeMap::new()),
        ..MemberHeartbeat::default()
    };
    let heard =
        scene.group.member_heartbeat(&heartbeat, &scene.topics, scene.now, &mut output).unwrap();
    assert_eq!(heard.parts.unwrap().values().next(), Some(&[0, 1, 2, 3].into()));
    let Group::Consumer(group) = &scene.group else { panic!("not upgraded") };
    assert_eq!(group.describe().members.len(), 1, "the former is gone");
}

/// Whoever is refused leaves the others alone.
#[test]
fn a_group_is_not_upgraded_for_who_may_not_join() {
    let (mut scene, generation) = classic();
    for _ in 0..8 {
        scene.ask_to_join("", &[]);
    }
    assert_eq!(scene.hear("new", 0), Err(GroupError::Full));
    assert_eq!(scene.group.protocol(), GroupProtocol::Classic);
    assert_eq!(scene.beat("a", generation), Err(GroupError::Rebalancing), "as before");
}

#[test]
fn members_whose_assignor_says_more_than_partitions_are_left_alone() {
    let (mut scene, generation) = classic();
    let token = scene.ask_to_join("a", &[]);
    let generation = scene.joined(token).map_or(generation, |joined| joined.generation);
    let part = subscription::assignment(1, &[("t", vec![0])]);
    let part = [&part[..part.len() - 4], &[0, 0, 0, 1, 7]].concat();
    let mut output = Output::default();
    let sync = Sync {
        who: identity("a", generation),
        protocol_type: None,
        protocol: None,
        parts: vec![("a".to_owned(), part.into())],
    };
    scene.group.sync(sync, Token(999), scene.now, &mut output);
    assert_eq!(scene.hear("new", 0), Err(GroupError::OtherProtocol));
}
