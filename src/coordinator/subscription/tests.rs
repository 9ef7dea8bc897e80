use super::*;

#[test]
fn partitions_are_read_and_what_is_none_is_nothing() {
    let bytes = [0, 1, 0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 0xff];
    let parts = |bytes: &[u8]| parts([bytes].into_iter()).remove(0);
    assert_eq!(parts(&bytes), ["a-0", "a-7"]);
    for cut in 0..21 {
        assert_eq!(parts(&bytes[..cut]), Vec::<String>::new(), "cut to {cut}");
    }
    assert_eq!(parts(&[0, 0, 0x7f, 0xff, 0xff, 0xff]), Vec::<String>::new());
    assert_eq!(parts(b"connect"), Vec::<String>::new());
}

#[test]
fn topics_are_read_whatever_follows_and_nothing_else_is_taken_for_them() {
    let bytes = [0, 3, 0, 0, 0, 2, 0, 1, b'a', 0, 2, b'b', b'c', 0xff, 0xff];
    assert_eq!(topics(&bytes), Some(vec!["a", "bc"]));
    for cut in 0..13 {
        assert_eq!(topics(&bytes[..cut]), None, "cut to {cut}");
    }
    assert_eq!(topics(&[0, 0, 0x7f, 0xff, 0xff, 0xff]), None);
    assert_eq!(topics(&[0, 0, 0xff, 0xff, 0xff, 0xff]), None);
    assert_eq!(topics(&[0xff, 0xff, 0, 0, 0, 0]), None);
    assert_eq!(topics(&[0, 0, 0, 0, 0, 1, 0, 1, 0xff]), None, "no UTF-8");
    assert_eq!(topics(&[0, 0, 0, 0, 0, 0]), Some(Vec::new()));
}

/// What a client says to have is not made larger than it is: a name that is no topic's is not repeated for each partition.
#[test]
fn what_people_are_shown_is_bounded() {
    let long = "x".repeat(250);
    let many: Vec<i32> = (0..70_000).collect();
    let strange = assignment(0, &[(&long, many.clone()), ("a", vec![1])]);
    let plain = assignment(0, &[("t", many)]);
    let shown = parts([&strange[..], &plain, &plain].into_iter());
    let counts: Vec<usize> = shown.iter().map(Vec::len).collect();
    assert_eq!(counts, [1, 70_000, SHOWN_MAX - 70_001]);
}

#[test]
fn a_subscription_is_read_in_every_version() {
    let topics = [0, 0, 0, 1, 0, 1, b't'];
    let nothing = [0xff; 4];
    let owned = [&[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2][..], &[0, 0, 0, 4, 0, 0, 0, 5]].concat();
    let of = |version: u8, parts: &[&[u8]]| [&[0, version][..], &parts.concat()].concat();
    let read = |bytes: &[u8]| Subscription::read(bytes);
    let plain = Subscription { topics: vec!["t".to_owned()], ..Subscription::default() };
    assert_eq!(read(&of(0, &[&topics, &nothing])), Some(plain.clone()));
    let has = Subscription { owned: vec![("t".to_owned(), vec![4, 5])], ..plain };
    assert_eq!(read(&of(1, &[&topics, &nothing, &owned])), Some(has.clone()));
    assert_eq!(read(&of(2, &[&topics, &[0, 0, 0, 1, 9], &owned, &[0; 4]])), Some(has.clone()));
    let rack = [0, 1, b'r'];
    let whole = of(3, &[&topics, &nothing, &owned, &[0; 4], &rack, b"later"]);
    assert_eq!(read(&whole), Some(Subscription { rack: Some("r".to_owned()), ..has.clone() }));
    let none = of(3, &[&topics, &nothing, &owned, &[0; 4], &[0xff, 0xff]]);
    assert_eq!(read(&none), Some(has));
    (0..whole.len() - 5).for_each(|cut| assert_eq!(read(&whole[..cut]), None, "cut to {cut}"));
}

#[test]
fn what_is_written_can_be_read() {
    let bytes = assignment(2, &[("t", vec![1, 2]), ("u", vec![])]);
    let named = vec![("t".to_owned(), vec![1, 2]), ("u".to_owned(), vec![])];
    assert_eq!((version(&bytes), assigned(&bytes)), (Some(2), Some((named, false))));
    let told = [&bytes[..bytes.len() - 4], &[0, 0, 0, 1, 9]].concat();
    assert!(assigned(&told).is_some_and(|(_, has_more)| has_more));
}
