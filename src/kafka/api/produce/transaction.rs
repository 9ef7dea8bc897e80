//! Which transaction a batch belongs to.
//!
//! The partition knows it from the second batch on. Before the first its coordinator is asked, which begins the transaction
//! from KIP-890 on, and before that says whether the partition was added to it.

use kafka_wire_core::StrBytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Beginning, Failure};
use crate::kafka::error::ErrorCode;
use crate::kafka::transactions::{self, ENLIST_WAIT, PRODUCE_ADDS_FROM};
use crate::partition::Partition;
use crate::record::Header;
use crate::transaction::Enlist;

impl Beginning<'_> {
    /// Checks that a batch is of a transaction if and only if its request is of a producer of transactions.
    pub(super) fn check_transactional(&self, header: &Header) -> Result<(), Failure> {
        let refuse = |code: ErrorCode, why: &str| {
            Err(Failure { message: Some(why.to_owned()), ..code.into() })
        };
        match (&self.transactional_id, header.is_transactional()) {
            (None, false) => Ok(()),
            (_, true) if !header.is_idempotent() => {
                refuse(ErrorCode::InvalidRecord, "a batch of a transaction needs a producer id")
            }
            (Some(_), true) => Ok(()),
            (None, true) => refuse(
                ErrorCode::InvalidTxnState,
                "the batch is of a transaction, and its request names no transactional id",
            ),
            (Some(_), false) => refuse(
                ErrorCode::InvalidTxnState,
                "the request names a transactional id, and the batch is of no transaction",
            ),
        }
    }

    /// Returns the number of the transaction that a batch belongs to; `None` for one of no transaction.
    pub(super) async fn transaction_of(
        &self,
        place: (Uuid, i32),
        partition: &Partition,
        header: &Header,
    ) -> Result<Option<u64>, Failure> {
        let id: &StrBytes = match &self.transactional_id {
            Some(id) if header.is_transactional() => id,
            _ => return Ok(None),
        };
        let (producer, epoch) = (header.producer_id, header.producer_epoch);
        if let Some(number) = partition.transaction_of(producer, epoch) {
            return Ok(Some(number));
        }
        let version = self.call.version;
        let how = if version >= PRODUCE_ADDS_FROM { Enlist::Add } else { Enlist::Verify };
        let wait = self.deadline.saturating_duration_since(Instant::now()).min(ENLIST_WAIT);
        let claim = transactions::claim(id, producer, epoch);
        let enlisted = self.server.context.transactions.enlist(&claim, place, how, wait).await;
        let number = enlisted.map_err(|error| Failure {
            message: Some(error.to_string()),
            ..transactions::code_of_records(&error, version).into()
        })?;
        partition.note_transaction(producer, epoch, number);
        Ok(Some(number))
    }
}
