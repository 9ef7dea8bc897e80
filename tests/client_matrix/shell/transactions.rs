//! `kafka-transactions`: what operators see of transactions, and how they end one whose producer is gone.

use super::{row, says, tool};
use crate::support::cluster::Cluster;
use crate::support::kafka::{Fetch, NONE, at_leader};
use crate::support::transactions::{self, Producer};
use crate::support::wire::Wire;

/// The longest that a transaction may be open, which is a quarter of an hour.
const LONG: i32 = 900_000;

/// A producer that has written a record in a transaction, and is gone.
fn leave_open(cluster: &Cluster, topic: &str) -> (Producer, u64) {
    cluster.create_topic(topic, 1, 3);
    let (mut wire, begun) = transactions::begin(cluster, topic);
    let (error, producer, epoch) = transactions::init(&mut wire, topic, LONG, (-1, -1));
    assert_eq!(error, NONE);
    let producer = Producer { producer, epoch, ..begun };
    let mut leader = at_leader(cluster, topic, 0);
    assert_eq!(producer.write(cluster, &mut leader, topic, "left open"), 0);
    let (error, coordinator) = transactions::coordinator(cluster, topic);
    assert_eq!(error, NONE);
    (producer, coordinator as u64)
}

/// Where what is open begins, of what a partition has.
fn stable(wire: &mut Wire, topic: &str) -> (i64, i64) {
    let found = Fetch { isolation: 1, ..Fetch::of(topic, 0, 0) }.one(wire);
    (found.stable, found.high_watermark)
}

#[test]
fn kafka_transactions_lists_describes_and_ends_what_a_producer_has_left_open() {
    let (cluster, topic) = (Cluster::shared(), "shell-transactions");
    let (producer, coordinator) = leave_open(&cluster, topic);
    let bootstrap = cluster.bootstrap();
    // It wants that before the command.
    let said = |args: &[&str]| {
        let args = [&["--bootstrap-server", bootstrap.as_str()], args].concat();
        says(&cluster, "TransactionsCommand", &args)
    };
    let (id, epoch) = (producer.producer.to_string(), producer.epoch.to_string());
    let coordinator = coordinator.to_string();

    let listed = row(&said(&["list"]), &[topic]);
    assert_eq!(listed, [topic, &coordinator, &id, "Ongoing"]);
    let long = said(&["list", "--duration-filter", "3600000"]);
    assert!(!long.contains(topic), "it has not been open for an hour: {long}");
    let named = said(&["list", "--transactional-id-pattern", "shell-trans.*"]);
    assert_eq!(row(&named, &[topic]), listed);

    let described = row(&said(&["describe", "--transactional-id", topic]), &[&coordinator]);
    let timeout = LONG.to_string();
    assert_eq!(described[..6], [coordinator.as_str(), topic, &id, &epoch, "Ongoing", &timeout]);
    assert!(described[6].parse::<i64>().unwrap() > 0 && described[7].parse::<i64>().unwrap() >= 0);
    assert_eq!(described[8], format!("{topic}-0"));

    let place = ["--topic", topic, "--partition", "0"];
    let producers = said(&[&["describe-producers"], &place[..]].concat());
    let producers = row(&producers, &[&id]);
    assert_eq!((producers[0].as_str(), producers[1].as_str()), (id.as_str(), epoch.as_str()));
    assert_eq!(producers[3], "0", "its last sequence number");
    assert_eq!(producers[5], "0", "where its transaction begins");

    // Its record is years old; but its coordinator knows it, and will end it.
    let hanging = said(&["find-hanging", "--topic", topic, "--max-transaction-timeout", "1"]);
    assert!(!hanging.contains(&id), "{hanging}");

    // A broker is asked about every partition of which it has a replica, led there or not.
    for broker in ["1", "2", "3"] {
        cluster.wait("its replica knows the producer", || {
            let told = said(&[&["describe-producers", "--broker-id", broker], &place[..]].concat());
            let knows = told.lines().any(|line| line.starts_with(&id));
            knows.then(|| assert_eq!(row(&told, &[&id]), producers))
        });
        said(&["find-hanging", "--broker-id", broker]);
    }

    let mut leader = at_leader(&cluster, topic, 0);
    assert_eq!(stable(&mut leader, topic), (0, 1));
    said(&[&["abort"], &place[..], &["--start-offset", "0"]].concat());
    cluster.wait("nothing is open there", || (stable(&mut leader, topic) == (2, 2)).then_some(()));
    let producers = said(&[&["describe-producers"], &place[..]].concat());
    assert_eq!(row(&producers, &[&id])[5], "None");
    let first = ["--bootstrap-server", bootstrap.as_str(), "abort"];
    let again = [&first, &place[..], &["--start-offset", "0"]].concat();
    let again = tool(&cluster, "TransactionsCommand", &again, "");
    assert!(again.stderr.contains("Could not find any open transactions"), "{}", again.stderr);

    // Who takes the id over ends the rest of it, of which that partition has no more.
    said(&["forceTerminateTransaction", "--transactionalId", topic]);
    cluster.wait("the transaction is aborted", || {
        // The tool takes the id over, once it is aborted.
        let state = row(&said(&["list"]), &[topic])[3].clone();
        ["CompleteAbort", "Empty"].contains(&state.as_str()).then_some(())
    });
    assert_eq!(stable(&mut leader, topic), (2, 2));
}
