//! Forgetting transactional ids that nobody has used for as long as an operator says (KIP-98), in log time.
//!
//! The leader looks and the log decides: whether an id is over is judged again when that is applied.

use rand::Rng;
use tokio::time::sleep;

use bytes::Bytes;

use super::TransactionError;
use super::command::{Command, ID};
use super::coordinator::TransactionCoordinator;
use super::transactions::Transactions;

/// Runs until dropped.
pub(super) async fn run(transactions: &Transactions) {
    let settings = transactions.settings;
    let expiration_ms = i64::try_from(settings.id_expiration.as_millis()).unwrap_or(i64::MAX);
    loop {
        let factor = rand::rng().random_range(0.75..1.25);
        sleep(settings.id_check.mul_f64(factor)).await;
        for coordinator in transactions.led() {
            if let Err(error) = sweep(&coordinator, expiration_ms).await {
                let group = coordinator.group.id();
                tracing::debug!(%group, %error, "transactional ids are not looked at, again later");
            }
        }
    }
}

async fn sweep(
    coordinator: &TransactionCoordinator,
    expiration_ms: i64,
) -> Result<(), TransactionError> {
    if coordinator.group.machine().ids() == 0 {
        return Ok(());
    }
    // Written also if nothing is found: log time is what entries say.
    let before_ms = coordinator.log_ms().saturating_sub(expiration_ms);
    coordinator.asker.ask(Command::Expire { ids: Vec::new(), before_ms }).await?;
    let mut from = Bytes::from_static(&[ID]);
    loop {
        let (page, next) = coordinator.page(from).await?;
        let over = page.into_iter().filter(|(_, record)| record.is_over(before_ms));
        let ids: Vec<String> = over.map(|(id, _)| id).collect();
        if !ids.is_empty() {
            tracing::debug!(group = %coordinator.group.id(), ids = ids.len(), "ids expire");
            coordinator.asker.ask(Command::Expire { ids, before_ms }).await?;
        }
        match next {
            Some(next) => from = next,
            None => return Ok(()),
        }
    }
}
