//! The machines of these tests are as any other.

use quorate_raft::conformance::{self, LogEntry};

use super::ledger::{Ledger, note, trim};
use super::tally::{Tally, count, forget};

#[test]
fn the_ledger_keeps_the_contract_of_a_machine() {
    let entry = |n: u64| match n {
        n if n.is_multiple_of(7) => None,
        n if n.is_multiple_of(20) => Some(trim(n - 10)),
        n => Some(note(&"x".repeat(n as usize))),
    };
    let log: Vec<_> = (0..150).map(|n| LogEntry { term: 1 + n / 40, payload: entry(n) }).collect();
    conformance::check(Ledger::default, &log);
}

#[test]
fn the_tally_keeps_the_contract_of_a_machine() {
    let entry = |n: u64| match n % 9 {
        0 => None,
        1 => Some(forget(&[n % 5, n % 7, n % 5])),
        2 => Some(forget(&[])),
        _ => Some(count(n * n % 13, (n % 4) as u32)),
    };
    let log: Vec<_> = (0..150).map(|n| LogEntry { term: n / 40, payload: entry(n) }).collect();
    conformance::check(Tally::default, &log);
}
