//! The bytes of every command, frozen: logs written by one release are read by the next.

use super::*;
use crate::metadata::{decode, encode};

fn frozen(command: Command, bytes: &[u8]) {
    assert_eq!(encode(&command), bytes, "{command:?}");
    assert_eq!(decode::<Command>(bytes), Ok(command));
}

const ID: [u8; 16] = [9; 16];

fn with_id(head: &[u8], tail: &[u8]) -> Vec<u8> {
    [head, &[16], &ID, tail].concat()
}

#[test]
fn commands_about_brokers_are_frozen() {
    frozen(Command::FormCluster { cluster_id: 5 }, &[1, 0, 5]);
    let at = |port| HostPort::new("h", port);
    let spec = BrokerSpec {
        id: Some(2),
        directory_id: 300,
        rack: Some("r".into()),
        kafka: at(1),
        http: at(2),
        peer: at(3),
    };
    frozen(
        Command::RegisterBroker(spec),
        &[1, 1, 1, 2, 172, 2, 1, 1, b'r', 1, b'h', 1, 1, b'h', 2, 1, b'h', 3],
    );
    frozen(Command::Fence { broker: 2 }, &[1, 2, 2]);
    frozen(Command::Unfence { broker: 2 }, &[1, 3, 2]);
    frozen(Command::RemoveBroker { broker: 2 }, &[1, 13, 2]);
}

#[test]
fn commands_about_topics_are_frozen() {
    let id = Uuid::from_bytes(ID);
    let configs = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    let topic = NewTopic {
        name: "t".into(),
        partitions: Some(3),
        replication: None,
        assignment: vec![vec![1, 2]],
        configs: configs.clone(),
    };
    frozen(
        Command::CreateTopic { id, topic },
        &with_id(&[1, 4], &[1, b't', 1, 3, 0, 1, 2, 1, 2, 1, 1, b'k', 1, b'v']),
    );
    frozen(Command::DeleteTopic { id }, &with_id(&[1, 5], &[]));
    let grow = NewPartitions { topic: "t".into(), total: 4, assignment: vec![] };
    frozen(Command::CreatePartitions(grow), &[1, 6, 1, b't', 4, 0]);
    frozen(
        Command::AlterConfigs { topic: id, set: configs, remove: vec!["x".into()] },
        &with_id(&[1, 7], &[1, 1, b'k', 1, b'v', 1, 1, b'x']),
    );
}

#[test]
fn commands_about_replicas_and_ids_are_frozen() {
    let topic = Uuid::from_bytes(ID);
    frozen(
        Command::SetReplicas { topic, partition: 3, replicas: vec![1, 4] },
        &with_id(&[1, 8], &[6, 2, 1, 4]),
    );
    frozen(Command::CancelReplicas { topic, partition: 3 }, &with_id(&[1, 9], &[6]));
    frozen(Command::CompleteReplicas { group: 7, change: 8 }, &[1, 10, 7, 8]);
    frozen(Command::AllocateProducerIds { count: 10 }, &[1, 11, 10]);
    frozen(Command::PreferLeader { topic, partition: 3, broker: 4 }, &with_id(&[1, 14], &[6, 4]));
}
