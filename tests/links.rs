//! One link between two brokers is cut and everything else works: no partition is without a leader that
//! fresh clients are told of, whichever broker they ask.

use serde_json::Value;

use crate::support::cluster::{Broker, Cluster};
use crate::support::kafka::{at_leader, partition_at, produce};
use crate::support::links::Links;
use crate::support::wire::Batch;

const PARTITIONS: i32 = 6;

/// Who leads the metadata group, once all running brokers agree on it.
fn metadata_leader(cluster: &Cluster) -> u64 {
    cluster.wait("all agree on who leads the metadata", || {
        let told = |broker: &Broker| broker.get("/v1/cluster")?.json()["controller"].as_u64();
        let leaders: Vec<Option<u64>> = cluster.running().map(told).collect();
        leaders.windows(2).all(|pair| pair[0] == pair[1]).then_some(leaders[0])?
    })
}

fn fenced(cluster: &Cluster) -> Vec<Value> {
    let brokers = cluster.get("/v1/brokers")["brokers"].as_array().unwrap().clone();
    brokers.into_iter().filter(|broker| broker["fenced"] == true).collect()
}

/// Leader and epoch of every partition, if every broker tells a fresh client the same of each.
fn leaders(cluster: &Cluster) -> Option<Vec<(i32, i32)>> {
    let told = |broker| {
        let partitions = (0..PARTITIONS).map(|index| {
            let state = partition_at(broker, "led", index)?;
            (state.leader >= 0).then_some((state.leader, state.epoch))
        });
        partitions.collect::<Option<Vec<_>>>()
    };
    let all: Vec<_> = cluster.running().map(told).collect::<Option<_>>()?;
    all.windows(2).all(|pair| pair[0] == pair[1]).then(|| all[0].clone())
}

#[test]
fn a_broker_that_the_metadata_leader_alone_does_not_reach_stays_in_service() {
    let links = Links::default();
    let settings = [("QUORATE_RAFT_FENCE_AFTER_MS", "1000")];
    let cluster = Cluster::start_linked("links", 3, &settings, &links);
    cluster.create_topic("led", PARTITIONS as u32, 3);
    for _ in 0..2 {
        let leader = metadata_leader(&cluster);
        for victim in (1..=3).filter(|id| *id != leader) {
            let leader = metadata_leader(&cluster);
            if leader == victim {
                continue;
            }
            let before = cluster.wait("every partition has a leader", || leaders(&cluster));
            links.cut(leader, victim);
            let third = (1..=3).find(|id| *id != leader && *id != victim).unwrap();
            // It hears everybody, so it leads; before that the silence has lasted longer than fencing takes.
            cluster.wait("the third broker leads the metadata", || {
                let told =
                    cluster.broker(third).get("/v1/cluster")?.json()["controller"].as_u64()?;
                (told == third).then_some(())
            });
            assert_eq!(fenced(&cluster), Vec::<Value>::new());
            let now = cluster.wait("fresh clients are told of all leaders", || leaders(&cluster));
            let of_victim = |at: &usize| before[*at].0 == victim as i32;
            for at in (0..PARTITIONS as usize).filter(of_victim) {
                assert_eq!(now[at], before[at], "a healthy leader goes on: {before:?} {now:?}");
            }
            for index in 0..PARTITIONS {
                cluster.wait("a fresh client writes", || {
                    let mut wire = at_leader(&cluster, "led", index);
                    let records = Batch::of(&["x"]).bytes();
                    (produce(&mut wire, "led", index, &records).error == 0).then_some(())
                });
            }
            links.heal();
            // Not before they have dialled each other again may the next link go: nobody is to lose two.
            cluster.wait("all brokers reach each other", || {
                let healthy =
                    |broker: &Broker| broker.get("/v1/cluster")?.json()["healthy"].as_bool();
                cluster.running().all(|broker| healthy(broker) == Some(true)).then_some(())
            });
        }
    }
}
