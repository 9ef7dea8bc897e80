//! Order and bounds of every key: a mistake here would mix groups or lose a range.

use super::*;

const EDGES: [u64; 7] = [0, 1, 255, 256, u32::MAX as u64, u64::MAX - 2, u64::MAX - 1];

#[test]
fn entry_keys_sort_by_generation_then_group_then_index() {
    let mut numbers = Vec::new();
    for generation in [0, 1, 255, 256, u32::MAX] {
        for group in EDGES {
            for index in EDGES {
                numbers.push((generation, group, index));
            }
        }
    }
    numbers.sort_unstable();
    let keys: Vec<_> = numbers.iter().map(|&(g, r, i)| entry(g, GroupId(r), i)).collect();
    assert!(keys.is_sorted());
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn an_entry_key_gives_its_index_only_to_its_own_generation_and_group() {
    let key = entry(7, GroupId(9), 11);
    assert_eq!(entry_index(&key, 7, GroupId(9)), Some(11));
    assert_eq!(entry_index(&key, 8, GroupId(9)), None);
    assert_eq!(entry_index(&key, 7, GroupId(10)), None);
    assert_eq!(entry_index(&key[..19], 7, GroupId(9)), None);
    assert_eq!(entry_index(&key[..4], 7, GroupId(9)), None);
    assert_eq!(entry_generation(&key), Some(7));
    assert_eq!(entry_generation(&key[..3]), None);
}

#[test]
fn records_sort_by_chunk_then_offset_and_parse_back() {
    let mut numbers: Vec<_> =
        EDGES.iter().flat_map(|chunk| EDGES.map(|offset| (*chunk, offset))).collect();
    numbers.sort_unstable();
    let keys: Vec<_> = numbers.iter().map(|&(chunk, offset)| record(chunk, offset)).collect();
    assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
    let parsed: Vec<_> = keys.iter().filter_map(|key| parse_record(key)).collect();
    assert_eq!(parsed, numbers);
    assert_eq!(parse_record(&keys[0][..15]), None);
}

#[test]
fn generation_bounds_hold_exactly_their_generations() {
    let (low, high) = generations(3, 4);
    assert!(entry(2, GroupId(u64::MAX), u64::MAX) < low);
    assert!(low <= entry(3, GroupId(0), 0));
    assert!(entry(4, GroupId(u64::MAX), u64::MAX) <= high);
    assert!(high < entry(5, GroupId(0), 0));
}

#[test]
fn group_keys_sort_by_group_then_kind_then_index_and_parse_back() {
    let kinds = [Kind::Exists, Kind::Vote, Kind::Purged, Kind::Segment, Kind::Run, Kind::Chunk];
    let mut previous = None;
    for id in EDGES {
        for kind in kinds {
            for index in EDGES {
                let key = group(GroupId(id), kind, index);
                assert_eq!(parse_group(&key), Some((GroupId(id), kind, index)));
                assert!(previous.is_none_or(|p| p < key));
                previous = Some(key);
            }
        }
    }
    assert_eq!(parse_group(&[TAG_GROUP; 4]), None);
    let mut unknown = group(GroupId(1), Kind::Run, 0);
    unknown[9] = 99;
    assert_eq!(parse_group(&unknown), None);
}

#[test]
fn the_bounds_of_a_group_hold_all_its_records_and_no_neighbour() {
    for id in EDGES {
        let (low, high) = group_bounds(GroupId(id));
        assert!(low <= group(GroupId(id), Kind::Exists, 0));
        assert!(group(GroupId(id), Kind::Run, u64::MAX) < high);
        assert!(group(GroupId(id + 1), Kind::Exists, 0) >= high);
        let (all_low, all_high) = all_groups_bounds();
        assert!(all_low.as_slice() <= low.as_slice() && high.as_slice() < all_high.as_slice());
    }
}

#[test]
fn node_wide_keys_stay_clear_of_each_other_and_of_groups() {
    let (low, high) = generation_bounds();
    assert!(format().as_slice() < current_generation().as_slice());
    assert!(current_generation().as_slice() < low.as_slice());
    for number in [0, 1, u32::MAX] {
        let key = generation(number);
        assert!(low.as_slice() < key.as_slice() && key.as_slice() < high.as_slice());
        assert_eq!(parse_generation(&key), Some(number));
    }
    assert_eq!(parse_generation(&group(GroupId(0), Kind::Exists, 0)), None);
    assert!(node("").as_slice() >= high.as_slice());
    assert!(node("\u{10ffff}").as_slice() < all_groups_bounds().0.as_slice());
}

#[test]
fn state_keys_of_a_group_lie_within_its_bounds_in_the_order_of_the_relative_keys() {
    for id in EDGES {
        let (low, high) = state_bounds(GroupId(id));
        let mut previous = low.to_vec();
        for key in [&b""[..], b"\0", b"a", b"a\0", b"b", &[0xff; 40]] {
            let full = state(GroupId(id), key);
            assert!(previous <= full && full.as_slice() < high.as_slice());
            previous = full;
        }
    }
}

#[test]
fn state_bounds_of_a_first_byte_hold_exactly_its_keys() {
    for first in [0, 1, b'o', 0xfe, 0xff] {
        let (low, high) = state_first_byte_bounds(GroupId(5), first);
        assert!(low <= state(GroupId(5), &[first]));
        assert!(state(GroupId(5), &[first, 0xff, 0xff]) < high);
        if first > 0 {
            assert!(state(GroupId(5), &[first - 1, 0xff]) < low);
        }
        assert!(high <= state(GroupId(6), &[]));
    }
}
