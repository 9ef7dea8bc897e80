use super::*;
use crate::partition::PartitionMachine;
use crate::partition::position::Place;

fn at(offset: i64, index: u64, bytes: u64) -> Position {
    Position { offset, place: Place::of_entry(index), bytes }
}

fn aged(age_max: i64, appended_max: i64) -> Span {
    Span { timestamp_max: age_max, age_max, appended_max }
}

/// A log of the given extent.
fn view(start: Position, end: Position) -> View {
    View { log_start: start.offset, start, end, ..PartitionMachine::default().view() }
}

fn limits(retention_ms: Option<i64>, retention_bytes: Option<u64>, view: &View) -> Option<Limits> {
    Limits::of(
        PartitionSettings { retention_ms, retention_bytes, ..PartitionSettings::default() },
        Some(1_000),
        view,
    )
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
    assert!(limits.is_over(view.end.bytes - 500, &aged(699, 0)));
    assert!(
        !limits.is_over(view.end.bytes - 500, &aged(700, 0)),
        "300 ms old is not older than 300 ms"
    );
}

#[test]
fn a_span_goes_when_enough_remains_without_it() {
    let view = view(at(0, 0, 0), at(10, 10, 1_000));
    let limits = limits(None, Some(500), &view).unwrap();
    assert!(limits.is_over(view.end.bytes - 500, &Span::UNKNOWN));
    assert!(!limits.is_over(view.end.bytes - 501, &aged(i64::MIN + 1, 0)));
}

#[test]
fn a_record_from_the_future_keeps_its_span_no_longer_than_its_last_append() {
    let view = view(at(0, 0, 0), at(10, 10, 1_000));
    let settings = PartitionSettings { retention_ms: Some(300), ..PartitionSettings::default() };
    let now_ms = 10 * AHEAD_MS;
    let limits = Limits::of(settings, Some(now_ms), &view).unwrap();
    let is_over =
        |age_max, appended_max| limits.is_over(view.end.bytes - 500, &aged(age_max, appended_max));
    let micros = 1_700_000_000_000_000;
    assert!(!is_over(micros, now_ms - AHEAD_MS - 300), "its producer's clock may be ahead");
    assert!(is_over(micros, now_ms - AHEAD_MS - 301));
    assert!(!is_over(now_ms + AHEAD_MS, 0), "a time that can be is believed");
}

#[test]
fn without_a_time_that_is_certain_nothing_is_too_old() {
    let view = view(at(0, 0, 0), at(10, 10, 1_000));
    let settings = PartitionSettings { retention_ms: Some(300), ..PartitionSettings::default() };
    assert!(Limits::of(settings, None, &view).is_none());
    let settings = PartitionSettings { retention_bytes: Some(500), ..settings };
    let limits = Limits::of(settings, None, &view).unwrap();
    assert!(limits.is_over(view.end.bytes - 500, &aged(0, 0)), "it is large all the same");
    assert!(!limits.is_over(view.end.bytes - 501, &aged(i64::MIN, i64::MIN)));
}

#[test]
fn a_span_of_unknown_age_is_young() {
    let view = view(at(0, 0, 0), at(10, 10, 1_000));
    let limits = limits(Some(0), None, &view).unwrap();
    assert!(!limits.is_over(view.end.bytes - 500, &Span::UNKNOWN));
}
