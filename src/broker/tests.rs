//! Several brokers in one process, with a kind of group that no release has.

mod transactions;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_raft::{Committed, DecodeError, Effects, Group, Machine, Outcome};
use quorate_storage::GroupId;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::Broker;
use crate::config::{Config, HostPort};
use crate::metadata::{GroupKind, Image, InternalId, InternalKind};
use crate::replica::{AnyKind, Kind};
use crate::terminal::Admin;

const PATIENCE: Duration = Duration::from_secs(120);
const COUNTERS: InternalKind = InternalKind(u16::MAX);
const GROUPS: u32 = 5;

/// Counts the commands it has seen.
#[derive(Default)]
struct Counter(u64);

impl Machine for Counter {
    type Reply = u64;

    fn apply(&mut self, entry: Committed<'_>, _: &mut Effects) -> u64 {
        self.0 += u64::from(entry.payload.is_some());
        self.0
    }

    fn encode(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let bytes = bytes.try_into().map_err(|_| DecodeError("not eight bytes".to_owned()))?;
        Ok(Self(u64::from_be_bytes(bytes)))
    }

    fn needed_from(&self) -> u64 {
        0
    }
}

/// The kind: replicas by number.
#[derive(Default)]
struct Counters(Mutex<HashMap<u32, Group<Counter>>>);

impl Counters {
    fn get(&self, number: u32) -> Option<Group<Counter>> {
        self.0.lock().get(&number).cloned()
    }

    fn numbers(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.0.lock().keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }
}

impl Kind for Counters {
    const KIND: GroupKind = GroupKind::Internal(COUNTERS);
    type Machine = Counter;
    type Spec = InternalId;

    fn name(spec: &InternalId) -> String {
        spec.number.to_string()
    }

    fn spec(image: &Image, group: GroupId) -> Option<InternalId> {
        image.internal.of(group).map(|(id, _)| id)
    }

    fn opened(&self, group: Group<Counter>, spec: InternalId) {
        self.0.lock().insert(spec.number, group);
    }

    fn closing(&self, group: GroupId) {
        self.0.lock().retain(|_, open| open.id() != group);
    }
}

struct Member {
    broker: Broker,
    counters: Arc<Counters>,
    _dir: TempDir,
}

impl Member {
    async fn start(rack: &str, join: Option<&Member>) -> Self {
        let dir = TempDir::new().unwrap();
        let mut config = Config::default();
        config.broker.data_dir = dir.path().to_owned();
        config.broker.rack = Some(rack.to_owned());
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        (config.kafka.listen, config.http.listen, config.peer.listen) = (any, any, any);
        config.raft.fence_after_ms = 1_000;
        config.peer.join = join.map(|other| HostPort::from(other.peer())).into_iter().collect();
        let counters = Arc::new(Counters::default());
        let kinds = vec![Arc::clone(&counters) as Arc<dyn AnyKind>];
        let broker = Broker::start_with(config, kinds).await.unwrap();
        let member = Self { broker, counters, _dir: dir };
        until("the broker is in service", || {
            let image = member.image();
            image.brokers.get(&member.id()).is_some_and(|broker| !broker.fenced)
        })
        .await;
        member
    }

    fn id(&self) -> u64 {
        self.broker.context().node.id()
    }

    fn peer(&self) -> SocketAddr {
        self.broker.context().node.listen_address()
    }

    fn image(&self) -> Arc<Image> {
        self.broker.context().metadata.image()
    }

    /// Makes one of the groups count one further, wherever it is led.
    async fn count(members: &[&Member], number: u32) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for group in members.iter().filter_map(|member| member.counters.get(number)) {
                let Ok(pending) = group.propose(Bytes::from_static(b"one"), None).await else {
                    continue;
                };
                match pending.await {
                    Outcome::Applied { reply, .. } => return reply,
                    Outcome::NotInLog => {}
                    Outcome::Indeterminate => panic!("counted, or not"),
                }
            }
            assert!(Instant::now() < deadline, "no leader of group {number} counts");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the groups are on exactly `brokers` by every member's image, and open there with what was counted.
async fn settled(members: &[&Member], brokers: &[u64], counted: u64) {
    let all = (0..GROUPS).collect::<Vec<_>>();
    until(&format!("all groups are on {brokers:?}"), || {
        members.iter().all(|member| {
            let image = member.image();
            let on = |replicas: &[u64]| {
                let mut replicas = replicas.to_vec();
                replicas.sort_unstable();
                replicas == brokers
            };
            let placed = image.moving.is_empty()
                && image.internal.iter().all(|(_, info)| on(&info.replicas))
                && image.internal.count(COUNTERS) == GROUPS;
            let numbers = if brokers.contains(&member.id()) { &all[..] } else { &[] };
            placed && member.counters.numbers() == numbers
        })
    })
    .await;
    for member in members.iter().filter(|member| brokers.contains(&member.id())) {
        for number in 0..GROUPS {
            let group = member.counters.get(number).unwrap();
            until("the replica has what was counted", || group.machine().0 == counted).await;
            assert_eq!(group.status().learners, Vec::<u64>::new(), "nobody else is a member");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn internal_groups_grow_with_the_cluster_and_replace_who_was_removed() {
    let first = Member::start("a", None).await;
    let controller = &first.broker.context().controller;
    for count in [GROUPS - 2, GROUPS, GROUPS - 1] {
        controller.make_internal_groups(COUNTERS, count, PATIENCE).await.unwrap();
    }
    for number in 0..GROUPS {
        assert_eq!(Member::count(&[&first], number).await, 1);
    }
    settled(&[&first], &[1], 1).await;

    // With two brokers one replica is safer than two.
    let second = Member::start("b", Some(&first)).await;
    settled(&[&first, &second], &[1], 1).await;
    let third = Member::start("c", Some(&first)).await;
    let three = [&first, &second, &third];
    settled(&three, &[1, 2, 3], 1).await;
    for number in 0..GROUPS {
        assert_eq!(Member::count(&three, number).await, 2);
    }

    // Asked over HTTP, the cluster knows them; they count as what a broker carries.
    let admin = Admin::new(vec![HostPort::from(second.broker.http_address())]);
    assert_eq!(admin.get("/v1/cluster").await.unwrap()["internal_groups"], GROUPS);
    let brokers = admin.get("/v1/brokers").await.unwrap();
    assert!(brokers["brokers"].as_array().unwrap().iter().all(|it| it["replicas"] == GROUPS));
    let group = second.counters.get(0).unwrap().id();
    let described = admin.get(&format!("/v1/raft/groups/{}", group.0)).await.unwrap();
    assert_eq!(described["kind"], COUNTERS.to_string());
    assert_eq!(described["voters"].as_array().unwrap().len(), 3);

    // Who is silent stays a replica until somebody says that it is gone for good.
    let fourth = Member::start("c", Some(&first)).await;
    let Member { broker, .. } = third;
    broker.stop().await;
    let rest = [&first, &second, &fourth];
    until("broker 3 is fenced", || first.image().brokers[&3].fenced).await;
    for number in 0..GROUPS {
        assert_eq!(Member::count(&rest, number).await, 3);
    }
    assert!(first.image().internal.iter().all(|(_, info)| info.replicas.contains(&3)));
    let controller = &second.broker.context().controller;
    controller.remove_broker(3, PATIENCE).await.unwrap();
    settled(&rest, &[1, 2, 4], 3).await;

    // Where nobody can replace it, the others go on without.
    let Member { broker, .. } = fourth;
    broker.stop().await;
    let rest = [&first, &second];
    until("broker 4 is fenced", || first.image().brokers[&4].fenced).await;
    controller.remove_broker(4, PATIENCE).await.unwrap();
    settled(&rest, &[1, 2], 3).await;
    second.broker.stop().await;
    first.broker.stop().await;
}
