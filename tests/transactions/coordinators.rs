//! A coordinator that dies when it has decided how a transaction ends and has told nobody: the next one tells.
//!
//! It is the broker with defects, of which none is on: what it has more is the point to die at.

use super::{all_stable, at_coordinator, begin, stable, values};
use crate::support::cluster::{Broker, Cluster, with_defects};
use crate::support::kafka::{self, NONE, at_leader};
use crate::support::transactions::{self, END, Producer, UNSTABLE, committed, describe};
use crate::support::wire::{Encoder, Wire};

const POINT: (&str, &str) = ("QUORATE_FAILPOINT", "transaction.prepared:1");
const TOPICS: [&str; 2] = ["prepared-one", "prepared-two"];
const GROUP: &str = "prepared";
/// What the group has committed before.
const BEFORE: i64 = 3;
/// What it commits with the transaction.
const WITH: i64 = 5;

/// Three brokers, of which the third dies at the point, and an id that it coordinates.
fn scene(name: &str) -> (Cluster, String) {
    let cluster = Cluster::start(name, 3);
    TOPICS.iter().for_each(|topic| cluster.create_topic(topic, 1, 3));
    // Elected anew at once, so that each leads some of the groups in which transactions are coordinated.
    cluster.brokers().iter().for_each(Broker::stop);
    cluster.broker(3).start_as(&with_defects(), &[POINT]);
    [1, 2].iter().for_each(|id| cluster.broker(*id).start());
    cluster.wait_whole();
    let id = cluster.wait("the third coordinates an id", || {
        let mut ids = (0..100).map(|n| format!("{name}-{n}"));
        ids.find(|id| transactions::coordinator(&cluster, id) == (NONE, 3))
    });
    (cluster, id)
}

/// A transaction of two topics and a group.
fn transact(cluster: &Cluster, producer: &Producer, wire: &mut Wire) {
    crate::support::clients::commit(&cluster.bootstrap(), TOPICS[0], GROUP, BEFORE);
    for topic in TOPICS {
        producer.join(cluster, wire, topic);
        let mut leader = at_leader(cluster, topic, 0);
        assert_eq!(producer.produce(&mut leader, 11, topic, 0, "once"), (NONE, 0));
    }
    assert_eq!(producer.add_offsets(wire, GROUP), NONE);
    let mut group = kafka::at_coordinator(cluster, GROUP);
    assert_eq!(producer.commit(&mut group, 3, (GROUP, -1, ""), TOPICS[0], WITH), NONE);
    // Neither is visible, and who has to know for sure is told to wait.
    for topic in TOPICS {
        assert_eq!(stable(&mut at_leader(cluster, topic, 0), topic, 0).stable, 0);
    }
    assert_eq!(committed(&mut group, GROUP, TOPICS[0], false), (NONE, BEFORE));
    assert_eq!(committed(&mut group, GROUP, TOPICS[0], true).0, UNSTABLE);
}

fn dies(name: &str, commit: bool) {
    let (cluster, id) = scene(name);
    let (mut wire, producer) = begin(&cluster, &id, 60_000);
    transact(&cluster, &producer, &mut wire);
    let body = Encoder::default().text(&id).i64(producer.producer).i16(producer.epoch);
    // It may die before it answers.
    wire.send_flexible(END, 3, body.i8(commit.into()));
    assert_eq!(cluster.broker(3).exit_code(), None, "it dies by a signal");

    let state = cluster.wait("another has completed it", || {
        let mut wire = at_coordinator(&cluster, &id)?;
        let told = describe(&mut wire, &id);
        (told.error == NONE && told.state.starts_with("Complete")).then_some(told.state)
    });
    assert_eq!(state, if commit { "CompleteCommit" } else { "CompleteAbort" });
    // It is completed when everybody has been told.
    let offset = if commit { WITH } else { BEFORE };
    let mut group = kafka::at_coordinator(&cluster, GROUP);
    assert_eq!(committed(&mut group, GROUP, TOPICS[0], true), (NONE, offset));
    let visible: &[&str] = if commit { &["once"] } else { &[] };
    for topic in TOPICS {
        all_stable(&cluster, topic, 2);
        assert_eq!(values(&cluster, topic, "read_committed"), visible, "{topic}");
        assert_eq!(values(&cluster, topic, "read_uncommitted"), ["once"], "{topic}");
    }
    cluster.broker(3).start();
    cluster.wait_whole();
    // The id goes on, and so does everything else.
    let (_, next) = begin(&cluster, &id, 60_000);
    assert_eq!(next.producer, producer.producer);
    assert!(next.epoch > producer.epoch, "{next:?}");
}

#[test]
fn a_commit_that_is_decided_is_told_by_the_next_coordinator() {
    dies("decided-commit", true);
}

#[test]
fn an_abort_that_is_decided_is_told_by_the_next_coordinator() {
    dies("decided-abort", false);
}
