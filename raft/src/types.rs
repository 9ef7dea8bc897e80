//! The types the consensus core is instantiated with, and their byte form.
//!
//! A payload is a reference-counted `Bytes`, moved from the proposer into the log and shared from
//! there, never copied.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;

use bytes::{Bytes, BytesMut};
use openraft::{EntryPayload, Membership, OptionalSend, RaftTypeConfig, StoredMembership};
use quorate_storage::EntryKind;
use tokio::sync::OwnedSemaphorePermit;

use crate::codec::{Get, Put};
use crate::error::DecodeError;
pub(crate) use crate::ids::{CommittedLeaderId, LeaderId, LogId, Vote, entry_id, log_id};
use crate::runtime::Runtime;

/// Type parameters of the consensus core.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

pub(crate) type Members = Membership<u64, ()>;
pub(crate) type StoredMembers = StoredMembership<CommittedLeaderId, u64, ()>;
pub(crate) type Entry = openraft::Entry<CommittedLeaderId, EntryPayload<Data, u64, ()>>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId, u64, ()>;
pub(crate) type Snapshot =
    openraft::Snapshot<CommittedLeaderId, u64, (), crate::snapshot::SnapshotData>;
pub(crate) type AppendRequest = openraft::raft::AppendEntriesRequest<TypeConfig>;
pub(crate) type AppendResult = openraft::raft::StreamAppendResult<TypeConfig>;

impl RaftTypeConfig for TypeConfig {
    type D = Data;
    type R = Reply;
    type NodeId = u64;
    type Node = ();
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = EntryPayload<Data, u64, ()>;
    type Entry = Entry;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = Responder<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// A proposed payload.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Data(pub Bytes);

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Answer of a machine with its type erased; `None` for entries nobody here waits for.
#[derive(Default)]
pub(crate) struct Reply(pub Option<Box<dyn Any + Send + Sync>>);

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "reply" } else { "no reply" })
    }
}

/// Takes the outcome of a proposal, and gives back the room it took in any case.
pub(crate) struct Responder<T> {
    done: Box<dyn FnOnce(T) + Send>,
    _room: [OwnedSemaphorePermit; 2],
}

impl<T> Responder<T> {
    pub fn new(done: Box<dyn FnOnce(T) + Send>, room: [OwnedSemaphorePermit; 2]) -> Self {
        Self { done, _room: room }
    }
}

impl<T: OptionalSend + 'static> openraft::raft::responder::Responder<TypeConfig, T>
    for Responder<T>
{
    fn on_complete(self, result: T) {
        (self.done)(result);
    }
}

/// An entry of the core as the log stores it.
pub(crate) fn to_stored(entry: Entry) -> quorate_storage::Entry {
    let id = entry_id(&entry.log_id);
    let (kind, payload) = match entry.payload {
        EntryPayload::Blank => (EntryKind::Blank, Bytes::new()),
        EntryPayload::Normal(data) => (EntryKind::Normal, data.0),
        EntryPayload::Membership(members) => (EntryKind::Membership, encode_members(&members)),
    };
    quorate_storage::Entry { id, kind, payload }
}

/// Inverse of [`to_stored`]. Fails on a membership that cannot be one, which only a corrupt log or
/// a hostile peer can hold.
pub(crate) fn from_stored(entry: quorate_storage::Entry) -> Result<Entry, DecodeError> {
    let payload = match entry.kind {
        EntryKind::Blank => EntryPayload::Blank,
        EntryKind::Normal => EntryPayload::Normal(Data(entry.payload)),
        EntryKind::Membership => EntryPayload::Membership(decode_members(entry.payload)?),
    };
    Ok(Entry { log_id: log_id(entry.id), payload })
}

/// Most configurations a membership can hold, and most nodes in it: a bound for decoding.
const MEMBERS_MAX: u32 = 4096;

pub(crate) fn encode_members(members: &Members) -> Bytes {
    let mut out = BytesMut::new();
    out.u32(members.get_joint_config().len() as u32);
    for config in members.get_joint_config() {
        out.u32(config.len() as u32);
        config.iter().for_each(|id| out.u64(*id));
    }
    let nodes: Vec<u64> = members.nodes().map(|(id, ())| *id).collect();
    out.u32(nodes.len() as u32);
    nodes.iter().for_each(|id| out.u64(*id));
    out.freeze()
}

pub(crate) fn decode_members(bytes: Bytes) -> Result<Members, DecodeError> {
    let mut input = Get::new(bytes);
    let configs = input.count(MEMBERS_MAX)?;
    let mut joint = Vec::new();
    for _ in 0..configs {
        joint.push(ids(&mut input)?);
    }
    let nodes = ids(&mut input)?;
    input.end()?;
    Members::new(
        joint,
        nodes.into_iter().map(|id| (id, ())).collect::<std::collections::BTreeMap<_, _>>(),
    )
    .map_err(|error| DecodeError(error.to_string()))
}

fn ids(input: &mut Get) -> Result<BTreeSet<u64>, DecodeError> {
    let count = input.count(MEMBERS_MAX)?;
    (0..count).map(|_| input.u64()).collect()
}

/// The membership with the index it was set at, as checkpoints and snapshots carry it.
pub(crate) fn put_stored_members(out: &mut BytesMut, members: &StoredMembers) {
    out.opt_log_id(members.log_id().as_ref());
    let encoded = encode_members(members.membership());
    out.u32(encoded.len() as u32);
    out.extend_from_slice(&encoded);
}

pub(crate) fn get_stored_members(input: &mut Get) -> Result<StoredMembers, DecodeError> {
    let id = input.opt_log_id()?;
    let length = input.u32()? as usize;
    let members = decode_members(input.bytes(length)?)?;
    Ok(StoredMembers::new(id, members))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joint_membership_with_learners_survives_its_byte_form() {
        let members = Members::new_with_defaults(
            vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])],
            [9],
        );
        assert_eq!(members, decode_members(encode_members(&members)).unwrap());
    }

    #[test]
    fn a_membership_with_an_absurd_count_is_refused_before_anything_is_allocated() {
        let mut bytes = BytesMut::new();
        bytes.u32(u32::MAX);
        assert!(decode_members(bytes.freeze()).is_err());
    }

    #[test]
    fn a_membership_whose_voter_has_no_node_is_refused() {
        let mut bytes = BytesMut::new();
        bytes.u32(1);
        bytes.u32(1);
        bytes.u64(7);
        bytes.u32(0);
        assert!(decode_members(bytes.freeze()).is_err());
    }
}
