//! When a transaction's end is answered, and whose end an operator's abort is.

use super::*;
use crate::transaction::requests::COMPLETION_WAIT;

const COMMIT: TransactionResult = TransactionResult::Commit;

#[tokio::test(flavor = "multi_thread")]
async fn where_the_epoch_stays_an_end_is_answered_behind_the_markers_and_otherwise_before() {
    let scene = Scene::start().await;
    let transactions = scene.transactions();
    let mut claim = scene.init("t", 500).await;
    let marked = || scene.partition.high_watermark();
    for bumps in [true, false] {
        scene.add(&claim).await;
        let before = marked();
        let held = scene.without_markers().await;
        let begun = Instant::now();
        let (_, epoch) = again(async || transactions.end(&claim, COMMIT, bumps).await).await;
        // Somebody who waits for what does not come is let go in the end.
        assert!(bumps || begun.elapsed() >= COMPLETION_WAIT, "nobody could write a marker");
        assert_eq!(marked(), before);
        assert_eq!(scene.describe("t").await.state, TransactionState::PrepareCommit);
        drop(held);
        scene.until_state("t", TransactionState::CompleteCommit).await;
        assert_eq!(marked(), before + 1);
        claim.epoch = epoch;
    }
    scene.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_epoch_stays_a_transaction_that_is_answered_for_is_over_in_its_partitions() {
    let scene = Scene::start().await;
    let transactions = scene.transactions();
    let claim = scene.init("t", 500).await;
    let mut in_time = 0;
    while in_time < 20 {
        let number = scene.add(&claim).await;
        let before = scene.partition.high_watermark();
        let begun = Instant::now();
        again(async || transactions.end(&claim, COMMIT, false).await).await;
        let marked = scene.partition.high_watermark();
        // Where a machine is so slow nothing was promised.
        if begun.elapsed() < COMPLETION_WAIT {
            assert_eq!(marked, before + 1, "transaction {number}");
            in_time += 1;
        }
    }
    scene.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_abort_is_of_the_transaction_that_was_looked_at_and_of_none_behind_it() {
    let scene = Scene::start().await;
    let transactions = scene.transactions();
    let claim = scene.init("t", 500).await;
    let first = scene.add(&claim).await;
    again(async || transactions.end(&claim, COMMIT, false).await).await;
    scene.until_state("t", TransactionState::CompleteCommit).await;
    let second = scene.add(&claim).await;
    assert!(second > first);
    let late = transactions.abort("t", first).await;
    assert_eq!(late, Err(TransactionError::InvalidState));
    assert_eq!(scene.describe("t").await.state, TransactionState::Ongoing);
    again(async || transactions.abort("t", second).await).await;
    scene.until_state("t", TransactionState::CompleteAbort).await;
    scene.broker.stop().await;
}
