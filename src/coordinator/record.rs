//! What a coordinator's log remembers of a consumer group, besides its offsets.
//!
//! It is what a new leader needs to go on as if nothing had happened: who is a member, of which generation, with which
//! part. Who is alive is not in it: a new leader takes everybody for alive and grants a whole session.

mod consumer;

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use consumer::{
    Change, ClassicSession, Consumer, ConsumerMember, Head, LEFT, Parts, SeenTopic,
};

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupRecord {
    /// Tells it from an earlier group of the same name; no two groups of a coordinator have the same.
    pub(crate) incarnation: u64,
    pub(crate) membership: Membership,
    /// How many committed offsets it has.
    pub(crate) offsets: u64,
    /// The log time at which it had no members any more.
    pub(crate) emptied_ms: i64,
    /// The index of the last entry by which a transaction made offsets of it visible, 0 if none did: whoever reads finds
    /// either all of them or none if it is the same before and after.
    pub(crate) transacted: u64,
}

/// The members of a group and what they agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Membership {
    /// The classic protocol, in which a member assigns the partitions.
    Classic(Classic),
    /// The consumer protocol, in which the coordinator does (KIP-848).
    Consumer(Consumer),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Classic {
    /// Counts the rebalances.
    pub(crate) generation: i32,
    /// What the group is for, such as `consumer` or `connect`; empty before somebody joined.
    pub(crate) protocol_type: String,
    /// The assignor chosen.
    pub(crate) protocol: Option<String>,
    /// The member that assigns.
    pub(crate) leader: Option<String>,
    pub(crate) members: BTreeMap<String, Member>,
    /// The leader has told the parts of this generation.
    pub(crate) is_assigned: bool,
    /// Somebody was removed since it began, whose part nobody has: the next one is due.
    pub(crate) must_rebalance: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// What a static member is known by, also after a restart (KIP-345).
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
    /// The assignors it knows and what it says to each, the one it likes best first.
    pub(crate) protocols: Vec<(String, Blob)>,
    /// Its part in this generation.
    pub(crate) assignment: Blob,
}

/// Bytes that clients understand and brokers do not.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Blob(pub(crate) Bytes);

impl Default for Membership {
    fn default() -> Self {
        Self::Classic(Classic::default())
    }
}

impl Membership {
    /// Counts what changed in who reads what; it never goes back, whatever protocol the group speaks.
    pub(crate) fn generation(&self) -> i32 {
        match self {
            Self::Classic(classic) => classic.generation,
            Self::Consumer(consumer) => consumer.head.epoch,
        }
    }

    pub(crate) fn has_members(&self) -> bool {
        match self {
            Self::Classic(classic) => !classic.members.is_empty(),
            Self::Consumer(consumer) => !consumer.members.is_empty(),
        }
    }

    pub(super) fn classic_mut(&mut self) -> Option<&mut Classic> {
        match self {
            Self::Classic(classic) => Some(classic),
            Self::Consumer(_) => None,
        }
    }

    /// Both are of the same protocol.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    pub(super) fn consumer(&self) -> Option<&Consumer> {
        match self {
            Self::Classic(_) => None,
            Self::Consumer(consumer) => Some(consumer),
        }
    }
}

impl Member {
    /// What it says to an assignor; empty if it does not know that one.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        let known = self.protocols.iter().find(|(name, _)| name == protocol);
        known.map(|(_, metadata)| metadata.0.clone()).unwrap_or_default()
    }

    /// What it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let protocols = self.protocols.iter().map(|(name, it)| name.len() + it.0.len() + 64);
        let names = self.client_id.len() + self.client_host.len();
        let instance = self.instance_id.as_ref().map_or(0, String::len);
        256 + names + 2 * instance + self.assignment.0.len() + protocols.sum::<usize>()
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Raw;
        impl Visitor<'_> for Raw {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                // A copy: what it came in may be far larger.
                Ok(Blob(Bytes::copy_from_slice(bytes)))
            }
        }
        from.deserialize_bytes(Raw)
    }
}
