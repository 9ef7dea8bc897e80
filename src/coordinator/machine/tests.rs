use quorate_raft::conformance::{self, LogEntry};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::*;
use crate::coordinator::OffsetsTransaction;
use crate::coordinator::record::{Blob, Consumer, ConsumerMember, Head, Member, Parts};

mod transactions;

const DAY_MS: i64 = 86_400_000;

/// A machine and its log.
#[derive(Default)]
struct Replica {
    machine: CoordinatorMachine,
    effects: Effects,
    index: u64,
    log_ms: i64,
}

impl Replica {
    fn apply(&mut self, commands: Vec<Command>) -> Vec<Verdict> {
        let payload = Bytes::from(encode(&Commands { log_ms: self.log_ms, commands }));
        let entry = Committed { index: self.index, term: 1, payload: Some(&payload) };
        self.index += 1;
        conformance::name_keys::<CoordinatorMachine>(entry, &mut self.effects);
        self.machine.apply(entry, &mut self.effects)
    }

    fn done(&mut self, command: Command) {
        assert_eq!(self.apply(vec![command]), [Verdict::Done]);
    }

    fn void(&mut self, command: Command) {
        let before = self.machine.clone();
        assert_eq!(self.apply(vec![command.clone()]), [Verdict::Void], "{command:?}");
        assert_eq!(self.machine.state, before.state, "{command:?}");
    }

    /// The group, which is of the classic protocol.
    fn classic(&self) -> Classic {
        match &self.machine.group("g").unwrap().membership {
            Membership::Classic(classic) => classic.clone(),
            other @ Membership::Consumer(_) => panic!("{other:?}"),
        }
    }

    fn value(&mut self, key: OffsetKey) -> Option<offsets::Committed> {
        let key = key.encode();
        let missing = self.effects.keyed.get(&key);
        missing.map(|value| read(&value))
    }
}

fn key(incarnation: u64, partition: i32) -> OffsetKey {
    OffsetKey { incarnation, topic: Uuid::from_u128(5), partition }
}

fn create(incarnation: u64) -> Command {
    Command::Create { group: "g".to_owned(), incarnation }
}

fn member() -> Member {
    Member {
        instance_id: None,
        client_id: "c".to_owned(),
        client_host: "h".to_owned(),
        session_timeout_ms: 1,
        rebalance_timeout_ms: 2,
        protocols: vec![("range".to_owned(), Blob(Bytes::from_static(b"m")))],
        assignment: Blob::default(),
    }
}

fn classic(generation: i32, ids: &[&str]) -> Classic {
    Classic {
        generation,
        protocol_type: "consumer".to_owned(),
        protocol: Some("range".to_owned()),
        leader: ids.first().map(|id| (*id).to_owned()),
        members: ids.iter().map(|id| ((*id).to_owned(), member())).collect(),
        ..Classic::default()
    }
}

fn begin(incarnation: u64, generation: i32, ids: &[&str]) -> Command {
    let membership = classic(generation, ids);
    Command::Begin { group: "g".to_owned(), incarnation, membership }
}

fn assign(incarnation: u64, generation: i32) -> Command {
    let parts = vec![("a".to_owned(), Blob(Bytes::from_static(b"all")))];
    Command::Assign { group: "g".to_owned(), incarnation, generation, parts }
}

fn commit(incarnation: u64, generation: i32, offsets: &[(i32, i64)]) -> Command {
    let new = |(partition, offset): &(i32, i64)| NewOffset {
        key: key(incarnation, *partition),
        offset: *offset,
        leader_epoch: 3,
        metadata: "m".to_owned(),
    };
    let offsets = offsets.iter().map(new).collect();
    Command::Commit { group: "g".to_owned(), incarnation, generation, offsets }
}

/// Kept for a transaction of a producer; its epoch is 2.
fn keep(
    incarnation: u64,
    producer_id: i64,
    number: u64,
    generation: i32,
    offsets: &[(i32, i64)],
) -> Command {
    let transaction = OffsetsTransaction { producer_id, epoch: 2, number };
    let Command::Commit { group, offsets, .. } = commit(incarnation, generation, offsets) else {
        panic!("no commit")
    };
    Command::Keep { group, incarnation, generation, transaction, offsets }
}

fn end(producer_id: i64, number: u64, commits: bool, offsets: Vec<OffsetKey>) -> Command {
    Command::End { producer_id, number, commits, offsets }
}

fn consumer(epoch: i32) -> Consumer {
    let head = Head { epoch, assignment_epoch: epoch, ..Head::default() };
    Consumer { head, ..Consumer::default() }
}

fn convert(incarnation: u64, generation: i32, membership: Membership) -> Command {
    Command::Convert { group: "g".to_owned(), incarnation, generation, membership }
}

/// `members` of a group of the consumer protocol change.
fn change(incarnation: u64, version: u64, members: i32) -> Command {
    let parts = Parts::from([(Uuid::from_u128(5), [0, 3].into())]);
    let member = ConsumerMember {
        topics: ["t".to_owned()].into(),
        epoch: 4,
        target: parts.clone(),
        parts,
        ..ConsumerMember::default()
    };
    let change = Change {
        version,
        head: Some(Head { epoch: 4, assignment_epoch: 4, ..Head::default() }),
        members: (0..members).map(|it| (it.to_string(), member.clone())).collect(),
        removed: vec!["1".to_owned()],
    };
    Command::Change { group: "g".to_owned(), incarnation, change }
}

fn sweep(orphaned: &[OffsetKey], expiring: &[(OffsetKey, i32)], before_ms: i64) -> Command {
    Command::Sweep(Sweep { orphaned: orphaned.to_vec(), expiring: expiring.to_vec(), before_ms })
}

#[test]
fn a_group_lives_through_its_generations() {
    let mut replica = Replica::default();
    replica.done(create(0));
    replica.done(begin(0, 1, &["a", "b"]));
    replica.done(assign(0, 1));
    let classic = replica.classic();
    assert!(classic.is_assigned && !classic.must_rebalance);
    assert_eq!(classic.members["a"].assignment.0, "all");
    let remove = |generation| Command::Remove {
        group: "g".to_owned(),
        incarnation: 0,
        generation,
        members: vec!["b".to_owned()],
    };
    replica.void(remove(2));
    replica.done(remove(1));
    let classic = replica.classic();
    assert!(classic.must_rebalance && classic.members.len() == 1);
    replica.void(begin(0, 1, &["a"]));
    replica.void(begin(9, 2, &["a"]));
    replica.log_ms = 77;
    replica.done(begin(0, 2, &[]));
    replica.void(assign(0, 1));
    let group = replica.machine.group("g").unwrap();
    assert_eq!((group.emptied_ms, group.membership.generation()), (77, 2));
}

#[test]
fn a_static_member_is_replaced_with_its_part_and_its_lead() {
    let mut replica = Replica::default();
    replica.apply(vec![create(0), begin(0, 1, &["a", "b"]), assign(0, 1)]);
    let member = Member { assignment: Blob(Bytes::from_static(b"all")), ..member() };
    let replace = |former: &str| Command::Replace {
        group: "g".to_owned(),
        incarnation: 0,
        generation: 1,
        former: former.to_owned(),
        member_id: "a2".to_owned(),
        member: member.clone(),
    };
    replica.void(replace("z"));
    replica.done(replace("a"));
    let classic = replica.classic();
    assert_eq!(classic.leader.as_deref(), Some("a2"));
    assert_eq!(classic.members.keys().collect::<Vec<_>>(), ["a2", "b"]);
}

#[test]
fn offsets_are_of_the_generation_they_were_committed_in() {
    let mut replica = Replica::default();
    replica.void(commit(0, -1, &[(0, 5)]));
    replica.apply(vec![create(0), begin(0, 1, &["a"])]);
    replica.log_ms = 9;
    replica.done(commit(0, 1, &[(0, 5), (1, 6)]));
    replica.done(commit(0, 1, &[(1, 4)]));
    let value = replica.value(key(0, 1)).unwrap();
    assert_eq!((value.offset, value.leader_epoch, value.committed_ms), (4, 3, 9), "it may go back");
    assert_eq!(replica.machine.group("g").unwrap().offsets, 2);
    replica.done(begin(0, 2, &["a"]));
    replica.void(commit(0, 1, &[(0, 9)]));
    replica.done(commit(0, -1, &[(0, 9)]));
}

#[test]
fn a_group_that_is_deleted_and_made_anew_has_no_offsets() {
    let mut replica = Replica::default();
    replica.apply(vec![create(0), commit(0, -1, &[(0, 5)]), begin(0, 1, &["a"])]);
    let delete = |incarnation| Command::Delete { group: "g".to_owned(), incarnation };
    replica.void(delete(0));
    replica.apply(vec![begin(0, 2, &[])]);
    replica.void(delete(1));
    replica.done(delete(0));
    replica.void(create(0));
    replica.done(create(3));
    assert_eq!(replica.machine.group("g").unwrap().offsets, 0);
    replica.void(commit(0, -1, &[(0, 5)]));
    assert_eq!(replica.machine.named(0), None);
    // What is left of the former is swept by name.
    replica.done(sweep(&[key(0, 0), key(0, 0), key(0, 8)], &[], 0));
    assert_eq!(replica.value(key(0, 0)), None);
    assert_eq!(replica.machine.next_incarnation(), 4);
}

#[test]
fn offsets_expire_by_log_time_and_as_their_group_says() {
    let mut replica = Replica { log_ms: DAY_MS, ..Replica::default() };
    replica.apply(vec![create(0), commit(0, -1, &[(0, 1), (1, 1)])]);
    let expire = |generation, before_ms| {
        sweep(&[], &[(key(0, 0), generation), (key(0, 1), generation)], before_ms)
    };
    let count = |replica: &Replica| replica.machine.group("g").unwrap().offsets;
    replica.done(expire(0, DAY_MS));
    assert_eq!(count(&replica), 2, "not before that time");
    replica.log_ms = 2 * DAY_MS;
    replica.done(commit(0, -1, &[(1, 2)]));
    replica.done(expire(0, DAY_MS + 1));
    assert_eq!((count(&replica), replica.value(key(0, 0))), (1, None), "each by its own commit");
    // Of a group that had members it counts from when the last one left.
    replica.apply(vec![begin(0, 1, &["a"])]);
    replica.log_ms = 5 * DAY_MS;
    replica.apply(vec![begin(0, 2, &[])]);
    replica.done(expire(2, 4 * DAY_MS));
    assert_eq!(count(&replica), 1);
    replica.done(expire(1, 6 * DAY_MS));
    assert_eq!(count(&replica), 1, "looked at in another generation");
    replica.done(expire(2, 5 * DAY_MS + 1));
    assert_eq!(count(&replica), 0);
}

#[test]
fn offsets_are_deleted_by_name() {
    let mut replica = Replica::default();
    replica.apply(vec![create(0), commit(0, -1, &[(0, 1), (1, 1)])]);
    let offsets = vec![key(0, 0), key(0, 7)];
    let delete = |incarnation| Command::DeleteOffsets {
        group: "g".to_owned(),
        incarnation,
        offsets: offsets.clone(),
    };
    replica.void(delete(1));
    replica.done(delete(0));
    assert_eq!(replica.machine.group("g").unwrap().offsets, 1);
}

#[test]
fn log_time_never_goes_back() {
    let mut replica = Replica { log_ms: 50, ..Replica::default() };
    replica.apply(Vec::new());
    replica.log_ms = 20;
    replica.apply(Vec::new());
    assert_eq!(replica.machine.log_ms(), 50);
}

#[test]
fn the_bytes_of_commands_and_states_are_frozen() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut replica = Replica { log_ms: 3, ..Replica::default() };
    let commands = vec![create(1), begin(1, 1, &["a"]), assign(1, 1), commit(1, 1, &[(2, 9)])];
    assert_eq!(hex(&encode(&Commands { log_ms: 3, commands: commands.clone() })), COMMANDS);
    replica.apply(commands);
    assert_eq!(hex(&replica.machine.encode()), STATE);
    let value = encode(&replica.value(key(1, 2)).unwrap());
    assert_eq!(hex(&value), "03120606016d0003");
}

#[test]
fn the_bytes_of_the_consumer_protocol_are_frozen() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut replica = Replica::default();
    let commands =
        vec![create(0), convert(0, 0, Membership::Consumer(consumer(0))), change(0, 0, 1)];
    assert_eq!(hex(&encode(&Commands { log_ms: 0, commands: commands.clone() })), CONSUMER);
    replica.apply(commands);
    assert_eq!(hex(&replica.machine.encode()), CONSUMER_STATE);
}

#[test]
fn a_group_of_the_consumer_protocol_changes_by_version_and_goes_back_when_it_is_empty() {
    let mut replica = Replica { log_ms: 9, ..Replica::default() };
    replica.done(create(0));
    replica.void(change(0, 0, 1));
    replica.void(convert(0, 7, Membership::Consumer(consumer(7))));
    replica.void(convert(0, 0, Membership::Classic(classic(0, &[]))));
    replica.done(convert(0, 0, Membership::Consumer(consumer(0))));
    replica.void(begin(0, 1, &["a"]));
    replica.void(change(0, 1, 1));
    replica.done(change(0, 0, 1));
    replica.void(Command::Delete { group: "g".to_owned(), incarnation: 0 });
    replica.void(commit(0, 3, &[(0, 5)]));
    replica.done(commit(0, 4, &[(0, 5)]));
    let gone = Change { version: 1, removed: vec!["0".to_owned()], ..Change::default() };
    replica.done(Command::Change { group: "g".to_owned(), incarnation: 0, change: gone });
    assert_eq!(replica.machine.group("g").unwrap().emptied_ms, 9);
    replica.done(convert(0, 4, Membership::Classic(classic(4, &[]))));
    replica.void(begin(0, 4, &["a"]));
    replica.done(begin(0, 5, &["a"]));
}

const CONSUMER: &str = "030003010167000a016700000100000000000000000b0167000001080800000000010130000000000001017400000800011000000000000000000000000000000005020006000001100000000000000000000000000000000502000600010131";
const CONSUMER_STATE: &str = "03000001010167000101080800000000010130000000000001017400000800011000000000000000000000000000000005020006000001100000000000000000000000000000000502000600000000000001";
const COMMANDS: &str = "03060401016701020167010208636f6e73756d6572010572616e676501016101016100016301680204010572616e6765016d000000030167010201016103616c6c060167010201011000000000000000000000000000000005041206016d";
const STATE: &str = "0300060201016701000208636f6e73756d6572010572616e676501016101016100016301680204010572616e6765016d03616c6c0100010600000001";

/// What a log may contain.
fn any_commands(rng: &mut StdRng) -> Vec<Command> {
    let any = |rng: &mut StdRng| {
        let incarnation = rng.random_range(0..4);
        let generation = rng.random_range(0..5);
        match rng.random_range(0..18) {
            0 => create(incarnation),
            1 => begin(incarnation, generation, &["a", "b"]),
            2 => begin(incarnation, generation, &[]),
            3 => assign(incarnation, generation),
            4 => Command::Remove {
                group: "g".to_owned(),
                incarnation,
                generation,
                members: vec!["a".to_owned()],
            },
            5 => Command::Delete { group: "g".to_owned(), incarnation },
            6 => {
                let offsets = vec![key(incarnation, rng.random_range(0..3))];
                Command::DeleteOffsets { group: "g".to_owned(), incarnation, offsets }
            }
            7 => convert(incarnation, generation, Membership::Consumer(consumer(generation))),
            8 => convert(incarnation, generation, Membership::Classic(classic(generation, &[]))),
            9..11 => change(incarnation, rng.random_range(0..4), rng.random_range(0..3)),
            11 => sweep(
                &[key(incarnation, 1)],
                &[(key(incarnation, 2), generation)],
                rng.random_range(0..1000),
            ),
            12..15 => {
                let number = rng.random_range(0..9);
                let offsets = &[(rng.random_range(0..3), 1), (rng.random_range(0..3), 2)];
                keep(incarnation, rng.random_range(0..3), number, generation - 1, offsets)
            }
            15..17 => {
                let named = (0..4).flat_map(|of| (0..3).map(move |it| key(of, it)));
                let named = named.filter(|_| rng.random_range(0..9) > 0).collect();
                let number = rng.random_range(0..9);
                end(rng.random_range(0..3), number, rng.random(), named)
            }
            _ => commit(incarnation, generation - 1, &[(rng.random_range(0..3), 1)]),
        }
    };
    (0..rng.random_range(0..5)).map(|_| any(rng)).collect()
}

#[test]
fn the_machine_keeps_its_contract_whatever_is_in_the_log() {
    for seed in 0..40 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let log: Vec<LogEntry> = (0..150)
            .map(|_| {
                let commands =
                    Commands { log_ms: rng.random_range(0..1000), commands: any_commands(rng) };
                let payload = (rng.random_range(0..20) > 0).then(|| encode(&commands).into());
                LogEntry { term: 1, payload }
            })
            .collect();
        conformance::check(CoordinatorMachine::default, &log);
    }
}

/// The counts of the groups are those of their offsets, whatever happened.
#[test]
fn groups_know_how_many_offsets_they_have() {
    for seed in 0..100 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut replica = Replica::default();
        for _ in 0..100 {
            replica.log_ms += rng.random_range(0..20);
            let commands = any_commands(rng);
            replica.apply(commands);
            // Named, so that it can be counted.
            let all = (0..4).flat_map(|incarnation| (0..3).map(move |it| key(incarnation, it)));
            replica.apply(vec![sweep(&[], &all.map(|key| (key, -9)).collect::<Vec<_>>(), 0)]);
            for (_, group) in replica.machine.groups().clone() {
                let keys = (0..3).map(|partition| key(group.incarnation, partition));
                let found = keys.filter(|key| replica.value(*key).is_some()).count();
                assert_eq!(group.offsets, found as u64, "seed {seed}");
            }
        }
    }
}
