//! In which order transactions become visible: of one producer one after the other, each with its records and its offsets.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{begin, stable};
use crate::support::cluster::Cluster;
use crate::support::kafka::{self, NONE, at_leader};
use crate::support::transactions::{CONCURRENT, UNSTABLE, committed};

const TOPIC: &str = "in-order";
const GROUP: &str = "in-order";
const TRANSACTIONS: i64 = 60;

/// A record and an offset in every transaction, the offset as large as there are transactions.
fn write(cluster: &Cluster) {
    let (mut wire, mut producer) = begin(cluster, "in-order", 60_000);
    let mut leader = at_leader(cluster, TOPIC, 0);
    let mut group = kafka::at_coordinator(cluster, GROUP);
    for n in 1..=TRANSACTIONS {
        producer.write(cluster, &mut leader, TOPIC, &n.to_string());
        let error = cluster.wait("the transaction before has ended", || {
            let error = producer.commit(&mut group, 5, (GROUP, -1, ""), TOPIC, n);
            (error != CONCURRENT).then_some(error)
        });
        assert_eq!(error, NONE);
        let (error, next) = producer.end_and_bump(&mut wire, true);
        assert_eq!(error, NONE);
        producer = next;
    }
}

/// Each transaction takes two offsets of the partition, for a record and a marker.
#[test]
fn whoever_sees_an_offset_of_a_transaction_sees_the_records_of_all_before_it() {
    let cluster = Cluster::start("tx-order", 3);
    cluster.create_topic(TOPIC, 1, 3);
    let done = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut group = kafka::at_coordinator(&cluster, GROUP);
            let mut leader = at_leader(&cluster, TOPIC, 0);
            let (mut seen, mut last) = (BTreeSet::new(), (0, 0));
            while !done.load(Ordering::SeqCst) {
                let records_before = stable(&mut leader, TOPIC, 0).stable / 2;
                let (error, offset) = committed(&mut group, GROUP, TOPIC, false);
                assert_eq!(error, NONE);
                let (error, sure) = committed(&mut group, GROUP, TOPIC, true);
                assert!([NONE, UNSTABLE].contains(&error), "{error}");
                assert!(error == UNSTABLE || sure >= offset, "{sure} after {offset}");
                let records = stable(&mut leader, TOPIC, 0).stable / 2;
                // No offset is -1.
                let offset = offset.max(0);
                assert!(records >= offset - 1, "offset {offset} and {records} records");
                assert!(
                    offset >= records_before - 1,
                    "{records_before} records and offset {offset}"
                );
                assert!(records >= last.0 && offset >= last.1, "back from {last:?}");
                last = (records, offset);
                seen.insert(offset);
            }
            seen
        });
        write(&cluster);
        done.store(true, Ordering::SeqCst);
        watching.join().unwrap()
    });
    assert!(seen.len() > 3, "it saw {seen:?} alone, which proves nothing");
    let mut group = kafka::at_coordinator(&cluster, GROUP);
    cluster.wait("the last offset is there", || {
        (committed(&mut group, GROUP, TOPIC, true) == (NONE, TRANSACTIONS)).then_some(())
    });
    super::all_stable(&cluster, TOPIC, 2 * TRANSACTIONS);
}
