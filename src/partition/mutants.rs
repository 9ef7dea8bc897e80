//! Defects of a partition, for testing the tests; see `quorate_storage::mutant`.

use std::time::Duration;

use quorate_storage::{EntryKind, Log, mutant};

use super::attachments::Condition;
use super::command::Frames;
use super::keyed_rows::{self, Stream};
use super::machine::{BatchReply, View};
use super::position::Place;
use super::{
    AppendError, Appended, Attachments, ExpectedVersion, Partition, PendingAppend, Refusal, Unmet,
};

/// How long the defect waits for a majority before it does without.
const PATIENCE: Duration = Duration::from_millis(50);

/// Acknowledges after [`PATIENCE`], committed or not.
pub(super) async fn impatient(mut append: PendingAppend, partition: &Partition) -> PendingAppend {
    if !mutant::on("ack-before-commit") {
        return append;
    }
    match tokio::time::timeout(PATIENCE, &mut append).await {
        Ok(outcome) => PendingAppend::known(outcome),
        Err(_) => PendingAppend::known(Ok(Appended {
            base_offset: partition.high_watermark(),
            log_append_time: -1,
            log_start: partition.log_start(),
            version: -1,
        })),
    }
}

/// Judges the conditions of a batch on what this leader has applied, and lets the log take it without them.
pub(super) fn judged_early(
    partition: &Partition,
    attachments: &Attachments,
) -> Result<Attachments, AppendError> {
    let mut attachments = attachments.clone();
    if !mutant::on("condition-judged-before-log") {
        return Ok(attachments);
    }
    for (number, condition) in (0_u32..).zip(std::mem::take(&mut attachments.conditions).all) {
        let (Condition::Version { key, expected }, Some(generation)) =
            (condition, partition.streams_generation())
        else {
            continue;
        };
        let from = keyed_rows::stream_key(generation, &key);
        let to = [&from[..], &[0]].concat();
        let found = partition.group.keyed_range(&from, &to, 1).unwrap_or_default();
        let stream = found.first().and_then(|(_, row)| Stream::decode(row).ok());
        let stream = stream.unwrap_or_default();
        let current = stream.version();
        let holds = match expected {
            ExpectedVersion::Exactly(version) => version == current,
            ExpectedVersion::NoStream => !stream.is_visible(),
            ExpectedVersion::Any => true,
            ExpectedVersion::Stream => stream.is_visible(),
        };
        if !holds {
            let unmet = Unmet::Version { current };
            return Err(AppendError::Refused(Refusal::Condition { number, unmet }));
        }
    }
    Ok(attachments)
}

/// Answers each batch of an entry with what came of the one before it.
pub(super) fn neighbours(mut replies: Vec<BatchReply>) -> Vec<BatchReply> {
    if mutant::on("neighbour-answered") && !replies.is_empty() {
        replies.rotate_right(1);
    }
    replies
}

/// Shows readers the whole log of this replica, committed or not.
pub(super) fn with_uncommitted(mut view: View, log: &Log) -> View {
    if !mutant::on("fetch-past-high-watermark") {
        return view;
    }
    let entries = log.read(view.end.place.index, u64::MAX, usize::MAX).unwrap_or_default();
    for entry in entries {
        view.end.place = Place::of_entry(entry.id.index + 1);
        if entry.kind != EntryKind::Normal {
            continue;
        }
        let Some(mut frames) = Frames::of(&entry.payload).ok().flatten() else { continue };
        while let Ok(Some(frame)) = frames.pass(&entry.payload)
            && let Ok(batch) = frame.batch()
        {
            view.end.offset += batch.offsets();
            view.end.bytes += batch.size;
        }
    }
    view
}
