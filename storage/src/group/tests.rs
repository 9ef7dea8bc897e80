//! The front of a group: what callers see before anything reaches the disk.

use super::*;
use crate::EntryKind;

fn id(term: u64, index: u64) -> EntryId {
    EntryId { term, index }
}

fn entries(term: u64, from: u64, to: u64) -> Vec<Entry> {
    let entry =
        |index| Entry { id: id(term, index), kind: EntryKind::Blank, payload: Bytes::new() };
    (from..to).map(entry).collect()
}

#[test]
fn a_log_may_begin_anywhere_and_then_has_no_gap() {
    let mut group = Group::default();
    group.append(&entries(1, 3, 6)).expect("an empty log takes any start");
    assert_eq!(group.last, Some(id(1, 5)));
    let refused = group.append(&entries(1, 7, 9)).expect_err("a gap");
    assert!(matches!(refused, Error::NotContiguous { expected: 6, found: 7 }));
    let mut gap = entries(1, 6, 8);
    gap[1].id.index = 8;
    assert!(group.append(&gap).is_err());
    assert_eq!(group.last, Some(id(1, 5)), "a refused append leaves no trace");
}

#[test]
fn truncation_gives_back_the_id_of_the_last_kept_entry() {
    let mut group = Group::default();
    group.append(&entries(1, 0, 4)).expect("append");
    group.append(&entries(2, 4, 8)).expect("append");
    assert!(group.truncate(Some(7)).is_none());
    let cut = group.truncate(Some(2)).expect("something to cut");
    assert_eq!((cut.at, cut.runs), (3, vec![4]));
    assert_eq!(group.last, Some(id(1, 2)));
    assert_eq!(group.id_at(3), None);
    group.truncate(None).expect("something to cut");
    assert_eq!(group.last, None);
}

#[test]
fn a_truncation_never_reaches_into_the_purged_part() {
    let mut group = Group::default();
    group.append(&entries(1, 0, 8)).expect("append");
    group.purge(id(1, 4)).expect("purge");
    assert_eq!(group.truncate(Some(1)).expect("cut").at, 5);
    assert_eq!(group.log_state(), LogState { purged: Some(id(1, 4)), last: Some(id(1, 4)) });
}

#[test]
fn purging_keeps_the_boundary_id_and_is_idempotent() {
    let mut group = Group::default();
    group.append(&entries(1, 0, 4)).expect("append");
    group.append(&entries(3, 4, 8)).expect("append");
    let cut = group.purge(id(1, 1)).expect("purge");
    assert_eq!((cut.at, cut.runs), (2, vec![]));
    assert!(group.purge(id(1, 1)).is_none());
    assert_eq!(group.id_at(0), None);
    assert_eq!(group.id_at(1), Some(id(1, 1)));
    assert_eq!(group.id_at(2), Some(id(1, 2)));
    assert_eq!(group.id_at(4), Some(id(3, 4)));
    assert_eq!(group.purge(id(3, 20)).expect("beyond the end").runs, vec![0, 4]);
    assert_eq!(group.log_state(), LogState { purged: Some(id(3, 20)), last: Some(id(3, 20)) });
    group.append(&entries(3, 21, 22)).expect("goes on behind the boundary");
    assert_eq!(group.id_at(21), Some(id(3, 21)));
}
