//! Groups of two processes: partitions shared and handed on, a member that dies, one that comes back.

use std::time::{Duration, Instant};

use super::Client;
use crate::groups::{all_read, read_again, topic, write};
use crate::support::cluster::Cluster;
use crate::support::members::{Member, Said};

fn half(said: &Said) -> bool {
    said.partitions.len() == 2
}

fn whole(said: &Said) -> bool {
    said.partitions.len() == 4
}

/// As many records are committed, as the broker tells it.
pub(super) fn committed(cluster: &Cluster, group: &str, count: i64) {
    cluster.wait(&format!("{group} has committed {count}"), || {
        let answer = cluster.running().next()?.get(&format!("/v1/groups/{group}"))?;
        let answer = (answer.status == 200).then(|| answer.json())?;
        let offsets = answer["offsets"].as_array()?.iter();
        (offsets.filter_map(|it| it["offset"].as_i64()).sum::<i64>() == count).then_some(())
    });
}

/// Two that have half each, of four partitions.
fn pair(client: &Client, cluster: &Cluster, name: &str, settings: [&[&str]; 2]) -> [Member; 2] {
    let members = settings.map(|settings| client.member(cluster, name, settings));
    // Each may have had all of it for a moment, so they have half only when both do.
    cluster.wait("both have half, each its own", || {
        let [first, second] = members.each_ref().map(Member::said);
        let apart = first.partitions.is_disjoint(&second.partitions);
        (half(&first) && half(&second) && apart).then_some(())
    });
    members
}

/// Partitions are shared with who comes and handed on by who goes: nothing is skipped and nothing read again.
fn share(client: &Client, name: &str, settings: &[&str]) {
    let cluster = Cluster::shared();
    topic(&cluster, name);
    write(&cluster, name, 0, 1000);
    let first = client.member(&cluster, name, settings);
    first.wait(&cluster, "it has all partitions", whole);
    committed(&cluster, name, 1000);
    let second = client.member(&cluster, name, settings);
    cluster.wait("both have half, each its own", || {
        let (first, second) = (first.said(), second.said());
        let apart = first.partitions.is_disjoint(&second.partitions);
        (half(&first) && half(&second) && apart).then_some(())
    });
    write(&cluster, name, 1000, 2000);
    committed(&cluster, name, 2000);
    let first = first.stop();
    second.wait(&cluster, "the second has all", whole);
    write(&cluster, name, 2000, 3000);
    committed(&cluster, name, 3000);
    let second = second.stop();
    // Whoever comes later goes on where they were.
    write(&cluster, name, 3000, 3100);
    let third = client.member(&cluster, name, settings);
    committed(&cluster, name, 3100);
    let third = third.stop();
    assert_eq!(third.records.len(), 100, "what the third has read");
    let all = [&first, &second, &third];
    all_read(&all, 3100);
    assert_eq!(read_again(&all), 0, "everybody committed before it gave its partitions up");
}

pub fn rebalance(client: &Client) {
    share(client, &client.topic("rebalance"), &[]);
}

/// KIP-848: the coordinator assigns.
pub fn consumer_protocol(client: &Client) {
    let (name, protocol) = (client.topic("protocol"), "group.protocol=consumer");
    let cluster = Cluster::shared();
    if client
        .refuses("consumer protocol", &["consume", &cluster.bootstrap(), &name, &name, protocol])
    {
        return;
    }
    share(client, &name, &[protocol]);
    let told = cluster.get(&format!("/v1/groups/{name}"));
    assert_eq!(told["protocol"], "consumer", "{told}");
}

/// `kill -9` of a member: when its session is over, the other has all and skips nothing.
pub fn dead_member(client: &Client) {
    let (cluster, name) = (Cluster::shared(), client.topic("dead"));
    topic(&cluster, &name);
    let [dies, stays] = pair(client, &cluster, &name, [&[], &[]]);
    let (dead, killed) = (dies.kill9(), Instant::now());
    write(&cluster, &name, 0, 1000);
    stays.wait(&cluster, "it has all", whole);
    // Of the six seconds that its session takes; who leaves is gone at once.
    assert!(killed.elapsed() > Duration::from_secs(3), "it has left instead of dying");
    committed(&cluster, &name, 1000);
    all_read(&[&dead, &stays.stop()], 1000);
}

/// A static member that is started again has its part, and nobody rebalances.
pub fn static_member(client: &Client) {
    let (cluster, name) = (Cluster::shared(), client.topic("static"));
    let patient = "session.timeout.ms=30000";
    let [one, two] = [["group.instance.id=one", patient], ["group.instance.id=two", patient]];
    let args = ["consume", &cluster.bootstrap(), &name, &name, one[0]];
    if client.refuses("static member", &args) {
        return;
    }
    topic(&cluster, &name);
    let [first, second] = pair(client, &cluster, &name, [&one, &two]);
    let (before, revoked) = (first.said().partitions, second.said().revoked);
    first.kill9();
    write(&cluster, &name, 0, 1000);
    let again = client.member(&cluster, &name, &one);
    let after = again.wait(&cluster, "it has its part again", half);
    assert_eq!(after.partitions, before);
    committed(&cluster, &name, 1000);
    assert_eq!(second.said().revoked, revoked, "nobody noticed");
    all_read(&[&again.stop(), &second.stop()], 1000);
}
