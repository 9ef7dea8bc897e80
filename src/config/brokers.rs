//! A broker's settings under the names that Kafka has for the like.

use super::Config;
use crate::metadata::{ConfigKind, HostPort};

/// One setting: Kafka's name, type and meaning, and its value on the broker of that id.
pub(super) struct BrokerSetting {
    pub(super) name: &'static str,
    pub(super) kind: ConfigKind,
    pub(super) doc: &'static str,
    pub(super) value: fn(&Config, u64) -> String,
}

macro_rules! settings {
    ($($name:literal $kind:ident $doc:literal $value:expr;)*) => {
        /// Every setting shown, by name, but those that are topics' defaults and have no place in a broker's file.
        pub(super) const BROKER_SETTINGS: &[BrokerSetting] = &[$(BrokerSetting {
            name: $name,
            kind: ConfigKind::$kind,
            doc: $doc,
            value: $value,
        },)*];
    };
}

settings! {
    "advertised.listeners" String "Where clients connect." |it, _| {
        let listen = it.kafka.listen.to_string();
        format!("PLAINTEXT://{}", it.kafka.advertised.as_ref().map_or(listen, HostPort::to_string))
    };
    "auto.create.topics.enable" Boolean "Whether a client that asks for a topic that does not exist creates it."
        |it, _| it.topics.auto_create.to_string();
    "broker.id" Int "This broker's id." |_, id| id.to_string();
    "broker.rack" String "The rack this broker stands in." |it, _| it.broker.rack.clone().unwrap_or_default();
    "connections.max.idle.ms" Long "The longest a connection may be silent."
        |it, _| it.kafka.idle_timeout_ms.to_string();
    "default.replication.factor" Int "Replicas of a new topic's partitions, or as many as the cluster has brokers."
        |it, _| it.topics.replication_factor.unwrap_or(3).to_string();
    "delete.topic.enable" Boolean "Topics can be deleted." |_, _| "true".into();
    "fetch.max.bytes" Int "The most record bytes in one fetch answer." |it, _| it.kafka.fetch_bytes_max.to_string();
    "group.consumer.heartbeat.interval.ms" Int "How often a member of the consumer protocol is to be heard."
        |it, _| it.groups.consumer_heartbeat_interval_ms.to_string();
    "group.consumer.session.timeout.ms" Int "How long a member of the consumer protocol may be silent."
        |it, _| it.groups.consumer_session_timeout_ms.to_string();
    "group.initial.rebalance.delay.ms" Int "How long an empty group waits for more members after the first."
        |it, _| it.groups.initial_rebalance_delay_ms.to_string();
    "group.max.session.timeout.ms" Int "The longest session a member may ask for."
        |it, _| it.groups.session_timeout_max_ms.to_string();
    "group.max.size" Int "Members of a group." |it, _| it.groups.members_max.to_string();
    "group.min.session.timeout.ms" Int "The shortest session a member may ask for."
        |it, _| it.groups.session_timeout_min_ms.to_string();
    "listeners" String "Where this broker accepts clients." |it, _| format!("PLAINTEXT://{}", it.kafka.listen);
    "log.cleaner.backoff.ms" Long "How often a broker looks for partitions to compact."
        |it, _| it.compaction.check_ms.to_string();
    "log.cleaner.dedupe.buffer.size" Long "Memory that compaction has for keys."
        |it, _| it.compaction.key_memory_bytes.to_string();
    "log.cleaner.enable" Boolean "Whether compacted topics are compacted."
        |it, _| it.compaction.enabled.to_string();
    "log.cleaner.io.max.bytes.per.second" Long "Bytes that compaction reads and writes a second; 0 is no limit."
        |it, _| it.compaction.bytes_per_second_max.to_string();
    "log.dirs" String "The directory that holds everything this broker must not forget."
        |it, _| it.broker.data_dir.display().to_string();
    "log.retention.bytes" Long "Bytes of each partition that are kept; -1 keeps all."
        |it, _| it.topics.retention_bytes.to_string();
    "log.retention.check.interval.ms" Long "How often a leader looks for records past their retention."
        |it, _| it.topics.retention_check_ms.to_string();
    "log.retention.ms" Long "How long records are kept; -1 keeps them for ever."
        |it, _| it.topics.retention_ms.to_string();
    "max.connections" Int "The most client connections at a time." |it, _| it.kafka.connections_max.to_string();
    "max.incremental.fetch.session.cache.slots" Int "The most fetch sessions remembered."
        |it, _| it.kafka.fetch_sessions_max.to_string();
    "message.max.bytes" Int "The largest record batch a topic takes." |it, _| it.topics.message_bytes_max.to_string();
    "min.insync.replicas" Int "Every record is acknowledged by a majority of its replicas, whatever this is."
        |_, _| "1".into();
    "node.id" Int "This broker's id." |_, id| id.to_string();
    "num.partitions" Int "Partitions of a new topic." |it, _| it.topics.partitions.to_string();
    "offset.metadata.max.bytes" Int "The longest text beside an offset."
        |it, _| it.groups.offset_metadata_bytes_max.to_string();
    "offsets.retention.check.interval.ms" Long "How often a coordinator looks for offsets past their retention."
        |it, _| it.groups.offsets_check_ms.to_string();
    "offsets.retention.minutes" Int "How long offsets stay of a group without members."
        |it, _| (it.groups.offsets_retention_ms / 60_000).to_string();
    "socket.request.max.bytes" Int "The largest request taken." |it, _| it.kafka.request_bytes_max.to_string();
    "transaction.max.timeout.ms" Int "The longest timeout that a transactional producer may ask for."
        |it, _| it.transactions.timeout_max_ms.to_string();
    "transaction.remove.expired.transaction.cleanup.interval.ms" Int "How often a coordinator looks for ids past their expiration."
        |it, _| it.transactions.id_check_ms.to_string();
    "transactional.id.expiration.ms" Long "How long a transactional id is remembered that nobody uses."
        |it, _| it.transactions.id_expiration_ms.to_string();
}
