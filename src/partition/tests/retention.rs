use std::sync::Arc;

use futures::FutureExt;

use super::broker::{Broker, records, until};
use crate::partition::{CurrentSettings, PartitionSettings, ReadError, TrimError};

const HOUR_MS: i64 = 3_600_000;

fn by_age(retention_ms: i64) -> PartitionSettings {
    PartitionSettings { retention_ms: Some(retention_ms), ..PartitionSettings::default() }
}

fn by_size(retention_bytes: u64) -> PartitionSettings {
    PartitionSettings { retention_bytes: Some(retention_bytes), ..PartitionSettings::default() }
}

/// Every record below `log_start` is gone and every other there.
async fn starts_at(broker: &Broker, log_start: i64, end: i64) {
    assert_eq!(broker.partition.log_start(), log_start);
    let below = broker.partition.read(log_start - 1, 1000, true).await;
    assert!(matches!(below, Err(ReadError::OutOfRange { .. })), "{below:?}");
    let read = broker.read_all(log_start, 100_000).await;
    assert_eq!(read.last().map_or(log_start, |read| read.next_offset), end);
}

#[tokio::test]
async fn deleting_records_moves_the_log_start_for_good_and_frees_the_log() {
    let mut broker = Broker::start().await;
    let mut pending = Vec::new();
    for _ in 0..600 {
        pending.push(broker.propose(&records(10, 5, 1000)).await);
    }
    for pending in pending {
        pending.await.unwrap();
    }
    let before = broker.partition.summary().bytes;
    assert_eq!(broker.partition.delete_records(4005).await.unwrap(), 4005);
    starts_at(&broker, 4005, 6000).await;
    assert_eq!(broker.partition.summary().bytes, before / 3, "whole batches are freed");

    // Raft keeps a checkpoint below what is needed. They are one to two MiB apart, for they are made
    // between the batches it applies at once, and four MiB go.
    let needed = broker.partition.group().machine().view().start.place.index;
    let purged = || broker.partition.group().status().purged_index;
    until("the log before it is purged", || purged().is_some_and(|it| it > needed / 3)).await;
    assert!(purged().is_some_and(|index| index < needed), "what is needed stays");
    starts_at(&broker, 4005, 6000).await;

    broker = broker.restart().await;
    starts_at(&broker, 4005, 6000).await;
    assert_eq!(broker.append(&records(1, 5, 10)).await.base_offset, 6000);
    assert_eq!(broker.append(&records(1, 5, 10)).await.log_start, 4005);
}

#[tokio::test]
async fn deleting_up_to_the_end_leaves_an_empty_log_that_goes_on() {
    let mut broker = Broker::start().await;
    broker.append(&records(10, 5, 10)).await;
    assert_eq!(broker.partition.delete_records(-1).await.unwrap(), 10);
    starts_at(&broker, 10, 10).await;
    assert_eq!(broker.append(&records(3, 5, 10)).await.base_offset, 10);
    broker = broker.restart().await;
    starts_at(&broker, 10, 13).await;
}

#[tokio::test]
async fn deleting_what_is_not_there_changes_nothing() {
    let broker = Broker::start().await;
    broker.append(&records(10, 5, 10)).await;
    broker.partition.delete_records(4).await.unwrap();
    assert_eq!(broker.partition.delete_records(2).await.unwrap(), 4, "already deleted");
    for outside in [11, -2, i64::MAX] {
        let refused = broker.partition.delete_records(outside).await;
        assert!(matches!(refused, Err(TrimError::OutOfRange { high_watermark: 10 })));
    }
    assert_eq!(broker.partition.log_start(), 4);
}

#[tokio::test]
async fn old_records_are_deleted_and_young_ones_never() {
    let broker = Broker::start().await;
    for hour in 0..50 {
        broker.clock.set(hour * HOUR_MS);
        broker.append(&records(1, hour * HOUR_MS, 10)).await;
    }
    assert_eq!(broker.partition.enforce_retention().await.unwrap(), None, "no limits yet");
    broker.partition.set_settings(by_age(10 * HOUR_MS));
    broker.clock.set(49 * HOUR_MS);
    let log_start = broker.partition.enforce_retention().await.unwrap().unwrap();
    assert!((37..=39).contains(&log_start), "{log_start}: to the hour, not beyond");
    assert_eq!(broker.partition.enforce_retention().await.unwrap(), None);

    // Without a write for long the last records expire too.
    broker.clock.set(100 * HOUR_MS);
    assert_eq!(broker.partition.enforce_retention().await.unwrap(), Some(50));
    assert_eq!(broker.partition.enforce_retention().await.unwrap(), None);
    assert_eq!(broker.append(&records(1, 0, 10)).await.base_offset, 50);
}

#[tokio::test]
async fn records_without_a_time_age_from_when_they_were_appended() {
    let broker = Broker::start().await;
    broker.partition.set_settings(by_age(HOUR_MS));
    broker.clock.set(10 * HOUR_MS);
    broker.append(&records(1, -1, 10)).await;
    broker.clock.set(11 * HOUR_MS);
    assert_eq!(broker.partition.enforce_retention().await.unwrap(), None);
    broker.clock.set(11 * HOUR_MS + 1);
    assert_eq!(broker.partition.enforce_retention().await.unwrap(), Some(1));
}

#[tokio::test]
async fn by_a_clock_in_doubt_nothing_is_too_old() {
    let broker = Broker::start().await;
    broker.partition.set_settings(by_age(HOUR_MS));
    broker.append(&records(20, 0, 10)).await;
    broker.clock.set(8 * 24 * HOUR_MS);
    broker.clock.doubt(true);
    assert_eq!(broker.partition.enforce_retention().await.unwrap(), None);
    broker.partition.set_settings(by_size(1));
    assert_eq!(broker.partition.enforce_retention().await.unwrap(), None, "one byte would remain");
    broker.partition.set_settings(by_age(HOUR_MS));
    broker.clock.doubt(false);
    assert_eq!(broker.partition.enforce_retention().await.unwrap(), Some(20));
}

#[tokio::test]
async fn a_record_from_the_future_keeps_no_others_for_ever() {
    let broker = Broker::start().await;
    broker.partition.set_settings(by_age(10 * HOUR_MS));
    let now_ms = 1_700_000_000_000;
    broker.clock.set(now_ms);
    for _ in 0..20 {
        broker.append(&records(1, now_ms, 10)).await;
    }
    broker.append(&records(1, now_ms * 1_000, 10)).await;
    for _ in 0..20 {
        broker.append(&records(1, now_ms, 10)).await;
    }
    broker.clock.set(now_ms + 11 * HOUR_MS);
    assert_eq!(broker.partition.enforce_retention().await.unwrap(), None);
    broker.clock.set(now_ms + 11 * HOUR_MS + 1);
    assert_eq!(broker.partition.enforce_retention().await.unwrap(), Some(41));
}

#[tokio::test]
async fn a_log_keeps_at_least_the_bytes_it_may() {
    let broker = Broker::start().await;
    let mut pending = Vec::new();
    for _ in 0..300 {
        pending.push(broker.propose(&records(1, 5, 10_000)).await);
    }
    for pending in pending {
        pending.await.unwrap();
    }
    broker.partition.set_settings(by_size(1_000_000));
    broker.partition.enforce_retention().await.unwrap().unwrap();
    let kept = broker.partition.summary().bytes;
    assert!((1_000_000..1_000_000 + 300_000).contains(&kept), "{kept} bytes are kept");
    assert_eq!(broker.partition.enforce_retention().await.unwrap(), None);
    starts_at(&broker, broker.partition.log_start(), 300).await;
}

#[tokio::test]
async fn the_driver_deletes_by_itself() {
    let broker = Broker::start().await;
    broker.append(&records(7, 5, 10)).await;
    broker.clock.set(HOUR_MS);
    broker.partition.set_settings(by_age(1));
    let driver = tokio::spawn(broker.replicas.clone().run_beside());
    until("retention has moved the log start", || broker.partition.log_start() == 7).await;
    driver.abort();
}

/// Who has not heard that records are to stay longer must not delete them, and who cannot find out must not either.
#[tokio::test]
async fn nothing_is_deleted_by_settings_that_are_not_in_force_any_more() {
    let broker = Broker::start().await;
    broker.append(&records(7, 5, 10)).await;
    broker.clock.set(HOUR_MS);
    broker.partition.set_settings(by_age(1));
    let says = |now: Option<PartitionSettings>| -> CurrentSettings {
        Arc::new(move |_| std::future::ready(now).boxed())
    };
    let enforce = |now| {
        let (partition, current) = (broker.partition.clone(), says(now));
        async move { partition.enforce_retention_of(Some(&current)).await.unwrap() }
    };
    assert_eq!(enforce(None).await, None);
    let longer = by_age(2 * HOUR_MS);
    assert_eq!(enforce(Some(longer)).await, None);
    assert_eq!(broker.partition.settings(), longer, "from now on");
    assert_eq!((enforce(Some(longer)).await, broker.partition.log_start()), (None, 0));
    broker.clock.set(4 * HOUR_MS);
    assert_eq!(enforce(Some(longer)).await, Some(7));
}
