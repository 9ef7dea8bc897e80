use super::*;

#[test]
fn keys_are_in_order_and_found() {
    assert!(TABLE.is_sorted_by_key(|row| row.api.key));
    for Row { api, .. } in TABLE {
        assert_eq!(find(api.key).unwrap().api.name, api.name);
    }
    assert!(
        find(71).is_none(),
        "who is told of GetTelemetrySubscriptions sends metrics nobody reads"
    );
    assert!(find(-1).is_none() && find(i16::MAX).is_none());
}

#[test]
fn every_version_in_the_table_is_one_the_codec_has() {
    for Row { api, decode, .. } in TABLE {
        for version in api.served_from..=api.max {
            assert!(api.serves(version));
            let empty = Decoder::new(bytes::Bytes::new(), Default::default());
            let outcome = decode(&mut empty.unwrap(), version);
            let unknown = matches!(outcome, Err(DecodeError::UnsupportedVersion { .. }));
            assert!(!unknown, "{} {version}", api.name);
        }
        assert!(api.min <= api.served_from && api.served_from <= api.max);
    }
}

#[test]
fn no_version_is_below_what_current_clients_need() {
    // The highest versions that Java 4.3, librdkafka 2.12 and franz-go 1.21 insist on (KIP-896).
    for (key, needed) in
        [(0, 3), (1, 4), (2, 1), (8, 2), (9, 1), (19, 2), (20, 1), (23, 2), (32, 1)]
    {
        assert!(find(key).unwrap().api.serves(needed), "{key}");
    }
}

#[test]
fn topic_ids_in_fetch_and_produce_come_with_metadata_that_gives_them() {
    let max = |key| find(key).unwrap().api.max;
    assert!((max(0) < 13 && max(1) < 13 && max(8) < 10 && max(9) < 10) || max(3) >= 12);
}

#[test]
fn the_readme_lists_exactly_this_table() {
    let readme = include_str!("../../../README.md");
    let rows = TABLE
        .iter()
        .map(|Row { api: it, .. }| format!("| {} | {} | {}-{} |", it.name, it.key, it.min, it.max));
    let table = rows.collect::<Vec<_>>().join("\n");
    let after = readme.split_once(&table).expect("the README has these rows").1;
    assert!(!after.trim_start_matches('\n').starts_with('|'), "and no others");
}

#[test]
fn only_produce_overlaps() {
    let overlapping: Vec<&str> =
        TABLE.iter().map(|row| &row.api).filter(|api| api.overlaps).map(|api| api.name).collect();
    assert_eq!(overlapping, ["Produce"]);
}
