//! Transactions whose partitions are no more when they end, so that all that counts is what coordinates them.

use uuid::Uuid;

use super::*;
use crate::transaction::{
    Claim, Enlist, Init, TransactionError, TransactionResult, TransactionState, Transactions,
};

const COMMIT: TransactionResult = TransactionResult::Commit;

/// Somewhere in a topic that was deleted.
fn somewhere(partition: i32) -> (Uuid, i32) {
    (Uuid::from_u128(0xdead), partition)
}

async fn start(change: impl FnOnce(&mut Config)) -> (Broker, TempDir) {
    let dir = TempDir::new().unwrap();
    let mut config = Config::default();
    config.broker.data_dir = dir.path().to_owned();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    (config.kafka.listen, config.http.listen, config.peer.listen) = (any, any, any);
    change(&mut config);
    let broker = Broker::start(config).await.unwrap();
    let (id, metadata) = (broker.context().node.id(), Arc::clone(&broker.context().metadata));
    until("the broker is in service", || {
        metadata.image().brokers.get(&id).is_some_and(|broker| !broker.fenced)
    })
    .await;
    (broker, dir)
}

/// Asks again as long as a client would.
async fn again<T, F>(ask: impl Fn() -> F) -> Result<T, TransactionError>
where
    F: Future<Output = Result<T, TransactionError>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(
                TransactionError::Concurrent
                | TransactionError::NotCoordinator
                | TransactionError::NotAvailable,
            ) if Instant::now() < deadline => sleep(Duration::from_millis(10)).await,
            answer => return answer,
        }
    }
}

async fn init(
    transactions: &Transactions,
    id: &str,
    timeout_ms: i32,
    fresh_id: i64,
) -> Result<Claim, TransactionError> {
    transactions.locate(id, Instant::now() + PATIENCE).await.unwrap();
    let init = Init { transactional_id: id.to_owned(), timeout_ms, producer: None, fresh_id };
    let (producer_id, epoch) = again(|| transactions.init(init.clone())).await?;
    Ok(Claim { transactional_id: id.to_owned(), producer_id, epoch })
}

async fn until_state(transactions: &Transactions, id: &str, state: TransactionState) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let described = again(|| transactions.describe(id)).await.unwrap();
        if described.state == state {
            return;
        }
        assert!(Instant::now() < deadline, "waited in vain for {state:?}: {described:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_end_one_after_the_other_with_an_epoch_of_its_own_each() {
    let (broker, _dir) = start(|_| {}).await;
    let transactions = &broker.context().transactions;
    let mut claim = init(transactions, "t", 60_000, 500).await.unwrap();
    assert_eq!((claim.producer_id, claim.epoch), (500, 0));
    let mut last = 0;
    for _ in 0..20 {
        again(|| transactions.add_partitions(&claim, vec![somewhere(0), somewhere(1)]))
            .await
            .unwrap();
        again(|| transactions.add_offsets(&claim, "g")).await.unwrap();
        let wait = Duration::from_secs(10);
        let number = transactions.enlist(&claim, somewhere(1), Enlist::Verify, wait).await.unwrap();
        let offsets = transactions.enlist_offsets(&claim, "g", Enlist::Verify, wait).await;
        assert_eq!(offsets, Ok(number));
        assert!(number > last, "{number} after {last}");
        last = number;
        let other = transactions.enlist(&claim, somewhere(2), Enlist::Verify, wait).await;
        assert_eq!(other, Err(TransactionError::InvalidState));
        let ended = again(|| transactions.end(&claim, COMMIT, true)).await.unwrap();
        assert_eq!(ended, (500, claim.epoch + 1));
        let retried = again(|| transactions.end(&claim, COMMIT, true)).await.unwrap();
        assert_eq!(retried, ended);
        claim.epoch = ended.1;
    }
    until_state(transactions, "t", TransactionState::CompleteCommit).await;
    let listed = transactions.list(usize::MAX, &|_| true).await.unwrap();
    assert_eq!(listed.iter().map(|it| &it.transactional_id[..]).collect::<Vec<_>>(), ["t"]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_instance_ends_what_the_old_one_left_open() {
    let (broker, _dir) = start(|_| {}).await;
    let transactions = &broker.context().transactions;
    let old = init(transactions, "t", 60_000, 500).await.unwrap();
    again(|| transactions.add_partitions(&old, vec![somewhere(0)])).await.unwrap();
    let described = transactions.describe("t").await.unwrap();
    assert_eq!(
        (described.state, &described.partitions[..]),
        (TransactionState::Ongoing, &[somewhere(0)][..])
    );
    assert!(described.open_ms >= 0 && described.start_ms > 1_700_000_000_000);
    let new = init(transactions, "t", 60_000, 501).await.unwrap();
    assert_eq!((new.producer_id, new.epoch), (500, 2));
    let fenced = Err(TransactionError::ProducerFenced);
    assert_eq!(again(|| transactions.end(&old, COMMIT, false)).await, fenced);
    let added = again(|| transactions.add_partitions(&old, vec![somewhere(0)])).await;
    assert_eq!(added, Err(TransactionError::ProducerFenced));
    for timeout_ms in [0, -1, 900_001] {
        let refused = init(transactions, "t", timeout_ms, 502).await;
        assert_eq!(refused, Err(TransactionError::InvalidTimeout));
    }
    let id = "x".repeat(1_001);
    assert_eq!(init(transactions, &id, 1, 503).await, Err(TransactionError::TooLarge));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_for_too_long_is_aborted_and_what_nobody_uses_forgotten() {
    let (broker, _dir) = start(|config| {
        config.transactions.id_check_ms = 100;
        config.transactions.id_expiration_ms = 3_000;
    })
    .await;
    let transactions = &broker.context().transactions;
    let late = init(transactions, "late", 300, 500).await.unwrap();
    let open = init(transactions, "open", 600_000, 501).await.unwrap();
    again(|| transactions.add_partitions(&open, vec![somewhere(0)])).await.unwrap();
    again(|| transactions.add_partitions(&late, vec![somewhere(0)])).await.unwrap();
    until_state(transactions, "late", TransactionState::CompleteAbort).await;
    let ended = again(|| transactions.end(&late, COMMIT, false)).await;
    assert_eq!(ended, Err(TransactionError::ProducerFenced));
    let deadline = Instant::now() + PATIENCE;
    while again(|| transactions.describe("late")).await.is_ok() {
        assert!(Instant::now() < deadline, "an id that nobody uses is not forgotten");
        sleep(Duration::from_millis(50)).await;
    }
    until_state(transactions, "open", TransactionState::Ongoing).await;
    let number = transactions.number("open").await.unwrap();
    transactions.abort("open", number).await.unwrap();
    until_state(transactions, "open", TransactionState::CompleteAbort).await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_asks_another_one_that_coordinates() {
    let first = Member::start("a", None).await;
    let here = &first.broker.context().transactions;
    let claim = init(here, "t", 60_000, 500).await.unwrap();
    again(|| here.add_partitions(&claim, vec![somewhere(0)])).await.unwrap();
    let second = Member::start("b", Some(&first)).await;
    let there = &second.broker.context().transactions;
    until("the other broker knows who coordinates", || there.owner("t") == Some(1)).await;
    let wait = Duration::from_secs(20);
    let number = here.enlist(&claim, somewhere(0), Enlist::Verify, wait).await.unwrap();
    let (verified, added) = tokio::join!(
        there.enlist(&claim, somewhere(0), Enlist::Verify, wait),
        there.enlist(&claim, somewhere(1), Enlist::Add, wait)
    );
    assert_eq!((verified, added), (Ok(number), Ok(number)));
    let old = Claim { epoch: 7, ..claim.clone() };
    let refused = there.enlist(&old, somewhere(1), Enlist::Add, wait).await;
    assert_eq!(refused, Err(TransactionError::ProducerFenced));
    assert_eq!(again(|| here.describe("t")).await.unwrap().partitions.len(), 2);
    let elsewhere = there.add_partitions(&claim, vec![somewhere(2)]).await;
    assert_eq!(elsewhere, Err(TransactionError::NotCoordinator));
    second.broker.stop().await;
    first.broker.stop().await;
}
