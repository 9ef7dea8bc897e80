use std::time::Duration;

use bytes::Bytes;
use quorate_raft::{Committed, Effects, Machine, conformance};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::commits::COMMIT_BYTES_MAX;
use super::*;
use crate::coordinator::OffsetsTransaction;
use crate::coordinator::call::{Commit, Identity, Join, Leave, OldOffset, Position, Sync};
use crate::coordinator::command::Commands;
use crate::coordinator::consumer::tests::catalog::Catalog;
use crate::coordinator::machine::Verdict;
use crate::metadata::encode;

mod transactions;

/// The groups of a coordinator, a clock, and the log they wrote.
struct Scene {
    groups: Groups,
    topics: Catalog,
    now: Instant,
    last: u64,
}

fn limits() -> Limits {
    let consumer_session = Duration::from_secs(45);
    Limits { initial_delay: Duration::ZERO, members_max: 1000, consumer_session }
}

impl Scene {
    fn new() -> Self {
        let (machine, now) = (CoordinatorMachine::default(), Instant::now());
        let (groups, _) = Groups::taken_over(&machine, limits(), &Catalog::default(), now);
        Self { groups, topics: Catalog::default(), now, last: 0 }
    }

    /// Asks, and returns the answer, if there is one, and what is to be written.
    fn ask(&mut self, call: Call) -> (Option<Answer>, Vec<Command>) {
        self.last += 1;
        let (token, mut output) = (Token(self.last), Output::default());
        self.groups.step(call, token, self.now, &self.topics, &mut output);
        let answer = output.answers.into_iter().find(|(asked, _)| *asked == token);
        (answer.map(|(_, answer)| answer), output.commands)
    }

    fn pass(&mut self, time: Duration) -> Vec<Command> {
        self.now += time;
        let passed = std::iter::from_fn(|| self.groups.pass(self.now));
        passed.flat_map(|output| output.commands).collect()
    }

    /// A group of one member `a` that reads a topic.
    fn consume(&mut self, group: &str, topic: &str) -> Identity {
        let (answer, _) = self.ask(Call::Join(join(group, topic)));
        let Some(Answer::Join(Ok(joined))) = answer else { panic!("{answer:?}") };
        let who = identity(group, "a", joined.generation);
        let sync =
            Sync { who: who.clone(), protocol_type: None, protocol: None, parts: Vec::new() };
        self.ask(Call::Sync(sync));
        who
    }

    fn states(&mut self) -> Vec<(String, &'static str)> {
        let (Some(Answer::List(listed)), _) = self.ask(Call::List) else { panic!("no list") };
        listed.into_iter().map(|it| (it.group, it.state.name())).collect()
    }
}

fn join(group: &str, topic: &str) -> Join {
    let length = u16::try_from(topic.len()).unwrap().to_be_bytes();
    // No user data, and it has nothing.
    let rest = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    let metadata = [&[0, 1, 0, 0, 0, 1][..], &length, topic.as_bytes(), &rest].concat();
    Join {
        group: group.to_owned(),
        member_id: String::new(),
        instance_id: None,
        client_id: String::new(),
        client_host: String::new(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), metadata.into())],
        needs_known_id: false,
        can_skip_assignment: false,
        fresh_id: "a".to_owned(),
    }
}

fn identity(group: &str, id: &str, generation: i32) -> Identity {
    let (group, member_id) = (group.to_owned(), id.to_owned());
    Identity { group, member_id, instance_id: None, generation }
}

fn commit(who: Identity, metadata: usize) -> Call {
    let position = Position {
        topic: Uuid::from_u128(5),
        partition: 0,
        offset: 3,
        leader_epoch: -1,
        metadata: "m".repeat(metadata),
    };
    Call::Commit(Commit { who, offsets: vec![position] })
}

const DONE: Option<Answer> = Some(Answer::Done(Ok(())));

fn refused(error: GroupError) -> Option<Answer> {
    Some(Answer::Done(Err(error)))
}

#[test]
fn a_group_is_made_by_what_is_written_first_and_by_nothing_else() {
    let mut scene = Scene::new();
    let unknown = refused(GroupError::UnknownMember);
    assert_eq!(scene.ask(Call::Heartbeat(identity("g", "a", 1))), (unknown, vec![]));
    let wrong = refused(GroupError::IllegalGeneration);
    assert_eq!(scene.ask(commit(identity("g", "a", 1), 0)), (wrong, vec![]));
    let promised = Join { needs_known_id: true, ..join("g", "t") };
    let (answer, commands) = scene.ask(Call::Join(promised));
    let required = GroupError::MemberIdRequired("a".to_owned());
    assert_eq!((answer, commands), (Some(Answer::Join(Err(required))), vec![]));
    assert!(scene.states().is_empty(), "nobody has done more than to ask for an id");
    let (answer, commands) = scene.ask(commit(identity("h", "", -1), 0));
    assert_eq!(answer, DONE);
    assert!(matches!(&commands[..], [Command::Create { .. }, Command::Commit { .. }]));
    let (_, commands) = scene.ask(commit(identity("h", "", -1), 0));
    assert!(matches!(&commands[..], [Command::Commit { .. }]), "once");
    assert_eq!(scene.states(), [("h".to_owned(), "Empty")]);
    // What was only promised leaves nothing behind.
    scene.pass(Duration::from_secs(11));
    assert_eq!(scene.groups.groups.len(), 1);
}

#[test]
fn silence_is_noticed_when_it_is_due_and_groups_keep_apart() {
    let mut scene = Scene::new();
    let one = scene.consume("one", "t");
    scene.consume("two", "t");
    scene.pass(Duration::from_secs(5));
    assert_eq!(scene.ask(Call::Heartbeat(one)).0, DONE);
    let due = scene.groups.deadline().unwrap();
    assert!(due <= scene.now + Duration::from_secs(5));
    let commands = scene.pass(Duration::from_secs(5));
    let [Command::Remove { group, .. }, Command::Begin { .. }] = &commands[..] else {
        panic!("{commands:?}");
    };
    assert_eq!(group, "two");
    let states = [("one".to_owned(), "Stable"), ("two".to_owned(), "Empty")];
    assert_eq!(scene.states(), states);
}

#[test]
fn groups_with_members_are_not_deleted_and_others_are() {
    let mut scene = Scene::new();
    let delete = |scene: &mut Scene| scene.ask(Call::Delete { group: "g".to_owned() });
    assert_eq!(delete(&mut scene).0, refused(GroupError::NotFound));
    scene.consume("g", "t");
    assert_eq!(delete(&mut scene), (refused(GroupError::NotEmpty), vec![]));
    scene.pass(Duration::from_secs(10));
    let (answer, commands) = delete(&mut scene);
    assert_eq!(answer, DONE);
    assert!(matches!(&commands[..], [Command::Delete { incarnation: 0, .. }]));
    let (_, commands) = scene.ask(commit(identity("g", "", -1), 0));
    assert!(matches!(&commands[..], [Command::Create { incarnation: 1, .. }, _]));
}

#[test]
fn offsets_of_what_is_read_are_not_deleted() {
    let mut scene = Scene::new();
    let partition = |topic: &str| NamedPartition {
        id: Uuid::from_u128(5),
        topic: topic.to_owned(),
        partition: 0,
    };
    let delete = |scene: &mut Scene| {
        let partitions = vec![partition("read"), partition("other")];
        scene.ask(Call::DeleteOffsets { group: "g".to_owned(), partitions })
    };
    let missing = Some(Answer::DeleteOffsets(Err(GroupError::NotFound)));
    assert_eq!(delete(&mut scene), (missing, vec![]));
    scene.consume("g", "read");
    let (answer, commands) = delete(&mut scene);
    let expected = vec![Err(GroupError::Subscribed), Ok(())];
    assert_eq!(answer, Some(Answer::DeleteOffsets(Ok(expected))));
    let [Command::DeleteOffsets { offsets, .. }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(offsets.len(), 1);
    scene.pass(Duration::from_secs(10));
    assert_eq!(delete(&mut scene).0, Some(Answer::DeleteOffsets(Ok(vec![Ok(()), Ok(())]))));
    // Of what a group of another kind reads nothing is known.
    let worker = Join { protocol_type: "connect".to_owned(), ..join("g", "read") };
    scene.ask(Call::Join(worker));
    let full = Some(Answer::DeleteOffsets(Err(GroupError::NotEmpty)));
    assert_eq!(delete(&mut scene), (full, vec![]));
}

#[test]
fn a_sweep_names_what_nobody_reads_in_the_generation_it_was_looked_at() {
    let mut scene = Scene::new();
    let who = scene.consume("g", "read");
    let old = |topic: &str, incarnation| OldOffset {
        group: "g".to_owned(),
        topic: topic.to_owned(),
        key: OffsetKey { incarnation, topic: Uuid::from_u128(5), partition: 0 },
    };
    let found = Found {
        old: vec![old("read", 0), old("other", 0), old("other", 7)],
        before_ms: 5,
        empty: vec!["g".to_owned(), "never".to_owned()],
        ..Found::default()
    };
    let (_, commands) = scene.ask(Call::Sweep(found));
    let [Command::Sweep(sweep)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(sweep.expiring, [(old("other", 0).key, who.generation)]);
    scene.pass(Duration::from_secs(10));
    let found = Found { empty: vec!["g".to_owned()], ..Found::default() };
    let (_, commands) = scene.ask(Call::Sweep(found));
    assert!(matches!(&commands[..], [Command::Sweep(_), Command::Delete { .. }]));
}

#[test]
fn what_takes_too_much_is_refused_and_the_rest_goes_on() {
    let mut scene = Scene::new();
    let who = scene.consume("g", "t");
    let answer = scene.ask(commit(who.clone(), COMMIT_BYTES_MAX)).0;
    assert_eq!(answer, refused(GroupError::TooLarge));
    let parts = vec![("a".to_owned(), Bytes::from(vec![0; GROUP_BYTES_MAX + 1]))];
    let sync = Sync { who: who.clone(), protocol_type: None, protocol: None, parts };
    assert_eq!(scene.ask(Call::Sync(sync)).0, Some(Answer::Sync(Err(GroupError::TooLarge))));
    let large = |group: &str, bytes: usize| {
        let protocols = vec![("range".to_owned(), Bytes::from(vec![0; bytes]))];
        Call::Join(Join { protocols, ..join(group, "t") })
    };
    let too_large = Some(Answer::Join(Err(GroupError::Full)));
    assert_eq!(scene.ask(large("h", GROUP_BYTES_MAX + 1)).0, too_large);
    let full = Some(Answer::Join(Err(GroupError::NotAvailable)));
    let mut taken = 0;
    while scene.ask(large(&format!("large-{taken}"), GROUP_BYTES_MAX / 2)).0 != full {
        taken += 1;
        assert!(taken <= BYTES_MAX / (GROUP_BYTES_MAX / 2));
    }
    assert!(taken > 2);
    assert_eq!(scene.ask(Call::Heartbeat(who)).0, DONE);
    // What is gone gives its place back.
    scene.pass(Duration::from_secs(10));
    assert_ne!(scene.ask(large("h", GROUP_BYTES_MAX / 2)).0, full);
}

/// Applies commands as the log would, and expects none to be void: there was one leader.
fn apply(
    machine: &mut CoordinatorMachine,
    effects: &mut Effects,
    index: &mut u64,
    all: Vec<Command>,
) {
    let payload = encode(&Commands { log_ms: 0, commands: all.clone() }).into();
    let entry = Committed { index: *index, term: 1, payload: Some(&payload) };
    *index += 1;
    conformance::name_keys::<CoordinatorMachine>(entry, effects);
    let verdicts = machine.apply(entry, effects);
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Done), "{all:?}: {verdicts:?}");
}

fn member_heartbeat(group: String, member_id: String, epoch: i32) -> MemberHeartbeat {
    let joins = epoch == 0;
    MemberHeartbeat {
        group,
        member_id,
        epoch,
        rebalance_timeout_ms: if joins { 10_000 } else { -1 },
        topics: joins.then(|| ["t".to_owned()].into()),
        owned: Some(BTreeMap::new()),
        ..MemberHeartbeat::default()
    }
}

/// Of the consumer protocol no partition is with two members.
fn check_owners(machine: &CoordinatorMachine) {
    for record in machine.groups().values() {
        let Some(consumer) = record.membership.consumer() else { continue };
        let mut taken = BTreeSet::new();
        let members = consumer.members.values();
        for (topic, partitions) in members.flat_map(|it| it.parts.iter().chain(&it.revoking)) {
            assert!(partitions.iter().all(|it| taken.insert((topic, it))), "{consumer:?}");
        }
    }
}

/// Whatever groups do beside each other, of both protocols, and wherever another leader takes over.
fn any_transaction(rng: &mut StdRng, newest: u64) -> OffsetsTransaction {
    OffsetsTransaction {
        producer_id: rng.random_range(0..3),
        epoch: rng.random_range(0..2),
        number: rng.random_range(0..=newest),
    }
}

#[test]
fn no_decision_of_a_leader_is_void_and_the_log_has_what_it_sees() {
    for seed in 0..200 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let (mut machine, mut effects, mut index) =
            (CoordinatorMachine::default(), Effects::default(), 0);
        let mut scene = Scene::new();
        scene.topics.set("t", 5);
        for step in 0..150 {
            let group = format!("g{}", rng.random_range(0..4));
            let id = format!("m{}", rng.random_range(0..step + 1));
            let member =
                Identity { group: group.clone(), ..identity(&group, &id, rng.random_range(-1..4)) };
            let it = any_transaction(rng, step / 10);
            let commands = match rng.random_range(0..20) {
                0..4 => {
                    let (fresh_id, needs_known_id) = (format!("m{step}"), rng.random());
                    let member_id = if rng.random() { id } else { String::new() };
                    let join = Join { fresh_id, needs_known_id, member_id, ..join(&group, "t") };
                    scene.ask(Call::Join(join)).1
                }
                4..6 => {
                    let sync = Sync {
                        who: member,
                        protocol_type: None,
                        protocol: None,
                        parts: Vec::new(),
                    };
                    scene.ask(Call::Sync(sync)).1
                }
                6 => scene.ask(Call::Leave(Leave { group, members: vec![(id, None)] })).1,
                7..9 => scene.ask(commit(member, 1)).1,
                9 => scene.ask(Call::Delete { group }).1,
                10 => scene.pass(Duration::from_secs(rng.random_range(0..9))),
                11..15 => {
                    let epoch = rng.random_range(-1..5).min(rng.random_range(-1..5));
                    scene.ask(Call::MemberHeartbeat(member_heartbeat(group, id, epoch))).1
                }
                15..18 => {
                    let Call::Commit(commit) = commit(member, rng.random_range(0..9)) else {
                        panic!("no commit")
                    };
                    scene.ask(Call::Keep(commit, it)).1
                }
                18 => scene.ask(Call::End { transaction: it, commits: rng.random() }).1,
                _ => {
                    let found = Found {
                        empty: vec![group],
                        as_of: rng.random_range(0..20),
                        ..Found::default()
                    };
                    scene.ask(Call::Sweep(found)).1
                }
            };
            apply(&mut machine, &mut effects, &mut index, commands);
            check_owners(&machine);
            // Who keeps what the log forgets refuses more, and never less.
            assert_eq!(scene.groups.pending, machine.pending().weights(), "seed {seed}");
            if rng.random_range(0..40) == 0 {
                let (groups, outputs) =
                    Groups::taken_over(&machine, limits(), &Catalog::default(), scene.now);
                scene.groups = groups;
                let all = outputs.into_iter().flat_map(|output| output.commands).collect();
                apply(&mut machine, &mut effects, &mut index, all);
            }
            let seen: Vec<String> = scene.states().into_iter().map(|(group, _)| group).collect();
            for group in machine.groups().keys() {
                assert!(seen.contains(group), "seed {seed}: {group} is in the log alone");
            }
        }
    }
}

#[test]
fn a_group_that_was_heard_of_first_and_comes_into_the_log_later_is_made_all_the_same() {
    let (mut machine, mut effects, mut index) =
        (CoordinatorMachine::default(), Effects::default(), 0);
    let mut scene = Scene::new();
    let promised = Join { needs_known_id: true, ..join("first", "t") };
    let mut all = scene.ask(Call::Join(promised)).1;
    all.extend(scene.ask(commit(identity("second", "", -1), 0)).1);
    all.extend(scene.ask(Call::Join(Join { member_id: "a".to_owned(), ..join("first", "t") })).1);
    apply(&mut machine, &mut effects, &mut index, all);
    assert_eq!(machine.groups().len(), 2);
}

/// Between the look and its call somebody may have committed.
#[test]
fn a_group_that_commits_while_it_is_swept_stays() {
    let mut scene = Scene::new();
    scene.ask(commit(identity("g", "", -1), 0));
    let sweep = |scene: &mut Scene, as_of| {
        let found = Found { empty: vec!["g".to_owned()], as_of, ..Found::default() };
        scene.ask(Call::Sweep(found))
    };
    let (answer, commands) = sweep(&mut scene, 0);
    assert_eq!((answer, commands.len()), (Some(Answer::Swept(1)), 1), "one is not seen yet");
    assert_eq!(sweep(&mut scene, 1).1.len(), 2);
}

#[test]
fn a_coordinator_that_is_full_lets_members_join_again() {
    let mut scene = Scene::new();
    scene.consume("g", "t");
    let large = |group: &str| {
        let protocols = vec![("range".to_owned(), Bytes::from(vec![0; GROUP_BYTES_MAX / 2]))];
        Call::Join(Join { protocols, ..join(group, "t") })
    };
    let full = Some(Answer::Join(Err(GroupError::NotAvailable)));
    let mut taken = 0;
    while scene.ask(large(&format!("large-{taken}"))).0 != full {
        taken += 1;
    }
    let again = Join { member_id: "a".to_owned(), ..join("g", "t") };
    let (answer, _) = scene.ask(Call::Join(again));
    assert!(matches!(answer, Some(Answer::Join(Ok(_)))), "{answer:?}");
    let many = (0..=PROTOCOLS_MAX).map(|n| (n.to_string(), Bytes::new())).collect();
    let (answer, _) = scene.ask(Call::Join(Join { protocols: many, ..join("h", "t") }));
    assert_eq!(answer, Some(Answer::Join(Err(GroupError::InconsistentProtocol))));
}
