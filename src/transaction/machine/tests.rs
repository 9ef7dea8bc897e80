use quorate_raft::conformance::{self, LogEntry};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::*;
use crate::transaction::record::{Part, Producer};
use crate::transaction::{Enlist, TransactionResult};

/// A machine and its log.
#[derive(Default)]
struct Replica {
    machine: TransactionMachine,
    effects: Effects,
    index: u64,
    log_ms: i64,
}

impl Replica {
    fn apply(&mut self, commands: Vec<Command>) -> Vec<Judged> {
        let payload = payload(self.log_ms, commands);
        let entry = Committed { index: self.index, term: 1, payload: Some(&payload) };
        self.index += 1;
        conformance::name_keys::<TransactionMachine>(entry, &mut self.effects);
        self.machine.apply(entry, &mut self.effects)
    }

    fn judge(&mut self, command: Command) -> Judged {
        self.apply(vec![command]).pop().unwrap()
    }
}

fn payload(log_ms: i64, commands: Vec<Command>) -> Bytes {
    Bytes::from(encode(&Commands { log_ms, wall_ms: 5, commands }))
}

fn init(id: &str, fresh_id: i64) -> Command {
    Command::Init { id: id.to_owned(), timeout_ms: 1_000, asked_as: None, fresh_id }
}

fn add(id: &str, producer: Producer, number: i32) -> Command {
    let parts = vec![Part::Partition(Uuid::from_u128(3), number)];
    Command::Enlist { id: id.to_owned(), producer, parts, how: Enlist::Add }
}

fn end(id: &str, producer: Producer, result: TransactionResult, bumps: bool) -> Command {
    Command::End { id: id.to_owned(), producer, result, bumps, fresh_id: None }
}

fn complete(id: &str, number: u64) -> Command {
    Command::Complete { id: id.to_owned(), number }
}

#[test]
fn memory_says_which_transactions_are_open_and_which_have_markers_to_be_written() {
    let mut replica = Replica { log_ms: 50, ..Replica::default() };
    replica.judge(init("a", 7)).unwrap();
    let number = replica.index;
    assert_eq!(replica.judge(add("a", (7, 0), 0)), Ok(Answer::Number(number)));
    let open = Ongoing { number, due_ms: 1_050 };
    assert_eq!(*replica.machine.ongoing(), BTreeMap::from([("a".to_owned(), open)]));
    replica.judge(end("a", (7, 0), TransactionResult::Commit, true)).unwrap();
    let prepared = Prepared { number, parts: 1 };
    assert!(replica.machine.ongoing().is_empty());
    assert_eq!(*replica.machine.prepared(), BTreeMap::from([("a".to_owned(), prepared)]));
    replica.judge(complete("a", number)).unwrap();
    assert!(replica.machine.ongoing().is_empty() && replica.machine.prepared().is_empty());
    assert_eq!(replica.machine.ids(), 1);
}

#[test]
fn commands_of_one_entry_see_what_those_before_them_did() {
    let mut replica = Replica::default();
    let answers = replica.apply(vec![
        init("a", 7),
        add("a", (7, 0), 0),
        add("a", (7, 0), 1),
        end("a", (7, 0), TransactionResult::Abort, false),
        complete("a", 0),
        add("a", (7, 0), 2),
    ]);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(replica.machine.ongoing().len(), 1);
}

#[test]
fn of_an_id_that_is_not_known_nothing_is_done() {
    let mut replica = Replica::default();
    let result = TransactionResult::Commit;
    let asked = [
        (add("a", (7, 0), 0), TransactionError::InvalidProducerId),
        (end("a", (7, 0), result, true), TransactionError::InvalidProducerId),
        (complete("a", 3), TransactionError::NotFound),
        (
            Command::Abort { id: "a".to_owned(), number: None, if_timed_out: false },
            TransactionError::NotFound,
        ),
    ];
    for (command, error) in asked {
        assert_eq!(replica.judge(command), Err(error));
    }
    assert_eq!(replica.machine.state, State::default());
}

#[test]
fn log_time_does_not_go_back() {
    let mut replica = Replica { log_ms: 900, ..Replica::default() };
    replica.judge(init("a", 7)).unwrap();
    replica.log_ms = 100;
    replica.judge(add("a", (7, 0), 0)).unwrap();
    assert_eq!(replica.machine.ongoing()["a"].due_ms, 1_900);
}

#[test]
fn ids_expire_that_nobody_uses_and_none_with_a_transaction() {
    let mut replica = Replica::default();
    for (id, fresh_id) in [("idle", 1), ("open", 2), ("prepared", 3), ("used", 4)] {
        replica.judge(init(id, fresh_id)).unwrap();
    }
    replica.judge(add("open", (2, 0), 0)).unwrap();
    replica.judge(add("prepared", (3, 0), 0)).unwrap();
    replica.judge(end("prepared", (3, 0), TransactionResult::Commit, false)).unwrap();
    replica.log_ms = 5_000;
    replica.judge(init("used", 5)).unwrap();
    let ids = ["idle", "open", "prepared", "used", "nobody"].map(str::to_owned).to_vec();
    replica.judge(Command::Expire { ids, before_ms: 5_000 }).unwrap();
    assert_eq!(replica.machine.ids(), 3);
    let gone = replica.judge(add("idle", (1, 0), 0));
    assert_eq!(gone, Err(TransactionError::InvalidProducerId));
    assert_eq!(replica.judge(init("idle", 9)), Ok(Answer::Producer(9, 0)));
}

#[test]
fn there_are_no_more_than_so_many_ids() {
    let mut replica = Replica::default();
    replica.machine.state.ids = IDS_MAX - 1;
    replica.judge(init("a", 1)).unwrap();
    assert_eq!(replica.judge(init("b", 2)), Err(TransactionError::Full));
    assert_eq!(replica.judge(init("a", 3)), Ok(Answer::Producer(1, 1)));
}

#[test]
fn there_are_no_more_than_so_many_open_transactions() {
    let mut replica = Replica::default();
    replica.judge(init("a", 1)).unwrap();
    let prepared = Prepared { number: 1, parts: 1 };
    let many = (0..OPEN_MAX).map(|number| (format!("x{number}"), prepared));
    replica.machine.state.prepared = many.collect();
    assert_eq!(replica.judge(add("a", (1, 0), 0)), Err(TransactionError::NotAvailable));
    replica.machine.state.prepared.clear();
    assert!(replica.judge(add("a", (1, 0), 0)).is_ok());
}

#[test]
fn the_level_only_rises() {
    let mut replica = Replica::default();
    assert_eq!(replica.machine.level(), FIRST_LEVEL);
    replica.judge(Command::SetLevel(FIRST_LEVEL)).unwrap();
    replica.judge(Command::SetLevel(0)).unwrap();
    assert_eq!(replica.machine.level(), FIRST_LEVEL);
}

/// A command that may or may not make sense.
fn any(random: &mut StdRng, index: u64) -> Command {
    let id = format!("id-{}", random.random_range(0..4));
    let producer = (random.random_range(0..4), random.random_range(0..4));
    let result = if random.random() { TransactionResult::Commit } else { TransactionResult::Abort };
    match random.random_range(0..10) {
        0 | 1 => Command::Init {
            id,
            timeout_ms: random.random_range(1..50),
            asked_as: random.random::<bool>().then_some(producer),
            fresh_id: random.random_range(0..4),
        },
        2..=4 => {
            let part = if random.random() {
                Part::Partition(Uuid::from_u128(3), random.random_range(0..5))
            } else {
                Part::Offsets(random.random_range(0..3))
            };
            let how = if random.random() { Enlist::Add } else { Enlist::Verify };
            Command::Enlist { id, producer, parts: vec![part], how }
        }
        5 | 6 => {
            let (bumps, fresh_id) = (random.random(), Some(random.random_range(0..4)));
            Command::End { id, producer, result, bumps, fresh_id }
        }
        7 => Command::Abort { id, number: None, if_timed_out: random.random() },
        8 => complete(&id, random.random_range(index.saturating_sub(20)..=index)),
        _ => Command::Expire { ids: vec![id], before_ms: random.random_range(0..2_000) },
    }
}

#[test]
fn it_is_a_machine() {
    let mut random = StdRng::seed_from_u64(11);
    let log: Vec<LogEntry> = (0..300_u64)
        .map(|index| {
            let count = random.random_range(0..4);
            let commands = (0..count).map(|_| any(&mut random, index)).collect();
            let log_ms = i64::try_from(index * 10).unwrap();
            let payload = random.random_bool(0.95).then(|| payload(log_ms, commands));
            LogEntry { term: 1 + index / 100, payload }
        })
        .collect();
    conformance::check(TransactionMachine::default, &log);
}

/// What is in memory is what the records say, and nothing that was decided is taken back.
#[test]
fn whatever_is_asked_in_whatever_order_the_rules_hold() {
    for seed in 0..50 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut replica = Replica::default();
        let mut epochs: BTreeMap<(String, i64), i16> = BTreeMap::new();
        let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
        for fresh in 0..600 {
            replica.log_ms += random.random_range(0..20);
            let mut command = any(&mut random, replica.index);
            // As the cluster gives them: nobody had it.
            match &mut command {
                Command::Init { fresh_id, .. } => *fresh_id = 100 + fresh,
                Command::Expire { .. } => continue,
                _ => {}
            }
            // Half of what is asked comes from whom it should.
            let id = command.ids()[0].clone();
            if random.random()
                && let Some(record) = record(&mut replica, &id)
            {
                match &mut command {
                    Command::Enlist { producer, .. } | Command::End { producer, .. } => {
                        *producer = record.producer();
                    }
                    Command::Init { asked_as, .. } => *asked_as = Some(record.producer()),
                    Command::Complete { number, .. } => *number = record.number,
                    _ => {}
                }
            }
            let _ = replica.judge(command.clone());
            let Some(now) = record(&mut replica, &id) else { continue };
            let is_open = matches!(now.state, RecordState::Ongoing);
            let is_prepared = matches!(now.state, RecordState::Prepared(_));
            assert_eq!(replica.machine.ongoing().contains_key(&id), is_open, "{seed} {command:?}");
            assert_eq!(
                replica.machine.prepared().contains_key(&id),
                is_prepared,
                "{seed} {command:?}"
            );
            assert_eq!(now.parts.len() > 0, is_open || is_prepared, "{seed} {command:?}");
            let epoch = epochs.entry((id.clone(), now.producer_id)).or_insert(now.epoch);
            assert!(now.epoch >= *epoch, "{seed}: the epoch went back by {command:?}");
            *epoch = now.epoch;
            let number = numbers.entry(id).or_insert(now.number);
            assert!(now.number >= *number, "{seed}: the number went back by {command:?}");
            *number = now.number;
        }
        assert!(numbers.values().any(|number| *number > 0), "{seed}: nothing ever began");
    }
}

/// What is known of an id, which the last entry need not have named.
fn record(replica: &mut Replica, id: &str) -> Option<Record> {
    let ids = vec![id.to_owned()];
    replica.judge(Command::Expire { ids, before_ms: i64::MIN }).unwrap();
    replica.effects.keyed.get(&key(id)).map(|value| read(&value))
}

#[test]
fn bytes_stay_readable_by_later_releases() {
    let commands = Commands { log_ms: 1, wall_ms: 2, commands: vec![add("a", (7, 1), 2)] };
    let bytes = encode(&commands);
    let expected = [
        3, 2, 4, 1, 2, 1, b'a', 14, 2, 1, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4,
        0,
    ];
    assert_eq!(bytes, expected);
    let record =
        Record::new(7, 60_000, None, Now { index: 1, log_ms: 3, wall_ms: 4, has_room: true });
    let bytes = encode(&record);
    assert_eq!(bytes, [3, 14, 0, 0, 192, 169, 7, 0, 0, 0, 0, 0, 0, 1, 6]);
}
