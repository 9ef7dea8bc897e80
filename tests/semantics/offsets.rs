//! Offsets of groups in the newer forms of OffsetFetch, and the groups that have nothing but offsets.

use crate::support::cluster::Cluster;
use crate::support::kafka::{self, NONE};
use crate::support::wire::{Decoder, Encoder, Wire};

/// The keys of OffsetCommit, OffsetFetch and ListGroups.
const OFFSET_COMMIT: i16 = 8;
const OFFSET_FETCH: i16 = 9;
const LIST_GROUPS: i16 = 16;

/// Partition, offset, leader epoch, metadata and error.
type Row = (i32, i64, i32, String, i16);

fn row(decoder: &mut Decoder) -> Row {
    let (partition, offset, epoch) = (decoder.i32(), decoder.i64(), decoder.i32());
    (partition, offset, epoch, decoder.text().expect("it is empty rather than null"), decoder.i16())
}

fn topic(decoder: &mut Decoder) -> (String, Vec<Row>) {
    (decoder.text().unwrap(), decoder.rows(row).unwrap())
}

/// OffsetFetch version 7 or 8 of one group, which asks for stable offsets: topics of `None` are all.
fn fetch(wire: &mut Wire, version: i16, group: &str, of: Option<&str>) -> Vec<(String, Vec<Row>)> {
    let several = version >= 8;
    let body = Encoder::default();
    let body = if several { body.count(1) } else { body }.text(group);
    let body = match of {
        // Partitions 0, 1 and one that there is not.
        Some(topic) => body.count(1).text(topic).count(3).i32(0).i32(1).i32(9).zero(),
        None => body.zero(),
    };
    let body = if several { body.zero() } else { body };
    let mut decoder = wire.call_flexible(OFFSET_FETCH, version, body.i8(1));
    decoder.i32();
    let (topics, error) = if several {
        let mut groups = decoder.rows(|decoder| {
            assert_eq!(decoder.text().as_deref(), Some(group));
            (decoder.rows(topic), decoder.i16())
        });
        groups.as_mut().unwrap().remove(0)
    } else {
        (decoder.rows(topic), decoder.i16())
    };
    decoder.tags();
    decoder.end();
    assert_eq!(error, NONE);
    topics.unwrap()
}

#[test]
fn an_offset_comes_back_with_its_epoch_and_metadata_and_what_was_never_committed_is_no_error() {
    let cluster = Cluster::shared();
    cluster.create_topic("o-topic", 2, 3);
    let wire = &mut kafka::at_coordinator(&cluster, "o-group");
    let none = |partition| (partition, -1, -1, String::new(), NONE);
    for version in [7, 8] {
        let expected = vec![("o-topic".to_owned(), vec![none(0), none(1), none(9)])];
        assert_eq!(fetch(wire, version, "o-group", Some("o-topic")), expected);
        assert_eq!(fetch(wire, version, "o-group", None), []);
    }
    // OffsetCommit version 8, of who is no member.
    let body = Encoder::default().text("o-group").i32(-1).text("").zero().count(1).text("o-topic");
    let body = body.count(1).i32(1).i64(42).i32(5).text("{\"a\": 1}").zero().zero();
    let mut decoder = wire.call_flexible(OFFSET_COMMIT, 8, body);
    decoder.i32();
    let errors =
        decoder.rows(|row| (row.text(), row.rows(|row| (row.i32(), row.i16()))).1.unwrap());
    assert_eq!(errors.unwrap(), [[(1, NONE)]]);
    let kept = (1, 42, 5, "{\"a\": 1}".to_owned(), NONE);
    for version in [7, 8] {
        let expected = vec![("o-topic".to_owned(), vec![none(0), kept.clone(), none(9)])];
        assert_eq!(fetch(wire, version, "o-group", Some("o-topic")), expected);
        let all = vec![("o-topic".to_owned(), vec![kept.clone()])];
        assert_eq!(fetch(wire, version, "o-group", None), all);
    }
    // ListGroups version 5: a group that nobody ever joined, and so has no protocol.
    let mut decoder = wire.call_flexible(LIST_GROUPS, 5, Encoder::default().count(0).count(0));
    decoder.i32();
    assert_eq!(decoder.i16(), NONE);
    let listed = decoder.rows(|row| [(); 4].map(|()| row.text().unwrap()));
    let of_it = listed.unwrap().into_iter().find(|it| it[0] == "o-group");
    assert_eq!(of_it, Some(["o-group", "", "Empty", "classic"].map(str::to_owned)));
}
