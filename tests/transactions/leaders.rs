//! Brokers that die while transactions are open: the leader of a partition between records and marker, and all at once.

use super::{all_stable, begin, lead, stable, values};
use crate::support::cluster::{Broker, Cluster};
use crate::support::kafka::{self, NONE, at_leader, leader};
use crate::support::transactions::{Producer, UNSTABLE, committed, describe};
use crate::support::wire::Wire;

/// A transaction that is left open while brokers die takes no more than this.
const PATIENT: i32 = 600_000;
/// One whose time is over soon.
const SHORT: i32 = 10_000;

/// Writes records of one transaction of the classic flow, the first of which has this sequence number.
fn write(cluster: &Cluster, producer: &Producer, topic: &str, sequence: i32, values: &[&str]) {
    let mut wire = at_leader(cluster, topic, 0);
    for (n, value) in values.iter().enumerate() {
        let (error, _) = producer.produce(&mut wire, 11, topic, sequence + n as i32, value);
        assert_eq!(error, NONE, "{value}");
    }
}

/// Begins a transaction with these records.
fn open(cluster: &Cluster, wire: &mut Wire, producer: &Producer, topic: &str, values: &[&str]) {
    producer.join(cluster, wire, topic);
    write(cluster, producer, topic, 0, values);
}

/// Ends it, wherever its coordinator is by now.
fn end(cluster: &Cluster, producer: &Producer, commit: bool) {
    cluster.wait("the transaction has ended", || {
        let mut wire = super::at_coordinator(cluster, &producer.id)?;
        (producer.end(&mut wire, commit) == NONE).then_some(())
    });
}

#[test]
fn a_leader_that_dies_between_records_and_marker_takes_no_transaction_with_it() {
    let (cluster, topic) = (Cluster::start("tx-leader", 3), "halves");
    cluster.create_topic(topic, 1, 3);
    let [(mut one, committing), (mut two, aborting)] =
        ["commits", "aborts"].map(|id| begin(&cluster, id, PATIENT));
    open(&cluster, &mut one, &committing, topic, &["c0", "c1"]);
    open(&cluster, &mut two, &aborting, topic, &["a0"]);
    let dead = cluster.broker(leader(&cluster, topic, 0).leader as u64);
    dead.kill9();
    let mut wire = at_leader(&cluster, topic, 0);
    let found = stable(&mut wire, topic, 0);
    assert_eq!((found.high_watermark, found.stable), (3, 0), "both are open as before");
    write(&cluster, &committing, topic, 2, &["c2"]);
    write(&cluster, &aborting, topic, 1, &["a1"]);
    end(&cluster, &aborting, false);
    cluster.wait("one has ended", || {
        let found = stable(&mut at_leader(&cluster, topic, 0), topic, 0);
        (found.high_watermark == 6).then(|| assert_eq!(found.stable, 0, "the other has not"))
    });
    end(&cluster, &committing, true);
    all_stable(&cluster, topic, 7);
    dead.start();
    cluster.wait_whole();
    // What each of them knows, as leader.
    for broker in cluster.brokers() {
        let mut wire = lead(&cluster, topic, broker.id);
        let found = stable(&mut wire, topic, 0);
        assert_eq!((found.high_watermark, found.stable), (7, 7), "broker {}", broker.id);
        assert_eq!(found.aborted, Some(vec![(aborting.producer, 2)]), "broker {}", broker.id);
        assert_eq!(values(&cluster, topic, "read_committed"), ["c0", "c1", "c2"]);
        let all = values(&cluster, topic, "read_uncommitted");
        assert_eq!(all, ["c0", "c1", "a0", "c2", "a1"], "broker {}", broker.id);
    }
}

#[test]
fn open_transactions_outlive_a_cluster_that_is_killed_and_end_in_time() {
    let (cluster, group) = (Cluster::start("tx-killed", 3), "killed");
    let [lasts, forgotten] = ["lasts", "forgotten"];
    [lasts, forgotten].iter().for_each(|topic| cluster.create_topic(topic, 1, 3));
    // Some that have ended before, two of them aborted.
    let (mut wire, before) = begin(&cluster, "before", PATIENT);
    for (n, commit) in [false, true, false].into_iter().enumerate() {
        before.join(&cluster, &mut wire, lasts);
        write(&cluster, &before, lasts, n as i32, &[if commit { "kept" } else { "gone" }]);
        end(&cluster, &before, commit);
        all_stable(&cluster, lasts, 2 * (n as i64 + 1));
    }
    let aborted = Some(vec![(before.producer, 0), (before.producer, 4)]);
    assert_eq!(stable(&mut at_leader(&cluster, lasts, 0), lasts, 0).aborted, aborted);

    let (mut wire, patient) = begin(&cluster, "patient", PATIENT);
    open(&cluster, &mut wire, &patient, lasts, &["p0"]);
    assert_eq!(patient.add_offsets(&mut wire, group), NONE);
    let mut at_group = kafka::at_coordinator(&cluster, group);
    assert_eq!(patient.commit(&mut at_group, 3, (group, -1, ""), lasts, 6), NONE);
    let (mut wire, short) = begin(&cluster, "short", SHORT);
    open(&cluster, &mut wire, &short, forgotten, &["s0"]);
    cluster.brokers().iter().for_each(Broker::kill9);
    cluster.brokers().iter().for_each(Broker::start);
    cluster.wait_whole();

    let found = stable(&mut at_leader(&cluster, lasts, 0), lasts, 0);
    assert_eq!((found.high_watermark, found.stable), (7, 6), "it is open as before");
    assert_eq!(found.aborted, aborted);
    let read = || committed(&mut kafka::at_coordinator(&cluster, group), group, lasts, true);
    cluster.wait("the offset is not stable", || (read().0 == UNSTABLE).then_some(()));
    // Whose time is over is aborted, by the time that its coordinator was in office.
    all_stable(&cluster, forgotten, 2);
    let found = stable(&mut at_leader(&cluster, forgotten, 0), forgotten, 0);
    assert_eq!(found.aborted, Some(vec![(short.producer, 0)]));
    cluster.wait("the other is still open", || {
        let told = describe(&mut super::at_coordinator(&cluster, "patient")?, "patient");
        (told.error == NONE).then(|| assert_eq!(told.state, "Ongoing"))
    });
    // And its producer goes on.
    write(&cluster, &patient, lasts, 1, &["p1"]);
    end(&cluster, &patient, true);
    all_stable(&cluster, lasts, 9);
    assert_eq!(values(&cluster, lasts, "read_committed"), ["kept", "p0", "p1"]);
    assert_eq!(values(&cluster, forgotten, "read_committed"), [""; 0]);
    cluster.wait("the offset is there", || (read() == (NONE, 6)).then_some(()));
}
