//! Offsets that are over (KIP-211): of groups without members, of consumers that never joined, and of topics that are no more.

use super::*;

/// The partitions of which a group has an offset; none if there is no such group.
fn known(cluster: &Cluster, group: &str) -> usize {
    let answer = cluster.request("GET", &format!("/v1/groups/{group}"), None);
    if answer.status == 404 {
        return 0;
    }
    answer.ok()["offsets"].as_array().unwrap().len()
}

#[test]
fn offsets_expire_once_nobody_reads_on_from_them() {
    let settings = [
        ("QUORATE_GROUPS_OFFSETS_RETENTION_MS", "2000"),
        ("QUORATE_GROUPS_OFFSETS_CHECK_MS", "200"),
    ];
    let (cluster, name) = (Cluster::start_with("expiry", 3, &settings), "expiring");
    topic(&cluster, name);
    topic(&cluster, "other");
    write(&cluster, name, 0, 100);
    for (group, settings) in [("classic", &[][..]), ("consumer", &["group.protocol=consumer"][..])]
    {
        let member = Member::start(&cluster, Client::Python, (name, group), settings);
        committed(&cluster, &[&member], 100);
        // Of a topic that no member reads an offset expires under their eyes; so does that of whoever never was a member.
        let alone = format!("alone-{group}");
        clients::commit(&cluster.bootstrap(), name, &alone, 7);
        assert_eq!(offset(&cluster, &alone), Some(7));
        cluster.wait("what nobody reads on from is gone", || {
            (known(&cluster, &alone) == 0).then_some(())
        });
        // What was committed before that, and longer ago, is there as long as its group has members.
        assert_eq!(known(&cluster, group), 4, "{group}");
        member.stop();
        cluster.wait("its members have left", || (known(&cluster, group) == 0).then_some(()));
    }
}

/// The offset of partition 0, as Kafka's clients are told it.
fn offset(cluster: &Cluster, group: &str) -> Option<i64> {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap()).set("group.id", group);
    let consumer: BaseConsumer = config.create().unwrap();
    let mut asked = rdkafka::TopicPartitionList::new();
    asked.add_partition("expiring", 0);
    let told = consumer.committed_offsets(asked, SOON).unwrap();
    match told.elements()[0].offset() {
        rdkafka::Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

#[test]
fn the_offsets_of_a_topic_go_with_it() {
    let (cluster, name) = (Cluster::shared(), "expiry-deleted");
    topic(&cluster, name);
    topic(&cluster, "expiry-kept");
    for topic in [name, "expiry-kept"] {
        clients::commit(&cluster.bootstrap(), topic, name, 0);
    }
    assert_eq!(known(&cluster, name), 2);
    cluster.request("DELETE", &format!("/v1/topics/{name}"), None).ok();
    cluster.wait("every broker knows", || {
        let told = |broker: &Broker| broker.get(&format!("/v1/groups/{name}"));
        let told: Option<Vec<Answer>> = cluster.running().map(told).collect();
        told?.iter().all(|it| it.ok()["offsets"].as_array().unwrap().len() == 1).then_some(())
    });
    topic(&cluster, name);
    assert_eq!(known(&cluster, name), 1, "one of the same name has none");
}
