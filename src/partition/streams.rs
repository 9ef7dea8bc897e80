//! Has a partition's log follow whether its topic wants streams.
//!
//! The leader turns them on and off by a command. What was in the log before they were turned on it reads, in pieces, and puts
//! the keys it finds into the log, so that every replica counts the same; who leads next goes on where that has come. All
//! is looked at again every while, so nothing is kept that a crash could lose.
//!
//! A topic with streams takes no transactions. One that was open when they were turned on is waited for.
//!
//! Turning them off throws all versions away, so that is done only when the metadata's leader says that it is wanted.

use std::time::Duration;

use quorate_storage::Log;
use tokio::time::{sleep, timeout};

use super::aborted::AbortedRows;
use super::attachments::KeyRules;
use super::command::{OldBatch, OldRecords, old_records_payload, streams_payload};
use super::disk::on_disk;
use super::machine::{Streams, View};
use super::retention::CurrentSettings;
use super::walk::{Source, Step, Walk, WalkError};
use super::{Partition, Partitions, TrimError};

mod read;
mod sweep;

pub use read::{StreamEvent, StreamRange, StreamRead, StreamState};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long one partition may keep the look from the next.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Bytes of keys, about, that one command counts.
const COUNTED_BYTES: usize = 256 * 1024;
/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;

/// How far the streams of a partition are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamsProgress {
    pub on: bool,
    /// Whether versions and tags are known.
    pub ready: bool,
    /// Records before the first offset are counted; those before the second have to be.
    pub built_upto: i64,
    pub build_end: i64,
    /// Keys that have had records.
    pub streams: u64,
    /// Older records without a key, or in another partition than their key's.
    pub misplaced: u64,
}

/// Looks at all open partitions for ever. Drop it to stop; that leaves nothing half done.
pub(super) async fn run(partitions: &Partitions) {
    loop {
        sleep(INTERVAL).await;
        for partition in partitions.all() {
            if !partition.streams_are_due() {
                partition.sweep_streams_if_due().await;
                continue;
            }
            // All that goes wrong passes, and the next look tries again.
            match timeout(WAIT_MAX, partition.follow_streams(partitions.current())).await {
                Ok(Ok(())) | Err(_) => {}
                Ok(Err(error)) => {
                    tracing::debug!(group = %partition.id(), %error, "streams do not follow yet");
                }
            }
        }
    }
}

impl Partition {
    /// Returns the generation of its streams, by which conditions name them; `None` while it has none.
    pub fn streams_generation(&self) -> Option<u32> {
        let streams = *self.group.machine().streams();
        streams.on.then_some(streams.generation)
    }

    /// Returns what its streams demand of keys; `None` while it has none.
    pub fn key_rules(&self) -> Option<KeyRules> {
        let generation = self.streams_generation()?;
        let partition = u32::try_from(self.number).unwrap_or(0);
        Some(KeyRules { generation, partitions: self.settings().partitions.max(1), partition })
    }

    /// Returns how far its streams are.
    pub fn streams_progress(&self) -> StreamsProgress {
        let streams = *self.group.machine().streams();
        StreamsProgress {
            on: streams.on,
            ready: streams.is_ready(),
            built_upto: streams.built_upto,
            build_end: streams.begun,
            streams: streams.count,
            misplaced: streams.misplaced,
        }
    }

    /// Turns streams on where nothing was written yet, so that the first record of a new topic has a version. Anything else is
    /// done beside appends.
    pub async fn begin_streams(&self) -> Result<(), TrimError> {
        let is_due = || {
            let machine = self.group.machine();
            !machine.streams().on && machine.next_offset() == 0
        };
        if self.settings().streams.is_none() || !is_due() {
            return Ok(());
        }
        let term = self.fence()?;
        let _turn = self.stream_changes.lock().await;
        if is_due() {
            self.set_streams(true, term).await?;
        }
        Ok(())
    }

    fn streams_are_due(&self) -> bool {
        let wanted = self.settings().streams.is_some();
        let streams = *self.group.machine().streams();
        self.fence().is_ok() && (streams.on != wanted || (streams.on && !streams.is_ready()))
    }

    async fn set_streams(&self, on: bool, term: u64) -> Result<(), TrimError> {
        let payload = streams_payload(self.times(self.clock.now_ms()), on);
        self.propose(payload.into(), term).await?.await?;
        Ok(())
    }

    /// Does what is due: turns streams on or off, and counts what is not counted yet.
    pub(super) async fn follow_streams(
        &self,
        current: Option<&CurrentSettings>,
    ) -> Result<(), TrimError> {
        let term = self.fence()?;
        let _turn = self.stream_changes.lock().await;
        // An image that lags must not throw versions away.
        let settings = match current {
            Some(current) => match current(self.id()).await {
                Some(settings) => settings,
                None => return Ok(()),
            },
            None => self.settings(),
        };
        let wanted = settings.streams.is_some();
        if self.group.machine().streams().on != wanted {
            self.set_streams(wanted, term).await?;
        }
        if wanted { self.count_old(term).await } else { Ok(()) }
    }

    /// Counts records from before streams were turned on, until all are.
    async fn count_old(&self, term: u64) -> Result<(), TrimError> {
        loop {
            let mut aborted = AbortedRows::new(&self.group);
            let (streams, view) = {
                let machine = self.group.machine();
                (*machine.streams(), machine.view())
            };
            let Some(rules) = self.key_rules().filter(|_| !streams.is_ready()) else {
                return Ok(());
            };
            let log = self.group.log().clone();
            let read = move || read_old(&log, &view, &streams, rules, &mut aborted);
            let old = match on_disk(&self.disk_reads, read).await? {
                Ok(old) => old,
                // As when it is trimmed meanwhile.
                Err(error) => {
                    tracing::debug!(group = %self.id(), %error, "older records not read now");
                    return Ok(());
                }
            };
            if old.upto <= old.from {
                // A transaction is open. The next look tries again.
                return Ok(());
            }
            let payload = old_records_payload(self.times(self.clock.now_ms()), &old);
            self.propose(payload.into(), term).await?.await?;
        }
    }
}

/// Reads the next piece of the records that are older than the streams, those of aborted transactions aside; up to a
/// transaction that is open.
fn read_old(
    log: &Log,
    view: &View,
    streams: &Streams,
    rules: KeyRules,
    aborted: &mut AbortedRows,
) -> Result<OldRecords, WalkError> {
    let from = streams.built_upto;
    let mut old =
        OldRecords { generation: rules.generation, from, upto: from, ..Default::default() };
    let begin = from.max(view.log_start);
    let mut walk = Walk::new(log, view, view.seek(log, begin)?, READ_BYTES).toward(begin);
    let (mut bytes, mut read_bytes) = (0, 0);
    while bytes < COUNTED_BYTES && read_bytes < COUNTED_BYTES * 64 && old.upto < streams.begun {
        let Step::Batch(located) = walk.step(Source::Disk)? else {
            // What is left was compacted or trimmed away.
            old.upto = streams.begun;
            break;
        };
        if located.at.offset >= streams.begun {
            old.upto = streams.begun;
            break;
        }
        if located.end_offset <= begin {
            continue;
        }
        if located.at.offset >= view.stable {
            break;
        }
        read_bytes += located.bytes.len();
        let (header, at) = (&located.batch.header, located.at);
        let is_aborted = header.is_transactional()
            && aborted.of(header.producer_id, at.offset, at.place)?.is_some();
        if header.is_control() || is_aborted {
            old.upto = located.end_offset.min(streams.begun);
            continue;
        }
        let (keys, misplaced) = rules.keys_of(&located.bytes, located.at.offset, begin)?;
        old.misplaced = old.misplaced.saturating_add(misplaced);
        bytes += keys.keys.iter().map(|it| it.key.len() + 8 + it.records.len() * 4).sum::<usize>();
        bytes += keys.tags.iter().map(|(tag, _)| tag.len() + 8).sum::<usize>();
        if !keys.keys.is_empty() || !keys.tags.is_empty() {
            old.batches.push(OldBatch { offset: located.at.offset, place: located.at.place, keys });
        }
        old.upto = located.end_offset.min(streams.begun);
    }
    Ok(old)
}
