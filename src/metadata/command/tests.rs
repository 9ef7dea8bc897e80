//! The bytes of every command, frozen: logs written by one release are read by the next.

use quorate_storage::GroupId;

use super::*;
use crate::metadata::{AdminError, Done, HostPort, Levels, decode, encode};

const ID: [u8; 16] = [9; 16];

/// Of a command: the version of the format, the request, the base, then a change and an answer of one byte each.
fn frozen(change: Change, bytes: &[u8]) {
    let command = Command {
        request: Uuid::from_bytes([1; 16]),
        base: 300,
        change: Some(change),
        reply: Ok(Done::Changed),
    };
    let all = [&[3, 16], &[1; 16][..], &[172, 2, 1], bytes, &[0, 0]].concat();
    assert_eq!(encode(&command), all, "{command:?}");
    assert_eq!(decode::<Command>(&all), Ok(command));
}

fn with_id(head: &[u8], tail: &[u8]) -> Vec<u8> {
    [head, &[16], &ID, tail].concat()
}

#[test]
fn changes_of_brokers_are_frozen() {
    frozen(Change::FormCluster { cluster_id: 5, level: 1 }, &[0, 5, 1]);
    let at = |port| HostPort::new("h", port);
    let broker = Broker {
        id: 2,
        rack: Some("r".into()),
        kafka: at(1),
        http: at(2),
        peer: at(3),
        directory_id: 300,
        fenced: true,
        levels: Levels { lowest: 1, highest: 3 },
    };
    frozen(
        Change::PutBroker(broker),
        &[1, 2, 1, 1, b'r', 1, b'h', 1, 1, b'h', 2, 1, b'h', 3, 172, 2, 1, 1, 3],
    );
    frozen(Change::RemoveBroker { broker: 2 }, &[2, 2]);
    frozen(Change::Finalize { level: 2 }, &[9, 2]);
}

#[test]
fn changes_of_topics_are_frozen() {
    let id = Uuid::from_bytes(ID);
    let configs = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    let partitions = NewGroups { first: 7, replicas: vec![vec![1, 2]] };
    frozen(
        Change::CreateTopic {
            id,
            name: "t".into(),
            partitions: partitions.clone(),
            configs: configs.clone(),
        },
        &with_id(&[3], &[1, b't', 7, 1, 2, 1, 2, 1, 1, b'k', 1, b'v']),
    );
    frozen(Change::DeleteTopic { id }, &with_id(&[4], &[]));
    frozen(Change::AddPartitions { topic: id, partitions }, &with_id(&[5], &[7, 1, 2, 1, 2]));
    frozen(Change::SetConfigs { topic: id, configs }, &with_id(&[6], &[1, 1, b'k', 1, b'v']));
}

#[test]
fn changes_of_partitions_and_ids_are_frozen() {
    let topic = Uuid::from_bytes(ID);
    let info = PartitionInfo {
        group: GroupId(7),
        replicas: vec![1],
        initial: vec![2],
        target: Some(vec![3]),
        leaving: vec![4],
        change: 8,
    };
    frozen(
        Change::PutPartition { topic, partition: 3, info },
        &with_id(&[7], &[6, 7, 1, 1, 1, 2, 1, 1, 3, 1, 4, 8]),
    );
    frozen(Change::TakeProducerIds { next: 10 }, &[8, 20]);
}

#[test]
fn changes_of_configs_of_brokers_and_groups_are_frozen() {
    let configs = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    for (resource, bytes) in [
        (ConfigResource::Brokers, &[0][..]),
        (ConfigResource::Broker(300), &[1, 172, 2]),
        (ConfigResource::Group("g".to_owned()), &[2, 1, b'g']),
    ] {
        let all = [&[11], bytes, &[1, 1, b'k', 1, b'v']].concat();
        frozen(Change::SetResourceConfigs { resource, configs: configs.clone() }, &all);
    }
}

#[test]
fn answers_without_a_change_are_frozen() {
    let of = |reply| {
        let command = Command { request: Uuid::nil(), base: 1, change: None, reply };
        encode(&command)[18..].to_vec()
    };
    assert_eq!(of(Ok(Done::Registered { broker: 2 })), [1, 0, 0, 1, 2]);
    assert_eq!(of(Ok(Done::Created { id: Uuid::from_bytes(ID) })), with_id(&[1, 0, 0, 2], &[]));
    assert_eq!(of(Ok(Done::ProducerIds { first: 1, count: 2 })), [1, 0, 0, 3, 2, 2]);
    assert_eq!(of(Err(AdminError::UnknownBroker(2))), [1, 0, 1, 10, 2]);
}
