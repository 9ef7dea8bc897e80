//! Markers where something else is open, and where nobody can write.

use super::*;
use crate::partition::{Attachments, Marker, NotInTransaction, Refusal};
use crate::record::{BatchBuilder, CheckedBatch, Limits, check};
use crate::transaction::reach::{End, Mark};
use crate::transaction::record::Ending;

const TRANSACTIONAL: i16 = 0b1_0000;
const COMMIT: TransactionResult = TransactionResult::Commit;

fn batch(producer_id: i64, sequence: i32) -> CheckedBatch {
    let batch = BatchBuilder::new().record(5, None, Some(b"v")).attributes(TRANSACTIONAL);
    check(batch.producer(producer_id, 0, sequence).build(), &Limits::wide(0)).unwrap()
}

/// Appends a record of a transaction of producer 500.
async fn put(scene: &Scene, sequence: i32, number: u64) -> Result<i64, Refusal> {
    let mut attachments = Attachments::default();
    attachments.in_transaction(number);
    let epoch = scene.partition.leader_epoch_if_ready().unwrap();
    let batch = batch(500, sequence);
    let pending = scene.partition.append(batch, &attachments, 0, epoch).await.unwrap();
    match pending.await {
        Ok(appended) => Ok(appended.base_offset),
        Err(crate::partition::AppendError::Refused(refusal)) => Err(refusal),
        Err(error) => panic!("{error}"),
    }
}

/// The end of a transaction of producer 500, in these partitions.
fn mark(number: u64, partitions: Vec<(Uuid, i32)>) -> Mark {
    let ending = Ending { result: COMMIT, producer_id: 500, epoch: 0, fences: false };
    Mark { end: End::new(&ending, number, 1), partitions }
}

/// Tells the partition of an end; returns whether that is done.
async fn told(scene: &Scene, number: u64) -> bool {
    let mark = mark(number, vec![scene.place()]);
    scene.transactions().reach.mark_here(mark).await == [true]
}

fn open(scene: &Scene) -> Vec<u64> {
    scene.partition.open_transactions().iter().map(|it| it.number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_ends_no_other_transaction_and_is_told_again_where_an_older_one_is_open() {
    let scene = Scene::start().await;
    assert_eq!(put(&scene, 0, 5).await, Ok(0));
    assert!(!told(&scene, 7).await, "what is open has to end first");
    assert!(told(&scene, 3).await, "nothing of an older one can come any more");
    assert_eq!((open(&scene), scene.partition.high_watermark()), (vec![5], 1));
    assert!(told(&scene, 5).await);
    assert_eq!((open(&scene), scene.partition.high_watermark()), (vec![], 2));
    assert!(told(&scene, 7).await, "now it may");
    assert_eq!(scene.partition.high_watermark(), 3);
    let late = put(&scene, 1, 7).await;
    assert_eq!(late, Err(Refusal::Transaction(NotInTransaction::Ended)));
    assert_eq!(put(&scene, 1, 8).await, Ok(3));
    // Whoever says it late, once more.
    for number in [3, 5, 7] {
        assert!(told(&scene, number).await);
    }
    assert_eq!((open(&scene), scene.partition.high_watermark()), (vec![8], 4));
    scene.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_not_complete_before_what_is_open_in_its_place_has_ended() {
    let scene = Scene::start().await;
    let transactions = scene.transactions();
    let claim = scene.init("t", 500).await;
    assert_eq!(put(&scene, 0, 1).await, Ok(0), "of before, and hanging");
    let number = scene.add(&claim).await;
    assert!(number > 1, "{number}");
    again(async || transactions.end(&claim, COMMIT, true).await).await;
    assert!(!told(&scene, number).await);
    let by_hand =
        Marker { producer_id: 500, epoch: 0, number: None, commit: false, coordinator_epoch: -1 };
    scene.partition.end_transaction(by_hand).await.unwrap();
    scene.until_state("t", TransactionState::CompleteCommit).await;
    assert_eq!(scene.partition.high_watermark(), 3, "a record and two markers");
    scene.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_that_are_asked_for_together_are_given_up_together() {
    let scene = Scene::start().await;
    let reach = &scene.transactions().reach;
    let held = scene.without_markers().await;
    let many = vec![scene.place(); 500];
    let one_after_the_other = async {
        for _ in 0..3 {
            assert_eq!(reach.mark_here(mark(5, vec![scene.place()])).await, [false]);
        }
    };
    tokio::select! {
        told = reach.mark_here(mark(5, many)) => assert_eq!(told, vec![false; 500]),
        () = one_after_the_other => panic!("500 together are waited for as one is"),
    }
    drop(held);
    assert!(told(&scene, 5).await);
    scene.broker.stop().await;
}
