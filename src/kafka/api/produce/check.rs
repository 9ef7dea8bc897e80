//! Whether a batch may enter a topic's log: size, form, compression, timestamps.

use std::sync::Arc;

use bytes::Bytes;

use super::Failure;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;
use crate::metadata::TopicConfigs;
use crate::partition::{self, AppendError, AttachmentError, Attachments, KeyRules, Refusal};
use crate::record::{self, BatchError, CheckedBatch, Codec, Header, INFLATED_BYTES_LITTLE, Limits};

/// The version from which zstd may be sent (KIP-110).
const ZSTD_FROM: i16 = 7;
/// A compressed batch above this size is checked on a thread that may take its time. A smaller one takes less than
/// sending it there would, unless it unfolds to much.
const INLINE_COMPRESSED_BYTES_MAX: usize = 16 * 1024;

pub(super) fn limits_of(configs: &TopicConfigs, now_ms: i64, version: i16) -> Limits {
    partition::limits_of(configs, now_ms, version >= ZSTD_FROM)
}

/// Checks a batch, on another thread when decompressing it would hold this one up.
pub(super) async fn check(
    server: &KafkaServer,
    records: Bytes,
    limits: Limits,
) -> Result<CheckedBatch, Failure> {
    if let Some(checked) = check_inline(&records, &limits) {
        return Ok(checked?);
    }
    let turn = Arc::clone(&server.checks).acquire_owned().await;
    let turn = turn.expect("this semaphore is never closed");
    let checked = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        record::check(records, &limits)
    });
    match checked.await {
        Ok(checked) => Ok(checked?),
        // The runtime is going away, and the connection with it.
        Err(_) => Err(ErrorCode::NotLeaderOrFollower.into()),
    }
}

/// Which record each condition of a batch came from, and the first of each key.
#[derive(Debug, Default)]
pub(super) struct Sources {
    conditions: Vec<i32>,
    keys: Vec<i32>,
}

impl Sources {
    /// Returns the record at fault, if it is a single one.
    pub(super) fn of(&self, error: AppendError) -> Vec<i32> {
        let (sources, number) = match error {
            AppendError::Refused(Refusal::Condition { number, .. }) => (&self.conditions, number),
            AppendError::Refused(Refusal::Stream { number, .. }) => (&self.keys, number),
            _ => return Vec::new(),
        };
        let found = usize::try_from(number).ok().and_then(|number| sources.get(number));
        found.copied().into_iter().collect()
    }
}

/// Takes keys and conditions out of a checked batch, where there may be any.
pub(super) async fn attachments(
    server: &KafkaServer,
    batch: &CheckedBatch,
    rules: Option<KeyRules>,
) -> Result<(Attachments, Sources), Failure> {
    if rules.is_none() && !batch.has_reserved() {
        return Ok(Default::default());
    }
    let is_work = batch.header().codec() != Some(Codec::None);
    let found = if is_work && batch.len() > INLINE_COMPRESSED_BYTES_MAX {
        let turn = Arc::clone(&server.checks).acquire_owned().await;
        let turn = turn.expect("this semaphore is never closed");
        let batch = batch.clone();
        let found = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            Attachments::of(&batch, rules)
        });
        // The runtime is going away, and the connection with it.
        found.await.map_err(|_| Failure::from(ErrorCode::NotLeaderOrFollower))?
    } else {
        Attachments::of(batch, rules)
    };
    let (attachments, conditions) = found?;
    let keys = attachments.first_records();
    Ok((attachments, Sources { conditions, keys }))
}

/// Checks a batch here and now; `None` when that would take long, or takes another look to say what is wrong.
fn check_inline(records: &Bytes, limits: &Limits) -> Option<Result<CheckedBatch, BatchError>> {
    let is_work = |header: Header| {
        let codec = header.codec();
        codec != Some(Codec::None) || limits.codec.is_some_and(|to| codec != Some(to))
    };
    if !Header::parse(records).is_some_and(is_work) {
        return Some(record::check(records.clone(), limits));
    }
    if records.len() > INLINE_COMPRESSED_BYTES_MAX {
        return None;
    }
    // A few KiB may unfold to the whole of what is allowed, so little is allowed here.
    let little = Limits { inflated_bytes_max: INFLATED_BYTES_LITTLE, ..*limits };
    match record::check(records.clone(), &little) {
        Err(BatchError::Records(_)) => None,
        checked => Some(checked),
    }
}

impl From<AttachmentError> for Failure {
    fn from(error: AttachmentError) -> Failure {
        let code = match &error {
            AttachmentError::Records(_) => ErrorCode::CorruptMessage,
            _ => ErrorCode::InvalidRecord,
        };
        let records = error.record().into_iter().collect();
        Failure { code, message: Some(error.to_string()), records, leader: None }
    }
}

impl From<BatchError> for Failure {
    fn from(error: BatchError) -> Failure {
        let (code, message) = ((&error).into(), Some(error.to_string()));
        let records = match error {
            BatchError::Timestamps { records, .. } | BatchError::Keys { records, .. } => records,
            BatchError::OffsetDelta { index, .. } => vec![index],
            _ => Vec::new(),
        };
        Failure { code, message, records, leader: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::server::now_ms;
    use crate::record::BatchBuilder;

    fn limits() -> Limits {
        limits_of(&TopicConfigs::default(), now_ms(), ZSTD_FROM)
    }

    fn batch(codec: Codec, bytes: usize) -> Bytes {
        BatchBuilder::new().codec(codec).record(now_ms(), None, Some(&vec![0; bytes])).build()
    }

    #[test]
    fn a_small_batch_that_unfolds_to_much_is_not_unfolded_on_the_connections_thread() {
        for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
            let small = batch(codec, 100_000);
            assert!(matches!(check_inline(&small, &limits()), Some(Ok(_))), "{codec:?}");
            let much = batch(codec, 3 << 20);
            assert!(much.len() <= INLINE_COMPRESSED_BYTES_MAX, "{codec:?}: {}", much.len());
            assert!(check_inline(&much, &limits()).is_none(), "{codec:?}");
            record::check(much, &limits()).unwrap();
        }
        assert!(matches!(check_inline(&batch(Codec::None, 1_000_000), &limits()), Some(Ok(_))));
    }
}
