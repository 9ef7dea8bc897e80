//! An API of the protocol as clients are told of it.

/// One API: what it is called and which versions are told to clients.
pub struct Api {
    pub key: i16,
    pub name: &'static str,
    /// The lowest version told to clients.
    pub min: i16,
    pub max: i16,
    /// The lowest version really served; below it the connection is closed. Differs from `min` for Produce
    /// only: librdkafka before 2.11 sends uncompressed unless it is told of version 0 (KAFKA-18659).
    pub served_from: i16,
    /// Whether a request may be begun while earlier ones of the connection await their answers.
    ///
    /// Kafka serves one request of a connection at a time. Beginning a produce fixes its place in the log, so
    /// its effects keep the order of requests; of no other API is that so.
    pub(super) overlaps: bool,
    pub(super) flexible: fn(i16) -> bool,
}

impl Api {
    /// Returns whether requests of this version are served.
    pub fn serves(&self, version: i16) -> bool {
        (self.served_from..=self.max).contains(&version)
    }

    pub(super) fn is_flexible(&self, version: i16) -> bool {
        (self.flexible)(version)
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({}, {}..={})", self.name, self.key, self.min, self.max)
    }
}
