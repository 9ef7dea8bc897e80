//! File descriptors: how many there are, and for whom.
//!
//! Whoever opens connections takes descriptors, and storage that gets none for a table ends the broker. So they are
//! divided before anything is opened: storage and peers have theirs, and clients are admitted by what is left. The
//! limit that counts is the hard one: the soft one, often 1,024 for old programs' sake, is raised to it.

use quorate_storage::mutant;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::http::{ASKED_AT_A_TIME, HEALTH_PLACES};

/// Standard streams, listeners, the runtime's own, the log, a few that are opened for a moment, to look something
/// up or to turn a connection away, what this broker asks of others over HTTP, and the places of its health.
const OWN: usize = 64 + ASKED_AT_A_TIME + HEALTH_PLACES;
/// With fewer a broker cannot be run.
const LIMIT_MIN: usize = 512;
/// More are of no use; some systems allow a thousand million.
const LIMIT_MAX: usize = 1 << 20;
/// What storage has open beside tables: logs, the manifest, tables being written.
const STORAGE_OWN: usize = 64;
/// Each costs memory while it is open.
const TABLES_MAX: usize = 100_000;
/// A peer dials and is dialled.
const FOR_EACH_PEER: usize = 2;

/// Too few to run a broker.
#[derive(Debug, thiserror::Error)]
#[error(
    "this process may have {limit} files open, a broker needs {LIMIT_MIN}: raise the hard limit (ulimit -Hn, or \
     LimitNOFILE= of its service)"
)]
pub struct TooFewDescriptors {
    limit: usize,
}

/// Who may have how many, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descriptors {
    limit: usize,
    /// All of storage's.
    storage: usize,
    /// Connections that peers open here; as many go to them.
    pub(super) peer_connections: usize,
    http_connections: usize,
    kafka_connections: usize,
}

impl Descriptors {
    /// Raises the limit of this process as far as that is allowed, and divides what there is then.
    ///
    /// `config` is left with the connections that are admitted.
    pub(super) fn claim(config: &mut Config) -> Result<Self, TooFewDescriptors> {
        let (http, kafka) = (config.http.connections_max, config.kafka.connections_max);
        if mutant::on("connections-unbounded") {
            let limit = getrlimit(Resource::Nofile).current.map_or(LIMIT_MIN, |it| it as usize);
            return Self::divide(limit.max(LIMIT_MIN), http, kafka);
        }
        let shares = Self::divide(raised_limit(), http, kafka)?;
        config.http.connections_max = shares.http_connections;
        config.kafka.connections_max = shares.kafka_connections;
        tracing::info!(
            limit = shares.limit,
            storage = shares.storage,
            peer_connections = shares.peer_connections,
            http_connections = shares.http_connections,
            kafka_connections = shares.kafka_connections,
            "file descriptors divided"
        );
        if shares.http_connections < http || shares.kafka_connections < kafka {
            tracing::warn!(
                limit = shares.limit,
                http_configured = http,
                kafka_configured = kafka,
                "fewer client connections are admitted than configured: raise the hard limit of open files"
            );
        }
        Ok(shares)
    }

    fn divide(limit: usize, http_max: usize, kafka_max: usize) -> Result<Self, TooFewDescriptors> {
        if limit < LIMIT_MIN {
            return Err(TooFewDescriptors { limit });
        }
        let peer_connections = (limit / 32).min(256);
        let storage_min = (limit / 8).max(192);
        let http_connections = http_max.min(limit / 16);
        let held = OWN + FOR_EACH_PEER * peer_connections + http_connections;
        let kafka_connections = kafka_max.min(limit.saturating_sub(held + storage_min));
        // What clients cannot take is of use for tables.
        let storage = limit.saturating_sub(held + kafka_connections);
        Ok(Self { limit, storage, peer_connections, http_connections, kafka_connections })
    }

    /// Returns how many tables storage may keep open.
    pub(super) fn tables(&self) -> i32 {
        let tables = self.storage.saturating_sub(STORAGE_OWN).min(TABLES_MAX);
        i32::try_from(tables).unwrap_or(i32::MAX)
    }
}

/// Raises the soft limit of open files to the hard one and returns what it is then.
fn raised_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = |limit: Option<u64>| {
        limit.and_then(|it| usize::try_from(it).ok()).unwrap_or(usize::MAX).min(LIMIT_MAX)
    };
    let (now, wanted) = (most(limit.current), most(limit.maximum));
    if now >= wanted {
        return now;
    }
    let raised = Rlimit { current: Some(wanted as u64), maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::info!(%error, now, wanted, "limit of open files not raised");
            now
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_given_out_than_there_is_and_everybody_has_some() {
        for limit in (LIMIT_MIN..5_000).chain([16_384, 20_000, 1 << 20]) {
            for (http, kafka) in [(1_000, 10_000), (1, 1), (100_000, 1_000_000)] {
                let it = Descriptors::divide(limit, http, kafka).unwrap();
                let connections = 2 * it.peer_connections + it.http_connections;
                let all = OWN + it.storage + connections + it.kafka_connections;
                assert_eq!(all, limit, "{it:?}");
                assert!(it.peer_connections >= 16 && it.tables() >= 128, "{it:?}");
                assert!(it.http_connections >= 32.min(http), "{it:?}");
                assert!(it.kafka_connections >= 64.min(kafka), "{it:?}");
            }
        }
        assert!(Descriptors::divide(LIMIT_MIN - 1, 1, 1).is_err());
    }

    #[test]
    fn an_ordinary_limit_serves_what_is_configured_by_default() {
        let it = Descriptors::divide(16_384, 1_000, 10_000).unwrap();
        assert_eq!((it.http_connections, it.kafka_connections), (1_000, 10_000));
    }
}
