//! Streams of a partition on a real node and a real database.

use std::sync::Arc;

use bytes::Bytes;
use quorate_raft::{Machine, Records as _};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use super::broker::{Broker, checked};
use crate::metadata::{CompactionConfigs, StreamConfigs};
use crate::partition::stream_index;
use crate::partition::transfer::PartitionRecords;
use crate::partition::{
    AppendError, Appended, Attachments, CompactionPace, ExpectedVersion, PartitionSettings,
    Refusal, StreamRange, Unmet,
};
use crate::record::BatchBuilder;

const ALL: StreamRange =
    StreamRange { from: 1, to: i64::MAX, backward: false, events_max: 10_000, bytes_max: 1 << 30 };

fn with_streams() -> PartitionSettings {
    let streams = Some(StreamConfigs { age_max_ms: i64::MAX, count_max: i64::MAX });
    PartitionSettings { streams, partitions: 1, ..PartitionSettings::default() }
}

fn at_once() -> CompactionConfigs {
    CompactionConfigs {
        min_lag_ms: 0,
        max_lag_ms: i64::MAX,
        delete_retention_ms: i64::MAX,
        dirty_millionths: 0,
        segment_bytes: 0,
        segment_ms: i64::MAX,
    }
}

impl Broker {
    async fn with_streams() -> Self {
        let broker = Self::start_in(TempDir::new().unwrap(), with_streams(), 0).await;
        broker.partition.begin_streams().await.unwrap();
        broker
    }

    /// Appends as the doors do.
    async fn append_keyed(
        &self,
        batch: &BatchBuilder,
        more: impl FnOnce(u32, &mut Attachments),
    ) -> Result<Appended, AppendError> {
        let (batch, rules) = (checked(batch, 0), self.partition.key_rules());
        let (mut attachments, _) = Attachments::of(&batch, rules).unwrap();
        more(rules.map_or(0, |rules| rules.generation), &mut attachments);
        let epoch = self.partition.leader_epoch_if_ready().unwrap();
        self.partition.append(batch, &attachments, 0, epoch).await?.await
    }

    async fn event(&self, key: &str, value: &str) -> i64 {
        let batch = BatchBuilder::new().record(0, Some(key.as_bytes()), Some(value.as_bytes()));
        self.append_keyed(&batch, |_, _| {}).await.unwrap().version
    }

    async fn expecting(&self, key: &str, expected: i64) -> Result<Appended, AppendError> {
        let batch = BatchBuilder::new().record(0, Some(key.as_bytes()), Some(b"v"));
        let expected = ExpectedVersion::of(expected).unwrap();
        let key = Bytes::copy_from_slice(key.as_bytes());
        self.append_keyed(&batch, |generation, attachments| {
            attachments.expect_version(generation, key, expected);
        })
        .await
    }

    /// Versions and values of a stream.
    async fn stream_of(&self, key: &str, range: StreamRange) -> Vec<(i64, String)> {
        let read = self.partition.read_stream(key.as_bytes(), range).await.unwrap();
        let text = |value: Option<Bytes>| {
            value.map_or("-".to_owned(), |value| String::from_utf8(value.to_vec()).unwrap())
        };
        let events = read.map(|read| read.events).unwrap_or_default();
        events.into_iter().map(|event| (event.version, text(event.record.value))).collect()
    }
}

fn numbered(from: i64, values: &[&str]) -> Vec<(i64, String)> {
    (from..).zip(values.iter().map(|value| (*value).to_owned())).collect()
}

#[tokio::test]
async fn the_first_record_of_a_new_topic_has_a_version() {
    let broker = Broker::with_streams().await;
    assert!(broker.partition.streams_progress().ready);
    assert_eq!(broker.event("a", "1").await, 1);
    assert_eq!(broker.expecting("a", 1).await.unwrap().version, 2);
    let conflict = broker.expecting("a", 1).await.unwrap_err();
    let unmet = Unmet::Version { current: 2 };
    assert_eq!(conflict, AppendError::Refused(Refusal::Condition { number: 0, unmet }));
    assert_eq!(broker.expecting("b", -1).await.unwrap().version, 1);
    assert!(broker.expecting("b", -1).await.is_err());
    assert_eq!(broker.partition.streams_progress().streams, 2);
    assert_eq!(broker.partition.stream(b"c").await.unwrap(), None);
}

#[tokio::test]
async fn a_stream_is_read_in_any_part_forward_and_backward() {
    let broker = Broker::with_streams().await;
    for number in 1..=600 {
        let value = number.to_string();
        assert_eq!(broker.event("a", &value).await, number);
        if number % 7 == 0 {
            broker.event("other", &value).await;
        }
    }
    let all: Vec<_> = (1..=600).map(|number| (number, number.to_string())).collect();
    assert_eq!(broker.stream_of("a", ALL).await, all);
    let part = StreamRange { from: 250, to: 270, ..ALL };
    assert_eq!(broker.stream_of("a", part).await, all[249..270]);
    let mut back = all[249..600].to_vec();
    back.reverse();
    let backward = StreamRange { from: 250, backward: true, ..ALL };
    assert_eq!(broker.stream_of("a", backward).await, back);
    let limited = StreamRange { events_max: 3, ..part };
    let read = broker.partition.read_stream(b"a", limited).await.unwrap().unwrap();
    assert_eq!((read.events.len(), read.next), (3, Some(253)));
    let limited = StreamRange { bytes_max: 1, backward: true, ..ALL };
    let read = broker.partition.read_stream(b"a", limited).await.unwrap().unwrap();
    assert_eq!((read.events.len(), read.next, read.state.version), (1, Some(599), 600));
}

#[tokio::test]
async fn a_tombstone_hides_what_was_before_and_a_closed_stream_takes_nothing() {
    let broker = Broker::with_streams().await;
    broker.event("a", "1").await;
    broker.event("a", "2").await;
    let tombstone = BatchBuilder::new().record(0, Some(b"a"), None);
    broker.append_keyed(&tombstone, |_, _| {}).await.unwrap();
    let state = broker.partition.stream(b"a").await.unwrap().unwrap();
    assert_eq!((state.version, state.hidden, state.is_visible()), (3, 3, false));
    assert_eq!(broker.stream_of("a", ALL).await, []);
    assert_eq!(broker.expecting("a", -1).await.unwrap().version, 4, "there is none now");
    assert_eq!(broker.stream_of("a", ALL).await, numbered(4, &["v"]));
    let close = tombstone.header("quorate-close", None);
    broker.append_keyed(&close, |_, _| {}).await.unwrap();
    let refused = broker.expecting("a", -2).await.unwrap_err();
    let unmet = Unmet::Closed { current: 5 };
    assert_eq!(refused, AppendError::Refused(Refusal::Condition { number: 0, unmet }));
    let batch = BatchBuilder::new().record(0, Some(b"a"), Some(b"v"));
    let refused = broker.append_keyed(&batch, |_, _| {}).await.unwrap_err();
    assert_eq!(refused, AppendError::Refused(Refusal::Stream { number: 0, unmet }));
    assert_eq!(broker.partition.high_watermark(), 5);
}

/// What streams have is the same in the log, in chunks, after a restart and behind a trim, and in the rows that another
/// replica is given.
#[tokio::test]
async fn streams_stay_what_they_are_wherever_their_records_go() {
    let mut broker = Broker::with_streams().await;
    let mut rng = StdRng::seed_from_u64(3);
    let mut model: Vec<(String, String)> = Vec::new();
    for round in 0..12 {
        for _ in 0..40 {
            let mut batch = BatchBuilder::new();
            for _ in 0..rng.random_range(1..5) {
                let key = format!("k{}", rng.random_range(0..7));
                let value = format!("{}", model.len());
                batch = batch.record(0, Some(key.as_bytes()), Some(value.as_bytes()));
                model.push((key, value));
            }
            broker.append_keyed(&batch, |_, _| {}).await.unwrap();
        }
        let end = broker.partition.high_watermark();
        match round % 4 {
            0 => drop(broker.partition.move_to_tail(rng.random_range(0..=end)).await),
            1 => broker = broker.restart().await,
            2 => {
                let start = broker.partition.log_start();
                let start = rng.random_range(start..=(start + 60).min(end));
                broker.partition.delete_records(start).await.unwrap();
            }
            _ => broker.partition.sweep_streams_if_due().await,
        }
        let start = usize::try_from(broker.partition.log_start()).unwrap();
        for key in 0..7 {
            let key = format!("k{key}");
            let of_key = model.iter().enumerate().filter(|(_, (of, _))| *of == key);
            let numbered = (1_i64..).zip(of_key);
            let kept = numbered.filter(|(_, (offset, _))| *offset >= start);
            let kept: Vec<_> =
                kept.map(|(version, (_, (_, value)))| (version, value.clone())).collect();
            assert_eq!(broker.stream_of(&key, ALL).await, kept, "round {round} {key}");
        }
    }
    let machine = broker.partition.group().machine().encode();
    let outgoing = PartitionRecords.outgoing(broker.partition.group().log(), &machine).unwrap();
    let (mut after, mut rows) = (None::<Bytes>, 0);
    loop {
        let page = outgoing.page(after.as_deref(), 300).unwrap();
        rows += page.pairs.iter().filter(|(key, _)| stream_index::is_row(key)).count();
        match page.upto {
            Some(upto) => after = Some(upto),
            None => break,
        }
    }
    let kept = model.len() - usize::try_from(broker.partition.log_start()).unwrap();
    assert_eq!(rows, kept, "a row for every record that is kept");
}

#[tokio::test]
async fn streams_of_a_topic_with_data_are_counted_and_turned_off_and_on_again() {
    let broker = Broker::start_in(TempDir::new().unwrap(), PartitionSettings::default(), 0).await;
    for number in 0..2_000 {
        let key = format!("k{}", number % 3);
        let value = vec![b'x'; 300];
        let batch = BatchBuilder::new().record(0, Some(key.as_bytes()), Some(&value));
        broker.append(&batch.record(0, None, Some(b"without a key"))).await;
    }
    broker.partition.delete_records(10).await.unwrap();
    broker.partition.set_settings(with_streams());
    broker.partition.follow_streams(None).await.unwrap();
    let progress = broker.partition.streams_progress();
    assert!(progress.ready && progress.on);
    assert_eq!((progress.build_end, progress.streams, progress.misplaced), (4000, 3, 1995));
    assert_eq!(broker.event("k0", "new").await, 666);
    let last = StreamRange { from: 664, ..ALL };
    let read = broker.stream_of("k0", last).await;
    assert_eq!(read.iter().map(|(version, _)| *version).collect::<Vec<_>>(), [664, 665, 666]);
    assert_eq!(read[2].1, "new");

    broker
        .partition
        .set_settings(PartitionSettings { partitions: 1, ..PartitionSettings::default() });
    broker.partition.follow_streams(None).await.unwrap();
    assert_eq!(broker.partition.stream(b"k0").await.unwrap(), None);
    let rows = broker.partition.group().log().state_range(b"n", stream_index::END, 10).unwrap();
    assert_eq!(rows.len(), 0, "the index went with them");
    broker.partition.set_settings(with_streams());
    broker.partition.follow_streams(None).await.unwrap();
    let state = broker.partition.stream(b"k0").await.unwrap().unwrap();
    assert_eq!(state.version, 666, "counted anew from what is kept");
    assert_eq!(broker.partition.forget().await.unwrap(), 3, "the rows of the streams before");
    assert_eq!(broker.partition.forget().await.unwrap(), 0);
}

#[tokio::test]
async fn only_the_newest_are_shown_where_a_topic_says_so() {
    let broker = Broker::with_streams().await;
    for number in 1..=9 {
        broker.event("a", &number.to_string()).await;
    }
    let streams = Some(StreamConfigs { age_max_ms: i64::MAX, count_max: 2 });
    broker.partition.set_settings(PartitionSettings { streams, ..with_streams() });
    assert_eq!(broker.stream_of("a", ALL).await, numbered(8, &["8", "9"]));
}

/// The index goes with the records: of a compacted topic about one row a key is left, and it is that of the newest record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_takes_the_index_of_what_it_takes() {
    const KEYS: i64 = 30;
    let settings = PartitionSettings { compaction: Some(at_once()), ..with_streams() };
    let broker = Broker::start_in(TempDir::new().unwrap(), settings, 0).await;
    broker.partition.begin_streams().await.unwrap();
    for round in 0..120 {
        let mut batch = BatchBuilder::new();
        for number in 0..100 {
            let (key, value) = (format!("k{}", number % KEYS), format!("{round}-{number}"));
            batch = batch.record(0, Some(key.as_bytes()), Some(value.as_bytes()));
        }
        broker.append_keyed(&batch, |_, _| {}).await.unwrap();
    }
    assert!(broker.partition.decide_compaction(None, true).await.unwrap());
    let pace = Arc::new(CompactionPace::new(0));
    assert!(broker.partition.compact(1 << 20, &pace, || false).await.unwrap());
    let rows = || broker.partition.group().log().state_range(b"n", stream_index::END, 20_000);
    assert_eq!(rows().unwrap().len(), 12_000);
    broker.partition.sweep_streams_if_due().await;
    assert_eq!(rows().unwrap().len(), usize::try_from(KEYS).unwrap());
    for key in 0..KEYS {
        let last = (0..100).filter(|number| number % KEYS == key).max().unwrap();
        let of_key = (0..100).filter(|number| number % KEYS == key).count();
        let version = i64::try_from(of_key * 120).unwrap();
        let read = broker.stream_of(&format!("k{key}"), ALL).await;
        assert_eq!(read, [(version, format!("119-{last}"))], "k{key}");
        let newest = StreamRange { backward: true, events_max: 1, ..ALL };
        assert_eq!(broker.stream_of(&format!("k{key}"), newest).await.len(), 1);
    }
}

/// A topic that has records, and gets streams and is compacted at the same time: what is there has its numbers first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_compacted_before_it_is_counted() {
    let broker = Broker::start_in(TempDir::new().unwrap(), PartitionSettings::default(), 0).await;
    for number in 0..300 {
        let key = format!("k{}", number % 3);
        broker.append(&BatchBuilder::new().record(0, Some(key.as_bytes()), Some(b"v"))).await;
    }
    let settings = PartitionSettings { compaction: Some(at_once()), ..with_streams() };
    broker.partition.set_settings(settings);
    assert!(!broker.partition.decide_compaction(None, true).await.unwrap());
    assert_eq!(broker.partition.compaction(), None);
    broker.partition.follow_streams(None).await.unwrap();
    assert!(broker.partition.decide_compaction(None, true).await.unwrap());
    let pace = Arc::new(CompactionPace::new(0));
    assert!(broker.partition.compact(1 << 20, &pace, || false).await.unwrap());
    for key in ["k0", "k1", "k2"] {
        assert_eq!(broker.stream_of(key, ALL).await, [(100, "v".to_owned())], "{key}");
    }
    assert_eq!(broker.event("k0", "v").await, 101);
}

/// Where all records were deleted, versions begin anew, behind the offsets that were.
#[tokio::test]
async fn an_emptied_partition_counts_from_the_first_version() {
    let broker = Broker::start_in(TempDir::new().unwrap(), PartitionSettings::default(), 0).await;
    for _ in 0..5 {
        broker.append(&BatchBuilder::new().record(0, Some(b"a"), Some(b"v"))).await;
    }
    broker.partition.delete_records(5).await.unwrap();
    assert_eq!(broker.partition.ends_if_ready(), Some((5, 5)));
    broker.partition.set_settings(with_streams());
    broker.partition.follow_streams(None).await.unwrap();
    let made = broker.expecting("a", -1).await.unwrap();
    assert_eq!((made.version, made.base_offset), (1, 5));
}

/// Rows of streams that are kept are not read to find what is over behind them.
#[tokio::test]
async fn what_is_over_is_found_behind_streams_that_are_kept() {
    let broker = Broker::with_streams().await;
    for number in 0..1_100 {
        broker.event(&format!("k{number}"), "v").await;
    }
    let tagged = BatchBuilder::new().record(0, Some(b"k0"), Some(b"v"));
    let tagged = tagged.header("quorate-tag", Some(b"x"));
    broker.append_keyed(&tagged, |_, _| {}).await.unwrap();
    assert_eq!(broker.partition.forget().await.unwrap(), 0);
    broker.partition.delete_records(1_101).await.unwrap();
    assert_eq!(broker.partition.forget().await.unwrap(), 1, "the tag's records are trimmed");
}
