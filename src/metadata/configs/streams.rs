//! What a topic's configs say of its streams by key.

use super::TopicConfigs;
use super::table::{STREAMS, STREAMS_AGE_MAX, STREAMS_COUNT_MAX};

/// What a reader of a stream is shown of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamConfigs {
    /// `quorate.streams.max.age.ms`
    pub age_max_ms: i64,
    /// `quorate.streams.max.count`
    pub count_max: i64,
}

impl TopicConfigs {
    /// Returns what is shown of its streams; `None` if it has none.
    pub fn streams(&self) -> Option<StreamConfigs> {
        let has_streams = self.get(STREAMS) == Some("true");
        has_streams.then(|| StreamConfigs {
            age_max_ms: self.number(STREAMS_AGE_MAX),
            count_max: self.number(STREAMS_COUNT_MAX),
        })
    }
}
