use std::collections::VecDeque;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::broker::{Broker, GROUP, records};
use crate::partition::command::{Times, append_payload};
use crate::partition::position::Place;
use crate::partition::{BatchReply, Partition, ReadError, Reply};
use crate::record::{BatchBuilder, Batches, HEADER_BYTES, stamp};

/// What a log should hold: base offset, offset after, and the batch as sent.
type Expected = Vec<(i64, i64, Vec<u8>)>;

/// Fills a log with batches of all sizes, refused ones among them.
async fn fill(broker: &Broker, rng: &mut StdRng, batches: usize) -> Expected {
    let mut expected = Vec::new();
    let (producer, mut sequence) = (rng.random_range(0..1 << 40), 0);
    let mut pending = Vec::new();
    for _ in 0..batches {
        let count = rng.random_range(1..6);
        let bytes = if rng.random_range(0..30) == 0 { 90_000 } else { rng.random_range(0..3000) };
        let mut batch = records(count, 5, bytes);
        let refused = rng.random_range(0..8) == 0;
        if refused {
            batch = batch.producer(producer, 0, sequence + 1_000_000);
        } else if rng.random() {
            batch = batch.producer(producer, 0, sequence);
            sequence += i32::try_from(count).unwrap();
        }
        // The producer is known after its first batch, so a refusal is certain only then.
        if refused && sequence == 0 {
            continue;
        }
        pending.push((batch.build().to_vec(), count, refused, broker.propose(&batch).await));
    }
    for (batch, count, refused, pending) in pending {
        let appended = pending.await;
        assert_eq!(appended.is_err(), refused);
        if let Ok(appended) = appended {
            let base = appended.base_offset;
            expected.push((base, base + i64::try_from(count).unwrap(), batch));
        }
    }
    expected
}

/// Compares a read with what the log should hold; returns how many batches it had.
fn compare(bytes: &[u8], expected: &[(i64, i64, Vec<u8>)]) -> usize {
    let mut found = 0;
    for ((header, batch), (base, _, sent)) in Batches::new(bytes).zip(expected) {
        let mut stamped = sent.clone();
        stamp(&mut stamped, *base, header.leader_epoch);
        assert_eq!(batch, stamped, "the batch at {base} is as it was sent");
        assert!(header.leader_epoch >= 1);
        found += 1;
    }
    let size: usize = Batches::new(bytes).map(|(_, batch)| batch.len()).sum();
    assert_eq!(size, bytes.len(), "whole batches only");
    found
}

/// Reads at many offsets and from end to end.
async fn read_everywhere(broker: &Broker, expected: &Expected, rng: &mut StdRng) {
    let end = expected.last().unwrap().1;
    for _ in 0..200 {
        let offset = rng.random_range(expected[0].0..end);
        let bytes_max = *[1, 1000, 50_000, 1 << 20].choose(rng).unwrap();
        let read = broker.partition.read(offset, bytes_max, true).await.unwrap();
        let first = expected.partition_point(|(_, end, _)| *end <= offset);
        let found = compare(&read.bytes, &expected[first..]);
        assert!(found > 0, "at least one batch at {offset}");
        assert!(found == 1 || read.bytes.len() <= bytes_max);
        assert_eq!(read.next_offset, expected[first + found - 1].1);
        assert_eq!(read.high_watermark, end);
    }
    for bytes_max in [1, 10_000, 200_000, 64 << 20] {
        let mut found = 0;
        for read in broker.read_all(expected[0].0, bytes_max).await {
            found += compare(&read.bytes, &expected[found..]);
        }
        assert_eq!(found, expected.len());
    }
}

#[tokio::test]
async fn every_offset_is_found_hot_and_cold() {
    let rng = &mut StdRng::seed_from_u64(3);
    let mut broker = Broker::start().await;
    let mut expected = fill(&broker, rng, 700).await;
    read_everywhere(&broker, &expected, rng).await;

    broker = broker.restart().await;
    read_everywhere(&broker, &expected, rng).await;

    expected.extend(fill(&broker, rng, 300).await);
    read_everywhere(&broker, &expected, rng).await;
}

#[tokio::test]
async fn an_offset_inside_a_batch_returns_the_whole_batch() {
    let broker = Broker::start().await;
    broker.append(&records(10, 5, 10)).await;
    broker.append(&records(10, 5, 10)).await;
    let read = broker.partition.read(13, 1 << 20, true).await.unwrap();
    let (header, _) = Batches::new(&read.bytes).next().unwrap();
    assert_eq!((header.base_offset, header.last_offset()), (10, 19));
    assert_eq!(read.next_offset, 20);
}

#[tokio::test]
async fn a_first_batch_larger_than_the_limit_is_returned_only_if_wanted() {
    let broker = Broker::start().await;
    broker.append(&records(1, 5, 5000)).await;
    let limited = broker.partition.read(0, 100, false).await.unwrap();
    assert_eq!((limited.bytes.len(), limited.next_offset, limited.high_watermark), (0, 0, 1));
    let wanted = broker.partition.read(0, 0, true).await.unwrap();
    assert!(wanted.bytes.len() > 5000 + HEADER_BYTES);
}

#[tokio::test]
async fn reading_at_the_end_is_empty_and_beyond_it_an_error() {
    let broker = Broker::start().await;
    for count in [0, 3] {
        for _ in 0..count {
            broker.append(&records(1, 5, 10)).await;
        }
        let end = broker.partition.high_watermark();
        assert_eq!(end, count);
        let read = broker.partition.read(end, 1000, true).await.unwrap();
        assert!(read.bytes.is_empty());
        assert_eq!((read.next_offset, read.high_watermark, read.log_start), (end, end, 0));
        for outside in [-1, end + 1, i64::MAX, i64::MIN] {
            let refused = broker.partition.read(outside, 1000, true).await;
            assert!(matches!(
                refused,
                Err(ReadError::OutOfRange { log_start: 0, high_watermark }) if high_watermark == end
            ));
        }
    }
}

#[tokio::test]
async fn readers_and_the_log_start_may_stand_inside_an_entry() {
    let mut broker = Broker::start().await;
    let batch = |sequence| records(2, 5, 100).producer(9, 0, sequence);
    broker.append(&batch(0)).await;
    // Refused ones in the middle and at the end, and a duplicate.
    let entry = [2, 90, 4, 4, 6, 91].map(|sequence| batch(sequence).build());
    let payload = append_payload(Times::default(), entry.iter().map(AsRef::as_ref));
    let term = broker.partition.fence().unwrap();
    let Ok(Reply::Appended(replies)) = broker.partition.propose(payload, term).await.unwrap().await
    else {
        panic!("an append is answered as one");
    };
    let taken = |reply: &BatchReply| matches!(reply, BatchReply::Appended { duplicate: false, .. });
    assert_eq!(
        replies.iter().map(taken).collect::<Vec<_>>(),
        [true, false, true, false, true, false]
    );
    broker.append(&batch(8)).await;
    for _ in 0..2 {
        for offset in 0..10 {
            let read = broker.partition.read(offset, 1, true).await.unwrap();
            let (header, _) = Batches::new(&read.bytes).next().unwrap();
            let sequence = i64::from(header.base_sequence);
            assert_eq!((header.base_offset, sequence), (offset / 2 * 2, offset / 2 * 2));
            assert_eq!(read.next_offset, header.base_offset + 2);
        }
        broker = broker.restart().await;
    }
    assert_eq!(broker.partition.delete_records(5).await.unwrap(), 5);
    let start = broker.partition.group().machine().view().start;
    assert_eq!((start.offset, start.place.sub), (4, 2));
    for sequence in [10, 12] {
        broker = broker.restart().await;
        let below = broker.partition.read(4, 1, true).await;
        assert!(matches!(below, Err(ReadError::OutOfRange { log_start: 5, .. })), "{below:?}");
        let all = broker.read_all(5, 1).await;
        assert_eq!(all.iter().map(|read| read.next_offset).next(), Some(6));
        assert_eq!(all.last().unwrap().next_offset, i64::from(sequence));
        assert_eq!(broker.append(&batch(sequence)).await.base_offset, i64::from(sequence));
    }
}

#[tokio::test]
async fn a_sequential_reader_goes_on_where_it_stopped() {
    let broker = Broker::start().await;
    for _ in 0..400 {
        broker.append(&records(2, 5, 2000)).await;
    }
    let first = broker.partition.read(0, 20_000, true).await.unwrap();
    let hint = broker.partition.hints.take(first.next_offset).unwrap();
    assert!(hint.place > Place::default());
    broker.partition.hints.put(hint);
    let second = broker.partition.read(first.next_offset, 20_000, true).await.unwrap();
    assert!(second.next_offset > first.next_offset);
    assert_eq!(broker.partition.hints.take(first.next_offset), None, "it was used");
}

#[tokio::test]
async fn refused_batches_beyond_what_memory_holds_do_not_shift_offsets() {
    let broker = Broker::start().await;
    // Large enough that checkpoints are written after a block of them has moved out.
    let accepted = |sequence: i32| records(1, i64::from(sequence), 2000).producer(1, 0, sequence);
    let mut pending = Vec::new();
    for sequence in 0..2600 {
        pending.push(broker.propose(&accepted(sequence)).await);
        pending.push(broker.propose(&accepted(1_000_000)).await);
    }
    for pending in pending {
        let _ = pending.await;
    }
    let broker = broker.restart().await;
    let rejected = broker.partition.group().machine().view().rejected;
    assert!(rejected.needs_disk(Place::default()), "some moved out");
    let mut expected = 0;
    for read in broker.read_all(0, 30_000).await {
        for (header, _) in Batches::new(&read.bytes) {
            assert_eq!(header.base_offset, expected);
            assert_eq!(i64::from(header.base_sequence), expected);
            expected += 1;
        }
    }
    assert_eq!(expected, 2600);
}

/// Reads to the end of a growing log; returns how many records were seen, and how many were skipped
/// because they were trimmed first.
async fn follow(partition: &Partition, end: i64) -> (i64, i64) {
    let (mut offset, mut seen, mut skipped) = (0, 0, 0);
    let mut changes = partition.changed();
    while offset < end {
        match partition.read(offset, 30_000, true).await {
            Ok(records) if records.bytes.is_empty() => changes.changed().await.unwrap(),
            Ok(records) => {
                let first = Batches::new(&records.bytes).next().unwrap().0;
                assert!((first.base_offset..=first.last_offset()).contains(&offset));
                seen += records.next_offset - offset;
                offset = records.next_offset;
            }
            Err(ReadError::OutOfRange { log_start, .. }) => {
                assert!(log_start > offset, "only what was trimmed is out of range");
                skipped += log_start - offset;
                offset = log_start;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    (seen, skipped)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_follow_a_log_that_grows_and_is_trimmed() {
    let broker = Broker::start().await;
    let (batches, end) = (1500, 4500);
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let partition = Arc::clone(&broker.partition);
            tokio::spawn(async move { follow(&partition, end).await })
        })
        .collect();
    let mut pending = VecDeque::new();
    for batch in 0..batches {
        pending.push_back(broker.propose(&records(3, 5, 1000)).await);
        if batch % 16 == 15 {
            for pending in pending.drain(..) {
                pending.await.unwrap();
            }
        }
        if batch % 300 == 299 {
            broker.partition.delete_records(i64::from(batch)).await.unwrap();
        }
    }
    for pending in pending {
        pending.await.unwrap();
    }
    for reader in readers {
        let (seen, skipped) = reader.await.unwrap();
        assert_eq!(seen + skipped, end);
    }
}

#[tokio::test]
async fn batches_are_served_compressed_as_they_came() {
    let broker = Broker::start().await;
    let batch = BatchBuilder::new().codec(crate::record::Codec::Zstd).record(
        5,
        Some(b"key"),
        Some(&[7; 10_000]),
    );
    broker.append(&batch).await;
    let read = broker.partition.read(0, 1 << 20, true).await.unwrap();
    let epoch = broker.partition.leader_epoch_if_ready().unwrap();
    let mut sent = batch.build().to_vec();
    stamp(&mut sent, 0, epoch);
    assert_eq!(read.bytes, sent);
}

#[tokio::test]
async fn a_deleted_replica_answers_that_it_is_closed() {
    let broker = Broker::start().await;
    for _ in 0..300 {
        broker.append(&records(2, 5, 2000)).await;
    }
    broker.replicas.delete(GROUP).await.unwrap();
    for offset in [0, 299, 599] {
        // Entries that are still in memory may be served; what is gone is no damage.
        match broker.partition.read(offset, 1 << 20, true).await {
            Ok(_) | Err(ReadError::Closed) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}
