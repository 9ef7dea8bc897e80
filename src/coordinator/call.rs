//! What is asked of a coordinator, and what it answers.

use std::collections::BTreeSet;

use bytes::Bytes;
use uuid::Uuid;

use super::OffsetsTransaction;
use super::offsets::OffsetKey;
use super::record::Parts;

/// JoinGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    pub group: String,
    /// Empty for who has none yet.
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocol_type: String,
    /// The one it likes best first.
    pub protocols: Vec<(String, Bytes)>,
    /// Who has no id is given one first and joins with it then (KIP-394).
    pub needs_known_id: bool,
    /// A leader that is told so assigns nothing when it takes its former self's place (KIP-814).
    pub can_skip_assignment: bool,
    /// What it is called if it has no id yet.
    pub fresh_id: String,
}

impl Join {
    /// What it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let protocols = self.protocols.iter().map(|(name, it)| name.len() + it.len() + 64);
        let names = self.client_id.len() + self.client_host.len() + self.fresh_id.len();
        let instance = self.instance_id.as_ref().map_or(0, String::len);
        256 + names + self.group.len() + 2 * instance + protocols.sum::<usize>()
    }
}

/// A member of a new generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub member_id: String,
    pub generation: i32,
    pub protocol_type: String,
    pub protocol: String,
    pub leader: String,
    pub skip_assignment: bool,
    /// All members, for the leader; nobody for the others.
    pub members: Vec<JoinedMember>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub metadata: Bytes,
}

/// SyncGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sync {
    pub who: Identity,
    /// What the member takes the group for, if it says so (version 5).
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    /// Of the leader: everybody's part.
    pub parts: Vec<(String, Bytes)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    pub protocol_type: String,
    pub protocol: String,
    pub part: Bytes,
}

/// Who asks, as a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub group: String,
    pub member_id: String,
    pub instance_id: Option<String>,
    /// Of the consumer protocol the member's epoch; -1 for who is no member.
    pub generation: i32,
}

impl Identity {
    /// It does not say to be a member.
    pub(super) fn is_nobody(&self) -> bool {
        self.generation < 0 && self.member_id.is_empty() && self.instance_id.is_none()
    }
}

/// ConsumerGroupHeartbeat (KIP-848). What is `None` is as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberHeartbeat {
    pub group: String,
    pub member_id: String,
    /// 0 to join, -1 to leave, -2 to leave as a static member that comes back.
    pub epoch: i32,
    pub instance_id: Option<String>,
    pub rack: Option<String>,
    /// -1 for as it was.
    pub rebalance_timeout_ms: i32,
    pub topics: Option<BTreeSet<String>>,
    /// Empty for none any more.
    pub regex: Option<String>,
    /// What it matches, if it is there: the expression and the topics.
    pub matched: Option<(String, BTreeSet<String>)>,
    pub assignor: Option<String>,
    /// What it has.
    pub owned: Option<Parts>,
    pub client_id: String,
    pub client_host: String,
}

impl MemberHeartbeat {
    /// It says all that there is to say, so it wants to be told all there is.
    pub(super) fn is_full(&self) -> bool {
        let subscribes = self.topics.is_some() || self.regex.is_some();
        self.rebalance_timeout_ms >= 0 && subscribes && self.owned.is_some()
    }

    /// What it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let names = self.topics.iter().flatten().map(|name| 48 + name.len());
        let optional = |it: &Option<String>| it.as_ref().map_or(0, String::len);
        let matched = self.matched.iter().flat_map(|(_, names)| names).map(|name| 48 + name.len());
        512 + names.sum::<usize>()
            + matched.sum::<usize>()
            + self.client_id.len()
            + self.client_host.len()
            + optional(&self.instance_id)
            + optional(&self.rack)
            + optional(&self.regex)
            + optional(&self.assignor)
    }
}

/// What a member of the consumer protocol is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub epoch: i32,
    /// What it may read, if that is news.
    pub parts: Option<Parts>,
}

/// LeaveGroup, of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leave {
    pub group: String,
    /// Member ids, empty where an instance id says who it is.
    pub members: Vec<(String, Option<String>)>,
}

/// OffsetCommit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub who: Identity,
    pub offsets: Vec<Position>,
}

/// How far a partition was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub topic: Uuid,
    pub partition: i32,
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

/// A partition by all it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPartition {
    pub id: Uuid,
    pub topic: String,
    pub partition: i32,
}

/// A group as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub state: GroupState,
    pub protocol_type: String,
    pub protocol: String,
    pub members: Vec<MemberDescription>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDescription {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub metadata: Bytes,
    pub part: Bytes,
}

impl Description {
    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let member = |it: &MemberDescription| {
            let names = it.member_id.len() + it.client_id.len() + it.client_host.len();
            256 + names + it.metadata.len() + it.part.len()
        };
        256 + self.members.iter().map(member).sum::<usize>()
    }
}

/// Partitions of topics: id, name, partitions.
pub type NamedParts = Vec<(Uuid, String, Vec<i32>)>;

/// A group of the consumer protocol as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerDescription {
    pub state: GroupState,
    pub epoch: i32,
    pub assignment_epoch: i32,
    pub assignor: String,
    pub members: Vec<ConsumerMemberDescription>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerMemberDescription {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub rack: Option<String>,
    pub epoch: i32,
    pub client_id: String,
    pub client_host: String,
    pub topics: Vec<String>,
    /// Empty for none.
    pub regex: String,
    /// What it reads.
    pub parts: NamedParts,
    /// What it is to read.
    pub target: NamedParts,
    /// It speaks the classic protocol.
    pub is_classic: bool,
}

impl ConsumerDescription {
    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let parts = |parts: &NamedParts| -> usize {
            parts.iter().map(|(_, name, it)| 64 + name.len() + 4 * it.len()).sum()
        };
        let member = |it: &ConsumerMemberDescription| {
            let names = it.member_id.len() + it.client_id.len() + it.client_host.len();
            let topics: usize = it.topics.iter().map(|topic| 24 + topic.len()).sum();
            512 + names + topics + it.regex.len() + parts(&it.parts) + parts(&it.target)
        };
        256 + self.members.iter().map(member).sum::<usize>()
    }
}

/// A group as an operator sees it, whatever protocol it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Described {
    Classic(Description),
    Consumer(ConsumerDescription),
}

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub group: String,
    pub state: GroupState,
    pub protocol: GroupProtocol,
    pub protocol_type: String,
}

/// The protocol by which the members of a group come to their parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupProtocol {
    Classic,
    Consumer,
}

impl GroupProtocol {
    /// Returns the protocol as Kafka's tools write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    /// Of the consumer protocol: members are on their way to their parts.
    Reconciling,
    Stable,
}

impl GroupState {
    /// Returns the state as Kafka's tools write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

/// Something asked of the groups of one coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    Join(Join),
    Sync(Sync),
    Heartbeat(Identity),
    Leave(Leave),
    MemberHeartbeat(MemberHeartbeat),
    /// What regular expressions of a group match now.
    Matched {
        group: String,
        matched: Vec<(String, BTreeSet<String>)>,
    },
    Commit(Commit),
    /// Offsets to be kept until their transaction ends.
    Keep(Commit, OffsetsTransaction),
    /// A transaction ends.
    End {
        transaction: OffsetsTransaction,
        commits: bool,
    },
    /// Of these partitions the offsets are to go.
    DeleteOffsets {
        group: String,
        partitions: Vec<NamedPartition>,
    },
    Delete {
        group: String,
    },
    Describe {
        group: String,
    },
    List,
    /// What a sweep found, see `sweep.rs`.
    Sweep(Found),
    /// The feature level that the cluster has finalized.
    SetLevel(u16),
}

/// What a look through the offsets found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Their groups or topics are no more.
    pub(super) orphaned: Vec<OffsetKey>,
    /// Committed before `before_ms`.
    pub(super) old: Vec<OldOffset>,
    pub(super) before_ms: i64,
    /// They have had neither members nor offsets for a while, as of so many commits.
    pub(super) empty: Vec<String>,
    pub(super) as_of: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OldOffset {
    pub(super) group: String,
    pub(super) topic: String,
    pub(super) key: OffsetKey,
}

/// What a call comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Join(Result<Joined, GroupError>),
    Sync(Result<Synced, GroupError>),
    Heard(Result<Heard, GroupError>),
    Done(Result<(), GroupError>),
    /// One for each who leaves.
    Leave(Vec<Result<(), GroupError>>),
    /// One for each partition.
    DeleteOffsets(Result<Vec<Result<(), GroupError>>, GroupError>),
    /// How many commits were decided on before it. All of them are applied when this is told.
    Swept(u64),
    Describe(Option<Described>),
    List(Vec<Listing>),
}

/// Why a coordinator does not do what it is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    #[error("this broker does not coordinate the group")]
    NotCoordinator,
    #[error("the coordinator cannot be reached, or has too much to do")]
    NotAvailable,
    #[error("the group does not know the member")]
    UnknownMember,
    #[error("the generation is not the group's")]
    IllegalGeneration,
    #[error("the group rebalances; join again")]
    Rebalancing,
    #[error("the protocol is not one that all members know")]
    InconsistentProtocol,
    #[error("join again with the member id {0}")]
    MemberIdRequired(String),
    #[error("another member took over the instance id")]
    FencedInstance,
    #[error("another member has the instance id, and has not left")]
    UnreleasedInstance,
    #[error("the epoch is not the member's; it must give up its partitions and join again")]
    FencedMemberEpoch,
    #[error("the epoch is not the member's any more")]
    StaleMemberEpoch,
    #[error("the regular expression is none that is taken: {0}")]
    InvalidRegex(String),
    #[error("the group has members that do not speak the protocol")]
    OtherProtocol,
    #[error("the group, or the coordinator, has no room for more")]
    Full,
    #[error("what is to be written takes more than a group may")]
    TooLarge,
    #[error("the group has members")]
    NotEmpty,
    #[error("there is no such group")]
    NotFound,
    #[error("the group reads the topic")]
    Subscribed,
    #[error("a newer instance of the producer has taken over")]
    ProducerFenced,
    #[error("the transaction has ended; what comes with it is too late")]
    TransactionEnded,
}
