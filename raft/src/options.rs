//! What is particular to a group.
//!
//! The code of a group is the same whatever it is for. Where groups have to differ they say so here, so that no part of
//! this crate knows any of them by its id. Every replica of a group is opened with the same options; only the order of
//! preference may differ for a while, as it follows changes that not all have heard of.

/// How a group differs from others. The default has no order of preference and neither of the other properties.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupOptions {
    /// The replicas in the order in which they should lead.
    pub preferred: Vec<u64>,
    /// Learners are members for good, so a change of voters leaves them; see
    /// [`GroupHandle::remove_learner`](crate::GroupHandle::remove_learner). Otherwise it ends with the voters alone.
    pub keep_learners: bool,
    /// Who catches up is sent the log without pace and before others that catch up. For a group with a small log for
    /// which everything else waits.
    pub catch_up_first: bool,
}

impl From<Vec<u64>> for GroupOptions {
    /// An ordinary group, its replicas in the order in which they should lead.
    fn from(preferred: Vec<u64>) -> Self {
        Self { preferred, ..Self::default() }
    }
}
