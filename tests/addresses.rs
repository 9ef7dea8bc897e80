//! Brokers move: all of them, or one, while they are stopped. Their `--join` lists say where to.

use serde_json::Value;

use crate::support::cluster::{Broker, Cluster};

const RECORDS: &str = "one\ntwo\nthree\n";

fn started(name: &str, brokers: u64) -> Cluster {
    let cluster = Cluster::start(name, brokers);
    cluster.create_topic("kept", 1, 3);
    cluster.wait("the topic takes records", || {
        let produced = cluster.cli(&["produce", "kept"], RECORDS);
        (produced.code == Some(0)).then_some(())
    });
    cluster
}

/// Stops all brokers, gives some of them other ports, and each a list of whom to join; starts all at once.
fn moved(cluster: &mut Cluster, who: &[u64], join: impl Fn(u64) -> Vec<u64>) {
    cluster.brokers().iter().for_each(Broker::stop);
    cluster.brokers_mut().filter(|broker| who.contains(&broker.id)).for_each(Broker::take_ports);
    let peers: Vec<(u64, u16)> =
        cluster.brokers().iter().map(|broker| (broker.id, broker.peer)).collect();
    for broker in cluster.brokers_mut() {
        let named = join(broker.id);
        let ports = peers.iter().filter(|(id, _)| named.contains(id)).map(|(_, port)| *port);
        broker.join = ports.collect();
    }
    cluster.brokers().iter().for_each(Broker::start);
    cluster.wait_whole();
    told_of(cluster);
}

/// Every broker says of every other where it is now, and the records are there.
fn told_of(cluster: &Cluster) {
    cluster.wait("the metadata has the new addresses", || {
        let told = |broker: &Broker| -> Option<bool> {
            let brokers = broker.get("/v1/brokers")?.json()["brokers"].as_array()?.clone();
            let at = |row: &Value, what: &str, port: u16| row[what] == format!("127.0.0.1:{port}");
            let right = |row: &Value| {
                let it = cluster.broker(row["id"].as_u64().unwrap());
                at(row, "kafka", it.kafka) && at(row, "http", it.http) && at(row, "peer", it.peer)
            };
            Some(brokers.iter().all(right))
        };
        cluster.brokers().iter().all(|broker| told(broker) == Some(true)).then_some(())
    });
    let read = cluster.cli(&["consume", "kept", "--from", "beginning", "--exit"], "");
    assert_eq!(read.ok("consume"), RECORDS);
    assert_eq!(cluster.cli(&["topic", "describe", "kept"], "").code, Some(0));
}

#[test]
fn all_brokers_move_at_once_and_find_each_other_by_their_lists() {
    let mut cluster = started("moved-all", 3);
    let all = [1, 2, 3];
    moved(&mut cluster, &all, |id| all.into_iter().filter(|other| *other != id).collect());
    // One list in one direction is enough: who is dialled learns where the other is.
    moved(&mut cluster, &all, |id| if id == 1 { vec![] } else { vec![1] });
    moved(&mut cluster, &[2], |id| if id == 2 { vec![1, 3] } else { vec![] });
}

#[test]
fn voters_that_name_only_a_broker_without_a_vote_find_each_other_through_it() {
    let mut cluster = started("moved-through", 4);
    let voters = |cluster: &Cluster| {
        let group = cluster.get("/v1/raft/groups/0");
        let voters = group["voters"].as_array()?;
        (voters.len() == 3).then(|| voters.iter().filter_map(Value::as_u64).collect::<Vec<_>>())
    };
    let voters = cluster.wait("the metadata has three voters", || voters(&cluster));
    let other = (1..=4).find(|id| !voters.contains(id)).unwrap();
    moved(&mut cluster, &[1, 2, 3, 4], |id| if id == other { vec![] } else { vec![other] });
}

#[test]
fn a_cluster_whose_lists_name_nobody_says_whom_it_misses() {
    let mut cluster = started("moved-nowhere", 3);
    cluster.allow("the metadata voters do not find each other");
    cluster.brokers().iter().for_each(Broker::stop);
    let before = cluster.broker(2).peer;
    cluster.brokers_mut().for_each(Broker::take_ports);
    cluster.brokers_mut().for_each(|broker| broker.join = vec![]);
    cluster.brokers().iter().for_each(Broker::start);
    cluster.wait("it says whom it does not find, and where it looked", || {
        let said = cluster.broker(1).get("/readyz")?.text;
        let named = said.contains("broker 2") && said.contains(&format!(":{before}"));
        (named && said.contains("--join")).then_some(())
    });
    cluster.wait("the log warns of it", || {
        let log = cluster.broker(1).log_text();
        log.contains("the metadata voters do not find each other").then_some(())
    });
}
