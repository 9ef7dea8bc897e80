//! Brokers that go, on purpose or from each other's sight, and what their clients are told meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::cluster::{Broker, Cluster};
use crate::support::kafka::{
    self, COORDINATOR_LOADING, COORDINATOR_NOT_AVAILABLE, Fetch, INIT_PRODUCER_ID, NONE,
    NOT_LEADER, OFFSET_OUT_OF_RANGE, end_of_epoch, leader, produce, producer_id,
};
use crate::support::wire::{Batch, Encoder, Wire};

#[test]
fn a_stopping_broker_hands_its_partitions_over_before_its_clients_are_done() {
    let cluster = Cluster::start("handed-over", 3);
    cluster.create_topic("t", 3, 3);
    let old = cluster.broker(leader(&cluster, "t", 0).leader as u64);
    // A request whose body does not come keeps the broker from ending for some seconds.
    let mut slow = TcpStream::connect(("127.0.0.1", old.http)).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    slow.write_all(
        b"POST /v1/topics HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
          content-length: 100\r\nexpect: 100-continue\r\n\r\n",
    )
    .unwrap();
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100", "the broker waits for the body");
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| old.stop());
        for index in 0..3 {
            cluster.wait("another broker takes records", || {
                let others = cluster.brokers().iter().filter(|broker| broker.id != old.id);
                let mut answers = others.map(|broker| {
                    let mut wire = Wire::connect(broker.kafka);
                    produce(&mut wire, "t", index, &Batch::of(&["x"]).bytes()).error
                });
                answers.any(|error| error == NONE).then_some(())
            });
        }
        // The old leader is still there for who was there before.
        slow.write_all(&[b' '; 100]).unwrap();
        let mut rest = String::new();
        slow.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("HTTP/1.1 4"), "{rest:?}");
        stop.join().unwrap();
    });
}

#[test]
fn a_leader_that_hears_no_majority_does_not_say_where_the_log_ends() {
    let cluster = Cluster::start("unsure", 3);
    cluster.create_topic("t", 1, 3);
    let state = leader(&cluster, "t", 0);
    let mut wire = kafka::at_leader(&cluster, "t", 0);
    produce(&mut wire, "t", 0, &Batch::of(&["x"]).bytes());
    let beyond = Fetch::of("t", 0, 50);
    assert_eq!(beyond.one(&mut wire).error, OFFSET_OUT_OF_RANGE);
    assert_eq!(end_of_epoch(&mut wire, "t", 0, -1, state.epoch), (NONE, state.epoch, 1));
    let others = || cluster.brokers().iter().filter(|broker| broker.id != state.leader as u64);
    others().for_each(Broker::pause);
    // For all it knows they have a leader of their own by now, which took more.
    assert_eq!(beyond.one(&mut wire).error, NOT_LEADER);
    assert_eq!(end_of_epoch(&mut wire, "t", 0, -1, state.epoch).0, NOT_LEADER);
    others().for_each(Broker::unpause);
    cluster.wait("who leads can tell again", || {
        let mut wire = kafka::at_leader(&cluster, "t", 0);
        (beyond.one(&mut wire).error == OFFSET_OUT_OF_RANGE).then_some(())
    });
}

#[test]
fn without_a_majority_producers_are_told_to_ask_again_for_their_id_and_members_for_their_coordinator()
 {
    let cluster = Cluster::start("no-ids", 3);
    let mut wire = Wire::connect(cluster.broker(1).kafka);
    [2, 3].into_iter().for_each(|id| cluster.broker(id).kill9());
    let mut decoder = wire.call(INIT_PRODUCER_ID, 1, &Encoder::default().null().i32(60_000));
    decoder.i32();
    assert_eq!((decoder.i16(), decoder.i64(), decoder.i16()), (COORDINATOR_LOADING, -1, -1));
    let nobody = (COORDINATOR_NOT_AVAILABLE, -1);
    assert_eq!(kafka::coordinator(cluster.broker(1), "g"), nobody);
    [2, 3].into_iter().for_each(|id| cluster.broker(id).start());
    cluster.wait_whole();
    assert_eq!(kafka::coordinator(cluster.broker(1), "g").0, NONE);
    assert!(producer_id(&mut wire).0 >= 0);
}
