//! The one map from our errors to the protocol's numbers.
//!
//! A wrong number is worse than a crash: a Java producer retries what it takes for retriable for two minutes,
//! and gives up at once on the rest. So every map is exhaustive, and what decides is whether the thing happened:
//! only "may have happened" becomes REQUEST_TIMED_OUT.

use std::fmt;

use crate::coordinator::GroupError;
use crate::metadata::AdminError;
use crate::partition::{AppendError, ReadError, Refusal, TrimError};
use crate::record::{BatchError, RecordError};
use crate::transaction::TransactionError;

macro_rules! codes {
    ($($name:ident = $code:literal,)*) => {
        /// A number of the protocol's error table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($name = $code,)* }

        impl fmt::Display for ErrorCode {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let name = match self { $(ErrorCode::$name => stringify!($name),)* };
                write!(f, "{name} ({})", *self as i16)
            }
        }
    };
}

codes! {
    UnknownServerError = -1,
    None = 0,
    OffsetOutOfRange = 1,
    CorruptMessage = 2,
    UnknownTopicOrPartition = 3,
    LeaderNotAvailable = 5,
    NotLeaderOrFollower = 6,
    RequestTimedOut = 7,
    MessageTooLarge = 10,
    OffsetMetadataTooLarge = 12,
    CoordinatorLoadInProgress = 14,
    CoordinatorNotAvailable = 15,
    NotCoordinator = 16,
    InvalidTopic = 17,
    NotEnoughReplicas = 19,
    InvalidRequiredAcks = 21,
    IllegalGeneration = 22,
    InconsistentGroupProtocol = 23,
    InvalidGroupId = 24,
    UnknownMemberId = 25,
    InvalidSessionTimeout = 26,
    RebalanceInProgress = 27,
    InvalidCommitOffsetSize = 28,
    InvalidTimestamp = 32,
    UnsupportedVersion = 35,
    TopicAlreadyExists = 36,
    InvalidPartitions = 37,
    InvalidReplicationFactor = 38,
    InvalidReplicaAssignment = 39,
    InvalidConfig = 40,
    NotController = 41,
    InvalidRequest = 42,
    PolicyViolation = 44,
    OutOfOrderSequenceNumber = 45,
    DuplicateSequenceNumber = 46,
    InvalidProducerEpoch = 47,
    InvalidTxnState = 48,
    InvalidProducerIdMapping = 49,
    InvalidTransactionTimeout = 50,
    ConcurrentTransactions = 51,
    TransactionalIdAuthorizationFailed = 53,
    SecurityDisabled = 54,
    OperationNotAttempted = 55,
    StorageError = 56,
    UnknownProducerId = 59,
    ReassignmentInProgress = 60,
    NonEmptyGroup = 68,
    GroupIdNotFound = 69,
    FetchSessionIdNotFound = 70,
    InvalidFetchSessionEpoch = 71,
    FencedLeaderEpoch = 74,
    UnknownLeaderEpoch = 75,
    UnsupportedCompressionType = 76,
    OffsetNotAvailable = 78,
    MemberIdRequired = 79,
    PreferredLeaderNotAvailable = 80,
    GroupMaxSizeReached = 81,
    FencedInstanceId = 82,
    ElectionNotNeeded = 84,
    NoReassignmentInProgress = 85,
    GroupSubscribedToTopic = 86,
    InvalidRecord = 87,
    UnstableOffsetCommit = 88,
    ProducerFenced = 90,
    InvalidUpdateVersion = 95,
    UnknownTopicId = 100,
    BrokerIdNotRegistered = 102,
    InconsistentTopicId = 103,
    TransactionalIdNotFound = 105,
    FetchSessionTopicIdError = 106,
    FencedMemberEpoch = 110,
    UnreleasedInstanceId = 111,
    UnsupportedAssignor = 112,
    StaleMemberEpoch = 113,
    UnsupportedEndpointType = 115,
    TransactionAbortable = 120,
    InvalidRegularExpression = 128,
}

impl From<&BatchError> for ErrorCode {
    fn from(error: &BatchError) -> ErrorCode {
        match error {
            BatchError::Checksum => ErrorCode::CorruptMessage,
            // Java splits such a batch and sends its halves.
            BatchError::TooLarge { .. } | BatchError::Records(RecordError::TooLarge) => {
                ErrorCode::MessageTooLarge
            }
            BatchError::Codec { .. } | BatchError::Records(RecordError::UnknownCodec { .. }) => {
                ErrorCode::UnsupportedCompressionType
            }
            BatchError::Timestamps { .. } => ErrorCode::InvalidTimestamp,
            BatchError::NotOne
            | BatchError::Keys { .. }
            | BatchError::Magic { .. }
            | BatchError::Count { .. }
            | BatchError::Control
            | BatchError::Producer
            | BatchError::OffsetDelta { .. }
            | BatchError::Records(
                RecordError::NoHeader
                | RecordError::Malformed { .. }
                | RecordError::Decompress(_)
                | RecordError::Trailing,
            ) => ErrorCode::InvalidRecord,
        }
    }
}

impl From<&AppendError> for ErrorCode {
    fn from(error: &AppendError) -> ErrorCode {
        match error {
            AppendError::NotLeader { .. } | AppendError::Closed => ErrorCode::NotLeaderOrFollower,
            // Retriable, and says that nothing was written. Unlike STORAGE_ERROR it does not send clients
            // looking for another leader, who would refuse them as well.
            AppendError::Busy | AppendError::NoSpace { .. } => ErrorCode::NotEnoughReplicas,
            AppendError::Refused(Refusal::OutOfOrderSequence { .. }) => {
                ErrorCode::OutOfOrderSequenceNumber
            }
            AppendError::Refused(Refusal::InvalidProducerEpoch { .. }) => {
                ErrorCode::InvalidProducerEpoch
            }
            // Clients take it for a success without an offset.
            AppendError::Refused(Refusal::DuplicateSequence) => ErrorCode::DuplicateSequenceNumber,
            // Final, as it must be: the same batch would be refused until somebody else changes something.
            AppendError::Refused(
                Refusal::Condition { .. }
                | Refusal::Stream { .. }
                | Refusal::IdempotencyKeyReused
                | Refusal::NotTransactional { .. },
            ) => ErrorCode::InvalidRecord,
            // Sent again it may do: there is room soon, and the coordinator is asked anew which transaction it is of.
            AppendError::Refused(Refusal::Transaction(it)) if it.may_pass() => {
                ErrorCode::NotEnoughReplicas
            }
            AppendError::Refused(Refusal::Transaction(_)) => ErrorCode::InvalidTxnState,
            AppendError::Refused(Refusal::StreamsChanged) => ErrorCode::NotEnoughReplicas,
            AppendError::Indeterminate => ErrorCode::RequestTimedOut,
        }
    }
}

impl From<&ReadError> for ErrorCode {
    fn from(error: &ReadError) -> ErrorCode {
        match error {
            ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            ReadError::Closed => ErrorCode::NotLeaderOrFollower,
            ReadError::Unreadable(_) => ErrorCode::StorageError,
        }
    }
}

impl From<&TrimError> for ErrorCode {
    fn from(error: &TrimError) -> ErrorCode {
        match error {
            TrimError::NotLeader { .. } | TrimError::Closed => ErrorCode::NotLeaderOrFollower,
            TrimError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            TrimError::Busy => ErrorCode::NotEnoughReplicas,
            TrimError::Indeterminate => ErrorCode::RequestTimedOut,
            TrimError::Read(error) => error.into(),
        }
    }
}

impl From<&GroupError> for ErrorCode {
    fn from(error: &GroupError) -> ErrorCode {
        match error {
            GroupError::NotCoordinator => ErrorCode::NotCoordinator,
            // Retriable; a commit may be there all the same, and is made again.
            GroupError::NotAvailable => ErrorCode::CoordinatorNotAvailable,
            GroupError::UnknownMember => ErrorCode::UnknownMemberId,
            GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
            GroupError::Rebalancing => ErrorCode::RebalanceInProgress,
            GroupError::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
            GroupError::MemberIdRequired(_) => ErrorCode::MemberIdRequired,
            GroupError::FencedInstance => ErrorCode::FencedInstanceId,
            GroupError::Full => ErrorCode::GroupMaxSizeReached,
            GroupError::TooLarge => ErrorCode::InvalidCommitOffsetSize,
            GroupError::NotEmpty => ErrorCode::NonEmptyGroup,
            // As in Kafka: to who speaks one protocol there is no group of the other.
            GroupError::NotFound | GroupError::OtherProtocol => ErrorCode::GroupIdNotFound,
            GroupError::UnreleasedInstance => ErrorCode::UnreleasedInstanceId,
            GroupError::FencedMemberEpoch => ErrorCode::FencedMemberEpoch,
            GroupError::StaleMemberEpoch => ErrorCode::StaleMemberEpoch,
            GroupError::InvalidRegex(_) => ErrorCode::InvalidRegularExpression,
            GroupError::Subscribed => ErrorCode::GroupSubscribedToTopic,
            GroupError::ProducerFenced => ErrorCode::InvalidProducerEpoch,
            GroupError::TransactionEnded => ErrorCode::InvalidTxnState,
        }
    }
}

/// What a coordinator of transactions says, as its own APIs tell it in their newest versions. What differs by version and on the
/// way of records and offsets is in `kafka/transactions.rs`.
impl From<&TransactionError> for ErrorCode {
    fn from(error: &TransactionError) -> ErrorCode {
        match error {
            TransactionError::NotCoordinator => ErrorCode::NotCoordinator,
            // Retriable; what was asked for may be done all the same, and asking again is harmless.
            TransactionError::NotAvailable => ErrorCode::CoordinatorNotAvailable,
            TransactionError::ProducerFenced => ErrorCode::ProducerFenced,
            TransactionError::InvalidState => ErrorCode::InvalidTxnState,
            TransactionError::Concurrent => ErrorCode::ConcurrentTransactions,
            TransactionError::InvalidTimeout => ErrorCode::InvalidTransactionTimeout,
            // To a producer, an id that is not there is one that it has no right to, as in Kafka.
            TransactionError::InvalidProducerId | TransactionError::NotFound => {
                ErrorCode::InvalidProducerIdMapping
            }
            // Final: ids become free after a week, which nobody waits for.
            TransactionError::Full => ErrorCode::PolicyViolation,
            TransactionError::TooLarge => ErrorCode::InvalidRequest,
        }
    }
}

impl From<&AdminError> for ErrorCode {
    fn from(error: &AdminError) -> ErrorCode {
        match error {
            AdminError::TopicExists(_) => ErrorCode::TopicAlreadyExists,
            AdminError::UnknownTopic(_) | AdminError::UnknownPartition { .. } => {
                ErrorCode::UnknownTopicOrPartition
            }
            AdminError::UnknownTopicId(_) => ErrorCode::UnknownTopicId,
            AdminError::InvalidName(_) => ErrorCode::InvalidTopic,
            AdminError::InvalidReplicationFactor(_) | AdminError::NotEnoughBrokers { .. } => {
                ErrorCode::InvalidReplicationFactor
            }
            AdminError::InvalidPartitions(_) => ErrorCode::InvalidPartitions,
            AdminError::InvalidAssignment(_) | AdminError::UnknownBroker(_) => {
                ErrorCode::InvalidReplicaAssignment
            }
            AdminError::InvalidConfig { .. } => ErrorCode::InvalidConfig,
            AdminError::LevelNotLowered { .. } | AdminError::LevelNotSupported { .. } => {
                ErrorCode::InvalidUpdateVersion
            }
            AdminError::NoChangeUnderWay => ErrorCode::NoReassignmentInProgress,
            AdminError::ChangeSuperseded => ErrorCode::ReassignmentInProgress,
            AdminError::NoLeader
            | AdminError::EmptinessUnknown { .. }
            | AdminError::TransferFailed { .. } => ErrorCode::LeaderNotAvailable,
            AdminError::InvalidRequest(_)
            | AdminError::BrokerIdTaken { .. }
            | AdminError::WrongCluster { .. }
            | AdminError::BrokerAlive(_)
            | AdminError::BrokerHasReplicas { .. }
            | AdminError::InternalGroupsNeed { .. }
            | AdminError::LastBroker(_)
            | AdminError::BrokerRemoved(_)
            | AdminError::ReleaseUnfit { .. } => ErrorCode::InvalidRequest,
            // Retriable, and true: nothing was changed.
            AdminError::NoController | AdminError::ShuttingDown => ErrorCode::NotController,
            AdminError::Timeout => ErrorCode::RequestTimedOut,
            AdminError::ProducerIdsExhausted => ErrorCode::UnknownServerError,
        }
    }
}
