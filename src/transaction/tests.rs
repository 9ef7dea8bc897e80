//! Transactions on a running broker, with partitions of a topic that exists: when their markers are written, and what is told.

mod ends;
mod lists;
mod markers;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::transactions::home;
use super::{
    Claim, Init, TransactionDescription, TransactionError, TransactionResult, TransactionState,
    Transactions,
};
use crate::broker::Broker;
use crate::config::Config;
use crate::metadata::NewTopic;
use crate::partition::Partition;

const PATIENCE: Duration = Duration::from_secs(120);

/// A broker with a topic of one partition.
struct Scene {
    broker: Broker,
    topic: Uuid,
    partition: Arc<Partition>,
    _dir: TempDir,
}

impl Scene {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let mut config = Config::default();
        config.broker.data_dir = dir.path().to_owned();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        (config.kafka.listen, config.http.listen, config.peer.listen) = (any, any, any);
        let broker = Broker::start(config).await.unwrap();
        let context = broker.context();
        let topic = until("there is a topic", async || {
            let new = NewTopic { name: "t".to_owned(), partitions: Some(1), ..NewTopic::default() };
            let created = context.controller.create_topics(vec![new], false, PATIENCE).await;
            created.into_iter().next().unwrap().ok()
        })
        .await;
        let group = topic.partition(0).unwrap().group;
        let partition = until("its partition has a leader", async || {
            let partition = context.partitions.get(group);
            partition.filter(|it| it.leader_epoch_if_ready().is_ok())
        })
        .await;
        Self { topic: topic.id, partition, broker, _dir: dir }
    }

    fn transactions(&self) -> &Transactions {
        &self.broker.context().transactions
    }

    fn place(&self) -> (Uuid, i32) {
        (self.topic, 0)
    }

    /// Nobody writes a marker as long as this is held.
    async fn without_markers(&self) -> SemaphorePermit<'_> {
        let writing = &self.transactions().reach.writing;
        let all = u32::try_from(writing.available_permits()).unwrap();
        writing.acquire_many(all).await.unwrap()
    }

    /// Gives an id a producer.
    async fn init(&self, id: &str, fresh_id: i64) -> Claim {
        let transactions = self.transactions();
        transactions.locate(id, Instant::now() + PATIENCE).await.unwrap();
        let init =
            Init { transactional_id: id.to_owned(), timeout_ms: 600_000, producer: None, fresh_id };
        let (producer_id, epoch) = again(async || transactions.init(init.clone()).await).await;
        Claim { transactional_id: id.to_owned(), producer_id, epoch }
    }

    /// Adds the partition to a producer's transaction; returns the transaction's number.
    async fn add(&self, claim: &Claim) -> u64 {
        let transactions = self.transactions();
        again(async || transactions.add_partitions(claim, vec![self.place()]).await).await;
        transactions.number(&claim.transactional_id).await.unwrap()
    }

    async fn describe(&self, id: &str) -> TransactionDescription {
        again(async || self.transactions().describe(id).await).await
    }

    async fn until_state(&self, id: &str, state: TransactionState) {
        until(&format!("it is {state:?}"), async || {
            (self.describe(id).await.state == state).then_some(())
        })
        .await;
    }
}

/// Waits for something that nothing announces.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Asks again as long as a client would.
async fn again<T>(mut ask: impl AsyncFnMut() -> Result<T, TransactionError>) -> T {
    until("it is done", async || match ask().await {
        Err(
            TransactionError::Concurrent
            | TransactionError::NotCoordinator
            | TransactionError::NotAvailable,
        ) => None,
        answer => Some(answer.unwrap()),
    })
    .await
}
