//! What a request without success may have done: the one table that decides between `:fail` and `:info`.
//!
//! It is that of Jepsen's Kafka tests. An operation wrongly called failed makes an aborted read out of nothing, one
//! lazily called indeterminate hides a loss; so only what certainly never happened is a failure.

use std::fmt;

use kafka_protocol::ResponseError;

use crate::history::Kind;

/// Why a request has no good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Not a byte of it left: no connection, or no leader is known.
    Unsent(String),
    /// It left, and no answer came, or one that cannot be read.
    Unanswered(String),
    /// The broker answered with an error code.
    Code(i16),
}

/// Codes after which the request certainly had no effect, and whether the process has to end as well.
/// Whatever is not listed may have happened; NotLeaderOrFollower, for one, is no proof (KAFKA-13574).
const DEFINITE: &[(ResponseError, bool)] = &[
    (ResponseError::UnknownTopicOrPartition, false),
    (ResponseError::UnknownTopicId, false),
    (ResponseError::BrokerNotAvailable, false),
    (ResponseError::InvalidTopicException, false),
    (ResponseError::InvalidReplicationFactor, false),
    (ResponseError::NotController, false),
    (ResponseError::InvalidProducerEpoch, true),
    // Refused before it entered a log, for want of room; its sibling says that it is in one.
    (ResponseError::NotEnoughReplicas, false),
    (ResponseError::OutOfOrderSequenceNumber, true),
    (ResponseError::ProducerFenced, true),
    (ResponseError::TopicAuthorizationFailed, true),
    (ResponseError::GroupAuthorizationFailed, true),
    (ResponseError::ClusterAuthorizationFailed, true),
    (ResponseError::TransactionalIdAuthorizationFailed, true),
    // Of changes of topics and log starts only: the request is refused before anything is changed.
    (ResponseError::TopicAlreadyExists, false),
    (ResponseError::InvalidPartitions, false),
    (ResponseError::InvalidConfig, false),
    (ResponseError::OffsetOutOfRange, false),
];

impl Failure {
    /// `Fail` if it certainly had no effect, otherwise `Info`.
    pub fn kind(&self) -> Kind {
        match self {
            Failure::Unsent(_) => Kind::Fail,
            Failure::Unanswered(_) => Kind::Info,
            Failure::Code(code) if definite(*code).is_some() => Kind::Fail,
            Failure::Code(_) => Kind::Info,
        }
    }

    /// Whether the process cannot go on although the operation definitely failed.
    pub fn ends_process(&self) -> bool {
        matches!(self, Failure::Code(code) if definite(*code) == Some(true))
    }

    pub fn is(&self, error: ResponseError) -> bool {
        *self == Failure::Code(error.code())
    }
}

fn definite(code: i16) -> Option<bool> {
    DEFINITE.iter().find(|(error, _)| error.code() == code).map(|(_, ends)| *ends)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unsent(why) => write!(f, "not sent: {why}"),
            Failure::Unanswered(why) => write!(f, "no answer: {why}"),
            Failure::Code(code) => match ResponseError::try_from_code(*code) {
                Some(error) => write!(f, "{error:?}"),
                None => write!(f, "error code {code}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_never_happened_is_a_failure() {
        let kind = |error: ResponseError| Failure::Code(error.code()).kind();
        assert_eq!(kind(ResponseError::UnknownTopicOrPartition), Kind::Fail);
        assert_eq!(kind(ResponseError::OutOfOrderSequenceNumber), Kind::Fail);
        assert_eq!(kind(ResponseError::NotEnoughReplicas), Kind::Fail);
        for maybe in [
            ResponseError::NotLeaderOrFollower,
            ResponseError::RequestTimedOut,
            ResponseError::UnknownServerError,
            ResponseError::NotEnoughReplicasAfterAppend,
            ResponseError::Unknown(999),
        ] {
            assert_eq!(kind(maybe), Kind::Info, "{maybe:?}");
        }
        assert_eq!(Failure::Unsent(String::new()).kind(), Kind::Fail);
        assert_eq!(Failure::Unanswered(String::new()).kind(), Kind::Info);
    }

    #[test]
    fn a_fenced_producer_ends_its_process() {
        assert!(Failure::Code(ResponseError::ProducerFenced.code()).ends_process());
        assert!(!Failure::Code(ResponseError::UnknownTopicOrPartition.code()).ends_process());
    }
}
