//! Creating, growing, deleting and describing, in the forms that command line tools do not use.

use super::ON_TOPIC;
use crate::support::clients;
use crate::support::cluster::Cluster;
use crate::support::kafka::{
    self, CREATE_PARTITIONS, CREATE_TOPICS, DELETE_RECORDS, DELETE_TOPICS, DESCRIBE_CLUSTER,
    DESCRIBE_CONFIGS, Fetch, INVALID_ASSIGNMENT, INVALID_PARTITIONS, INVALID_REQUEST, METADATA,
    NONE, UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION, UNSUPPORTED_ENDPOINT, metadata, topic_id,
};
use crate::support::wire::{Batch, Decoder, Encoder, Wire};

/// A topic of CreateTopics: name, partitions, replication factor, replicas by partition.
type New<'a> = (&'a str, i32, i16, &'a [(i32, &'a [i32])]);

/// CreateTopics version 4: each topic's name and error.
fn create(wire: &mut Wire, topics: &[New<'_>]) -> Vec<(String, i16)> {
    let mut body = Encoder::default().i32(topics.len() as i32);
    for (name, partitions, replication, assignment) in topics {
        body = body.string(name).i32(*partitions).i16(*replication).i32(assignment.len() as i32);
        for (index, replicas) in *assignment {
            body = body.i32(*index).i32(replicas.len() as i32);
            body = replicas.iter().fold(body, |body, replica| body.i32(*replica));
        }
        body = body.i32(0);
    }
    let mut decoder = wire.call(CREATE_TOPICS, 4, &body.i32(30_000).i8(0));
    decoder.i32();
    let rows = decoder.list(|decoder| {
        let row = (decoder.string().unwrap(), decoder.i16());
        assert_eq!(decoder.string().is_none(), row.1 == NONE, "an error says why: {row:?}");
        row
    });
    decoder.end();
    rows
}

fn partitions(wire: &mut Wire, topic: &str) -> Vec<Vec<i32>> {
    let mut seen = metadata(wire, Some(&[topic]), false).topics.remove(0).partitions;
    seen.sort_by_key(|partition| partition.index);
    seen.into_iter().map(|partition| partition.replicas).collect()
}

#[test]
fn topics_are_created_each_on_its_own_with_replicas_named_or_by_default() {
    let cluster = Cluster::shared();
    let mut wire = Wire::connect(cluster.broker(2).kafka);
    let named: &[(i32, &[i32])] = &[(1, &[2, 3]), (0, &[3, 1])];
    let topics: [New<'_>; 7] = [
        ("c-named", -1, -1, named),
        ("c-default", -1, -1, &[]),
        ("c-both", 2, 2, named),
        ("c-gap", -1, -1, &[(1, &[1])]),
        ("c-nobody", -1, -1, &[(0, &[77])]),
        ("c-twice", 1, 1, &[]),
        ("c-twice", 1, 1, &[]),
    ];
    let errors = create(&mut wire, &topics);
    let expected = [
        NONE,
        NONE,
        INVALID_REQUEST,
        INVALID_ASSIGNMENT,
        INVALID_ASSIGNMENT,
        INVALID_REQUEST,
        INVALID_REQUEST,
    ];
    let expected: Vec<_> =
        topics.iter().zip(expected).map(|(topic, error)| (topic.0.to_owned(), error)).collect();
    assert_eq!(errors, expected);
    assert_eq!(partitions(&mut wire, "c-named"), [[3, 1], [2, 3]]);
    let default = partitions(&mut wire, "c-default");
    assert!(!default.is_empty() && default.iter().all(|replicas| replicas.len() == 3));
    let twice = metadata(&mut wire, Some(&["c-twice"]), false);
    assert_eq!(twice.topics[0].error, UNKNOWN_TOPIC_OR_PARTITION, "neither of the two is made");
}

#[test]
fn topics_are_deleted_by_id_and_an_unknown_id_is_told_from_an_unknown_name() {
    let cluster = Cluster::shared();
    cluster.create_topic("d-id", 1, 1);
    cluster.create_topic("d-name", 1, 1);
    let mut wire = Wire::connect(cluster.broker(1).kafka);
    let id = cluster.wait("the topic is known", || topic_id(&mut wire, "d-id"));
    cluster.wait("the other one too", || topic_id(&mut wire, "d-name"));
    let body = Encoder::default().count(4);
    let body = body.zero().id(id).zero().zero().id([0xcd; 16]).zero();
    let body = body.text("d-name").id([0; 16]).zero().text("d-none").id([0; 16]).zero();
    let mut decoder = wire.call_flexible(DELETE_TOPICS, 6, body.i32(30_000));
    decoder.i32();
    let rows = decoder.rows(|decoder| {
        let row = (decoder.text(), decoder.id() == id, decoder.i16());
        decoder.text();
        row
    });
    decoder.tags();
    decoder.end();
    let named = |name: &str| Some(name.to_owned());
    let expected = vec![
        (named("d-id"), true, NONE),
        (None, false, UNKNOWN_TOPIC_ID),
        (named("d-name"), false, NONE),
        (named("d-none"), false, UNKNOWN_TOPIC_OR_PARTITION),
    ];
    assert_eq!(rows.unwrap(), expected);
    for name in ["d-id", "d-name"] {
        let seen = metadata(&mut wire, Some(&[name]), false);
        assert_eq!(seen.topics[0].error, UNKNOWN_TOPIC_OR_PARTITION, "{name} is gone");
    }
}

/// DeleteTopics version 6: the error of each topic named, in the order of the answer.
fn delete(wire: &mut Wire, topics: &[(Option<&str>, [u8; 16])]) -> Vec<i16> {
    let topic = |body: Encoder, (name, id): &(Option<&str>, [u8; 16])| match name {
        Some(name) => body.text(name).id(*id).zero(),
        None => body.zero().id(*id).zero(),
    };
    let body = topics.iter().fold(Encoder::default().count(topics.len()), topic);
    let mut decoder = wire.call_flexible(DELETE_TOPICS, 6, body.i32(30_000));
    decoder.i32();
    let rows = decoder.rows(|decoder| {
        let error = (decoder.text(), decoder.id(), decoder.i16()).2;
        assert_eq!(decoder.text().is_none(), error == NONE, "an error says why");
        error
    });
    decoder.tags();
    decoder.end();
    rows.unwrap()
}

#[test]
fn a_topic_that_is_not_named_clearly_is_not_deleted() {
    let cluster = Cluster::shared();
    let mut wire = Wire::connect(cluster.broker(1).kafka);
    let create = |name: &str, wire: &mut Wire| {
        cluster.create_topic(name, 1, 1);
        cluster.wait("the topic is known", || topic_id(wire, name))
    };
    let older = create("unclear", &mut wire);
    assert_eq!(delete(&mut wire, &[(Some("unclear"), [0; 16])]), [NONE]);
    let id = create("unclear", &mut wire);
    let other = create("unclear-other", &mut wire);
    for topics in [
        &[(Some("unclear"), other)][..],
        &[(Some("unclear"), older)],
        &[(Some("unclear"), id)],
        &[(None, [0; 16])],
        &[(Some("unclear"), [0; 16]), (Some("unclear"), [0; 16])],
        &[(None, id), (None, id)],
        &[(Some("unclear"), [0; 16]), (None, id)],
    ] {
        let refused = vec![INVALID_REQUEST; topics.len()];
        assert_eq!(delete(&mut wire, topics), refused, "{topics:?}");
    }
    assert_eq!(topic_id(&mut wire, "unclear"), Some(id));
    assert_eq!(topic_id(&mut wire, "unclear-other"), Some(other));
    let clear = [(Some("unclear"), other), (None, other), (Some("unclear"), [0; 16])];
    assert_eq!(delete(&mut wire, &clear), [INVALID_REQUEST, NONE, NONE]);
}

#[test]
fn records_of_a_partition_that_is_named_twice_stay() {
    let cluster = Cluster::shared();
    cluster.create_topic("trimmed-twice", 1, 1);
    let mut wire = kafka::at_leader(&cluster, "trimmed-twice", 0);
    let batch = Batch::of(&["x", "y", "z"]).bytes();
    assert_eq!(kafka::produce(&mut wire, "trimmed-twice", 0, &batch).error, NONE);
    let topic = |body: Encoder| body.string("trimmed-twice").i32(1).i32(0);
    let body = topic(topic(Encoder::default().i32(2)).i64(1)).i64(3).i32(30_000);
    let mut decoder = wire.call(DELETE_RECORDS, 1, &body);
    decoder.i32();
    let topics = decoder.list(|decoder| {
        decoder.string();
        decoder.list(|decoder| (decoder.i32(), decoder.i64(), decoder.i16()))
    });
    decoder.end();
    assert_eq!(topics, [[(0, -1, INVALID_REQUEST)], [(0, -1, INVALID_REQUEST)]]);
    assert_eq!(Fetch::of("trimmed-twice", 0, 0).one(&mut wire).log_start, 0);
}

#[test]
fn every_topic_that_is_to_grow_has_its_answer_and_checking_grows_none() {
    let cluster = Cluster::shared();
    cluster.create_topic("grows", 2, 1);
    cluster.create_topic("grows-not", 2, 1);
    cluster.create_topic("grows-twice", 2, 1);
    let mut wire = Wire::connect(cluster.broker(1).kafka);
    cluster.wait("the topics are known", || topic_id(&mut wire, "grows-twice"));
    let topics = [
        ("grows", 4, NONE),
        ("grows-not", 2, INVALID_PARTITIONS),
        ("grows-nowhere", 4, UNKNOWN_TOPIC_OR_PARTITION),
        ("shrinks", -1, INVALID_PARTITIONS),
        ("grows-twice", 3, INVALID_REQUEST),
        ("grows-twice", 5, INVALID_REQUEST),
    ];
    let expected: Vec<_> = topics.iter().map(|it| (it.0.to_owned(), it.2)).collect();
    for (check, after) in [(1, 2), (0, 4)] {
        let body = Encoder::default().i32(topics.len() as i32);
        let grow = |body: Encoder, it: &(&str, i32, i16)| body.string(it.0).i32(it.1).i32(-1);
        let body = topics.iter().fold(body, grow);
        let mut decoder = wire.call(CREATE_PARTITIONS, 1, &body.i32(30_000).i8(check));
        decoder.i32();
        let rows = decoder.list(|decoder| {
            let row = (decoder.string().unwrap(), decoder.i16());
            decoder.string();
            row
        });
        decoder.end();
        assert_eq!(rows, expected);
        assert_eq!(partitions(&mut wire, "grows").len(), after);
        assert_eq!(partitions(&mut wire, "grows-twice").len(), 2);
    }
}

/// DescribeConfigs version 1 of one resource: its error and configs; `keys` of `None` is null.
fn configs(
    wire: &mut Wire,
    kind: i8,
    name: &str,
    keys: Option<&[&str]>,
) -> (i16, Vec<(String, Option<String>)>) {
    let body = Encoder::default().i32(1).i8(kind).string(name);
    let body = body.i32(keys.map_or(-1, |keys| keys.len() as i32));
    let body = keys.unwrap_or_default().iter().fold(body, |body, key| body.string(key));
    let mut decoder = wire.call(DESCRIBE_CONFIGS, 1, &body.i8(0));
    decoder.i32();
    let mut results = decoder.list(|decoder| {
        let error = decoder.i16();
        decoder.string();
        assert_eq!((decoder.i8(), decoder.string().as_deref()), (kind, Some(name)));
        let configs = decoder.list(|decoder| {
            let config = (decoder.string().unwrap(), decoder.string());
            decoder.i8();
            decoder.i8();
            decoder.i8();
            decoder.list(|decoder| (decoder.string(), decoder.string(), decoder.i8()));
            config
        });
        (error, configs)
    });
    decoder.end();
    results.remove(0)
}

#[test]
fn configs_are_told_of_topics_and_of_the_broker_asked_and_only_those_wanted() {
    let cluster = Cluster::shared();
    cluster.create_topic("configured", 1, 1);
    let mut wire = Wire::connect(cluster.broker(2).kafka);
    cluster.wait("the topic is known", || topic_id(&mut wire, "configured"));
    let (topic, broker) = (2, 4);
    assert_eq!(configs(&mut wire, topic, "nobody", None), (UNKNOWN_TOPIC_OR_PARTITION, vec![]));
    let (error, all) = configs(&mut wire, topic, "configured", None);
    assert!(error == NONE && all.len() > 3, "{all:?}");
    assert!(all.iter().all(|(_, value)| value.is_some()), "{all:?}");
    assert_eq!(configs(&mut wire, topic, "configured", Some(&[])), (NONE, vec![]));
    let (error, some) = configs(&mut wire, topic, "configured", Some(&["retention.ms", "nothing"]));
    let names: Vec<_> = some.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((error, names), (NONE, vec!["retention.ms"]));
    let (error, own) = configs(&mut wire, broker, "2", Some(&["advertised.listeners"]));
    assert_eq!((error, own.len()), (NONE, 1));
    assert!(own[0].1.as_ref().unwrap().ends_with(&cluster.broker(2).kafka.to_string()));
    assert_eq!(configs(&mut wire, broker, "1", None), (INVALID_REQUEST, vec![]), "ask it itself");
    assert_eq!(configs(&mut wire, 77, "x", None), (INVALID_REQUEST, vec![]));
}

#[test]
fn the_cluster_is_described_by_its_brokers_and_by_nothing_else() {
    let cluster = Cluster::shared();
    let mut wire = Wire::connect(cluster.broker(3).kafka);
    let known = metadata(&mut wire, Some(&[]), false);
    for (endpoints, expected) in [(1, NONE), (2, UNSUPPORTED_ENDPOINT), (0, UNSUPPORTED_ENDPOINT)] {
        let body = Encoder::default().i8(0).i8(endpoints);
        let mut decoder = wire.call_flexible(DESCRIBE_CLUSTER, 1, body);
        decoder.i32();
        assert_eq!(decoder.i16(), expected, "endpoints of type {endpoints}");
        assert_eq!(decoder.text().is_none(), expected == NONE);
        decoder.i8();
        let (id, _) = (decoder.text().unwrap(), decoder.i32());
        let brokers = decoder.rows(|decoder: &mut Decoder| {
            let (id, _, port) = (decoder.i32(), decoder.text(), decoder.i32());
            decoder.text();
            (id, port)
        });
        assert_eq!(decoder.i32(), i32::MIN, "operations that were not asked for");
        decoder.tags();
        decoder.end();
        let mut brokers = brokers.unwrap();
        brokers.sort_unstable();
        let mut all = known.brokers.clone();
        all.sort_unstable();
        match expected {
            NONE => assert_eq!((id, brokers), (known.cluster_id.clone(), all)),
            _ => assert!(brokers.is_empty(), "{brokers:?}"),
        }
    }
}

const DESCRIBE_GROUPS: i16 = 15;

/// AclOperation's numbers as bits: all there is to be done with a group and with the cluster.
const ON_GROUP: i32 = 0b1101_0100_1000;
const ON_CLUSTER: i32 = 0b1_1111_1010_0000;

#[test]
fn who_asks_what_it_may_do_is_told_everything_and_who_does_not_ask_nothing() {
    let cluster = Cluster::shared();
    cluster.create_topic("may-do", 1, 1);
    clients::commit(&cluster.bootstrap(), "may-do", "may-do", 7);
    let mut wire = Wire::connect(cluster.broker(1).kafka);
    cluster.wait("the topic is known", || topic_id(&mut wire, "may-do"));
    for (asks, topic, on_cluster) in [(0, i32::MIN, i32::MIN), (1, ON_TOPIC, ON_CLUSTER)] {
        let body = Encoder::default().i32(1).string("may-do").i8(0).i8(asks).i8(asks);
        let mut decoder = wire.call(METADATA, 8, &body);
        decoder.i32();
        decoder.list(|broker| (broker.i32(), broker.string(), broker.i32(), broker.string()));
        decoder.string();
        decoder.i32();
        let topics = decoder.list(|row| {
            row.i16();
            row.string();
            row.i8();
            row.list(|row| {
                row.i16();
                (0..3).for_each(|_| _ = row.i32());
                (0..3).for_each(|_| drop(row.list(Decoder::i32)));
            });
            row.i32()
        });
        assert_eq!((topics, decoder.i32()), (vec![topic], on_cluster));
        decoder.end();
        let body = Encoder::default().i8(asks).i8(1);
        let mut decoder = wire.call_flexible(DESCRIBE_CLUSTER, 1, body);
        decoder.i32();
        decoder.i16();
        decoder.text();
        decoder.i8();
        decoder.text();
        decoder.i32();
        decoder.rows(|row| (row.i32(), row.text(), row.i32(), row.text()));
        assert_eq!(decoder.i32(), on_cluster);
    }
    for (asks, expected) in [(0, i32::MIN), (1, ON_GROUP)] {
        let told = cluster.wait("the group is told of", || {
            group_operations(&cluster, &Encoder::default().i32(1).string("may-do").i8(asks))
        });
        assert_eq!(told, expected);
    }
}

/// DescribeGroups version 3 of one group, from whichever broker coordinates it.
fn group_operations(cluster: &Cluster, body: &Encoder) -> Option<i32> {
    cluster.running().find_map(|broker| {
        let mut decoder = Wire::connect(broker.kafka).call(DESCRIBE_GROUPS, 3, body);
        decoder.i32();
        let rows = decoder.list(|row| {
            let error = row.i16();
            (0..4).for_each(|_| drop(row.string()));
            row.list(|row| ((0..3).for_each(|_| drop(row.string())), row.bytes(), row.bytes()));
            (error, row.i32())
        });
        (rows[0].0 == NONE).then_some(rows[0].1)
    })
}
