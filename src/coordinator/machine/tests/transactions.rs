use super::*;
use crate::coordinator::pending::{ENDED_MAX, ENDED_MS};

/// A machine with the group.
fn replica() -> Replica {
    let mut replica = Replica { log_ms: 1, ..Replica::default() };
    replica.done(create(0));
    replica
}

impl Replica {
    fn offset(&mut self, partition: i32) -> Option<i64> {
        // A sweep of nothing that is so old names the key.
        self.done(sweep(&[], &[(key(0, partition), -9)], i64::MIN));
        self.value(key(0, partition)).map(|it| it.offset)
    }

    fn pending(&self) -> Vec<i32> {
        self.machine.pending().of_group(0).into_iter().map(|(_, partition)| partition).collect()
    }

    fn offsets(&self) -> u64 {
        self.machine.group("g").unwrap().offsets
    }
}

#[test]
fn offsets_become_visible_all_at_once_when_their_transaction_commits() {
    let mut replica = replica();
    replica.done(keep(0, 1, 5, -1, &[(0, 10), (1, 11)]));
    replica.done(keep(0, 1, 5, -1, &[(0, 12)]));
    assert_eq!((replica.offset(0), replica.offset(1), replica.offsets()), (None, None, 0));
    assert_eq!(replica.pending(), [0, 1]);
    replica.log_ms = 7;
    let index = replica.index;
    replica.done(end(1, 5, true, vec![key(0, 0), key(0, 1)]));
    let value = replica.value(key(0, 1)).unwrap();
    assert_eq!((value.offset, value.committed_ms, value.metadata.as_str()), (11, 7, "m"));
    assert_eq!((replica.offset(0), replica.offsets()), (Some(12), 2), "the last it said");
    assert_eq!((replica.pending(), replica.machine.pending().bytes()), (vec![], 0));
    assert_eq!(replica.machine.group("g").unwrap().transacted, index);
}

#[test]
fn offsets_of_a_transaction_that_aborts_are_gone() {
    let mut replica = replica();
    replica.done(commit(0, -1, &[(0, 3)]));
    replica.done(keep(0, 1, 5, -1, &[(0, 10), (1, 11)]));
    replica.done(end(1, 5, false, vec![]));
    assert_eq!((replica.offset(0), replica.offset(1), replica.offsets()), (Some(3), None, 1));
    assert_eq!(replica.pending(), Vec::<i32>::new());
    assert_eq!(replica.machine.group("g").unwrap().transacted, 0);
}

#[test]
fn of_two_commits_of_an_offset_the_later_one_counts() {
    let mut replica = replica();
    // Which is before the other, also within one entry.
    replica.apply(vec![keep(0, 1, 5, -1, &[(0, 10)]), commit(0, -1, &[(0, 3)])]);
    replica.done(end(1, 5, true, vec![key(0, 0)]));
    assert_eq!(replica.offset(0), Some(3), "a plain commit that came later");
    replica.apply(vec![commit(0, -1, &[(0, 4)]), keep(0, 1, 6, -1, &[(0, 11)])]);
    replica.done(end(1, 6, true, vec![key(0, 0)]));
    assert_eq!(replica.offset(0), Some(11), "a pending one that came later");
    // Of two transactions too, whichever ends first.
    replica.done(keep(0, 1, 7, -1, &[(0, 20)]));
    replica.done(keep(0, 2, 7, -1, &[(0, 21)]));
    replica.done(end(2, 7, true, vec![key(0, 0)]));
    replica.done(end(1, 7, true, vec![key(0, 0)]));
    assert_eq!((replica.offset(0), replica.offsets()), (Some(21), 1));
    // What it replaces before it ends is as late as what replaces it.
    replica.done(keep(0, 1, 8, -1, &[(0, 30)]));
    replica.done(commit(0, -1, &[(0, 31)]));
    replica.done(keep(0, 1, 8, -1, &[(0, 32)]));
    replica.done(end(1, 8, true, vec![key(0, 0)]));
    assert_eq!(replica.offset(0), Some(32));
}

#[test]
fn an_end_that_does_not_name_all_that_is_pending_is_void() {
    let mut replica = replica();
    replica.done(keep(0, 1, 5, -1, &[(0, 10), (1, 11)]));
    replica.void(end(1, 5, true, vec![key(0, 1)]));
    assert_eq!(replica.pending(), [0, 1]);
    replica.done(end(1, 5, true, vec![key(0, 0), key(0, 1), key(0, 2), key(9, 0)]));
    assert_eq!((replica.offset(0), replica.offset(2)), (Some(10), None));
    replica.done(keep(0, 1, 6, -1, &[(0, 20)]));
    replica.done(end(1, 6, false, vec![]));
    assert_eq!(replica.pending(), Vec::<i32>::new(), "what goes need not be named");
}

#[test]
fn what_comes_after_the_end_or_was_decided_on_something_else_is_void() {
    let mut replica = replica();
    replica.done(end(1, 5, true, vec![]));
    replica.void(keep(0, 1, 5, -1, &[(0, 10)]));
    replica.void(keep(0, 1, 4, -1, &[(0, 10)]));
    replica.done(keep(0, 1, 6, -1, &[(0, 10)]));
    replica.void(keep(0, 1, 7, -1, &[(0, 10)]));
    let Command::Keep { group, incarnation, generation, transaction, offsets } =
        keep(0, 1, 6, -1, &[(0, 10)])
    else {
        panic!("no keep")
    };
    let transaction = OffsetsTransaction { epoch: 1, ..transaction };
    replica.void(Command::Keep { group, incarnation, generation, transaction, offsets });
    replica.void(keep(1, 1, 6, -1, &[(0, 10)]));
    replica.void(keep(0, 1, 6, 3, &[(0, 10)]));
    // Once more is no error, and changes nothing.
    replica.done(end(1, 6, true, vec![key(0, 0)]));
    replica.done(end(1, 6, false, vec![]));
    assert_eq!(replica.offset(0), Some(10));
}

#[test]
fn ended_numbers_are_forgotten_by_log_time_and_beyond_so_many() {
    let mut replica = replica();
    replica.done(end(1, 5, true, vec![]));
    replica.log_ms += ENDED_MS;
    replica.apply(Vec::new());
    replica.void(keep(0, 1, 5, -1, &[(0, 10)]));
    replica.log_ms += 1;
    replica.done(keep(0, 1, 5, -1, &[(0, 10)]));
    let others = 10..10 + i64::try_from(ENDED_MAX).unwrap();
    replica.done(end(2, 5, true, vec![]));
    replica.void(keep(0, 2, 5, -1, &[(0, 10)]));
    replica.apply(others.map(|it| end(it, 5, true, vec![])).collect());
    replica.done(keep(0, 2, 5, -1, &[(0, 10)]));
}

#[test]
fn a_group_that_is_deleted_takes_its_pending_offsets_along() {
    let mut replica = replica();
    replica.done(keep(0, 1, 5, -1, &[(0, 10)]));
    replica.done(Command::Delete { group: "g".to_owned(), incarnation: 0 });
    assert_eq!(replica.machine.pending().bytes(), 0);
    replica.done(create(1));
    replica.done(end(1, 5, true, vec![key(0, 0), key(1, 0)]));
    let offsets = replica.machine.group("g").unwrap().offsets;
    assert_eq!((offsets, replica.value(key(0, 0)), replica.value(key(1, 0))), (0, None, None));
}

#[test]
fn an_offset_that_is_deleted_takes_what_is_pending_of_it_along() {
    let mut replica = replica();
    replica.done(keep(0, 1, 5, -1, &[(0, 10), (1, 11), (2, 12)]));
    let offsets = vec![key(0, 0)];
    replica.done(Command::DeleteOffsets { group: "g".to_owned(), incarnation: 0, offsets });
    assert_eq!(replica.pending(), [1, 2]);
    // As does one whose topic is no more.
    replica.done(sweep(&[key(0, 1)], &[], 0));
    replica.done(end(1, 5, true, vec![key(0, 2)]));
    assert_eq!((replica.offset(0), replica.offset(1), replica.offset(2)), (None, None, Some(12)));
    assert_eq!(replica.offsets(), 1);
}

#[test]
fn nothing_of_a_group_expires_while_it_has_pending_offsets() {
    let mut replica = replica();
    replica.done(commit(0, -1, &[(0, 3)]));
    replica.done(keep(0, 1, 5, -1, &[(1, 11)]));
    replica.log_ms = DAY_MS;
    let expire = || sweep(&[], &[(key(0, 0), 0), (key(0, 1), 0)], DAY_MS);
    replica.done(expire());
    assert_eq!(replica.offsets(), 1);
    replica.done(end(1, 5, true, vec![key(0, 1)]));
    replica.done(expire());
    assert_eq!((replica.offset(0), replica.offset(1)), (None, Some(11)), "it counts from its end");
}

#[test]
fn a_machine_that_is_restored_knows_what_is_pending_and_what_has_ended() {
    let mut replica = replica();
    replica.done(end(2, 4, true, vec![]));
    replica.done(keep(0, 1, 5, -1, &[(0, 10), (1, 11)]));
    let restored = CoordinatorMachine::decode(&replica.machine.encode()).unwrap();
    assert_eq!(restored, replica.machine);
    replica.machine = restored;
    replica.void(keep(0, 2, 4, -1, &[(0, 10)]));
    replica.void(end(1, 5, true, vec![key(0, 1)]));
    replica.done(end(1, 5, true, vec![key(0, 0), key(0, 1)]));
    assert_eq!((replica.offset(0), replica.machine.pending().bytes()), (Some(10), 0));
}

#[test]
fn the_bytes_of_transactions_are_frozen() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut replica = Replica { log_ms: 3, ..Replica::default() };
    let ended = end(9, 7, true, vec![key(0, 2)]);
    let commands = vec![create(0), keep(0, 8, 6, -1, &[(2, 9)]), ended];
    assert_eq!(hex(&encode(&Commands { log_ms: 3, commands: commands.clone() })), COMMANDS);
    replica.apply(commands);
    assert_eq!(hex(&replica.machine.encode()), STATE);
}

const COMMANDS: &str = "030603010167000c0167000110040601001000000000000000000000000000000005041206016d0d1207010100100000000000000000000000000000000504";
const STATE: &str = "0300060101016700000000000000000000060001100604010010000000000000000000000000000000050412060001016d010012070601";
