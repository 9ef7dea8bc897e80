//! What a load took is given back: memory is not a high-water mark.

use std::time::Duration;

use crate::support::cluster::Cluster;

const MIB: u64 = 1 << 20;
/// A fresh broker has about 50 MiB.
const IDLE: u64 = 100 * MIB;

#[test]
fn a_broker_gives_back_the_memory_of_a_load_when_its_topic_is_gone() {
    let cluster = Cluster::start("memory", 3);
    let servers = cluster.bootstrap();
    let load = ["bench", "produce", "--partitions", "100", "--seconds", "8", "--server", &servers];
    cluster.cli(&load, "").ok("a load on a topic that is deleted afterwards");
    for broker in cluster.brokers() {
        let peak = broker.peak_memory();
        assert!(peak > 2 * IDLE, "the load took no memory: {} MiB", peak / MIB);
    }
    let memory =
        || cluster.brokers().iter().map(|broker| broker.memory() / MIB).collect::<Vec<_>>();
    let patience = Duration::from_secs(120);
    let freed = || memory().iter().all(|mib| mib * MIB < IDLE).then_some(());
    let what = format!("every broker is below {} MiB, after {:?}", IDLE / MIB, memory());
    cluster.wait_for(&what, patience, freed);
}
