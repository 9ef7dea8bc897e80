//! What runs for a replica while that is in use.

use tokio::task::AbortHandle;

/// A task that ends when whoever holds it is gone, or ends it before.
pub(crate) struct Task(AbortHandle);

impl Task {
    pub(crate) fn spawn(run: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(run).abort_handle())
    }

    /// Ends it, also while others hold the replica.
    pub(crate) fn end(&self) {
        self.0.abort();
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.end();
    }
}
