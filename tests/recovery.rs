//! `kill -9` under load: nothing acknowledged is lost, nothing is there twice, order is kept.

use std::time::{Duration, Instant};

use crate::support::clients::Client;
use crate::support::cluster::{Broker, Cluster};
use crate::support::kafka::{leader, partition_at};
use crate::support::load::Load;

const TOPIC: &str = "load";
const PARTITIONS: i32 = 3;
/// Enough records between two blows that all partitions have taken some.
const SOME: usize = 3_000;

fn under_load(name: &str, client: Client) -> (Cluster, Load) {
    let cluster = Cluster::start(name, 3);
    cluster.create_topic(TOPIC, PARTITIONS as u32, 3);
    let load = Load::start(&cluster, client, TOPIC, PARTITIONS);
    load.progress(&cluster, SOME);
    (cluster, load)
}

fn leading(cluster: &Cluster) -> u64 {
    leader(cluster, TOPIC, 0).leader as u64
}

#[test]
fn acknowledged_records_survive_killing_the_leader() {
    let (cluster, load) = under_load("kill-leader", Client::Rust);
    let victim = leading(&cluster);
    cluster.broker(victim).kill9();
    load.progress(&cluster, SOME);
    cluster.broker(victim).start();
    cluster.wait_whole();
    load.progress(&cluster, SOME);
    assert!(load.finish_and_verify(&cluster) >= 3 * SOME);
}

#[test]
fn killing_a_follower_stops_nobody() {
    let (cluster, load) = under_load("kill-follower", Client::Python);
    let victim = (1..=3).find(|id| *id != leading(&cluster)).unwrap();
    cluster.broker(victim).kill9();
    load.progress(&cluster, SOME);
    cluster.broker(victim).start();
    cluster.wait_whole();
    load.progress(&cluster, SOME);
    load.finish_and_verify(&cluster);
}

#[test]
fn acknowledged_records_survive_killing_all_three_at_once() {
    let (cluster, load) = under_load("kill-all", Client::Java);
    for _ in 0..5 {
        cluster.brokers().iter().for_each(Broker::kill9);
        cluster.brokers().iter().for_each(Broker::start);
        cluster.wait_whole();
        load.progress(&cluster, SOME);
    }
    load.finish_and_verify(&cluster);
}

#[test]
fn killing_one_broker_after_the_other_under_load_loses_and_doubles_nothing() {
    let (cluster, load) = under_load("kill-loop", Client::Rust);
    for round in 0..24 {
        // Every other time whoever leads partition 0, so that leaders die more often than others.
        let victim = if round % 2 == 0 { leading(&cluster) } else { round % 3 + 1 };
        cluster.broker(victim).kill9();
        load.progress(&cluster, SOME);
        cluster.broker(victim).start();
        cluster.wait_whole();
        load.progress(&cluster, SOME);
    }
    load.finish_and_verify(&cluster);
}

#[test]
fn a_paused_leader_is_replaced_and_does_no_harm_when_it_wakes() {
    let (cluster, load) = under_load("pause-leader", Client::Rust);
    let victim = leading(&cluster);
    cluster.broker(victim).pause();
    load.progress(&cluster, SOME);
    cluster.broker(victim).unpause();
    cluster.wait_whole();
    load.progress(&cluster, SOME);
    load.finish_and_verify(&cluster);
}

#[test]
fn a_stop_hands_leaderships_over_and_a_whole_cluster_stops_and_starts_again() {
    let (cluster, load) = under_load("stop-start", Client::Rust);
    for id in 1..=3 {
        cluster.broker(id).stop();
        load.progress(&cluster, SOME);
        cluster.broker(id).start();
        cluster.wait_whole();
    }
    let total = load.finish_and_verify(&cluster);
    cluster.brokers().iter().for_each(Broker::stop);
    cluster.brokers().iter().for_each(Broker::start);
    cluster.wait_whole();
    let epoch = leader(&cluster, TOPIC, 0).epoch;
    assert!(epoch > 1 && total > 0);
}

#[test]
fn every_partition_of_a_killed_leader_has_another_leader() {
    let cluster = Cluster::start("failover", 3);
    cluster.create_topic("many", 30, 3);
    for index in 0..30 {
        leader(&cluster, "many", index);
    }
    let victim = leader(&cluster, "many", 0).leader as u64;
    let witness = cluster.broker(victim % 3 + 1);
    cluster.broker(victim).kill9();
    // How soon is measured by `quorate bench failover`; a test would only measure the machine.
    for index in 0..30 {
        cluster.wait("another broker leads", || {
            let partition = partition_at(witness, "many", index)?;
            (partition.leader as u64 != victim).then_some(())
        });
    }
}

#[test]
fn a_cluster_that_misses_a_broker_waits_for_it_without_burning_the_processor() {
    let cluster = Cluster::start("quiet", 3);
    cluster.create_topic("many", 30, 3);
    (0..30).for_each(|index| drop(leader(&cluster, "many", index)));
    cluster.broker(3).kill9();
    // Something that the dead broker lacks, so that leaders have a reason to try.
    cluster.create_topic("more", 1, 2);
    let used = || cluster.broker(1).cpu() + cluster.broker(2).cpu();
    let (before, started) = (used(), Instant::now());
    let length = Duration::from_secs(8);
    cluster.wait("some seconds have passed", || (started.elapsed() > length).then_some(()));
    let share = (used() - before).as_secs_f64() / started.elapsed().as_secs_f64();
    assert!(share < 0.3, "two idle brokers take {:.0} % of a core", share * 100.0);
}
