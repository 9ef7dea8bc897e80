//! The replicated state of a transaction coordinator: its transactional ids by key, and in memory which of them have a
//! transaction that is not over.
//!
//! What is asked goes into the log as it is, and is judged when it is applied ([`Record`]). So a leader that was deposed
//! and does not know it can decide nothing, and no answer rests on what a leader believed.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_raft::{Committed, DecodeError, Effects, Keyed, Machine};
use serde::{Deserialize, Serialize};

use super::TransactionError;
use super::command::{Command, Commands, key};
use super::record::{Answer, Judged, Now, Record, State as RecordState};
use crate::metadata::{FIRST_LEVEL, check_checkpoint, decode, encode, end_if_unfit};

/// Transactional ids of one coordinator.
const IDS_MAX: u64 = 100_000;
/// Transactions of one coordinator that are not over.
const OPEN_MAX: usize = 10_000;

/// See the file's header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransactionMachine {
    state: State,
    /// Behind the last applied entry.
    end: u64,
}

/// What goes into a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// The feature level its log has reached; 0 stands for the first.
    level: u16,
    log_ms: i64,
    /// How many transactional ids there are.
    ids: u64,
    ongoing: BTreeMap<String, Ongoing>,
    prepared: BTreeMap<String, Prepared>,
}

/// A transaction that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ongoing {
    pub(super) number: u64,
    /// Log time at which its time is over.
    pub(super) due_ms: i64,
}

/// A transaction whose markers are to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Prepared {
    pub(super) number: u64,
    /// How many partitions and coordinators it is in.
    pub(super) parts: u32,
}

impl TransactionMachine {
    pub(super) fn ongoing(&self) -> &BTreeMap<String, Ongoing> {
        &self.state.ongoing
    }

    pub(super) fn prepared(&self) -> &BTreeMap<String, Prepared> {
        &self.state.prepared
    }

    pub(super) fn ids(&self) -> u64 {
        self.state.ids
    }

    pub(super) fn log_ms(&self) -> i64 {
        self.state.log_ms
    }

    pub(super) fn level(&self) -> u16 {
        self.state.level.max(FIRST_LEVEL)
    }

    fn carry_out(&mut self, command: Command, rows: &mut Rows<'_>, now: Now) -> Judged {
        match command {
            Command::SetLevel(level) => {
                self.state.level = self.state.level.max(level);
                end_if_unfit(level);
                Ok(Answer::Done)
            }
            Command::Init { id, timeout_ms, asked_as, fresh_id } => {
                if rows.get(&id).is_some() {
                    let init = |it: &mut Record| it.init(timeout_ms, asked_as, fresh_id, now);
                    return self.change(&id, rows, TransactionError::NotFound, init);
                }
                if self.state.ids >= IDS_MAX {
                    return Err(TransactionError::Full);
                }
                self.state.ids += 1;
                rows.put(&id, Some(Record::new(fresh_id, timeout_ms, asked_as, now)));
                Ok(Answer::Producer(fresh_id, 0))
            }
            Command::Enlist { id, producer, parts, how } => {
                self.change(&id, rows, TransactionError::InvalidProducerId, |it| {
                    it.enlist(producer, &parts, how, now)
                })
            }
            Command::End { id, producer, result, bumps, fresh_id } => {
                self.change(&id, rows, TransactionError::InvalidProducerId, |it| {
                    it.end(producer, result, bumps, fresh_id, now)
                })
            }
            Command::Abort { id, number, if_timed_out } => {
                self.change(&id, rows, TransactionError::NotFound, |it| {
                    it.abort(number, if_timed_out, now)
                })
            }
            Command::Complete { id, number } => {
                self.change(&id, rows, TransactionError::NotFound, |it| it.complete(number, now))
            }
            Command::Expire { ids, before_ms } => {
                for id in ids {
                    if rows.get(&id).is_some_and(|it| it.is_over(before_ms)) {
                        self.state.ids = self.state.ids.saturating_sub(1);
                        rows.put(&id, None);
                    }
                }
                Ok(Answer::Done)
            }
        }
    }

    /// Changes what is known of an id; `missing`: the answer when nothing is.
    fn change(
        &mut self,
        id: &str,
        rows: &mut Rows<'_>,
        missing: TransactionError,
        change: impl FnOnce(&mut Record) -> Judged,
    ) -> Judged {
        let record = rows.get(id).ok_or(missing)?;
        let answer = change(record)?;
        let (number, due_ms, parts) = (record.number, record.due_ms(), record.parts.len());
        let State { ongoing, prepared, .. } = &mut self.state;
        match record.state {
            RecordState::Ongoing => drop(ongoing.insert(id.to_owned(), Ongoing { number, due_ms })),
            RecordState::Prepared(_) => {
                ongoing.remove(id);
                prepared.insert(id.to_owned(), Prepared { number, parts });
            }
            RecordState::Empty | RecordState::Completed(_) => {
                ongoing.remove(id);
                prepared.remove(id);
            }
        }
        rows.touch(id);
        Ok(answer)
    }
}

/// The records that an entry is about: each is read and written once, however many commands name it.
struct Rows<'a> {
    keyed: &'a mut Keyed,
    read: BTreeMap<String, Row>,
}

struct Row {
    record: Option<Record>,
    is_changed: bool,
}

impl Rows<'_> {
    fn get(&mut self, id: &str) -> Option<&mut Record> {
        if !self.read.contains_key(id) {
            let record = self.keyed.get(&key(id)).map(|value| read(&value));
            self.read.insert(id.to_owned(), Row { record, is_changed: false });
        }
        self.read.get_mut(id)?.record.as_mut()
    }

    fn put(&mut self, id: &str, record: Option<Record>) {
        self.read.insert(id.to_owned(), Row { record, is_changed: true });
    }

    fn touch(&mut self, id: &str) {
        if let Some(row) = self.read.get_mut(id) {
            row.is_changed = true;
        }
    }

    fn write(self) {
        for (id, row) in self.read.into_iter().filter(|(_, row)| row.is_changed) {
            match row.record {
                Some(record) => self.keyed.put(&key(&id), encode(&record).into()),
                None => self.keyed.remove(&key(&id)),
            }
        }
    }
}

/// Reads a record that a machine has written.
pub(super) fn read(value: &[u8]) -> Record {
    decode(value).unwrap_or_else(|error| {
        quorate_storage::fatal("read what is known of a transactional id", &error);
    })
}

impl Machine for TransactionMachine {
    type Reply = Vec<Judged>;

    const KEYED: bool = true;

    fn needs(entry: Committed<'_>) -> Vec<Bytes> {
        // What cannot be decoded ends the process when it is applied.
        let commands = entry.payload.and_then(|payload| decode::<Commands>(payload).ok());
        let commands = commands.map_or_else(Vec::new, |it| it.commands);
        let mut keys: Vec<Bytes> =
            commands.iter().flat_map(Command::ids).map(|id| key(id)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn apply(&mut self, entry: Committed<'_>, effects: &mut Effects) -> Vec<Judged> {
        self.end = entry.index + 1;
        let Some(payload) = entry.payload else { return Vec::new() };
        let Commands { log_ms, wall_ms, commands } = match decode(payload) {
            Ok(commands) => commands,
            // Going on would make this replica differ from the others for ever.
            Err(error) => quorate_storage::fatal("apply an entry of a coordinator", &error),
        };
        // The clock of the leader before may have been ahead.
        self.state.log_ms = self.state.log_ms.max(log_ms);
        let mut rows = Rows { keyed: &mut effects.keyed, read: BTreeMap::new() };
        let mut answers = Vec::with_capacity(commands.len());
        for command in commands {
            let open = self.state.ongoing.len() + self.state.prepared.len();
            let (log_ms, has_room) = (self.state.log_ms, open < OPEN_MAX);
            let now = Now { index: entry.index, log_ms, wall_ms, has_room };
            answers.push(self.carry_out(command, &mut rows, now));
        }
        rows.write();
        answers
    }

    fn encode(&self) -> Vec<u8> {
        encode(&(&self.state, self.end))
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let failed = |error: &dyn std::error::Error| DecodeError(error.to_string());
        let (state, end): (State, u64) = decode(bytes).map_err(|error| failed(&error))?;
        check_checkpoint(state.level).map_err(|error| failed(&error))?;
        Ok(Self { state, end })
    }

    /// Nothing is read of the log again.
    fn needed_from(&self) -> u64 {
        self.end
    }
}

#[cfg(test)]
mod tests;
