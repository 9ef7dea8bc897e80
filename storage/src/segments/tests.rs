//! The generation map as a value: what each operation keeps, frees and writes.

use super::*;

fn sealed(first: u64, end: u64, bytes: u64, generation: u32) -> Segment {
    Segment { first, end, bytes, generation, open: false }
}

fn map(list: &[Segment], start: u64) -> Segments {
    Segments::from_sorted(list.iter().copied().collect(), start)
}

fn list(map: &Segments) -> Vec<Segment> {
    map.iter().copied().collect()
}

#[test]
fn appends_extend_the_open_segment_and_begin_one_per_generation() {
    let mut map = Segments::default();
    assert!(map.append(0, 1, 2, 200).is_some());
    assert!(map.append(0, 3, 1, 100).is_none());
    assert_eq!(map.seal(), Some(sealed(1, 4, 300, 0)));
    assert_eq!(map.seal(), None);
    assert!(map.append(1, 4, 1, 50).is_some_and(|s| s.open));
    assert_eq!(map.live_bytes(), 350);
    assert_eq!(map.plan(2, 9, 8), vec![(0, 2, 4), (1, 4, 5)]);
    assert_eq!(map.plan(2, 9, 1), vec![(0, 2, 4)]);
    assert_eq!(map.plan(5, 9, 8), vec![]);
}

#[test]
fn a_sealed_segment_in_the_current_generation_is_not_extended() {
    let mut map = map(&[sealed(1, 5, 400, 3)], 1);
    let begun = map.append(3, 5, 1, 10).expect("a new segment");
    assert_eq!(begun, Segment { first: 5, end: 6, bytes: 10, generation: 3, open: true });
    assert_eq!(list(&map).len(), 2);
}

#[test]
fn truncating_cuts_the_segment_and_drops_those_behind() {
    let mut map = map(&[sealed(1, 11, 1000, 0), sealed(11, 21, 1000, 1)], 1);
    let changes = map.truncate(6);
    assert_eq!(changes.len(), 2);
    assert_eq!(changes[0].after, None);
    assert_eq!(changes[1].after, Some(sealed(1, 6, 500, 0)));
    assert_eq!(changes.iter().map(|c| c.freed).sum::<u64>(), 1500);
    assert_eq!(map.live_bytes(), 500);
    assert_eq!(map.truncate(6), vec![]);
    map.truncate(0);
    assert_eq!((map.live_bytes(), map.iter().count()), (0, 0));
}

#[test]
fn purging_frees_whole_segments_and_counts_a_partial_one() {
    let mut map = map(&[sealed(1, 11, 1000, 0), sealed(11, 21, 1000, 1)], 1);
    assert_eq!(map.purge(4).iter().map(|c| c.freed).sum::<u64>(), 300);
    assert_eq!(map.live_bytes(), 1700);
    let changes = map.purge(13);
    assert_eq!(changes.iter().map(|c| c.freed).collect::<Vec<_>>(), vec![700, 200]);
    assert_eq!(map.live_bytes(), 800);
    assert_eq!(map.purge(13).iter().map(|c| c.freed).sum::<u64>(), 0);
    assert_eq!(map.purge(21).iter().map(|c| c.freed).sum::<u64>(), 800);
    assert_eq!(map.live_bytes(), 0);
}

#[test]
fn a_truncation_within_the_purged_part_frees_only_what_was_live() {
    let mut map = map(&[sealed(1, 11, 1000, 0)], 6);
    assert_eq!(map.live_bytes(), 500);
    assert_eq!(map.truncate(8).iter().map(|c| c.freed).sum::<u64>(), 300);
    assert_eq!(map.live_bytes(), 200);
}

#[test]
fn a_segment_of_which_only_purged_entries_are_left_goes() {
    let mut map = map(&[sealed(1, 11, 1000, 0)], 6);
    let changes = map.truncate(6);
    assert_eq!((changes[0].after, changes[0].freed), (None, 500));
    assert_eq!((map.live_bytes(), map.iter().count()), (0, 0));
}

#[test]
fn records_decode_to_what_was_encoded() {
    let closed = sealed(7, 9, 123, 5);
    assert_eq!(Segment::decode(7, &closed.encode()), Some(closed));
    let open = Segment { open: true, ..closed };
    let expected = Segment { end: 7, ..open };
    assert_eq!(Segment::decode(7, &open.encode()), Some(expected));
    assert_eq!(Segment::decode(7, &[0; RECORD - 1]), None);
}

#[test]
fn a_move_in_two_steps_ends_as_one_segment() {
    let mut map = map(&[sealed(1, 11, 1000, 0), sealed(11, 13, 200, 1)], 5);
    assert_eq!(map.live_in(0), Some((5, 11)));
    let first = map.plan_move(0, 7, 5, 8, 300).expect("live there");
    assert_eq!(first.put, vec![sealed(5, 8, 300, 7), sealed(8, 11, 300, 0)]);
    map.apply_move(&first);
    let second = map.plan_move(0, 7, 8, 11, 300).expect("live there");
    map.apply_move(&second);
    assert_eq!(list(&map), vec![sealed(5, 11, 600, 7), sealed(11, 13, 200, 1)]);
    assert_eq!(map.live_bytes(), 800);
    assert_eq!(map.live_in(0), None);
}

#[test]
fn a_move_is_refused_when_the_log_changed_meanwhile() {
    let mut map = map(&[sealed(1, 11, 1000, 0)], 1);
    assert!(map.plan_move(0, 7, 1, 11, 1000).is_some());
    assert!(map.plan_move(1, 7, 1, 11, 1000).is_none(), "another generation");
    map.truncate(10);
    assert!(map.plan_move(0, 7, 1, 11, 1000).is_none(), "truncated");
    map.purge(3);
    assert!(map.plan_move(0, 7, 1, 10, 900).is_none(), "purged");
    assert!(map.plan_move(0, 7, 3, 10, 700).is_some());
    map.clear(50);
    assert!(map.plan_move(0, 7, 3, 10, 700).is_none(), "reset");
}
