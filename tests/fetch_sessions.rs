//! Fetching by hand: where it may start, what it returns, when it waits, and incremental sessions.

use std::time::{Duration, Instant};

use crate::support::cluster::{Cluster, Shared};
use crate::support::kafka::{
    self, Fetch, NONE, OFFSET_OUT_OF_RANGE, UNKNOWN_FETCH_SESSION, UNKNOWN_TOPIC_OR_PARTITION,
    WRONG_FETCH_SESSION_EPOCH, produce,
};
use crate::support::wire::{Batch, Wire, batches};

fn created(name: &str) -> (Shared, Wire) {
    let cluster = Cluster::shared();
    cluster.create_topic(name, 1, 3);
    let wire = kafka::at_leader(&cluster, name, 0);
    (cluster, wire)
}

#[test]
fn an_empty_partition_gives_zero_bytes_and_not_null() {
    let (_cluster, mut wire) = created("empty");
    let fetched = Fetch::of("empty", 0, 0).one(&mut wire);
    assert_eq!((fetched.error, fetched.high_watermark), (NONE, 0));
    assert_eq!(fetched.records, Some(Vec::new()));
}

#[test]
fn a_fetch_starts_anywhere_from_log_start_to_end_and_nowhere_else() {
    let (_cluster, mut wire) = created("range");
    produce(&mut wire, "range", 0, &Batch::of(&["a", "b", "c"]).bytes());
    let mut at = |offset| Fetch::of("range", 0, offset).one(&mut wire);
    let inside = at(1);
    assert_eq!(batches(&inside.records.unwrap())[0].0, 0, "the whole batch that holds it");
    let end = at(3);
    assert_eq!((end.error, end.records), (NONE, Some(Vec::new())));
    assert_eq!((end.high_watermark, end.stable, end.log_start), (3, 3, 0));
    assert_eq!(at(4).error, OFFSET_OUT_OF_RANGE);
    assert_eq!(at(-1).error, OFFSET_OUT_OF_RANGE);
    let unknown = Fetch::of("range-unknown", 0, 0).one(&mut wire);
    assert_eq!(unknown.error, UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn byte_limits_hold_but_never_stop_a_reader() {
    let (_cluster, mut wire) = created("sizes");
    let value = "x".repeat(10_000);
    for _ in 0..10 {
        assert_eq!(produce(&mut wire, "sizes", 0, &Batch::of(&[&value]).bytes()).error, NONE);
    }
    let mut fetch = |fetch: Fetch<'_>| {
        let records = fetch.one(&mut wire).records.unwrap();
        let found = batches(&records);
        let length: usize = records.len();
        assert_eq!(length % found.len(), 0, "no batch is cut");
        found.len()
    };
    let all = Fetch::of("sizes", 0, 0);
    assert_eq!(fetch(all.clone()), 10);
    assert_eq!(fetch(Fetch { partition_max_bytes: 1, ..all.clone() }), 1, "the first, whole");
    assert_eq!(fetch(Fetch { max_bytes: 1, ..all.clone() }), 1, "the first, whole");
    let some = fetch(Fetch { partition_max_bytes: 35_000, ..all });
    assert!((2..=4).contains(&some), "{some}");
}

#[test]
fn a_waiting_fetch_ends_with_the_first_record_or_in_time_or_at_once_on_an_error() {
    let (cluster, mut wire) = created("waiting");
    let patient = Fetch { wait_ms: 20_000, ..Fetch::of("waiting", 0, 0) };
    let sent = wire.send(kafka::FETCH, 11, &patient.body());
    let started = Instant::now();
    let mut other = kafka::at_leader(&cluster, "waiting", 0);
    assert_eq!(produce(&mut other, "waiting", 0, &Batch::of(&["x"]).bytes()).error, NONE);
    let (correlation, decoder) = wire.receive().unwrap();
    assert_eq!(correlation, sent);
    let fetched = kafka::fetched(decoder);
    assert_eq!(batches(fetched.partitions[0].records.as_ref().unwrap()).len(), 1);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());

    let started = Instant::now();
    let brief = Fetch { wait_ms: 500, ..Fetch::of("waiting", 0, 1) }.one(&mut wire);
    assert_eq!((brief.error, brief.records), (NONE, Some(Vec::new())));
    let waited = started.elapsed();
    assert!(waited >= Duration::from_millis(400) && waited < Duration::from_secs(10), "{waited:?}");

    let started = Instant::now();
    let wrong = Fetch { wait_ms: 20_000, ..Fetch::of("waiting", 0, 99) }.one(&mut wire);
    assert_eq!(wrong.error, OFFSET_OUT_OF_RANGE);
    assert!(started.elapsed() < Duration::from_secs(15));

    let more = Fetch { wait_ms: 300, min_bytes: 1 << 20, ..Fetch::of("waiting", 0, 0) };
    let fetched = more.one(&mut wire);
    assert_eq!(fetched.error, NONE);
    assert_eq!(batches(&fetched.records.unwrap()).len(), 1, "what there is, when the time is up");
}

#[test]
fn an_incremental_session_tells_only_what_changed() {
    let (_cluster, mut wire) = created("session");
    let full = Fetch { session: (0, 0), ..Fetch::of("session", 0, 0) };
    let begun = full.send(&mut wire);
    assert_eq!((begun.error, begun.partitions.len()), (NONE, 1));
    assert!(begun.session > 0);
    let next = |epoch| Fetch { session: (begun.session, epoch), named: false, ..full.clone() };
    let quiet = next(1).send(&mut wire);
    assert_eq!((quiet.error, quiet.partitions.len()), (NONE, 0), "nothing has changed");
    produce(&mut wire, "session", 0, &Batch::of(&["x"]).bytes());
    let changed = next(2).send(&mut wire);
    assert_eq!(changed.partitions.len(), 1);
    assert_eq!(changed.partitions[0].high_watermark, 1);
    assert_eq!(batches(changed.partitions[0].records.as_ref().unwrap()).len(), 1);
    let moved = Fetch { named: true, offset: 1, ..next(3) }.send(&mut wire);
    assert!(moved.partitions.iter().all(|p| p.records == Some(Vec::new())), "{moved:?}");

    assert_eq!(next(3).send(&mut wire).error, WRONG_FETCH_SESSION_EPOCH, "said before");
    let foreign = Fetch { session: (begun.session ^ 0x5555, 1), named: false, ..full.clone() };
    assert_eq!(foreign.send(&mut wire).error, UNKNOWN_FETCH_SESSION);
    let closing = Fetch { session: (begun.session, -1), ..full };
    assert_eq!(closing.send(&mut wire).session, 0);
    assert_eq!(next(4).send(&mut wire).error, UNKNOWN_FETCH_SESSION, "closed");
}
