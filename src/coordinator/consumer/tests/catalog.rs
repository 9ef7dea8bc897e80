//! The topics there are, for tests.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use crate::coordinator::consumer::Topics;
use crate::coordinator::record::SeenTopic;

#[derive(Debug, Default, Clone)]
pub(in crate::coordinator) struct Catalog {
    pub(in crate::coordinator) version: u64,
    pub(in crate::coordinator) topics: BTreeMap<String, SeenTopic>,
    /// Of groups with a session time of their own.
    pub(in crate::coordinator) sessions: BTreeMap<String, Duration>,
}

impl Catalog {
    /// A topic is made, or grows.
    pub(in crate::coordinator) fn set(&mut self, name: &str, partitions: i32) {
        let id = Uuid::from_u128(name.bytes().fold(0, |id, byte| (id << 8) | u128::from(byte)));
        self.topics.insert(name.to_owned(), SeenTopic { id, partitions });
        self.version += 1;
    }
}

impl Topics for Catalog {
    fn version(&self) -> u64 {
        self.version
    }

    fn find(&self, name: &str) -> Option<SeenTopic> {
        self.topics.get(name).copied()
    }

    fn session_of(&self, group: &str) -> Option<Duration> {
        self.sessions.get(group).copied()
    }
}
