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
