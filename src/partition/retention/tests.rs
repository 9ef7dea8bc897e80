use super::*;
use crate::partition::PartitionMachine;

fn at(offset: i64, index: u64, bytes: u64) -> Position {
    Position { offset, index, bytes }
}

/// A log of the given extent.
fn view(start: Position, end: Position) -> View {
    View { log_start: start.offset, start, end, ..PartitionMachine::default().view() }
}

fn limits(retention_ms: Option<i64>, retention_bytes: Option<u64>, view: &View) -> Option<Limits> {
    Limits::of(PartitionSettings { retention_ms, retention_bytes }, 1_000, view)
}

#[test]
fn a_log_without_limits_is_not_looked_at() {
    let view = view(at(0, 0, 0), at(10, 10, 1_000));
    assert!(limits(None, None, &view).is_none());
    assert!(limits(Some(1), None, &view).is_some());
    assert!(limits(None, Some(1), &view).is_some());
}

#[test]
fn an_empty_log_is_looked_at_only_for_what_piled_up_in_it() {
    let quiet = view(at(5, 10, 0), at(5, 10 + EMPTY_ENTRIES_MAX, 0));
    assert!(limits(Some(1), Some(1), &quiet).is_none());
    let piled_up = view(at(5, 10, 0), at(5, 11 + EMPTY_ENTRIES_MAX, 0));
    assert!(limits(None, None, &piled_up).is_some());
}

#[test]
fn a_span_goes_when_all_of_it_is_too_old() {
    let view = view(at(0, 0, 0), at(10, 10, 1_000));
    let limits = limits(Some(300), None, &view).unwrap();
    assert!(limits.is_over(&view, at(5, 5, 500), 699));
    assert!(!limits.is_over(&view, at(5, 5, 500), 700), "300 ms old is not older than 300 ms");
}

#[test]
fn a_span_goes_when_enough_remains_without_it() {
    let view = view(at(0, 0, 0), at(10, 10, 1_000));
    let limits = limits(None, Some(500), &view).unwrap();
    assert!(limits.is_over(&view, at(5, 5, 500), i64::MAX));
    assert!(!limits.is_over(&view, at(5, 5, 501), i64::MIN + 1));
}

#[test]
fn a_span_of_unknown_age_is_young() {
    let view = view(at(0, 0, 0), at(10, 10, 1_000));
    let limits = limits(Some(0), None, &view).unwrap();
    assert!(!limits.is_over(&view, at(5, 5, 500), index::Span::UNKNOWN.age_max));
}
