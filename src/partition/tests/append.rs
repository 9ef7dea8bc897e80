use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::broker::{Broker, GROUP, checked, records, until};
use crate::partition::{AppendError, Attachments, Partition, Refusal};
use crate::record::Header;
use crate::wall_clock::WallClock;

#[tokio::test]
async fn batches_get_offsets_in_the_order_they_were_handed_over() {
    let broker = Broker::start().await;
    let mut pending = Vec::new();
    for count in 1..=20 {
        pending.push((count, broker.propose(&records(count, 5, 10)).await));
    }
    let mut expected = 0;
    for (count, pending) in pending {
        let appended = pending.await.unwrap();
        assert_eq!((appended.base_offset, appended.log_start), (expected, 0));
        assert_eq!(appended.log_append_time, -1);
        expected += i64::try_from(count).unwrap();
    }
    assert_eq!(broker.partition.high_watermark(), expected);
}

#[tokio::test]
async fn a_retry_is_answered_with_the_original_offset_also_after_a_restart() {
    let mut broker = Broker::start().await;
    let batch = |sequence| records(2, 5, 10).producer(9, 0, sequence);
    for sequence in [0, 2, 4] {
        broker.append(&batch(sequence)).await;
    }
    for _ in 0..2 {
        let before = *broker.partition.group().applied().borrow();
        assert_eq!(broker.append(&batch(2)).await.base_offset, 2);
        let after = *broker.partition.group().applied().borrow();
        assert_eq!(after, before, "a known duplicate costs no entry");
        broker = broker.restart().await;
    }
    assert_eq!(broker.append(&batch(6)).await.base_offset, 6);
    assert_eq!(broker.partition.high_watermark(), 8);
}

#[tokio::test]
async fn the_same_batch_twice_in_flight_is_stored_once() {
    let broker = Broker::start().await;
    let batch = records(3, 5, 10).producer(9, 0, 0);
    let (first, second) = (broker.propose(&batch).await, broker.propose(&batch).await);
    assert_eq!(first.await.unwrap().base_offset, 0);
    assert_eq!(second.await.unwrap().base_offset, 0);
    assert_eq!(broker.partition.high_watermark(), 3);
    assert_eq!(broker.read_all(0, 1 << 20).await.len(), 1);
}

#[tokio::test]
async fn a_batch_out_of_order_is_refused_and_leaves_no_gap() {
    let broker = Broker::start().await;
    let batch = |sequence| records(1, 5, 10).producer(9, 0, sequence);
    broker.append(&batch(0)).await;
    let refused = broker.propose(&batch(2)).await.await;
    let expected = Refusal::OutOfOrderSequence { expected: 1 };
    assert_eq!(refused, Err(AppendError::Refused(expected)));
    assert_eq!(broker.append(&batch(1)).await.base_offset, 1);
}

#[tokio::test]
async fn an_append_wakes_who_waits_for_the_partition() {
    let broker = Broker::start().await;
    let mut changes = broker.partition.changed();
    let quiet = tokio::time::timeout(Duration::from_millis(20), changes.changed()).await;
    assert!(quiet.is_err(), "nothing happened yet");
    broker.append(&records(1, 5, 10)).await;
    tokio::time::timeout(Duration::from_secs(10), changes.changed()).await.unwrap().unwrap();
    assert_eq!(broker.partition.high_watermark(), 1);
}

#[tokio::test]
async fn a_closed_replica_takes_nothing_and_says_that_nothing_happened() {
    let broker = Broker::start().await;
    broker.append(&records(1, 5, 10)).await;
    let mut changes = broker.partition.changed();
    broker.replicas.close(GROUP).await;
    assert!(broker.partitions.get(GROUP).is_none());
    let appended = broker
        .partition
        .append(checked(&records(1, 5, 10), 0), &Attachments::default(), 0, 1)
        .await;
    let refused = appended.err().unwrap();
    assert!(
        matches!(refused, AppendError::Closed | AppendError::NotLeader { .. }),
        "{refused:?} says that nothing was written"
    );
    let closed = async { while changes.changed().await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(10), closed).await.unwrap();
}

#[tokio::test]
async fn an_epoch_ends_where_the_next_leader_began() {
    let mut broker = Broker::start().await;
    broker.append(&records(4, 5, 10)).await;
    let first = broker.partition.leader_epoch_if_ready().unwrap();
    broker = broker.restart().await;
    let second = broker.partition.leader_epoch_if_ready().unwrap();
    assert!(second > first);
    assert_eq!(
        broker.partition.leader().map(|leader| (leader.id, leader.epoch)),
        Some((1, second))
    );
    broker.append(&records(1, 5, 10)).await;
    assert_eq!(broker.partition.end_offset_for_epoch(first), (first, 4));
    assert_eq!(broker.partition.end_offset_for_epoch(second), (second, 5));
}

#[tokio::test]
async fn a_batch_that_was_checked_under_an_earlier_leadership_does_not_enter() {
    let mut broker = Broker::start().await;
    let first = broker.partition.leader_epoch_if_ready().unwrap();
    broker.append(&records(1, 5, 10)).await;
    // Lost and won again while a second batch of a producer is being checked; the first one was lost.
    broker = broker.restart().await;
    let second = records(1, 5, 10).producer(9, 0, 1);
    let refused =
        broker.partition.append(checked(&second, 0), &Attachments::default(), 0, first).await;
    assert!(matches!(refused.err(), Some(AppendError::NotLeader { .. })));
    assert_eq!(broker.append(&records(1, 5, 10).producer(9, 0, 0)).await.base_offset, 1);
    assert_eq!(broker.append(&second).await.base_offset, 2);
}

#[tokio::test]
async fn a_wrong_clock_makes_nothing_be_stored_twice() {
    const DAY_MS: i64 = 86_400_000;
    let mut broker = Broker::start().await;
    let batch = records(1, 5, 10).producer(9, 0, 0);
    assert_eq!(broker.append(&batch).await.base_offset, 0);
    let now_ms = broker.clock.now_ms();
    for days in [8, -8, 400] {
        broker.clock.set(now_ms + days * DAY_MS);
        broker.append(&records(1, 5, 10)).await;
        broker = broker.restart().await;
        broker.append(&records(1, 5, 10)).await;
        broker.clock.set(now_ms);
        assert_eq!(broker.append(&batch).await.base_offset, 0, "{days} days off");
    }
}

/// Keeps a partition from applying anything until it is dropped.
struct Stalled {
    go_on: Option<mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Stalled {
    fn new(partition: &Arc<Partition>) -> Self {
        let (go_on, told) = mpsc::channel::<()>();
        let (held, holds) = mpsc::channel();
        let partition = Arc::clone(partition);
        let thread = std::thread::spawn(move || {
            let machine = partition.group().machine();
            held.send(()).unwrap();
            let _ = told.recv();
            drop(machine);
        });
        holds.recv().unwrap();
        Self { go_on: Some(go_on), thread: Some(thread) }
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        self.go_on.take();
        self.thread.take().unwrap().join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_that_wait_share_an_entry_and_each_has_its_own_answer() {
    let broker = Broker::start().await;
    broker.append(&records(1, 5, 10)).await;
    let before = *broker.partition.group().applied().borrow();
    let stalled = Stalled::new(&broker.partition);
    let mut pending = Vec::new();
    for count in 1..=100 {
        pending.push((count, broker.propose(&records(count, 5, 10)).await));
    }
    drop(stalled);
    let mut expected = 1;
    for (count, pending) in pending {
        assert_eq!(pending.await.unwrap().base_offset, expected);
        expected += i64::try_from(count).unwrap();
    }
    let entries = *broker.partition.group().applied().borrow() - before;
    // The place of the first batch is free again a moment after its answer.
    assert!(
        (5..=6).contains(&entries),
        "{entries}: four or five under way, and one of all that waited"
    );
    let read = broker.read_all(0, 1 << 20).await;
    assert_eq!(read.last().unwrap().next_offset, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_waits_when_a_replica_is_closed_is_answered_truly() {
    let mut broker = Broker::start().await;
    broker.append(&records(1, 5, 10)).await;
    let stalled = Stalled::new(&broker.partition);
    let mut pending = Vec::new();
    for count in 1..=100 {
        pending.push((count, broker.propose(&records(count, 5, 10)).await));
    }
    let (replicas, partition) = (Arc::clone(&broker.replicas), Arc::clone(&broker.partition));
    let closing = tokio::spawn(async move { replicas.close(GROUP).await });
    until("the replica is closing", || partition.is_closed()).await;
    drop(stalled);
    closing.await.unwrap();
    let (mut stored, mut refused) = (Vec::new(), Vec::new());
    for (count, pending) in pending {
        let outcome = tokio::time::timeout(Duration::from_secs(20), pending).await.unwrap();
        match outcome {
            Ok(appended) => stored.push((appended.base_offset, count)),
            Err(AppendError::Closed | AppendError::NotLeader { .. }) => refused.push(count),
            Err(AppendError::Indeterminate) => {}
            Err(_) => panic!("{outcome:?}"),
        }
    }
    drop(partition);
    broker = broker.restart().await;
    let mut found = Vec::new();
    for read in broker.read_all(0, 1 << 20).await {
        let mut bytes = &read.bytes[..];
        while let Some(header) = Header::parse(bytes) {
            found
                .push((header.base_offset, usize::try_from(header.last_offset_delta).unwrap() + 1));
            bytes = &bytes[header.total_bytes().unwrap()..];
        }
    }
    // Each batch has another number of records; the first one of a single record was there before.
    assert!(stored.iter().all(|it| found.contains(it)), "{stored:?} in {found:?}");
    let there = |count: &usize| found[1..].iter().any(|(_, records)| records == count);
    assert!(!refused.iter().any(there), "{refused:?} are not in the log, but {found:?} are");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_waits_takes_room_and_gives_it_back() {
    let broker = Broker::start().await;
    broker.append(&records(1, 5, 10)).await;
    let stalled = Stalled::new(&broker.partition);
    let (mut pending, mut now) = (Vec::new(), Vec::new());
    // A group may have 16 MiB under way; small batches beside the large ones wait and count as well.
    let refused = loop {
        let batch = records(1, 5, if pending.len() % 2 == 0 { 200_000 } else { 50_000 });
        let epoch = broker.partition.leader_epoch_if_ready().unwrap();
        match broker.partition.append(checked(&batch, 0), &Attachments::default(), 0, epoch).await {
            Ok(append) => pending.push(append),
            Err(error) => break error,
        }
        assert!(pending.len() < 200, "nothing holds back what waits");
    };
    assert_eq!(refused, AppendError::Busy);
    assert!(pending.len() > 120, "{} batches of 125 kB on average", pending.len());
    drop(stalled);
    for append in pending {
        now.push(append.await.unwrap().base_offset);
    }
    assert!(now.is_sorted());
    for _ in 0..10 {
        broker.append(&records(1, 5, 1_000_000)).await;
    }
}
