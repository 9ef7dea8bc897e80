//! Every metric of a broker: its name, labels and meaning, in one table.
//!
//! The unit is the last word of a name (`_bytes`, `_seconds`); counters get `_total` from the exposition format.
//! The ones of the first part are counted where the thing happens, those of the second are read off the broker
//! when somebody asks for `/metrics`. No metric has a label per topic or partition: ten thousand partitions times
//! twenty series is what makes a monitoring system fall over, and `/v1/raft/groups` answers such questions. What consumer
//! groups have committed is an exception, for an alarm is wanted per group, and so are how far compacted partitions are and which
//! transactions are open in a partition; their number is bounded (`http/lag.rs`, `http/compaction_metrics.rs`,
//! `http/transaction_metrics.rs`).

use std::fmt::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// A kind of Kafka request, by the protocol's name, such as `Produce`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Api {
    pub api: &'static str,
}

/// A kind of Kafka request and the protocol's number of an error.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ApiError {
    pub api: &'static str,
    pub error: i32,
}

/// An HTTP request by the pattern of its path, never the path itself, and by a method of a short list.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct HttpRequest {
    pub method: &'static str,
    pub route: String,
    pub status: u16,
}

/// The pattern of an HTTP path.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct HttpRoute {
    pub route: String,
}

/// Whether a broker is fenced.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct BrokerState {
    pub state: State,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
pub enum State {
    Live,
    Fenced,
}

/// What this broker is in a Raft group.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RaftRole {
    pub role: String,
}

/// A partition of which a consumer group has an offset.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct GroupPartition {
    pub group: LabelText,
    pub topic: String,
    pub partition: i32,
}

/// A partition of a topic.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct TopicPartition {
    pub topic: String,
    pub partition: i32,
}

/// A label's value that a client has chosen. What would end it is escaped, which the crate leaves to its users.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct LabelText(pub String);

impl EncodeLabelValue for LabelText {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => encoder.write_str("\\\\"),
            '"' => encoder.write_str("\\\""),
            '\n' => encoder.write_str("\\n"),
            other => encoder.write_char(other),
        })
    }
}

/// Seconds that only grow, with an atomic float inside.
pub type Seconds = Counter<f64, AtomicU64>;
/// A value with a fraction.
pub type Fraction = Gauge<f64, AtomicU64>;
type Latencies<L> = Family<L, Histogram, fn() -> Histogram>;

macro_rules! metrics {
    ($( $(#[doc = $doc:literal])* $name:ident: $type:ty = $start:expr; )*) => {
        /// All metrics of the process. Cheap to update from any thread.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $( $(#[doc = $doc])* pub $name: $type, )*
        }

        impl Metrics {
            fn new() -> Self {
                let mut registry = Registry::with_prefix("quorate");
                $(
                    let $name: $type = $start;
                    registry.register(stringify!($name), concat!($($doc),*).trim().trim_end_matches('.'), $name.clone());
                )*
                Self { registry, $( $name, )* }
            }
        }
    };
}

metrics! {
    /// Kafka connections open now.
    kafka_connections: Gauge = Gauge::default();
    /// Kafka connections closed at once because there were too many.
    kafka_connections_refused: Counter = Counter::default();
    /// Kafka requests answered, by API.
    kafka_requests: Family<Api, Counter> = Family::default();
    /// Time from the last byte of a Kafka request to its answer, by API; a fetch may wait in it for records.
    kafka_request_seconds: Latencies<Api> = Family::new_with_constructor(latencies);
    /// Errors in Kafka answers, by API and the protocol's error number.
    kafka_request_errors: Family<ApiError, Counter> = Family::default();
    /// Bytes of requests read from Kafka connections.
    kafka_received_bytes: Counter = Counter::default();
    /// Bytes of answers written to Kafka connections.
    kafka_sent_bytes: Counter = Counter::default();
    /// HTTP requests answered, by method (or `other`), path pattern and status.
    http_requests: Family<HttpRequest, Counter> = Family::default();
    /// Time to answer an HTTP request, by path pattern.
    http_request_seconds: Latencies<HttpRoute> = Family::new_with_constructor(latencies);

    /// Batches in one Raft entry, of the entries that this broker has proposed: their count is entries, their sum batches.
    partition_entry_batches: Histogram = Histogram::new((0..11).map(|step| f64::from(1 << step)));

    /// Transactions that coordinators on this broker have committed.
    transactions_committed: Counter = Counter::default();
    /// Transactions that coordinators on this broker have aborted, those included that took too long.
    transactions_aborted: Counter = Counter::default();
    /// Transactions that coordinators on this broker have aborted because they were open for longer than their timeout.
    transactions_timed_out: Counter = Counter::default();

    /// How far this broker's wall clock is ahead of a majority's; 0 while that is not known.
    clock_ahead_seconds: Fraction = Fraction::default();
    /// Whether this broker's wall clock is trusted, 1 or 0; while it is not, nothing is deleted for its age.
    clock_trusted: Gauge = Gauge::default();
    /// Brokers of the cluster, by whether they are live or fenced, as this broker knows it.
    cluster_brokers: Family<BrokerState, Gauge> = Family::default();
    /// Topics of the cluster.
    cluster_topics: Gauge = Gauge::default();
    /// Partitions of the cluster.
    cluster_partitions: Gauge = Gauge::default();
    /// Partitions of the cluster of which this broker knows no leader.
    cluster_leaderless_partitions: Gauge = Gauge::default();
    /// The next offset a consumer group will read, by group, topic and partition, of the groups that this broker coordinates.
    consumer_group_offset: Family<GroupPartition, Gauge> = Family::default();
    /// Records a consumer group has still to read, by group, topic and partition; none while the end is not known.
    consumer_group_lag: Family<GroupPartition, Gauge> = Family::default();
    /// Offsets of consumer groups that have no metric because there are more than a broker tells of.
    consumer_group_offsets_left_out: Gauge = Gauge::default();
    /// How much of a compacted partition's bytes is new, from 0 to 1, by topic and partition, of the replicas on this broker.
    compaction_dirty_ratio: Family<TopicPartition, Fraction> = Family::default();
    /// The offset up to which a partition is compacted on this broker, by topic and partition.
    compaction_compacted_offset: Family<TopicPartition, Gauge> = Family::default();
    /// Offsets of a compacted partition that may be compacted and are not yet on this broker, by topic and partition.
    compaction_pending_offsets: Family<TopicPartition, Gauge> = Family::default();
    /// 1 while this broker compacts the partition, otherwise 0, by topic and partition.
    compaction_running: Family<TopicPartition, Gauge> = Family::default();
    /// Compactions that ended on this broker, by topic and partition.
    compaction_runs: Family<TopicPartition, Counter> = Family::default();
    /// Compactions that failed on this broker and are tried again, by topic and partition.
    compaction_failures: Family<TopicPartition, Counter> = Family::default();
    /// Bytes of batches that compactions have read on this broker, by topic and partition.
    compaction_read_bytes: Family<TopicPartition, Counter> = Family::default();
    /// Bytes of batches that compactions have written on this broker, by topic and partition.
    compaction_written_bytes: Family<TopicPartition, Counter> = Family::default();
    /// Bytes of batches that compactions have left out on this broker, by topic and partition.
    compaction_saved_bytes: Family<TopicPartition, Counter> = Family::default();
    /// How long the last compaction on this broker took, by topic and partition.
    compaction_last_run_seconds: Family<TopicPartition, Fraction> = Family::default();
    /// Compacted partitions that have no metric because there are more than a broker tells of.
    compaction_partitions_left_out: Gauge = Gauge::default();
    /// 1 while log.cleaner.enable keeps this broker from compacting, otherwise 0.
    compaction_paused: Gauge = Gauge::default();
    /// Open transactions, by topic and partition, of the partitions that this broker leads; none where there are none.
    partition_open_transactions: Family<TopicPartition, Gauge> = Family::default();
    /// How long the oldest open transaction has been open, by topic and partition, of the partitions that this broker leads.
    partition_oldest_transaction_seconds: Family<TopicPartition, Fraction> = Family::default();
    /// Partitions with open transactions that have no metric because there are more than a broker tells of.
    partition_transactions_left_out: Gauge = Gauge::default();
    /// Raft groups this broker takes part in, by its role.
    raft_groups: Family<RaftRole, Gauge> = Family::default();
    /// The most entries any follower is behind, over the groups this broker leads.
    raft_follower_lag_entries_max: Gauge = Gauge::default();
    /// The most entries committed and not yet applied here, over all groups.
    raft_apply_lag_entries_max: Gauge = Gauge::default();
    /// Groups with an entry that is damaged on this broker's disk; they vote, but do not lead or serve here
    raft_corrupt_groups: Gauge = Gauge::default();
    /// Groups whose state on this broker is not that of a majority of the replicas; they do not lead or serve here.
    raft_diverged_groups: Gauge = Gauge::default();
    /// Entries appended to the logs of all groups.
    storage_appended_entries: Counter = Counter::default();
    /// Bytes of entries appended to the logs of all groups.
    storage_appended_bytes: Counter = Counter::default();
    /// Bytes of entries still wanted that were copied out of old files to free these.
    storage_rewritten_bytes: Counter = Counter::default();
    /// Times the write-ahead log was made durable.
    storage_syncs: Counter = Counter::default();
    /// Time spent making the write-ahead log durable.
    storage_sync_seconds: Seconds = Seconds::default();
    /// The longest time one sync took since the start.
    storage_sync_seconds_max: Fraction = Fraction::default();
    /// Bytes accepted and not written yet.
    storage_queue_bytes: Gauge = Gauge::default();
    /// Bytes of entries that are still wanted.
    storage_live_bytes: Gauge = Gauge::default();
    /// Bytes of the chunks in which records lie below their logs.
    storage_chunk_bytes: Gauge = Gauge::default();
    /// Bytes of the data directory.
    storage_disk_bytes: Gauge = Gauge::default();
    /// Bytes of the newest entries, kept in memory for readers.
    storage_cache_bytes: Gauge = Gauge::default();
    /// Bytes free on the disk of the data directory.
    storage_free_bytes: Gauge = Gauge::default();
    /// Bytes of the disk set aside for a start on a full disk.
    storage_ballast_bytes: Gauge = Gauge::default();
    /// 1 while too little disk space is free to take records, otherwise 0.
    storage_low_space: Gauge = Gauge::default();
    /// How long the oldest write or sync has been under way; others lead after storage.stall_step_aside_ms.
    storage_stalled_seconds: Fraction = Fraction::default();
    /// 1 while new records wait because tables are written more slowly than the log, otherwise 0.
    storage_behind: Gauge = Gauge::default();
    /// Generations of files that hold entries.
    storage_generations: Gauge = Gauge::default();
    /// Bytes this process holds in memory.
    process_resident_bytes: Gauge = Gauge::default();
    /// Processor time this process used.
    process_cpu_seconds: Seconds = Seconds::default();
}

impl Metrics {
    /// Returns all metrics in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("a String takes any text");
        text
    }
}

/// Returns the metrics of this process.
pub fn metrics() -> &'static Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(Metrics::new)
}

/// 0.25 ms to 8 s in doublings: a commit takes a millisecond or two, a failover about one second.
fn latencies() -> Histogram {
    Histogram::new((0..16).map(|step| 0.000_25 * f64::from(1 << step)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_every_metric_with_its_meaning() {
        let metrics = Metrics::new();
        metrics.kafka_requests.get_or_create(&Api { api: "Produce" }).inc();
        let text = metrics.text();
        assert!(text.contains("quorate_kafka_requests_total{api=\"Produce\"} 1"), "{text}");
        assert!(
            text.contains("# HELP quorate_kafka_connections Kafka connections open now."),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_group_may_be_called_anything() {
        let metrics = Metrics::new();
        let group = LabelText("a\"b\\c\n{}é".to_owned());
        let labels = GroupPartition { group, topic: "orders".to_owned(), partition: 3 };
        metrics.consumer_group_lag.get_or_create(&labels).set(7);
        let expected =
            r#"quorate_consumer_group_lag{group="a\"b\\c\n{}é",topic="orders",partition="3"} 7"#;
        assert!(metrics.text().lines().any(|line| line == expected), "{}", metrics.text());
    }
}
