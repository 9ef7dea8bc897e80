//! What a group shows to the outside: leadership for callers, status for operators.

use std::time::Duration;

use quorate_storage::GroupId;
use tokio::time::Instant;

use crate::divergence::Divergence;

/// Who leads a group, as this node knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The leader, if one is known.
    pub leader: Option<u64>,
    /// The term this node is in.
    pub term: u64,
    /// This node leads `term` and has applied an entry of it, so its state is current.
    pub ready: bool,
    /// Since when it is ready; `None` while it is not.
    pub ready_since: Option<Instant>,
}

/// Role of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Receives the log without a vote.
    Learner,
    /// Follows a leader.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
    /// Stopped, by request or by a failure that was logged.
    Stopped,
}

/// State of one replica of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// Role of this node in it.
    pub role: Role,
    /// Current term.
    pub term: u64,
    /// Known leader.
    pub leader: Option<u64>,
    /// Replicas with a vote; of both configurations while a change is in progress.
    pub voters: Vec<u64>,
    /// Replicas without a vote.
    pub learners: Vec<u64>,
    /// A membership change is in its joint phase.
    pub joint: bool,
    /// Last log index, if the log was ever written.
    pub last_index: Option<u64>,
    /// Last index known to be committed.
    pub committed_index: Option<u64>,
    /// Last index applied to the machine.
    pub applied_index: Option<u64>,
    /// Last index purged from the log.
    pub purged_index: Option<u64>,
    /// Live bytes of the log on disk, approximately.
    pub log_bytes: u64,
    /// First entry known to be damaged on this node's disk: the replica votes, but does not lead or serve.
    pub corrupt_index: Option<u64>,
    /// What the group's leader found of this replica's state, and at which index; `None` as long as it is as the others'.
    pub divergence: Option<(Divergence, u64)>,
    /// On the leader: the last index of which it found that all members that are alive hold the same state.
    pub compared_index: Option<u64>,
    /// On the leader: each other member. Empty elsewhere.
    pub followers: Vec<FollowerStatus>,
    /// On the leader: time since a majority last answered.
    pub since_quorum_ack: Option<Duration>,
}

/// A follower or learner as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowerStatus {
    /// Its node id.
    pub id: u64,
    /// Greatest index known to be stored there.
    pub matched_index: Option<u64>,
    /// Entries it lacks.
    pub lag: u64,
    /// The failure detector's view of its node.
    pub alive: bool,
}
