use super::*;

fn point(offset: i64) -> Point {
    Point {
        at: Position { offset, index: 3, bytes: 4 },
        timestamp_before: 5,
        span: Span { timestamp_max: 6, age_max: -7 },
    }
}

#[test]
fn the_bytes_of_a_point_are_frozen() {
    let put = point(258).put();
    assert_eq!(put.key, [b'o', 0, 0, 0, 0, 0, 0, 1, 2]);
    let mut expected = vec![1];
    for field in [3_i64, 4, 5, 6, -7] {
        expected.extend_from_slice(&field.to_be_bytes());
    }
    assert_eq!(put.value, expected);
}

#[test]
fn a_point_decodes_to_what_was_encoded() {
    for offset in [0, 1, 1 << 40, i64::MAX] {
        let put = point(offset).put();
        assert_eq!(Point::decode(&put.key, &put.value).unwrap(), point(offset));
        assert!(Point::decode(&put.key[1..], &put.value).is_err());
        assert!(Point::decode(&put.key, &put.value[1..]).is_err());
    }
}

#[test]
fn keys_sort_as_offsets_do() {
    let offsets = [0, 1, 255, 256, 65_535, 65_536, i64::MAX];
    let keys: Vec<Vec<u8>> = offsets.into_iter().map(key).collect();
    assert!(keys.is_sorted());
}

#[test]
fn a_batch_without_a_time_ages_from_when_it_was_appended() {
    let mut span = Span::EMPTY;
    span.add(-1, 500);
    assert_eq!(span, Span { timestamp_max: -1, age_max: 500 });
    span.add(400, 600);
    assert_eq!(span, Span { timestamp_max: 400, age_max: 500 });
}
