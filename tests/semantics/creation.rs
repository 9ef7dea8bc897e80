//! CreateTopics in its newest form, which tells what was made, and what it refuses.

use crate::support::cluster::Cluster;
use crate::support::kafka::{
    CREATE_TOPICS, INVALID_PARTITIONS, INVALID_TOPIC, NONE, UNKNOWN_TOPIC_OR_PARTITION, metadata,
    topic_id,
};
use crate::support::wire::{Encoder, Wire};

const INVALID_REPLICATION: i16 = 38;
const INVALID_CONFIG: i16 = 40;
/// Where a config comes from: the topic itself, or the default.
const OF_TOPIC: i8 = 1;
const DEFAULT: i8 = 5;

/// What an answer says of a topic.
#[derive(Debug, PartialEq)]
struct Made {
    error: i16,
    id: [u8; 16],
    partitions: i32,
    replication: i16,
    /// Name, value and source of each config.
    configs: Vec<(String, String, i8)>,
}

/// CreateTopics version 7 of one topic, with the default of partitions and replicas.
fn create(wire: &mut Wire, name: &str, configs: &[(&str, &str)], check: bool) -> Made {
    let body = Encoder::default().count(1).text(name).i32(-1).i16(-1).count(0);
    let config = |body: Encoder, it: &(&str, &str)| body.text(it.0).text(it.1).zero();
    let body = configs.iter().fold(body.count(configs.len()), config).zero();
    let mut decoder = wire.call_flexible(CREATE_TOPICS, 7, body.i32(30_000).i8(check.into()));
    decoder.i32();
    let made = decoder.rows(|row| {
        assert_eq!(row.text().as_deref(), Some(name));
        let (id, error) = (row.id(), row.i16());
        assert_eq!(row.text().is_none(), error == NONE, "an error says why");
        let (partitions, replication) = (row.i32(), row.i16());
        let configs = row.rows(|row| {
            let (name, value) = (row.text().unwrap(), row.text().unwrap());
            let source = (row.i8(), row.i8(), row.i8());
            assert_eq!((source.0, source.2), (0, 0), "{name} can be changed and is no secret");
            (name, value, source.1)
        });
        let configs = configs.unwrap_or_default();
        Made { error, id, partitions, replication, configs }
    });
    decoder.tags();
    decoder.end();
    made.unwrap().remove(0)
}

#[test]
fn a_creation_tells_what_was_made_and_a_check_what_would_be() {
    let cluster = Cluster::shared();
    let mut wire = Wire::connect(cluster.broker(3).kafka);
    let wanted = [("retention.ms", "5000")];
    let checked = create(&mut wire, "made-known", &wanted, true);
    let seen = metadata(&mut wire, Some(&["made-known"]), false);
    assert_eq!(seen.topics[0].error, UNKNOWN_TOPIC_OR_PARTITION, "only checked");
    let made = create(&mut wire, "made-known", &wanted, false);
    assert_eq!(topic_id(&mut wire, "made-known"), Some(made.id));
    let seen = metadata(&mut wire, Some(&["made-known"]), false);
    let partitions = i32::try_from(seen.topics[0].partitions.len()).unwrap();
    assert_eq!((made.error, made.partitions, made.replication), (NONE, partitions, 3));
    let config = |name: &str| made.configs.iter().find(|it| it.0 == name).unwrap();
    assert_eq!((config("retention.ms").1.as_str(), config("retention.ms").2), ("5000", OF_TOPIC));
    assert_eq!(
        (config("cleanup.policy").1.as_str(), config("cleanup.policy").2),
        ("delete", DEFAULT)
    );
    let anew = Made { id: checked.id, ..made };
    assert_eq!(checked, anew, "a check says the same");
}

#[test]
fn configs_names_and_numbers_that_cannot_be_are_refused_each_with_its_error() {
    let cluster = Cluster::shared();
    let mut wire = Wire::connect(cluster.broker(1).kafka);
    for config in [("retention.ms", "soon"), ("nobody.knows", "1"), ("cleanup.policy", "shred")] {
        for check in [true, false] {
            let refused = create(&mut wire, "refused", &[config], check);
            assert_eq!((refused.error, refused.partitions), (INVALID_CONFIG, -1), "{config:?}");
        }
    }
    // Metrics would confuse the two.
    assert_eq!(create(&mut wire, "dots.and_lines", &[], false).error, NONE);
    assert_eq!(create(&mut wire, "dots_and.lines", &[], false).error, INVALID_TOPIC);
    assert_eq!(create(&mut wire, "", &[], false).error, INVALID_TOPIC);
    // Before version 4 nothing stood for the default.
    for (partitions, replication, error) in
        [(-1, 1, INVALID_PARTITIONS), (1, -1, INVALID_REPLICATION)]
    {
        let body = Encoder::default().i32(1).string("refused").i32(partitions).i16(replication);
        let mut decoder = wire.call(CREATE_TOPICS, 3, &body.i32(0).i32(0).i32(30_000).i8(0));
        decoder.i32();
        let errors = decoder.list(|row| {
            let error = (row.string(), row.i16()).1;
            assert!(row.string().is_some());
            error
        });
        assert_eq!(errors, [error]);
    }
    let seen = metadata(&mut wire, Some(&["refused"]), false);
    assert_eq!(seen.topics[0].error, UNKNOWN_TOPIC_OR_PARTITION);
}
