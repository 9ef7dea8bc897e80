//! What brokers ask of each other about transactions, and how it is answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::command::Command;
use super::outbox::answer;
use super::record::{Answer, Part};
use super::transactions::Transactions;
use super::{Claim, END_OFFSETS, ENLIST, Enlist, MARK, TransactionError};
use crate::controller::Handler;

/// How long a question may wait for the transaction before to be completed: others go with it in one call.
const HELD_MAX: Duration = Duration::from_millis(100);

/// What is answered, by method.
pub(crate) type Handlers = Vec<(u16, Handler)>;

/// Asks whether something is in a transaction, or has it join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EnlistQuestion {
    pub(super) claim: Claim,
    pub(super) part: Part,
    pub(super) how: Enlist,
    /// How long whoever asks waits.
    pub(super) wait_ms: u64,
}

/// Returns the handlers, by method.
pub(super) fn handlers(transactions: &Arc<Transactions>) -> Handlers {
    let enlist = {
        let transactions = Arc::clone(transactions);
        Arc::new(move |body: Bytes| {
            let transactions = Arc::clone(&transactions);
            async move {
                answer(body, |question: EnlistQuestion| {
                    let wait = Duration::from_millis(question.wait_ms).min(HELD_MAX);
                    transactions.enlist_here(question, wait)
                })
                .await
            }
            .boxed()
        }) as Handler
    };
    let mark = {
        let reach = Arc::clone(&transactions.reach);
        Arc::new(move |body: Bytes| {
            let reach = Arc::clone(&reach);
            async move { answer(body, |mark| reach.mark_here(mark)).await }.boxed()
        }) as Handler
    };
    let end_offsets = {
        let reach = Arc::clone(&transactions.reach);
        Arc::new(move |body: Bytes| {
            let reach = Arc::clone(&reach);
            async move { answer(body, |ended| reach.end_offsets_here(ended)).await }.boxed()
        }) as Handler
    };
    vec![(ENLIST, enlist), (MARK, mark), (END_OFFSETS, end_offsets)]
}

impl Transactions {
    /// Answers for an id that is coordinated here.
    pub(super) async fn enlist_here(
        &self,
        question: EnlistQuestion,
        wait: Duration,
    ) -> Result<u64, TransactionError> {
        let EnlistQuestion { claim, part, how, .. } = question;
        let Claim { transactional_id: id, producer_id, epoch } = claim;
        let (coordinator, producer) = (self.here(&id)?, (producer_id, epoch));
        if how == Enlist::Verify
            && let Some(number) = coordinator.number_of(&id, producer, part).await?
        {
            return Ok(number);
        }
        let command = Command::Enlist { id: id.clone(), producer, parts: vec![part], how };
        match coordinator.ask(&id, command, Instant::now() + wait).await? {
            Answer::Number(number) => Ok(number),
            _ => Err(TransactionError::NotAvailable),
        }
    }
}
