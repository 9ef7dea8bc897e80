//! Producer ids that nobody had, for those whose epochs are used up when they end a transaction.

use std::ops::Range;
use std::time::Duration;

use super::TransactionError;
use crate::controller::Controller;

/// How long the cluster may take to give a block of them.
const WAIT: Duration = Duration::from_secs(5);

/// A block of ids, of which some are used.
#[derive(Default)]
pub(super) struct FreshIds(tokio::sync::Mutex<Range<i64>>);

impl FreshIds {
    /// Returns one.
    pub(super) async fn next(&self, controller: &Controller) -> Result<i64, TransactionError> {
        let mut block = self.0.lock().await;
        if block.is_empty() {
            *block = controller.allocate_producer_ids(WAIT).await.map_err(|error| {
                tracing::info!(%error, "no producer ids from the cluster");
                TransactionError::NotAvailable
            })?;
        }
        block.next().ok_or(TransactionError::NotAvailable)
    }
}
