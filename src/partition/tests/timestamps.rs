use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::broker::{Broker, records};
use crate::partition::{OffsetAt, OffsetSpec};
use crate::record::BatchBuilder;

/// Asks the partition; the answer without its epoch.
async fn find(broker: &Broker, spec: OffsetSpec) -> Option<(i64, i64)> {
    let found = broker.partition.offset_for_timestamp(spec).await.unwrap();
    found.map(|OffsetAt { offset, timestamp, epoch }| {
        assert!(epoch >= 1, "an epoch is known");
        (offset, timestamp)
    })
}

/// Appends one batch for each slice of times; returns the time of each offset.
async fn fill(broker: &Broker, batches: &[Vec<i64>]) -> Vec<i64> {
    let mut pending = Vec::new();
    for times in batches {
        let batch = times
            .iter()
            .fold(BatchBuilder::new(), |batch, time| batch.record(*time, None, Some(&[1; 500])));
        pending.push(broker.propose(&batch).await);
    }
    for pending in pending {
        pending.await.unwrap();
    }
    batches.concat()
}

/// Compares with a search through all records.
async fn compare(broker: &Broker, times: &[i64], wanted: impl IntoIterator<Item = i64>) {
    let log_start = usize::try_from(broker.partition.log_start()).unwrap();
    let kept = || (0..).zip(times).skip(log_start).map(|(offset, time)| (offset, *time));
    for timestamp in wanted {
        let expected = kept().find(|(_, time)| *time >= timestamp);
        let found = find(broker, OffsetSpec::AtOrAfter(timestamp)).await;
        assert_eq!(found, expected, "first at or after {timestamp}");
    }
    let newest = kept().reduce(|best, next| if next.1 > best.1 { next } else { best });
    assert_eq!(find(broker, OffsetSpec::MaxTimestamp).await, newest);
}

#[tokio::test]
async fn the_ends_of_the_log_have_no_timestamp() {
    let broker = Broker::start().await;
    for end in [0, 5] {
        assert_eq!(find(&broker, OffsetSpec::Earliest).await, Some((0, -1)));
        assert_eq!(find(&broker, OffsetSpec::Latest).await, Some((end, -1)));
        broker.append(&records(5, 100, 10)).await;
    }
}

#[tokio::test]
async fn an_empty_log_has_no_record_at_any_time() {
    let broker = Broker::start().await;
    for spec in [OffsetSpec::AtOrAfter(0), OffsetSpec::MaxTimestamp] {
        assert_eq!(find(&broker, spec).await, None);
    }
    broker.append(&records(3, 100, 10)).await;
    broker.partition.delete_records(-1).await.unwrap();
    for spec in [OffsetSpec::AtOrAfter(0), OffsetSpec::MaxTimestamp] {
        assert_eq!(find(&broker, spec).await, None);
    }
}

#[tokio::test]
async fn a_time_is_found_to_the_record_whatever_the_order_of_times() {
    let rng = &mut StdRng::seed_from_u64(5);
    let batches: Vec<Vec<i64>> = (0..900_i64)
        .map(|n| (0..rng.random_range(1..5)).map(|_| n * 10 + rng.random_range(0..300)).collect())
        .collect();
    let mut broker = Broker::start().await;
    let times = fill(&broker, &batches).await;
    let wanted: Vec<i64> = (0..100).map(|_| rng.random_range(0..9500)).collect();
    compare(&broker, &times, wanted.iter().copied()).await;

    broker = broker.restart().await;
    compare(&broker, &times, wanted.iter().copied().chain([0, i64::MAX])).await;

    broker.partition.delete_records(1003).await.unwrap();
    compare(&broker, &times, wanted).await;
}

#[tokio::test]
async fn a_record_from_the_future_hides_nothing_once_it_is_trimmed() {
    let mut batches: Vec<Vec<i64>> = (0..600).map(|n| vec![n, n + 1]).collect();
    batches[20] = vec![20, 1_000_000, 21];
    let broker = Broker::start().await;
    let times = fill(&broker, &batches).await;
    let wanted = [0, 19, 20, 21, 22, 300, 599, 600, 601, 1_000_000, 1_000_001];
    compare(&broker, &times, wanted).await;
    // The record itself goes and the rest of its batch stays, then the batch goes too.
    for log_start in [42, 43, 500] {
        broker.partition.delete_records(log_start).await.unwrap();
        compare(&broker, &times, wanted).await;
    }
}

#[tokio::test]
async fn records_from_the_future_leave_many_spans_searchable() {
    let rng = &mut StdRng::seed_from_u64(6);
    let micros = 1_700_000_000_000_000;
    let mut batches: Vec<Vec<i64>> = (0..11_000).map(|n| vec![n * 10]).collect();
    for at in [3, 4_000, 4_001, 10_900] {
        batches[at] = vec![micros + i64::try_from(at % 3).unwrap()];
    }
    let broker = Broker::start().await;
    let times = fill(&broker, &batches).await;
    let wanted: Vec<i64> = (0..60)
        .map(|_| rng.random_range(0..110_000))
        .chain([micros, micros + 1, micros + 2])
        .collect();
    compare(&broker, &times, wanted.iter().copied()).await;
    for log_start in [4, 3_999, 4_002, 10_901] {
        broker.partition.delete_records(log_start).await.unwrap();
        compare(&broker, &times, wanted.iter().copied()).await;
    }
}

#[tokio::test]
async fn records_without_a_time_are_never_found_by_time() {
    let broker = Broker::start().await;
    fill(&broker, &[vec![-1, -1], vec![-1]]).await;
    assert_eq!(find(&broker, OffsetSpec::AtOrAfter(0)).await, None);
    assert_eq!(find(&broker, OffsetSpec::MaxTimestamp).await, None);
    fill(&broker, &[vec![-1, 40, -1]]).await;
    assert_eq!(find(&broker, OffsetSpec::AtOrAfter(0)).await, Some((4, 40)));
    assert_eq!(find(&broker, OffsetSpec::MaxTimestamp).await, Some((4, 40)));
}
