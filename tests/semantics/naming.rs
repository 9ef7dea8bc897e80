//! Topics by name, by id, all of them and none.

use crate::support::cluster::Cluster;
use crate::support::kafka::{
    self, FETCH, INVALID_REQUEST, METADATA, NONE, PRODUCE, TopicRow, UNKNOWN_TOPIC_ID,
    UNKNOWN_TOPIC_OR_PARTITION, metadata, topic_id, topic_rows,
};
use crate::support::wire::{Batch, Decoder, Encoder, Wire};

const NOBODY: [u8; 16] = [0xab; 16];

/// How a request names a topic: Metadata versions 10 to 13.
#[derive(Clone, Copy, Debug)]
struct Asked<'a>(Option<&'a str>, [u8; 16]);

/// Metadata of a flexible version: per topic its error, name and whether an id is there.
fn described(
    wire: &mut Wire,
    version: i16,
    asked: Option<&[Asked<'_>]>,
) -> Vec<(i16, Option<String>)> {
    let mut body =
        asked.map_or(Encoder::default().zero(), |asked| Encoder::default().count(asked.len()));
    for Asked(name, id) in asked.unwrap_or_default() {
        body = body.id(*id);
        body = name.map_or(body.clone().zero(), |name| body.text(name)).zero();
    }
    // Neither creation nor authorized operations, of the cluster (only in version 10) and of topics.
    body = if version == 10 { body.zero().zero().zero() } else { body.zero().zero() };
    let mut decoder = wire.call_flexible(METADATA, version, body);
    let topics = topic_rows(&mut decoder);
    let not_asked = |topic: &TopicRow| topic.operations == i32::MIN;
    assert!(topics.iter().all(not_asked), "operations that were not asked for");
    match version {
        10 => assert_eq!(decoder.i32(), i32::MIN, "operations that were not asked for"),
        13 => assert_eq!(decoder.i16(), NONE, "of the request as a whole"),
        _ => {}
    }
    decoder.tags();
    decoder.end();
    topics.into_iter().map(|topic| (topic.error, topic.name)).collect()
}

#[test]
fn an_empty_list_of_topics_is_all_in_version_0_and_none_since_and_null_is_all() {
    let cluster = Cluster::shared();
    cluster.create_topic("listed", 1, 1);
    kafka::leader(&cluster, "listed", 0);
    let mut wire = Wire::connect(cluster.broker(2).kafka);
    let mut decoder = wire.call(METADATA, 0, &Encoder::default().i32(0));
    decoder.list(|decoder| (decoder.i32(), decoder.string(), decoder.i32()));
    let topics = decoder.list(|decoder| {
        let (error, name) = (decoder.i16(), decoder.string().unwrap());
        decoder.list(|decoder| {
            decoder.i16();
            decoder.i32();
            decoder.i32();
            (decoder.list(Decoder::i32), decoder.list(Decoder::i32))
        });
        (error, name)
    });
    decoder.end();
    assert!(topics.contains(&(NONE, "listed".into())), "{topics:?}");
    for version in [10, 12, 13] {
        assert_eq!(described(&mut wire, version, Some(&[])), [], "version {version}");
        let all = described(&mut wire, version, None);
        assert!(all.contains(&(NONE, Some("listed".into()))), "version {version}: {all:?}");
    }
}

#[test]
fn metadata_by_id_finds_the_topic_or_says_that_there_is_none() {
    let cluster = Cluster::shared();
    cluster.create_topic("by-id", 1, 1);
    let mut wire = Wire::connect(cluster.broker(3).kafka);
    let id = cluster.wait("the topic is known", || topic_id(&mut wire, "by-id"));
    let named = |name: &str| Some(name.to_owned());
    for (version, asked, expected) in [
        (12, Asked(None, id), (NONE, named("by-id"))),
        (12, Asked(Some("by-id"), id), (NONE, named("by-id"))),
        (12, Asked(Some(""), id), (NONE, named("by-id"))),
        (12, Asked(None, NOBODY), (UNKNOWN_TOPIC_ID, None)),
        (12, Asked(Some("by-id"), NOBODY), (UNKNOWN_TOPIC_ID, named("by-id"))),
        (12, Asked(Some("another"), id), (INVALID_REQUEST, named("another"))),
        (10, Asked(Some("by-id"), id), (INVALID_REQUEST, named("by-id"))),
        (10, Asked(Some(""), id), (INVALID_REQUEST, named(""))),
        (10, Asked(Some("by-id"), [0; 16]), (NONE, named("by-id"))),
        (10, Asked(Some("nobody"), [0; 16]), (UNKNOWN_TOPIC_OR_PARTITION, named("nobody"))),
    ] {
        let answer = described(&mut wire, version, Some(&[asked]));
        assert_eq!(answer, [expected], "version {version}, {asked:?}");
    }
}

#[test]
fn a_topic_is_not_created_for_a_client_that_does_not_want_it() {
    let cluster = Cluster::shared();
    let mut wire = Wire::connect(cluster.broker(1).kafka);
    for _ in 0..2 {
        let seen = metadata(&mut wire, Some(&["unwanted"]), false);
        assert_eq!(seen.topics[0].error, UNKNOWN_TOPIC_OR_PARTITION);
    }
    let all = metadata(&mut wire, None, true);
    assert!(all.topics.iter().all(|topic| topic.name != "unwanted"), "asking for all makes none");
}

#[test]
fn records_go_to_and_come_from_a_topic_by_id_and_to_no_other() {
    let cluster = Cluster::shared();
    super::create_on_first(&cluster, "ids", 1);
    let mut wire = kafka::at_leader(&cluster, "ids", 0);
    let id = topic_id(&mut wire, "ids").unwrap();
    let batch = Batch::of(&["x"]).bytes();
    let body = Encoder::default().zero().i16(-1).i32(30_000).count(2);
    let topic = |encoder: Encoder, id| encoder.id(id).count(1).i32(0).blob(&batch).zero().zero();
    let mut decoder = wire.call_flexible(PRODUCE, 13, topic(topic(body, NOBODY), id));
    let produced = decoder.rows(|decoder| {
        let id = decoder.id();
        let partitions = decoder.rows(|decoder| {
            let row = (decoder.i32(), decoder.i16(), decoder.i64(), decoder.i64(), decoder.i64());
            decoder.rows(|decoder| (decoder.i32(), decoder.text()));
            decoder.text();
            (row.0, row.1, row.2)
        });
        (id, partitions.unwrap())
    });
    decoder.i32();
    decoder.tags();
    decoder.end();
    let expected = vec![(NOBODY, vec![(0, UNKNOWN_TOPIC_ID, -1)]), (id, vec![(0, NONE, 0)])];
    assert_eq!(produced.unwrap(), expected);

    let body = Encoder::default().i32(-1).i32(0).i32(1).i32(1 << 20).i8(0).i32(0).i32(-1).count(2);
    let topic = |encoder: Encoder, id| {
        let encoder = encoder.id(id).count(1).i32(0).i32(-1).i64(0).i32(-1).i64(-1);
        encoder.i32(1 << 20).zero().zero()
    };
    let mut decoder =
        wire.call_flexible(FETCH, 13, topic(topic(body, NOBODY), id).count(0).text(""));
    decoder.i32();
    assert_eq!((decoder.i16(), decoder.i32()), (NONE, 0));
    let fetched = decoder.rows(|decoder| {
        let id = decoder.id();
        let partitions = decoder.rows(|decoder| {
            let (index, error, high_watermark) = (decoder.i32(), decoder.i16(), decoder.i64());
            decoder.i64();
            decoder.i64();
            decoder.rows(|decoder| (decoder.i64(), decoder.i64()));
            decoder.i32();
            (index, error, high_watermark, decoder.blob().unwrap().is_empty())
        });
        (id, partitions.unwrap())
    });
    decoder.tags();
    decoder.end();
    let expected =
        vec![(NOBODY, vec![(0, UNKNOWN_TOPIC_ID, -1, true)]), (id, vec![(0, NONE, 1, false)])];
    assert_eq!(fetched.unwrap(), expected);
}

/// Fetch version 13 in a session: the session's id, and (topic, error, whether there are records) of each row.
fn fetch_by_id(
    wire: &mut Wire,
    session: (i32, i32),
    topic: Option<[u8; 16]>,
) -> (i32, Vec<([u8; 16], i16, bool)>) {
    let body = Encoder::default().i32(-1).i32(0).i32(1).i32(1 << 20).i8(0);
    let body = body.i32(session.0).i32(session.1);
    let body = match topic {
        Some(id) => {
            let body = body.count(1).id(id).count(1).i32(0).i32(-1).i64(0).i32(-1).i64(-1);
            body.i32(1 << 20).zero().zero()
        }
        None => body.count(0),
    };
    let mut decoder = wire.call_flexible(FETCH, 13, body.count(0).text(""));
    decoder.i32();
    assert_eq!(decoder.i16(), NONE);
    let id = decoder.i32();
    let rows = decoder.rows(|decoder| {
        let topic = decoder.id();
        let partitions = decoder.rows(|decoder| {
            decoder.i32();
            let error = decoder.i16();
            (0..3).for_each(|_| _ = decoder.i64());
            decoder.rows(|decoder| (decoder.i64(), decoder.i64()));
            decoder.i32();
            (error, !decoder.blob().unwrap().is_empty())
        });
        let (error, records) = partitions.unwrap()[0];
        (topic, error, records)
    });
    (id, rows.unwrap())
}

#[test]
fn who_reads_a_topic_by_its_id_never_gets_records_of_another_made_under_its_name() {
    let cluster = Cluster::shared();
    super::create_on_first(&cluster, "renewed", 1);
    let mut wire = kafka::at_leader(&cluster, "renewed", 0);
    let old = topic_id(&mut wire, "renewed").unwrap();
    let batch = Batch::of(&["x"]).bytes();
    kafka::produce(&mut wire, "renewed", 0, &batch);
    let (session, rows) = fetch_by_id(&mut wire, (0, 0), Some(old));
    assert!(session > 0);
    assert_eq!(rows, [(old, NONE, true)]);

    cluster.request("DELETE", "/v1/topics/renewed", None).ok();
    super::create_on_first(&cluster, "renewed", 1);
    let mut other = kafka::at_leader(&cluster, "renewed", 0);
    let new = cluster.wait("it is known by another id", || {
        topic_id(&mut wire, "renewed").filter(|id| *id != old)
    });
    kafka::produce(&mut other, "renewed", 0, &batch);
    // The session has the id as well.
    for named in [None, Some(old)] {
        let epoch = if named.is_none() { 1 } else { 2 };
        let (_, rows) = fetch_by_id(&mut wire, (session, epoch), named);
        assert_eq!(rows, [(old, UNKNOWN_TOPIC_ID, false)]);
    }
    assert_eq!(fetch_by_id(&mut wire, (0, -1), Some(new)).1, [(new, NONE, true)]);
}
