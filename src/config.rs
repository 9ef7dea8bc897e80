//! Everything a broker can be told, as one table.
//!
//! The table below is the only place that names a setting: the typed structs, the defaults, the TOML file, the
//! environment variables, the allowed ranges in error messages and the text of `quorate config` are all made
//! from it, so they cannot drift apart. A value comes from the file, is overridden by the environment, and that
//! by a flag; an unknown key or a value out of range is an error that says where it stands and what is allowed.
//!
//! Invariant: a setting stands here only if some code obeys it.

#[macro_use]
mod table;
mod brokers;
mod document;
mod dynamic;
mod load;
mod shown;
mod value;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub use crate::metadata::HostPort;
pub use load::{ConfigError, Flag, Resolved, Source};
pub use shown::{
    ConfigRow, ConfigSource, Synonym, broker_configs, cluster_configs, group_configs, topic_configs,
};
pub use value::{LogFilter, LogFormat, NotLogFilter};

use crate::metadata::{GROUP_HEARTBEAT_DEFAULT, GROUP_SESSION_DEFAULT};
use value::Allowed;

const MIB: usize = 1024 * 1024;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

settings! {
    /// Who this broker is and where it keeps its data.
    broker: Broker {
        /// The number of this broker in its cluster. Unset: the cluster gives one above all that were ever used, and the data directory remembers it.
        id: Option<u64> = None, Allowed::Between(1, 1_000_000_000);
        /// The directory that holds everything this broker must not forget. Created if it is missing.
        data_dir: PathBuf = PathBuf::from("quorate-data"), Allowed::Form("a path");
        /// The rack, zone or room this broker stands in; replicas of a partition are spread over different racks.
        rack: Option<String> = None, Allowed::Form("a name");
        /// The longest a stop may take, handing over leaderships included; after it the process ends anyway.
        stop_timeout_ms: u64 = 30_000, Allowed::Between(100, 600_000);
    }
    /// The Kafka protocol, spoken with producers and consumers.
    kafka: Kafka {
        /// The address to accept Kafka clients on; port 0 takes any free port.
        listen: SocketAddr = local(9092), Allowed::Form("an IP address and port, such as 127.0.0.1:9092 or [::]:9092");
        /// The address clients are told to connect to. Unset: the listen address.
        advertised: Option<HostPort> = None, Allowed::Form("a host name or IP address that others can reach, and a port from 1 to 65535");
        /// The most client connections at a time; further ones are closed at once.
        connections_max: usize = 10_000, Allowed::Between(1, 1_000_000);
        /// The largest request taken from a client; a larger one closes the connection.
        request_bytes_max: usize = 100 * MIB, Allowed::Between(1_024, 1_073_741_824);
        /// The most memory held by requests being read or answered, over all connections; reading waits beyond it.
        requests_bytes_max: usize = 256 * MIB, Allowed::Between(1_048_576, 1_099_511_627_776);
        /// The most requests of one connection being answered at a time; reading from it waits beyond it.
        pipelined_requests_max: usize = 64, Allowed::Between(1, 10_000);
        /// The longest a connection may be silent before it is closed.
        idle_timeout_ms: u64 = 600_000, Allowed::Between(1_000, 86_400_000);
        /// The most record bytes in one fetch answer, whatever the client asks for; a first batch may exceed it. Never more than 3/64 of requests_bytes_max, so that eight answers fit at a time.
        fetch_bytes_max: usize = 55 * MIB, Allowed::Between(1_024, 1_073_741_824);
        /// The longest a fetch may wait for new records, whatever the client asks for.
        fetch_wait_ms_max: u64 = 300_000, Allowed::Between(0, 300_000);
        /// The most incremental fetch sessions remembered; the ones unused longest are forgotten first (KIP-227).
        fetch_sessions_max: usize = 10_000, Allowed::Between(0, 1_000_000);
    }
    /// The HTTP interface: administration, health, metrics.
    http: Http {
        /// The address to accept HTTP on; port 0 takes any free port.
        listen: SocketAddr = local(8080), Allowed::Form("an IP address and port, such as 127.0.0.1:8080 or [::]:8080");
        /// The address people and other brokers are told to reach HTTP on. Unset: the listen address.
        advertised: Option<HostPort> = None, Allowed::Form("a host name or IP address that others can reach, and a port from 1 to 65535");
        /// The most HTTP connections at a time; on further ones only /livez and /readyz are answered.
        connections_max: usize = 1_000, Allowed::Between(1, 100_000);
        /// The largest request body.
        body_bytes_max: usize = MIB, Allowed::Between(1_024, 104_857_600);
        /// The longest a request may take; after it the answer is 504 and the outcome of a change is unknown.
        request_timeout_ms: u64 = 30_000, Allowed::Between(100, 600_000);
    }
    /// The protocol brokers speak with each other.
    peer: Peer {
        /// The address to accept other brokers on; port 0 takes any free port.
        listen: SocketAddr = local(9192), Allowed::Form("an IP address and port, such as 127.0.0.1:9192 or [::]:9192");
        /// The address other brokers are told to reach this one on. Unset: the listen address.
        advertised: Option<HostPort> = None, Allowed::Form("a host name or IP address that others can reach, and a port from 1 to 65535");
        /// Members of the cluster to join. Empty: an empty data directory forms a new cluster of one broker.
        join: Vec<HostPort> = Vec::new(), Allowed::Form("peer addresses with ports from 1 to 65535, such as 10.0.0.1:9192,10.0.0.2:9192");
    }
    /// What a topic is when its creator does not say otherwise.
    topics: Topics {
        /// Partitions of a new topic.
        partitions: i32 = 1, Allowed::Between(1, 10_000);
        /// Replicas of each partition of a new topic. Unset: three, or as many as there are brokers alive.
        replication_factor: Option<i16> = None, Allowed::Between(1, 15);
        /// Whether a client that asks for a topic that does not exist creates it.
        auto_create: bool = true, Allowed::Form("true or false");
        /// How long records are kept; -1 keeps them for ever.
        retention_ms: i64 = 7 * DAY_MS, Allowed::Between(-1, i64::MAX);
        /// How many bytes of a partition are kept; -1 keeps all.
        retention_bytes: i64 = -1, Allowed::Between(-1, i64::MAX);
        /// The largest record batch a partition takes.
        message_bytes_max: usize = 1_048_588, Allowed::Between(1_024, 50_331_648);
        /// How often a partition's leader looks for records past their retention.
        retention_check_ms: u64 = 30_000, Allowed::Between(100, 3_600_000);
    }
    /// Compaction of topics with cleanup.policy=compact.
    compaction: Compaction {
        /// Whether this broker compacts.
        enabled: bool = true, Allowed::Form("true or false");
        /// How often a broker looks for partitions to compact.
        check_ms: u64 = 15_000, Allowed::Between(100, 3_600_000);
        /// How many bytes it reads and writes a second; 0 is no limit.
        bytes_per_second_max: u64 = 67_108_864, Allowed::Between(0, i64::MAX);
        /// How long the log stays behind what was compacted: a broker that was away for less is given what it lacks, one that was away for longer everything.
        log_kept_ms: u64 = 600_000, Allowed::Between(0, 86_400_000);
        /// Memory for keys: less makes more passes.
        key_memory_bytes: usize = 134_217_728, Allowed::Between(1_048_576, 4_294_967_296);
    }
    /// Consumer groups.
    groups: Groups {
        /// How long a group without members waits for more of them after the first has joined.
        initial_rebalance_delay_ms: u64 = 3_000, Allowed::Between(0, 300_000);
        /// The shortest time that a member may ask to be taken for alive without a word.
        session_timeout_min_ms: u64 = 6_000, Allowed::Between(100, 3_600_000);
        /// The longest time that a member may ask to be taken for alive without a word.
        session_timeout_max_ms: u64 = 1_800_000, Allowed::Between(100, 86_400_000);
        /// How long a member of the consumer protocol (KIP-848) is taken for alive without a word.
        consumer_session_timeout_ms: u64 = GROUP_SESSION_DEFAULT, Allowed::Between(1_000, 3_600_000);
        /// How often a member of the consumer protocol is told to say that it is alive.
        consumer_heartbeat_interval_ms: u64 = GROUP_HEARTBEAT_DEFAULT, Allowed::Between(100, 600_000);
        /// Members of a group.
        members_max: usize = 10_000, Allowed::Between(1, 100_000);
        /// How long the offsets of a group stay that has no members, or of a topic that none of them reads.
        offsets_retention_ms: u64 = 7 * DAY_MS.unsigned_abs(), Allowed::Between(1_000, 315_360_000_000);
        /// How often a coordinator looks for offsets past their retention.
        offsets_check_ms: u64 = 600_000, Allowed::Between(100, 86_400_000);
        /// The longest text that a consumer may write beside an offset, in bytes.
        offset_metadata_bytes_max: usize = 4_096, Allowed::Between(0, 32_768);
    }
    /// Transactions.
    transactions: Transactions {
        /// The longest timeout that a producer may ask for; a transaction that is open for longer than its producer's is aborted.
        timeout_max_ms: u64 = 900_000, Allowed::Between(1, 2_147_483_647);
        /// How long a transactional id is remembered that nobody uses. Never forgotten while a transaction is open.
        id_expiration_ms: u64 = 7 * DAY_MS.unsigned_abs(), Allowed::Between(1_000, 315_360_000_000);
        /// How often a coordinator looks for transactional ids that nobody uses.
        id_check_ms: u64 = 3_600_000, Allowed::Between(100, 86_400_000);
    }
    /// How brokers agree and how soon they notice a dead one.
    raft: Raft {
        /// How often each broker pings each other broker.
        ping_interval_ms: u64 = 100, Allowed::Between(10, 10_000);
        /// A broker not heard of for so long is taken for dead, and its partitions elect other leaders.
        dead_after_ms: u64 = 600, Allowed::Between(50, 60_000);
        /// A broker not heard of for so long is fenced: clients are no longer told of it.
        fence_after_ms: u64 = 10_000, Allowed::Between(500, 600_000);
        /// How often a partition's leader compares what its replicas made of the log; a partition that is quiet is compared ten times less often.
        compare_ms: u64 = 60_000, Allowed::Between(400, 3_600_000);
    }
    /// The database beneath: one for all partitions of the broker.
    storage: Storage {
        /// Log bytes written before a new generation of files begins; memory use is about three times as much. On a small disk it is at most a thirty-second part of it.
        generation_bytes: usize = 64 * MIB, Allowed::Between(1_048_576, 4_294_967_296);
        /// Memory for the newest entries of all partitions, from which consumers at the end of the log are served.
        cache_bytes: usize = 128 * MIB, Allowed::Between(1_048_576, 1_099_511_627_776);
        /// Free bytes of the disk below which its partitions take no records, on any broker, so that what is under way and what frees space still finds room. Unset: eight generations, at most a quarter of the disk.
        free_bytes_min: Option<u64> = None, Allowed::Between(8_388_608, 1_125_899_906_842_624);
        /// Free bytes of the disk at which its partitions take records again. Unset: a quarter more than free_bytes_min.
        free_bytes_resume: Option<u64> = None, Allowed::Between(8_388_608, 1_125_899_906_842_624);
        /// Bytes of the disk set aside, so that the broker can start when the disk is full; 0 sets none aside. Unset: three generations and 4 MiB.
        ballast_bytes: Option<u64> = None, Allowed::Between(0, 1_099_511_627_776);
        /// A write or sync that takes so long makes the broker let others lead its partitions.
        stall_step_aside_ms: u64 = 2_000, Allowed::Between(500, 60_000);
        /// A write or sync that takes so long ends the broker, unless other brokers' disks hang too and nobody could go on.
        stall_end_ms: u64 = 20_000, Allowed::Between(1_000, 3_600_000);
    }
    /// What is logged and in which form. Logs go to standard error.
    log: Log {
        /// The least severe events logged: a level, or levels by module. `PUT /v1/log/level` changes it at run time.
        level: LogFilter = LogFilter::default(), Allowed::Form("off, error, warn, info, debug or trace, or a list such as info,quorate_raft=debug");
        /// One line of text, or one JSON object, per event.
        format: LogFormat = LogFormat::Text, Allowed::OneOf(&["text", "json"]);
    }
}

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

#[cfg(test)]
mod tests;
