//! Votes and places in a log, as the consensus core has them.
//!
//! The leader id is the plain Raft one (one leader per term), because terms become Kafka leader epochs and two leaders
//! of one epoch would be indistinguishable.

use openraft::vote::leader_id_std;
use quorate_storage::EntryId;

pub(crate) type LeaderId = leader_id_std::LeaderId<u64, u64>;
pub(crate) type CommittedLeaderId = leader_id_std::CommittedLeaderId<u64>;
pub(crate) type LogId = openraft::LogId<CommittedLeaderId>;
pub(crate) type Vote = openraft::Vote<LeaderId>;

pub(crate) fn log_id(id: EntryId) -> LogId {
    LogId::new(CommittedLeaderId::new(id.term), id.index)
}

pub(crate) fn entry_id(id: &LogId) -> EntryId {
    EntryId { term: id.leader_id.term, index: id.index }
}
