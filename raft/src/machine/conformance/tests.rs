//! The suite finds each way of breaking the contract.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::error::DecodeError;

/// Ways to break the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    ForgetsInCheckpoint,
    CallsAClock,
    GoesBack,
    ReadsHalf,
    ReadsTooMuch,
    Panics,
    OtherEffects,
}

static CLOCK: AtomicU64 = AtomicU64::new(0);

/// Sums up the lengths of payloads.
struct Sum<const FLAW: u8> {
    sum: u64,
    since_restore: u64,
    restored: bool,
}

const FLAWS: [Flaw; 8] = [
    Flaw::None,
    Flaw::ForgetsInCheckpoint,
    Flaw::CallsAClock,
    Flaw::GoesBack,
    Flaw::ReadsHalf,
    Flaw::ReadsTooMuch,
    Flaw::Panics,
    Flaw::OtherEffects,
];

impl<const FLAW: u8> Sum<FLAW> {
    fn flaw() -> Flaw {
        FLAWS[usize::from(FLAW)]
    }
}

impl<const FLAW: u8> Machine for Sum<FLAW> {
    type Reply = u64;

    fn apply(&mut self, entry: Committed<'_>, effects: &mut Effects) -> u64 {
        self.sum += entry.payload.map_or(0, |payload| payload.len() as u64);
        self.since_restore += 1;
        match Self::flaw() {
            Flaw::CallsAClock => self.sum += CLOCK.fetch_add(1, Ordering::Relaxed),
            Flaw::OtherEffects if self.restored => {
                let (key, value) = (vec![b'x'], Bytes::new());
                effects.puts.push(quorate_storage::StatePut { key, value });
            }
            _ => {}
        }
        if Self::flaw() == Flaw::ForgetsInCheckpoint { self.since_restore } else { self.sum }
    }

    fn encode(&self) -> Vec<u8> {
        [&self.sum.to_be_bytes()[..], b"end"].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        assert!(Self::flaw() != Flaw::Panics || bytes.len() > 8, "as a test wanted it");
        let end = match Self::flaw() {
            Flaw::ReadsHalf => &bytes[bytes.len().min(8)..],
            Flaw::ReadsTooMuch => bytes.get(8..11).unwrap_or_default(),
            _ if bytes.get(8..) != Some(b"end") => return Err(DecodeError("no sum".into())),
            _ => &b"end"[..],
        };
        let sum = bytes.get(..8).filter(|_| Self::flaw() == Flaw::ReadsHalf || end == b"end");
        let sum = sum.ok_or_else(|| DecodeError("no sum".into()))?;
        let sum = u64::from_be_bytes(sum.try_into().map_err(|_| DecodeError("no sum".into()))?);
        Ok(Self { sum, since_restore: 0, restored: true })
    }

    fn needed_from(&self) -> u64 {
        if Self::flaw() == Flaw::GoesBack { u64::from(self.sum % 7 > 2) } else { 0 }
    }
}

fn log() -> Vec<LogEntry> {
    (0..100u64)
        .map(|n| LogEntry {
            term: n / 10,
            payload: (n % 5 != 0).then(|| Bytes::from(vec![0; n as usize])),
        })
        .collect()
}

fn objection<const FLAW: u8>() -> Option<String> {
    let new = || Sum::<FLAW> { sum: 0, since_restore: 0, restored: false };
    let found = std::panic::catch_unwind(|| check(new, &log())).err()?;
    found.downcast_ref::<String>().cloned().or_else(|| Some("a panic".to_owned()))
}

#[test]
fn a_machine_that_keeps_the_contract_passes_and_each_flaw_is_named() {
    assert_eq!(objection::<0>(), None);
    let found = [
        (objection::<1>(), "restored"),
        (objection::<2>(), "made anew differs"),
        (objection::<3>(), "needed_from goes back"),
        (objection::<4>(), "bytes of the state"),
        (objection::<5>(), "a byte behind the state"),
        (objection::<6>(), "a panic"),
        (objection::<7>(), "restored"),
    ];
    for (flaw, (objection, expected)) in FLAWS[1..].iter().zip(found) {
        let objection = objection.unwrap_or_default();
        assert!(objection.contains(expected), "{flaw:?}: {objection}");
    }
}

#[test]
fn places_are_spread_over_the_whole() {
    let all = |end, most| spread(end, most).collect::<Vec<_>>();
    assert_eq!(all(5, 9), [0, 1, 2, 3, 4]);
    assert_eq!(all(101, 3), [0, 50, 100]);
    assert_eq!((all(0, 3), all(1, 3)), (vec![], vec![0]));
}
