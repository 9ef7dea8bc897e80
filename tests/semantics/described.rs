//! What describes a cluster, in the forms that clients rarely use: DescribeTopicPartitions page by page, DescribeLogDirs of
//! some partitions, DescribeQuorum of what has none, ListConfigResources of a kind.

use crate::support::cluster::Cluster;
use crate::support::kafka::{
    INVALID_REQUEST, INVALID_TOPIC, NONE, UNKNOWN_TOPIC_OR_PARTITION, UNSUPPORTED_VERSION,
};
use crate::support::wire::{Encoder, Wire};

const DESCRIBE_LOG_DIRS: i16 = 35;
const DESCRIBE_QUORUM: i16 = 55;
const LIST_CONFIG_RESOURCES: i16 = 74;
const DESCRIBE_TOPIC_PARTITIONS: i16 = 75;

/// A page: each topic's error, name and partitions; and where the next begins.
type Page = (Vec<(i16, String, Vec<i32>)>, Option<(String, i32)>);

fn page(wire: &mut Wire, topics: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> Page {
    let body = Encoder::default().count(topics.len());
    let body = topics.iter().fold(body, |body, topic| body.text(topic).zero()).i32(limit);
    let body = match cursor {
        None => body.i8(-1),
        Some((topic, index)) => body.i8(1).text(topic).i32(index).zero(),
    };
    let mut decoder = wire.call_flexible(DESCRIBE_TOPIC_PARTITIONS, 0, body);
    decoder.i32();
    let rows = decoder.rows(|decoder| {
        let error = decoder.i16();
        let name = decoder.text().unwrap();
        decoder.id();
        decoder.i8();
        let partitions = decoder.rows(|decoder| {
            assert_eq!(decoder.i16(), NONE);
            let index = decoder.i32();
            decoder.i32();
            decoder.i32();
            assert_eq!(decoder.numbers(), decoder.numbers(), "all replicas live");
            for _ in 0..3 {
                assert_eq!(decoder.numbers(), [] as [i32; 0]);
            }
            index
        });
        let operations = if error == NONE { super::ON_TOPIC } else { i32::MIN };
        assert_eq!(decoder.i32(), operations, "what may be done is told unasked");
        (error, name, partitions.unwrap())
    });
    let next = (decoder.i8() >= 0).then(|| {
        let next = (decoder.text().unwrap(), decoder.i32());
        decoder.tags();
        next
    });
    decoder.tags();
    decoder.end();
    (rows.unwrap(), next)
}

fn named(topic: &str, partitions: &[i32]) -> (i16, String, Vec<i32>) {
    (NONE, topic.to_owned(), partitions.to_vec())
}

#[test]
fn partitions_are_described_page_by_page() {
    let cluster = Cluster::shared();
    for (topic, partitions) in [("page-a", 2), ("page-b", 3)] {
        super::create_on_first(&cluster, topic, partitions);
    }
    let mut wire = Wire::connect(cluster.broker(1).kafka);
    let both = ["page-b", "page-a"];
    let from = |topic: &str, index| Some((topic.to_owned(), index));
    let all = (vec![named("page-a", &[0, 1]), named("page-b", &[0, 1, 2])], None);
    assert_eq!(page(&mut wire, &both, 2_000, None), all);
    let first = (vec![named("page-a", &[0, 1]), named("page-b", &[0])], from("page-b", 1));
    assert_eq!(page(&mut wire, &both, 3, None), first);
    let rest = (vec![named("page-b", &[1, 2])], None);
    assert_eq!(page(&mut wire, &both, 3, Some(("page-b", 1))), rest);
    let edge = (vec![named("page-a", &[0, 1])], from("page-b", 0));
    assert_eq!(page(&mut wire, &both, 2, None), edge);
    // No number is so small that nothing comes.
    let least = (vec![named("page-a", &[0])], from("page-a", 1));
    assert_eq!(page(&mut wire, &both, -5, None), least);
    let (everything, _) = page(&mut wire, &[], 2_000, Some(("page-a", 1)));
    assert_eq!(everything[0], named("page-a", &[1]));
}

#[test]
fn topics_and_cursors_that_are_not_there_say_so() {
    let cluster = Cluster::shared();
    super::create_on_first(&cluster, "page-here", 1);
    let mut wire = Wire::connect(cluster.broker(1).kafka);
    let (rows, next) = page(&mut wire, &["page-here", "page-none", "page/bad"], 10, None);
    let errors: Vec<_> = rows.iter().map(|row| (row.1.as_str(), row.0)).collect();
    let expected = [
        ("page-here", NONE),
        ("page-none", UNKNOWN_TOPIC_OR_PARTITION),
        ("page/bad", INVALID_TOPIC),
    ];
    assert_eq!((errors, next), (expected.to_vec(), None));
    for cursor in [("page-other", 0), ("page-here", -1)] {
        let (rows, _) = page(&mut wire, &["page-here"], 10, Some(cursor));
        assert_eq!((rows[0].0, rows.len()), (INVALID_REQUEST, 1), "{cursor:?}");
    }
}

#[test]
fn a_directory_tells_of_those_partitions_that_are_named_and_here() {
    let cluster = Cluster::shared();
    super::create_on_first(&cluster, "dirs", 2);
    let mut wire = Wire::connect(cluster.broker(1).kafka);
    let body = Encoder::default().count(2).text("dirs").count(2).i32(1).i32(9).zero();
    let body = body.text("dirs-none").count(1).i32(0).zero();
    let mut decoder = wire.call_flexible(DESCRIBE_LOG_DIRS, 4, body);
    assert_eq!((decoder.i32(), decoder.i16()), (0, NONE));
    let rows = decoder.rows(|decoder| {
        assert_eq!(decoder.i16(), NONE);
        assert!(decoder.text().unwrap().starts_with('/'));
        let topics = decoder.rows(|decoder| {
            let name = decoder.text().unwrap();
            let partitions = decoder.rows(|decoder| {
                let index = decoder.i32();
                assert_eq!((decoder.i64(), decoder.i64(), decoder.i8()), (0, 0, 0), "it is empty");
                index
            });
            (name, partitions.unwrap())
        });
        let (total, usable) = (decoder.i64(), decoder.i64());
        assert!(0 < usable && usable <= total);
        topics.unwrap()
    });
    decoder.tags();
    decoder.end();
    assert_eq!(rows.unwrap(), [vec![("dirs".to_owned(), vec![1])]]);
}

#[test]
fn only_the_metadata_group_has_a_quorum_and_every_broker_tells_of_it() {
    let cluster = Cluster::shared();
    for broker in 1..=3 {
        let mut wire = Wire::connect(cluster.broker(broker).kafka);
        let body = Encoder::default().count(2).text("__cluster_metadata").count(2);
        let body = body.i32(0).zero().i32(1).zero().zero();
        let body = body.text("orders").count(1).i32(0).zero().zero();
        let mut decoder = wire.call_flexible(DESCRIBE_QUORUM, 0, body);
        assert_eq!(decoder.i16(), NONE);
        let rows = decoder.rows(|decoder| {
            let name = decoder.text().unwrap();
            let partitions = decoder.rows(|decoder| {
                let (index, error) = (decoder.i32(), decoder.i16());
                let (leader, epoch, end) = (decoder.i32(), decoder.i32(), decoder.i64());
                assert_eq!(leader > 0 && epoch > 0 && end > 0, error == NONE);
                let mut voters = decoder.rows(|decoder| (decoder.i32(), decoder.i64())).unwrap();
                let observers = decoder.rows(|decoder| (decoder.i32(), decoder.i64())).unwrap();
                voters.extend(observers);
                voters.sort_unstable();
                (index, error, voters.iter().map(|it| it.0).collect::<Vec<_>>())
            });
            (name, partitions.unwrap())
        });
        decoder.tags();
        decoder.end();
        let none = (UNKNOWN_TOPIC_OR_PARTITION, vec![]);
        let expected = [
            (
                "__cluster_metadata".to_owned(),
                vec![(0, NONE, vec![1, 2, 3]), (1, none.0, none.1.clone())],
            ),
            ("orders".to_owned(), vec![(0, none.0, none.1)]),
        ];
        assert_eq!(rows.unwrap(), expected);
    }
}

#[test]
fn resources_are_listed_by_kind() {
    let cluster = Cluster::shared();
    cluster.create_topic("resource", 1, 1);
    let mut wire = Wire::connect(cluster.broker(2).kafka);
    let mut list = |version: i16, kinds: Option<&[i8]>| {
        let body = Encoder::default();
        let body = match kinds {
            None => body,
            Some(kinds) => kinds.iter().fold(body.count(kinds.len()), |body, kind| body.i8(*kind)),
        };
        let mut decoder = wire.call_flexible(LIST_CONFIG_RESOURCES, version, body);
        decoder.i32();
        let error = decoder.i16();
        let rows = decoder.rows(|decoder| {
            let name = decoder.text().unwrap();
            (name, if version == 0 { 16 } else { decoder.i8() })
        });
        decoder.tags();
        decoder.end();
        (error, rows.unwrap())
    };
    let of_brokers = [1, 2, 3].map(|id: i8| (id.to_string(), 4));
    assert_eq!(list(1, Some(&[4])), (NONE, of_brokers.to_vec()));
    assert_eq!(list(1, Some(&[8, 16])), (NONE, vec![]));
    assert_eq!(list(1, Some(&[3])), (UNSUPPORTED_VERSION, vec![]));
    let (error, all) = list(1, Some(&[]));
    assert!(error == NONE && all.contains(&("resource".to_owned(), 2)), "{all:?}");
    assert_eq!(list(0, None), (NONE, vec![]), "nobody subscribes to clients' metrics");
}
