//! Whom a fault meets.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};

use crate::admin::Partition;
use crate::net::HostId;
use crate::sandbox::Cluster;

/// A class of targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetClass {
    /// The leader of a partition.
    Leader,
    One,
    Minority,
    Majority,
    All,
}

/// A partition of a topic.
pub(super) struct Place {
    pub topic: String,
    pub partition: Partition,
}

/// Among these: the leader, one, some, and twice as often all.
pub(super) const OFTEN_ALL: [TargetClass; 5] = [
    TargetClass::Leader,
    TargetClass::One,
    TargetClass::Minority,
    TargetClass::All,
    TargetClass::All,
];
/// Among these: twice as often the leader, one, some, all.
pub(super) const OFTEN_LEADER: [TargetClass; 5] = [
    TargetClass::Leader,
    TargetClass::Leader,
    TargetClass::One,
    TargetClass::Minority,
    TargetClass::All,
];

impl TargetClass {
    /// Picks one class.
    pub(super) fn any(among: &[TargetClass], random: &mut StdRng) -> TargetClass {
        among.choose(random).copied().unwrap_or(TargetClass::One)
    }

    /// Brokers that run, of this class. Empty if there are none, or nobody leads.
    pub(super) fn pick(self, cluster: &Cluster, random: &mut StdRng) -> Vec<u64> {
        let mut running = cluster.running();
        // Always shuffled, so that as much chance is used up whatever the cluster's state.
        running.shuffle(random);
        let members = cluster.ids().len();
        let majority = members / 2 + 1;
        let count = match self {
            TargetClass::Leader => return leader(cluster, random).into_iter().collect(),
            TargetClass::One => 1,
            TargetClass::Minority => random.random_range(1..=(members - majority).max(1)),
            TargetClass::Majority => majority,
            TargetClass::All => members,
        };
        running.truncate(count);
        running.sort_unstable();
        running
    }
}

/// A broker that runs and leads a partition that is used, if the brokers know one.
pub(super) fn leader(cluster: &Cluster, random: &mut StdRng) -> Option<u64> {
    let running = cluster.running();
    let led = places(cluster, 1, random).into_iter().find_map(|place| place.partition.leader);
    led.filter(|leader| running.contains(leader))
}

/// Some partitions, at most `count`, in any order.
pub(super) fn places(cluster: &Cluster, count: usize, random: &mut StdRng) -> Vec<Place> {
    let admin = cluster.hasty_admin();
    let mut topics = admin.topics().unwrap_or_default();
    topics.shuffle(random);
    let mut places = Vec::new();
    for topic in topics.into_iter().take(count) {
        let Ok(found) = admin.topic(&topic) else { continue };
        let of_topic = found.partitions.into_iter();
        places.extend(of_topic.map(|partition| Place { topic: topic.clone(), partition }));
    }
    places.shuffle(random);
    places.truncate(count);
    places
}

/// The host of a broker: hosts have the numbers of their brokers.
pub(super) fn host(broker: u64) -> HostId {
    HostId::try_from(broker).unwrap_or(HostId::MAX)
}

/// Both directions between each of one side and each of the other.
pub(super) fn between(one: &[HostId], other: &[HostId]) -> Vec<(HostId, HostId)> {
    let pairs = one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b)));
    pairs.filter(|(a, b)| a != b).flat_map(|(a, b)| [(a, b), (b, a)]).collect()
}

/// Directed links between some brokers and other hosts, each once.
pub(super) fn lines(some: &[u64], others: &[HostId]) -> Vec<(HostId, HostId)> {
    let some: Vec<HostId> = some.iter().map(|id| host(*id)).collect();
    let mut lines = between(&some, others);
    lines.sort_unstable();
    lines.dedup();
    lines
}

/// The hosts of all brokers.
pub(super) fn brokers(cluster: &Cluster) -> Vec<HostId> {
    cluster.ids().into_iter().map(host).collect()
}

/// The hosts of all clients.
pub(super) fn clients(cluster: &Cluster) -> Vec<HostId> {
    cluster.client_hosts().iter().map(|host| host.id).collect()
}

/// Leaves only what these brokers send.
pub(super) fn sent_by(some: &[u64], lines: &mut Vec<(HostId, HostId)>) {
    lines.retain(|(from, _)| some.iter().any(|id| host(*id) == *from));
}

/// `broker 1`, `brokers 1, 2`
pub(super) fn named(ids: &[u64]) -> String {
    let all: Vec<String> = ids.iter().map(u64::to_string).collect();
    format!("{} {}", if ids.len() == 1 { "broker" } else { "brokers" }, all.join(", "))
}
