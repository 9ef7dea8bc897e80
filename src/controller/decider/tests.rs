use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures::future::join_all;
use quorate_raft::{FailureConfig, Node, NodeConfig, StallConfig, TransportLimits};
use quorate_storage::{Db, Options};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::config::Config;
use crate::controller::BrokerClock;
use crate::metadata::{
    AdminError, BrokerSpec, HostPort, Image, Levels, METADATA_GROUP, Metadata, NewTopic,
};
use crate::replica::Replicas;

const PATIENCE: Duration = Duration::from_secs(60);

/// The metadata group of one broker, and who decides for it.
struct Alone {
    controller: Arc<Controller>,
    db: Arc<Db>,
    _dir: TempDir,
    _driver: JoinSet<()>,
}

impl Alone {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let db = Db::open(dir.path(), Options::default()).unwrap();
        let config = NodeConfig {
            node_id: 1,
            cluster_id: 1,
            directory_id: 1,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertised: String::new(),
            stall: StallConfig::default(),
            failure: FailureConfig::default(),
            limits: TransportLimits::default(),
        };
        let node = Node::start(config, Arc::clone(&db)).await.unwrap();
        let metadata = Metadata::new(Image::default());
        let replicas = Replicas::new(Arc::clone(&node), vec![Arc::clone(&metadata) as _]);
        let group = replicas.open(&metadata, METADATA_GROUP, Vec::new(), ()).await.unwrap();
        replicas.bootstrap(METADATA_GROUP, &[1]).await.unwrap();
        let (topics, clock) = (Config::default().topics, BrokerClock::new());
        let controller = Controller::new(node, group.clone(), metadata, replicas, topics, clock);
        let mut driver = JoinSet::new();
        driver.spawn(Arc::clone(controller.metadata()).follow(group));
        let alone = Self { controller, db, _dir: dir, _driver: driver };
        alone.submit(Request::FormCluster { cluster_id: 1, level: 1 }).await.unwrap();
        let at = HostPort::new("127.0.0.1", 1);
        let broker = BrokerSpec {
            id: Some(1),
            directory_id: 1,
            rack: None,
            kafka: at.clone(),
            http: at.clone(),
            peer: at,
            levels: Levels::supported(),
        };
        alone.submit(Request::RegisterBroker(broker)).await.unwrap();
        alone.submit(Request::Unfence { broker: 1 }).await.unwrap();
        alone
    }

    async fn submit(&self, request: Request) -> Result<Done, AdminError> {
        self.controller.submit(request, Instant::now() + PATIENCE).await
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.db.close();
    }
}

fn create(name: &str, id: u128) -> Request {
    let topic = NewTopic { name: name.to_owned(), partitions: Some(2), ..NewTopic::default() };
    Request::CreateTopic { id: Uuid::from_u128(id), topic }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_at_once_are_each_decided_once() {
    const TOPICS: u128 = 200;
    let alone = Alone::start().await;
    let before = alone.controller.metadata().image();
    // Every topic is asked for twice: one of the two is told that it exists.
    let asked = (0..2 * TOPICS).map(|id| alone.submit(create(&format!("t{}", id / 2), id + 1)));
    let answers = join_all(asked).await;
    for pair in answers.chunks(2) {
        let made = pair.iter().filter(|answer| answer.is_ok()).count();
        let told = pair.iter().filter(|it| matches!(it, Err(AdminError::TopicExists(_)))).count();
        assert_eq!((made, told), (1, 1), "{pair:?}");
    }
    let image = alone.controller.metadata().image();
    assert_eq!(image.topics.len() as u128, TOPICS);
    assert_eq!(image.groups.len() as u128, 2 * TOPICS, "every partition has its own group");
    let entries = u128::from(image.applied - before.applied);
    assert_eq!(entries, 2 * TOPICS, "nothing was decided twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_on_an_image_that_was_overtaken_is_made_again() {
    let alone = Alone::start().await;
    alone.submit(create("a", 1)).await.unwrap();
    for round in 2_u128..10 {
        // A change that this leader did not decide, as after a leadership that went and came.
        let image = alone.controller.metadata().image();
        let other = decide(&image, Uuid::new_v4(), &create(&format!("b{round}"), round << 64));
        let group = alone.controller.group();
        let pending = group.propose(Bytes::from(encode(&other)), None).await.unwrap();
        let name = format!("c{round}");
        let done = alone.submit(create(&name, round)).await;
        assert_eq!(done, Ok(Done::Created { id: Uuid::from_u128(round) }));
        assert!(matches!(pending.await, Outcome::Applied { reply: Applied::Answered(Ok(_)), .. }));
        let image = alone.controller.metadata().image();
        assert!(image.topic(&name).is_some());
        assert_eq!(image.groups.len(), image.topics.len() * 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_is_not_anticipated_and_must_be_known_to_who_decides() {
    let alone = Alone::start().await;
    let controller = &alone.controller;
    let image = controller.metadata().image();
    let known = image.brokers[&1].clone();
    let levels = Levels { lowest: 1, highest: 3 };
    let broker = BrokerSpec {
        id: Some(1),
        directory_id: known.directory_id,
        rack: known.rack,
        kafka: known.kafka,
        http: known.http,
        peer: known.peer,
        levels,
    };
    alone.submit(Request::RegisterBroker(broker)).await.unwrap();
    // Every registered broker supports it by what the image says, and this release supports no more than 2.
    let refused = alone.submit(Request::Finalize { level: 3 }).await;
    assert!(matches!(refused, Err(AdminError::LevelNotSupported { level: 3, .. })), "{refused:?}");

    let (finalize, deadline) = (Request::Finalize { level: 2 }, Instant::now() + PATIENCE);
    let proposed = controller.propose(Uuid::new_v4(), &finalize, deadline).await.unwrap();
    assert!(
        controller.decider.anticipation.lock().await.machine.is_none(),
        "the next is decided on what is applied"
    );
    assert!(matches!(proposed.pending.await, Outcome::Applied { .. }));
    alone.submit(create("behind", 9)).await.unwrap();
    assert_eq!(controller.metadata().image().level, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_turn_did_not_come_is_not_in_the_log() {
    let alone = Alone::start().await;
    let turn = alone.controller.decider.anticipation.lock().await;
    let patience = Duration::from_millis(50);
    let verdict = alone.controller.decide(Uuid::new_v4(), &create("a", 1), patience).await;
    assert_eq!(verdict, Verdict::NotInLog);
    drop(turn);
    alone.submit(create("a", 1)).await.unwrap();
}
