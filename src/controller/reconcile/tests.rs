use std::net::{Ipv4Addr, SocketAddr};

use quorate_raft::{FailureConfig, Node, NodeConfig, TransportLimits};
use quorate_storage::Options;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::config::Config;
use crate::controller::BrokerClock;
use crate::metadata::{BrokerSpec, HostPort, Levels, METADATA_GROUP, Metadata, NewTopic, Request};
use crate::partition::{Attachments, Compactor, Partition, Partitions, RetentionPace};
use crate::record::{BatchBuilder, Limits, check};
use crate::replica::Replicas;
use crate::wall_clock::Clock;

const PATIENCE: Duration = Duration::from_secs(60);

/// A broker of one, without its interfaces: what the driver works with is real.
struct Alone {
    controller: Arc<Controller>,
    partitions: Arc<Partitions>,
    db: Arc<Db>,
    _dir: TempDir,
    _driver: JoinSet<()>,
}

impl Alone {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let db = Db::open(dir.path(), Options::default()).unwrap();
        let node = Node::start(node_config(), Arc::clone(&db)).await.unwrap();
        let (metadata, clock) = (Metadata::new(Image::default()), BrokerClock::new());
        let pace = RetentionPace { interval: PATIENCE };
        let partitions = Partitions::new(Arc::clone(&clock) as Clock, pace, Compactor::idle());
        let kinds = vec![Arc::clone(&partitions) as _, Arc::clone(&metadata) as _];
        let replicas = Replicas::new(Arc::clone(&node), kinds);
        let group = replicas.open(&metadata, METADATA_GROUP, Vec::new(), ()).await.unwrap();
        replicas.bootstrap(METADATA_GROUP, &[1]).await.unwrap();
        let topics = Config::default().topics;
        let controller = Controller::new(node, group.clone(), metadata, replicas, topics, clock);
        let mut driver = JoinSet::new();
        driver.spawn(Arc::clone(controller.metadata()).follow(group));
        let reconciler = Reconciler::new(Arc::clone(&controller), &db, Arc::default());
        let (stop, stopped) = watch::channel(false);
        driver.spawn(async move {
            reconciler.run(stopped).await;
            drop(stop);
        });
        let alone = Self { controller, partitions, db, _dir: dir, _driver: driver };
        alone.submit(Request::FormCluster { cluster_id: 1, level: 1 }).await;
        let at = HostPort::new("127.0.0.1", 1);
        let (kafka, http, peer) = (at.clone(), at.clone(), at);
        let broker = BrokerSpec {
            id: Some(1),
            directory_id: 1,
            rack: None,
            kafka,
            http,
            peer,
            levels: Levels::supported(),
        };
        alone.submit(Request::RegisterBroker(broker)).await;
        alone.submit(Request::Unfence { broker: 1 }).await;
        alone
    }

    async fn submit(&self, request: Request) {
        self.controller.submit(request, Instant::now() + PATIENCE).await.unwrap();
    }

    /// The partition as it is open now, once it leads.
    async fn ready(&self, group: GroupId, not: Option<&Arc<Partition>>) -> Arc<Partition> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let open = self.partitions.get(group);
            if let Some(partition) = open
                && not.is_none_or(|not| !Arc::ptr_eq(not, &partition))
                && partition.leader_epoch_if_ready().is_ok()
            {
                return partition;
            }
            assert!(Instant::now() < deadline, "the partition does not lead");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.db.close();
    }
}

fn node_config() -> NodeConfig {
    NodeConfig {
        node_id: 1,
        cluster_id: 1,
        directory_id: 1,
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        advertised: String::new(),
        stall: quorate_raft::StallConfig::default(),
        failure: FailureConfig::default(),
        limits: TransportLimits::default(),
    }
}

async fn append(partition: &Partition) -> i64 {
    let batch =
        check(BatchBuilder::new().record(0, None, Some(b"v")).build(), &Limits::wide(0)).unwrap();
    let epoch = partition.leader_epoch_if_ready().unwrap();
    let attachments = Attachments::default();
    partition.append(batch, &attachments, 0, epoch).await.unwrap().await.unwrap().base_offset
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_whose_core_panicked_is_open_again_with_what_it_had() {
    let alone = Alone::start().await;
    let topic = NewTopic { name: "t".into(), partitions: Some(1), ..NewTopic::default() };
    alone.submit(Request::CreateTopic { id: Uuid::from_u128(1), topic }).await;
    let group = alone.controller.metadata().image().topics["t"].partitions[0].group;
    let mut partition = alone.ready(group, None).await;
    for offset in 0..3 {
        assert_eq!(append(&partition).await, offset);
        partition.group().panic().await;
        partition = alone.ready(group, Some(&partition)).await;
    }
    assert_eq!(append(&partition).await, 3, "nothing is lost");

    // The fourth time within minutes it stays closed and is reported, until it was long enough.
    partition.group().panic().await;
    let mut failed = alone.controller.node().failed_groups();
    failed.wait_for(|failed| failed.contains_key(&group)).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while alone.partitions.get(group).is_some() {
        assert!(Instant::now() < deadline, "it is still open");
        sleep(Duration::from_millis(5)).await;
    }
    assert!(alone.controller.node().failed_groups().borrow().contains_key(&group));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_came_back_is_not_deleted_on_the_word_of_an_older_image() {
    let alone = Alone::start().await;
    let topic = NewTopic { name: "t".into(), partitions: Some(1), ..NewTopic::default() };
    alone.submit(Request::CreateTopic { id: Uuid::from_u128(1), topic }).await;
    let newest = alone.controller.metadata().image();
    let group = newest.topics["t"].partitions[0].group;
    let partition = alone.ready(group, None).await;
    assert_eq!(append(&partition).await, 0);

    // A driver that knows the image of before, in which the replica was elsewhere.
    let mut older = newest.as_ref().clone();
    let topic = Arc::make_mut(older.topics.get_mut("t").unwrap());
    topic.partitions[0].replicas = vec![2];
    let progress = Arc::new(Progress::default());
    progress.current.send_replace(true);
    let mut driver = Reconciler::new(Arc::clone(&alone.controller), &alone.db, progress);
    assert!(driver.held.contains_key(&group));
    driver.due = [group].into();
    driver.start(&older);
    assert!(driver.jobs.is_empty(), "nothing is done about it");
    assert_eq!(append(&partition).await, 1);
}
