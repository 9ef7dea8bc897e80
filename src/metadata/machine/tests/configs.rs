//! Configs of topics that change.

use super::*;

#[test]
fn configs_are_set_and_removed() {
    let mut log = Log::with_brokers(1);
    log.create("a", 1, None).unwrap();
    let alter = |log: &mut Log, set: &[(&str, &str)], remove: &[&str]| {
        log.apply(Request::AlterConfigs {
            topic: id("a"),
            set: set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            remove: remove.iter().map(|name| (*name).to_owned()).collect(),
        })
    };
    alter(&mut log, &[("retention.ms", "5"), ("retention.bytes", "6")], &[]).unwrap();
    assert!(matches!(
        alter(&mut log, &[("cleanup.policy", "compacted")], &[]),
        Err(AdminError::InvalidConfig { .. })
    ));
    alter(&mut log, &[], &["retention.ms"]).unwrap();
    let version = log.image().version;
    // What changes nothing is no change.
    alter(&mut log, &[("retention.bytes", "6")], &["retention.ms"]).unwrap();
    assert_eq!(log.image().version, version);
    let configs = log.image().topics["a"].configs.clone();
    assert_eq!((configs.retention_ms(), configs.retention_bytes()), (Some(604_800_000), Some(6)));
}

/// What is promised of a topic is kept by each of its partitions, also when those are moved that are on their way.
#[test]
fn min_insync_replicas_is_what_every_partition_has() {
    let mut log = Log::with_brokers(5);
    log.create("a", 2, Some(3)).unwrap();
    let alter = |log: &mut Log, name: &str, value: &str| {
        let set = [(name.to_owned(), value.to_owned())].into();
        log.apply(Request::AlterConfigs { topic: id("a"), set, remove: Vec::new() })
    };
    log.set_replicas("a", &[1, 2, 3, 4, 5]).unwrap();
    let change = log.partition("a", 0).change;
    log.complete("a", change).unwrap();
    assert!(alter(&mut log, "min.insync.replicas", "3").is_err(), "the other one has three");
    log.set_replicas("a", &[1]).unwrap();
    assert!(alter(&mut log, "min.insync.replicas", "2").is_err(), "it will have one");
    log.set_replicas("a", &[1, 2, 3]).unwrap();
    assert!(alter(&mut log, "min.insync.replicas", "2").is_ok());
    assert!(log.set_replicas("a", &[1]).is_err(), "it is promised");
}

/// Streams in a compacted topic need somebody to have found it empty; in all others nothing of the kind.
#[test]
fn streams_are_turned_on_in_a_compacted_topic_that_was_found_empty() {
    let set = |pairs: &[(&str, &str)]| -> Explicit {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let on = || set(&[("quorate.streams", "true")]);
    let alter = |log: &mut Log, set| {
        log.apply(Request::AlterConfigs { topic: id("a"), set, remove: Vec::new() })
    };
    let mut log = Log::with_brokers(1);
    log.create("a", 1, None).unwrap();
    // What is there is counted before it is compacted, also where both come at once.
    alter(&mut log, set(&[("cleanup.policy", "compact"), ("quorate.streams", "true")])).unwrap();
    alter(&mut log, set(&[("quorate.streams", "false")])).unwrap();
    let refused = alter(&mut log, on());
    assert!(matches!(refused, Err(AdminError::InvalidConfig { .. })), "{refused:?}");
    alter(&mut log, set(&[("cleanup.policy", "delete"), ("quorate.streams", "true")])).unwrap();
    // Compacted as all topics are that say nothing else.
    alter(&mut log, set(&[("quorate.streams", "false")])).unwrap();
    let remove = vec!["cleanup.policy".to_owned()];
    log.apply(Request::AlterConfigs { topic: id("a"), set: set(&[]), remove }).unwrap();
    let all = set(&[("log.cleanup.policy", "compact")]);
    let resource = ConfigResource::Brokers;
    log.apply(Request::AlterResourceConfigs { resource, set: all, remove: Vec::new() }).unwrap();
    assert!(alter(&mut log, on()).is_err());
    let (topic, remove) = (id("a"), Vec::new());
    log.apply(Request::AlterEmptyTopic { topic, set: on(), remove }).unwrap();
    assert!(log.image().topics["a"].configs.streams().is_some());
}
