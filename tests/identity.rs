//! Who a broker is: an id belongs to one data directory and a directory to one cluster.

use crate::support::cluster::{Broker, Cluster, fresh_dir};

/// The documented exit code of a broker its cluster refuses.
const REFUSED: i32 = 4;

/// Starts a broker that must end by itself with a reason in its log, and gives that log.
fn refused(broker: &Broker) -> String {
    broker.start();
    assert_eq!(broker.exit_code(), Some(REFUSED), "{}", broker.log_text());
    broker.log_text()
}

#[test]
fn a_broker_that_lost_its_disk_is_refused_under_its_old_id() {
    let cluster = Cluster::start("wiped", 3);
    cluster.create_topic("kept", 3, 3);
    let broker = cluster.broker(3);
    cluster.allow("registered with data directory");
    broker.kill9();
    broker.wipe();
    // Its votes and acknowledgements are forgotten; to let it vote again could lose records.
    let log = refused(broker);
    assert!(log.contains("broker id 3 is registered with data directory"), "{log}");
    assert!(log.contains("another node id"), "it says what to do: {log}");
}

#[test]
fn a_broker_with_a_new_id_takes_the_place_of_a_lost_one() {
    let mut cluster = Cluster::start("replaced", 3);
    cluster.create_topic("kept", 1, 3);
    cluster.broker(3).kill9();
    cluster.add(4).start();
    cluster.wait("broker 4 has joined", || cluster.broker(4).ready().then_some(()));
    let body = r#"{"brokers": [1, 2, 4]}"#;
    let path = "/v1/topics/kept/partitions/0/replicas";
    assert_eq!(cluster.request("PUT", path, Some(body)).status, 202);
    cluster.wait("the partition is on 1, 2 and 4", || {
        let partition = cluster.get("/v1/topics/kept/partitions/0");
        let moved = partition["replicas"] == serde_json::json!([1, 2, 4]);
        (moved && partition["target"].is_null()).then_some(())
    });
}

#[test]
fn an_id_that_is_taken_is_refused() {
    let cluster = Cluster::start("taken", 2);
    let dir = fresh_dir("taken-intruder");
    let intruder = Broker::new(&dir, 2, &[cluster.broker(1).peer], &[]);
    cluster.allow("registered with data directory");
    let log = refused(&intruder);
    assert!(log.contains("broker id 2 is registered with data directory"), "{log}");
    cluster.wait_whole();
}

#[test]
fn a_member_of_one_cluster_does_not_join_another() {
    let one = Cluster::start("cluster-one", 1);
    let other = Cluster::start("cluster-other", 1);
    let dir = fresh_dir("stray");
    let mut stray = Broker::new(&dir, 7, &[one.broker(1).peer], &[]);
    stray.start();
    one.wait("broker 7 has joined", || stray.ready().then_some(()));
    stray.stop();
    // The same directory, pointed at another cluster while its own is away.
    one.broker(1).kill9();
    stray.join = vec![other.broker(1).peer];
    stray.start();
    other.wait("it says that it is refused, and by whom", || {
        let log = stray.log_text();
        let line = log.lines().find(|line| line.contains("refuses this broker"))?;
        line.contains("belongs to cluster").then_some(())
    });
    assert!(!stray.ready());
    let brokers = other.get("/v1/brokers");
    assert_eq!(brokers["brokers"].as_array().unwrap().len(), 1, "{brokers}");
    // It is what it was as soon as its cluster is back.
    one.broker(1).start();
    one.wait("broker 7 is back in its own cluster", || stray.ready().then_some(()));
}

#[test]
fn a_formed_directory_keeps_its_cluster_and_refuses_another_id() {
    let dir = fresh_dir("formed");
    let first = Broker::new(&dir, 1, &[], &[]);
    first.start();
    let ready = |broker: &Broker| {
        crate::support::wait::until("the broker is ready", crate::support::cluster::SOON, || {
            broker.ready().then(|| broker.get("/v1/cluster").unwrap().ok()["cluster_id"].clone())
        })
    };
    let formed = ready(&first);
    first.stop();
    first.start();
    assert_eq!(ready(&first), formed, "it restarts as what it was");

    // Locked while in use, and another id is not who lives here.
    let second = Broker::new(&dir, 1, &[], &[]);
    second.start();
    let code = second.exit_code();
    assert_ne!(code, Some(0));
    assert!(second.log_text().contains("in use"), "{}", second.log_text());
    first.stop();
    let mut other = Broker::new(&dir, 5, &[], &[]);
    other.data.clone_from(&first.data);
    other.start();
    assert_eq!(other.exit_code(), Some(2), "{}", other.log_text());
    assert!(other.log_text().contains("belongs to broker 1"), "{}", other.log_text());
}
