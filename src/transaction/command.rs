//! What the entries of a transaction coordinator say: what was asked, to be judged when it is applied.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::record::{Part, Producer};
use super::{Enlist, TransactionResult};

/// First byte of the keys of the keyed state, before the transactional id.
pub(super) const ID: u8 = b't';
/// The longest transactional id, in bytes: a key is no longer than a KiB.
pub const TRANSACTIONAL_ID_BYTES_MAX: usize = 1_000;

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Commands {
    /// The log time, see [`crate::replica::LogTime`].
    pub(super) log_ms: i64,
    /// The leader's wall clock, which is shown to people and decides nothing.
    pub(super) wall_ms: i64,
    pub(super) commands: Vec<Command>,
}

/// One thing asked. Variants are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Command {
    /// Raises the feature level by whose rules what follows is applied.
    SetLevel(u16),
    Init {
        id: String,
        timeout_ms: i32,
        asked_as: Option<Producer>,
        fresh_id: i64,
    },
    Enlist {
        id: String,
        producer: Producer,
        parts: Vec<Part>,
        how: Enlist,
    },
    End {
        id: String,
        producer: Producer,
        result: TransactionResult,
        bumps: bool,
        /// For when the epochs of the producer's id are used up.
        fresh_id: Option<i64>,
    },
    /// The open transaction is aborted in the place of its producer: that of this number, or whichever is open.
    Abort {
        id: String,
        number: Option<u64>,
        if_timed_out: bool,
    },
    /// All markers of a transaction are written.
    Complete {
        id: String,
        number: u64,
    },
    /// Ids go of which nothing has changed since before this log time, and that have nothing open.
    Expire {
        ids: Vec<String>,
        before_ms: i64,
    },
}

impl Command {
    /// Returns the transactional ids that it is about.
    pub(super) fn ids(&self) -> &[String] {
        match self {
            Self::SetLevel(_) => &[],
            Self::Init { id, .. }
            | Self::Enlist { id, .. }
            | Self::End { id, .. }
            | Self::Abort { id, .. }
            | Self::Complete { id, .. } => std::slice::from_ref(id),
            Self::Expire { ids, .. } => ids,
        }
    }

    /// About the bytes that it takes, in memory or in the log.
    pub(super) fn size(&self) -> usize {
        let ids: usize = self.ids().iter().map(|id| 24 + id.len()).sum();
        let parts = if let Self::Enlist { parts, .. } = self { parts.len() } else { 0 };
        64 + ids + parts * size_of::<Part>()
    }

    /// Whether it may be that markers are to be written when it is applied.
    pub(super) fn may_prepare(&self) -> bool {
        matches!(self, Self::Init { .. } | Self::End { .. } | Self::Abort { .. })
    }
}

/// The key of an id.
pub(super) fn key(id: &str) -> Bytes {
    [&[ID], id.as_bytes()].concat().into()
}

/// The id of a key.
pub(super) fn id_of(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.strip_prefix(&[ID])?).ok()
}
