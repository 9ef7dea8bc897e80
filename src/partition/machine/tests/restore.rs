//! A machine that is restored at any point of any log, against one that never stopped.

use quorate_raft::conformance::{self, LogEntry};

use super::*;
use crate::record::EndMarker;

/// What a log may contain, chosen by `rng`.
fn any_command(rng: &mut StdRng, places: &[(i64, Position)]) -> Option<Bytes> {
    let times = Times {
        wall_ms: rng.random_range(0..4) * SPAN_MS / 2,
        log_ms: rng.random_range(0..4) * 40_000_000,
    };
    match rng.random_range(0..100) {
        0..5 => None,
        5 => Some(level_payload(times, rng.random_range(1..3)).into()),
        9 => {
            let keys: Vec<_> =
                (0..5).filter(|_| rng.random()).map(crate::partition::producers::key).collect();
            Some(forget_payload(times, &keys).into())
        }
        13..15 => Some(streams_payload(times, rng.random_range(0..3) > 0).into()),
        15..40 => {
            let batches = (0..rng.random_range(1..4)).map(|_| streams::any_appended(rng));
            Some(streams::entry(times, &batches.collect::<Vec<_>>()))
        }
        40..45 => Some(streams::any_old(rng, times)),
        45..60 => {
            let near = places.len() as u64 / 4;
            let batches = (0..rng.random_range(1..4)).map(|_| any_of_transaction(rng, near));
            Some(transactions::numbered(times.log_ms, &batches.collect::<Vec<_>>()))
        }
        10..13 if !places.is_empty() => {
            let (tombstones_upto, upto) = places[rng.random_range(0..places.len())];
            let clean = Clean { upto, tombstones_upto, rest_ms: rng.random_range(0..1000) };
            Some(clean_payload(times, &clean).into())
        }
        6..9 if !places.is_empty() => {
            let (log_start, start) = places[rng.random_range(0..places.len())];
            Some(trim_payload(times, &Trim { log_start, start }).into())
        }
        _ => {
            let batches: Vec<_> = (0..rng.random_range(1..6)).map(|_| any_batch(rng)).collect();
            Some(entry_of(times, &batches))
        }
    }
}

fn any_batch(rng: &mut StdRng) -> BatchBuilder {
    let count = rng.random_range(1..4);
    let batch = records(count, rng.random_range(-1..1000));
    if rng.random_range(0..5) == 0 {
        return batch;
    }
    // Few producers and sequences, so that all verdicts come up.
    let first = if rng.random() { i32::MAX - 3 } else { 0 };
    let sequence = first + rng.random_range(0..4);
    batch.producer(rng.random_range(0..4), rng.random_range(0..3), sequence)
}

/// A batch or a marker, with a number somewhat above `near`.
fn any_of_transaction(rng: &mut StdRng, near: u64) -> (Bytes, Option<u64>) {
    let number = (rng.random_range(0..20) > 0).then(|| near + rng.random_range(0..3));
    let (id, epoch) = (rng.random_range(0..4), rng.random_range(0..3));
    if rng.random_range(0..3) == 0 {
        let marker = EndMarker { commit: rng.random(), coordinator_epoch: rng.random() };
        return (marker.batch(id, epoch, rng.random_range(0..1000)), number);
    }
    (
        any_batch(rng).attributes(0b1_0000).producer(id, epoch, rng.random_range(0..4)).build(),
        number,
    )
}

/// Feeds the same log to a machine that runs straight through and to one that is restored at every
/// cut; after each entry they must not differ in state, answers or effects. Returns whether the log was trimmed inside
/// an entry.
fn restored_equals_straight(seed: u64) -> bool {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut straight, mut restored) = (Replica::default(), Replica::default());
    let (mut places, mut trimmed_inside) = (Vec::new(), false);
    for step in 0..400 {
        if rng.random_range(0..10) == 0 {
            restored.machine = PartitionMachine::decode(&restored.machine.encode()).unwrap();
        }
        let new_term = u64::from(rng.random_range(0..50) == 0);
        straight.term += new_term;
        restored.term += new_term;
        let (mut end, index) = (straight.machine.end, straight.index);
        let payload = any_command(&mut rng, &places);
        let reply = straight.apply(payload.as_ref());
        assert_eq!(restored.apply(payload.as_ref()), reply, "seed {seed} step {step}");
        assert_eq!(restored.machine.encode(), straight.machine.encode(), "seed {seed} step {step}");
        assert_eq!(straight.machine.end.place, Place::of_entry(index + 1));
        trimmed_inside |= straight.machine.start.place.sub > 0;
        let Reply::Appended(replies) = reply else { continue };
        for ((sub, reply), batch) in (0..).zip(replies).zip(batches_of(payload.as_ref())) {
            if let BatchReply::Appended { base_offset, duplicate: false, .. } = reply {
                assert_eq!(base_offset, end.offset, "offsets are dense");
                let inside = rng.random_range(end.offset..end.offset + batch.offsets());
                places.push((inside, Position { place: at(index, sub), ..end }));
                end.offset += batch.offsets();
                end.bytes += batch.size;
            }
        }
        assert_eq!(
            (end.offset, end.bytes),
            (straight.machine.end.offset, straight.machine.end.bytes)
        );
    }
    assert_eq!(restored.effects.puts, straight.effects.puts, "seed {seed}");
    assert_eq!(restored.effects.deletes, straight.effects.deletes, "seed {seed}");
    trimmed_inside
}

fn batches_of(payload: Option<&Bytes>) -> Vec<Batch> {
    match Command::decode(payload.unwrap()).unwrap() {
        Command::Append { batches, .. } => batches.into_iter().map(|(batch, _)| batch).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn a_machine_restored_anywhere_equals_one_that_never_stopped() {
    let inside = (0..200).filter(|seed| restored_equals_straight(*seed)).count();
    assert!(inside > 50, "{inside} logs were trimmed inside an entry");
}

/// A log with everything in it that may be.
fn any_log(seed: u64) -> Vec<LogEntry> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut replica = Replica::default();
    let (mut log, mut places) = (Vec::new(), Vec::new());
    for _ in 0..400 {
        replica.term += u64::from(rng.random_range(0..50) == 0);
        let (mut end, index) = (replica.machine.end, replica.index);
        let payload = any_command(&mut rng, &places);
        let reply = replica.apply(payload.as_ref());
        log.push(LogEntry { term: replica.term, payload: payload.clone() });
        let Reply::Appended(replies) = reply else { continue };
        for ((sub, reply), batch) in (0..).zip(replies).zip(batches_of(payload.as_ref())) {
            if let BatchReply::Appended { duplicate: false, .. } = reply {
                let inside = rng.random_range(end.offset..end.offset + batch.offsets());
                places.push((inside, Position { place: at(index, sub), ..end }));
                end.offset += batch.offsets();
                end.bytes += batch.size;
            }
        }
    }
    log
}

#[test]
fn the_machine_keeps_its_contract_whatever_is_in_the_log() {
    for seed in 0..40 {
        conformance::check(PartitionMachine::default, &any_log(seed));
    }
}
