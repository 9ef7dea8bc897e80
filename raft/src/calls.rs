//! Requests between nodes that are not Raft: joining, forwarding, gossip.
//!
//! They use the connection the groups use, answered by a handler the owner of the node provides.

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::error::CallError;

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A member of the cluster whose identity was checked.
    Member(u64),
    /// Somebody who is not a member, or not yet.
    Guest,
}

/// Answers calls. Runs on async workers; a call that takes long holds one of a bounded number of
/// places.
pub trait CallHandler: Send + Sync + 'static {
    /// Answers one call. An error that is not [`CallError::Refused`] or [`CallError::Busy`] arrives
    /// as [`CallError::Failed`].
    fn call(
        &self,
        from: Caller,
        method: u16,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>>;
}
