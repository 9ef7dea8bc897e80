//! A machine without its type, so that the core is compiled once however many kinds of groups there are.

use bytes::Bytes;
use openraft::storage::ApplyResponder;
use parking_lot::{RwLock, RwLockWriteGuard};

use crate::digest;
use crate::divergence;
use crate::error::DecodeError;
use crate::keyed::Keyed;
use crate::machine::{Committed, Effects, Machine};
use crate::records::Records;
use crate::types::{LogId, Reply, TypeConfig};

/// A machine with its type erased.
pub(crate) trait Holder: Send + Sync + 'static {
    /// Applies a batch under one lock.
    fn apply(&self, batch: Vec<Item>, group: u64, effects: &mut Effects, outcome: &mut Applied);
    fn is_keyed(&self) -> bool;
    fn records(&self) -> Option<&'static dyn Records>;
    /// More belongs to a checkpoint than its own bytes, as of the newest one alone.
    fn is_streamed(&self) -> bool {
        self.is_keyed() || self.records().is_some()
    }
    fn format(&self) -> u32;
    fn needs(&self, entry: Committed<'_>) -> Vec<Bytes>;
    fn encode(&self) -> Vec<u8>;
    fn install(&self, bytes: &[u8]) -> Result<(), DecodeError>;
    fn needed_from(&self) -> u64;
}

/// What comes of a batch besides its effects.
#[derive(Default)]
pub(crate) struct Applied {
    pub replies: Vec<(ApplyResponder<TypeConfig>, Reply)>,
    /// Hashes of the state, by the index it is of.
    pub hashes: Vec<(u64, u64)>,
}

/// One committed entry on its way into a machine.
pub(crate) struct Item {
    pub id: LogId,
    pub payload: Option<Bytes>,
    /// Keys of the keyed state that it needs.
    pub keys: Vec<Bytes>,
    pub responder: Option<ApplyResponder<TypeConfig>>,
}

impl<M: Machine> Holder for RwLock<M> {
    fn apply(&self, batch: Vec<Item>, group: u64, effects: &mut Effects, outcome: &mut Applied) {
        let mut machine = self.write();
        for item in batch {
            let (index, term) = (item.id.index, item.id.leader_id.term);
            let entry = Committed { index, term, payload: item.payload.as_ref() };
            if M::KEYED {
                effects.keyed.begin(item.keys);
            }
            let reply = machine.apply(entry, effects);
            if let Some(responder) = item.responder {
                outcome.replies.push((responder, Reply(Some(Box::new(reply)))));
            }
            if divergence::is_hashed(group, index) {
                // Readers need not wait for it, and nobody else writes.
                let reader = RwLockWriteGuard::downgrade(machine);
                outcome.hashes.push((index, hash(&reader.encode(), &effects.keyed)));
                drop(reader);
                machine = self.write();
            }
        }
    }

    fn is_keyed(&self) -> bool {
        M::KEYED
    }

    fn records(&self) -> Option<&'static dyn Records> {
        M::records()
    }

    fn format(&self) -> u32 {
        M::FORMAT
    }

    fn needs(&self, entry: Committed<'_>) -> Vec<Bytes> {
        M::needs(entry)
    }

    fn encode(&self) -> Vec<u8> {
        self.read().encode()
    }

    fn install(&self, bytes: &[u8]) -> Result<(), DecodeError> {
        let machine = M::decode(bytes)?;
        *self.write() = machine;
        Ok(())
    }

    fn needed_from(&self) -> u64 {
        self.read().needed_from()
    }
}

/// The hash of a whole state.
pub(super) fn hash(machine: &[u8], keyed: &Keyed) -> u64 {
    digest::combine(digest::of(machine), keyed.hash())
}
