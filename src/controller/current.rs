//! Whether this broker's image shows everything that was agreed on.
//!
//! An image is applied, not asked for, so it may lag. Where "there is no such thing" would be final, the
//! metadata leader is asked how far the log goes, and the image waited for.

use bytes::Bytes;
use tokio::time::{Instant, timeout, timeout_at};

use super::calls::CURRENT;
use super::{Controller, STEP};
use crate::metadata::{AdminError, decode, encode};

/// When the last barrier that passed was begun.
#[derive(Debug, Default)]
pub(super) struct Barrier(tokio::sync::Mutex<Option<Instant>>);

impl Controller {
    /// Returns once the local image shows everything that was acknowledged before the call.
    ///
    /// However many ask at a time, the metadata leader is asked by one of them after the other, and one that
    /// was begun late enough serves all that waited.
    ///
    /// # Errors
    /// [`AdminError::NoController`] when that cannot be found out until `deadline`.
    pub(crate) async fn catch_up(&self, deadline: Instant) -> Result<(), AdminError> {
        let called = Instant::now();
        let caught_up = async {
            let mut passed = self.barrier.0.lock().await;
            if passed.is_some_and(|begun| begun >= called) {
                return Ok(());
            }
            let begun = Instant::now();
            let index = self.leaders_index().await.ok_or(AdminError::NoController)?;
            let mut images = self.metadata.watch();
            let shown = images.wait_for(|image| image.applied >= index).await;
            shown.map(drop).map_err(|_| AdminError::NoController)?;
            *passed = Some(begun);
            Ok(())
        };
        timeout_at(deadline, caught_up).await.unwrap_or(Err(AdminError::NoController))
    }

    /// Returns the metadata index that everything acknowledged before this call lies at or below;
    /// `None` when this broker does not lead the metadata group.
    pub(super) async fn current_index(&self) -> Option<u64> {
        if !self.leads() {
            return None;
        }
        timeout(STEP, self.group.read_barrier()).await.ok()?.ok()?;
        Some(*self.group.applied().borrow())
    }

    /// As [`Controller::current_index`], asked of the leader, whoever that is.
    pub(super) async fn leaders_index(&self) -> Option<u64> {
        let leader = self.group.leadership().borrow().leader?;
        if leader == self.node.id() {
            return self.current_index().await;
        }
        let body = Bytes::from(encode(&()));
        let answer = self.node.call(leader, CURRENT, body, STEP).await.ok()?;
        decode(&answer).ok()?
    }
}
