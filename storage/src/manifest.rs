//! Reading RocksDB's manifest without RocksDB: which column families, tables and logs the store consists of.
//!
//! A manifest is a log of changes to that. RocksDB believes whatever whole records it finds, so a manifest that lost
//! its end is to it an older store, and what that one does not name it removes. Here the same records are read before
//! RocksDB may open, to be compared with what is known to have been there (`inventory`). The format is that of
//! RocksDB's `version_edit.h`, whose numbers are frozen; a tag that is not known there is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::fragments::{BLOCK, Found, HEADER, Part, fragment};

/// The state that the whole records of a manifest describe, up to the last of them.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub number: u64,
    /// Bytes up to the end of the last whole record, and the CRC-32C of them.
    pub length: u64,
    pub checksum: u32,
    columns: BTreeMap<u32, Column>,
    /// Live tables with their sizes in bytes.
    pub tables: BTreeMap<u64, u64>,
    /// Tables that were live once.
    pub deleted: BTreeSet<u64>,
    /// Logs that were finished and synced, with the bytes they must have.
    pub synced_logs: BTreeMap<u64, u64>,
    min_log: u64,
    /// The newest write it tells of; no table has a newer one.
    last_write: Option<u64>,
    /// The next file's number was told.
    next_file: bool,
    /// A log's number was told.
    log: bool,
    /// Changes that take effect together with those still to come.
    group: Vec<Edit>,
}

#[derive(Debug, Clone)]
struct Column {
    name: String,
    /// Everything of the column family in logs before this one is in tables.
    log: u64,
}

/// How the reading of a manifest ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a whole record, or one that was being written when its writer died.
    Whole,
    /// With bytes that are no record: where they begin.
    Damaged(u64),
    /// With a whole record of a kind that is not known: where it begins.
    Unknown(u64),
}

/// The number of the manifest that `CURRENT` names; none if there is no such file.
pub(crate) fn current(dir: &Path) -> io::Result<Option<u64>> {
    let text = match fs::read_to_string(dir.join("CURRENT")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let number =
        text.strip_suffix('\n').and_then(|name| name.strip_prefix("MANIFEST-")?.parse().ok());
    number.map(Some).ok_or_else(|| io::Error::other("the file CURRENT names no manifest"))
}

pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("MANIFEST-{number:06}"))
}

/// All manifests in a directory.
pub(crate) fn numbers(dir: &Path) -> io::Result<BTreeSet<u64>> {
    let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name()));
    let number = |name: OsString| name.to_str()?.strip_prefix("MANIFEST-")?.parse().ok();
    names.filter_map(|name| name.map(number).transpose()).collect()
}

impl Manifest {
    /// A manifest of which nothing was read yet.
    pub fn new(number: u64) -> Manifest {
        let default = Column { name: "default".to_owned(), log: 0 };
        Manifest {
            number,
            length: 0,
            checksum: 0,
            columns: BTreeMap::from([(0, default)]),
            tables: BTreeMap::new(),
            deleted: BTreeSet::new(),
            synced_logs: BTreeMap::new(),
            min_log: 0,
            last_write: None,
            next_file: false,
            log: false,
            group: Vec::new(),
        }
    }

    /// The newest write it tells of; no table has a newer one.
    pub fn last_write(&self) -> u64 {
        self.last_write.unwrap_or(0)
    }

    /// Whether everything is there that RocksDB writes before `CURRENT` names the manifest.
    pub fn is_complete(&self) -> bool {
        self.next_file && self.log && self.last_write.is_some()
    }

    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.values().map(|column| column.name.as_str())
    }

    /// The oldest log that may hold what is in no table; as RocksDB decides which logs to replay.
    pub fn needed_log(&self) -> u64 {
        let unflushed = self.columns.values().map(|column| column.log).min().unwrap_or(0);
        self.min_log.max(unflushed)
    }

    /// Whether a column family that `ours` names may still need a log that the manifest gave up. So it is in a manifest
    /// that RocksDB began when it opened and that lost its end: it gives the logs up before it names the tables into
    /// which it took them.
    pub fn lacks_recovered_tables(&self, ours: &[&str]) -> bool {
        let mut ours = self.columns.values().filter(|column| ours.contains(&column.name.as_str()));
        ours.any(|column| column.log < self.min_log)
    }

    /// Reads on from where the last reading ended.
    pub fn read_on(&mut self, file: &File) -> io::Result<Ending> {
        let size = file.metadata()?.len();
        if size < self.length {
            return Ok(Ending::Damaged(size));
        }
        let mut bytes = vec![0; usize::try_from(size - self.length).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, self.length)?;
        Ok(self.take(&bytes))
    }

    /// Takes what follows in the file.
    fn take(&mut self, bytes: &[u8]) -> Ending {
        let begin = self.length;
        let (mut at, mut done) = (0, 0);
        let mut record = Vec::new();
        loop {
            let room = BLOCK - (begin as usize + at) % BLOCK;
            let rest = &bytes[at.min(bytes.len())..];
            let block = &rest[..room.min(rest.len())];
            if room < HEADER {
                // Too little for a header: filled up, the next block goes on.
                at += room;
                continue;
            }
            let part = match fragment(block) {
                Found::Fragment(part, payload, length) => {
                    if matches!(part, Part::Full | Part::First) {
                        record.clear();
                    }
                    record.extend_from_slice(payload);
                    at += length;
                    part
                }
                Found::Short if block.len() == room => return Ending::Damaged(begin + at as u64),
                Found::Short | Found::End => return Ending::Whole,
                Found::Damage => return Ending::Damaged(begin + at as u64),
            };
            if matches!(part, Part::Full | Part::Last) {
                let Some(edit) = Edit::decode(&record) else {
                    return Ending::Unknown(begin + done as u64);
                };
                self.apply(edit);
                self.checksum = crc32c::crc32c_append(self.checksum, &bytes[done..at]);
                self.length = begin + at as u64;
                done = at;
            }
        }
    }

    fn apply(&mut self, edit: Edit) {
        let Some(remaining) = edit.group_remaining else { return self.change(edit) };
        self.group.push(edit);
        if remaining == 0 {
            std::mem::take(&mut self.group).into_iter().for_each(|edit| self.change(edit));
        }
    }

    fn change(&mut self, edit: Edit) {
        if let Some(name) = edit.added_column {
            self.columns.insert(edit.column, Column { name, log: 0 });
        }
        if edit.dropped_column {
            self.columns.remove(&edit.column);
        }
        self.next_file |= edit.next_file;
        self.log |= edit.log.is_some();
        self.last_write = self.last_write.max(edit.last_write);
        if let (Some(log), Some(column)) = (edit.log, self.columns.get_mut(&edit.column)) {
            column.log = column.log.max(log);
        }
        self.min_log = self.min_log.max(edit.min_log);
        for number in edit.deleted {
            self.tables.remove(&number);
            self.deleted.insert(number);
        }
        self.synced_logs.extend(edit.synced_logs);
        self.synced_logs = self.synced_logs.split_off(&edit.logs_gone.max(self.needed_log()));
        for (number, size) in edit.tables {
            self.deleted.remove(&number);
            self.tables.insert(number, size);
        }
    }
}

/// One record, as far as it matters here.
#[derive(Debug, Clone, Default)]
struct Edit {
    column: u32,
    added_column: Option<String>,
    dropped_column: bool,
    log: Option<u64>,
    min_log: u64,
    tables: Vec<(u64, u64)>,
    deleted: Vec<u64>,
    synced_logs: Vec<(u64, u64)>,
    /// Logs before this one are not needed any more.
    logs_gone: u64,
    next_file: bool,
    last_write: Option<u64>,
    group_remaining: Option<u64>,
}

/// Tags with this bit may be skipped by who does not know them; their value says how long it is.
const SKIPPABLE: u64 = 1 << 13;
const LOG_SYNCED: u64 = SKIPPABLE + 7;
const LOGS_GONE: u64 = SKIPPABLE + 8;

impl Edit {
    fn decode(record: &[u8]) -> Option<Edit> {
        let mut edit = Edit::default();
        let mut input = Input(record);
        while !input.0.is_empty() {
            edit.field(&mut input)?;
        }
        Some(edit)
    }

    fn field(&mut self, input: &mut Input<'_>) -> Option<()> {
        match input.number()? {
            // The comparator's name.
            1 => drop(input.bytes()?),
            2 => self.log = Some(input.number()?),
            3 => self.next_file = input.number().map(|_| true)?,
            4 => self.last_write = Some(input.number()?),
            // The log before, the greatest column family.
            9 | 203 => drop(input.number()?),
            // A compaction's cursor: level and key.
            5 => drop((input.number()?, input.bytes()?)),
            6 => self.deleted.extend([input.number()?, input.number()?].get(1)),
            10 => self.min_log = self.min_log.max(input.number()?),
            tag @ (7 | 100 | 103) => self.table(tag, input)?,
            200 => self.column = u32::try_from(input.number()?).ok()?,
            201 => self.added_column = Some(String::from_utf8(input.bytes()?.to_vec()).ok()?),
            202 => self.dropped_column = true,
            300 => self.group_remaining = Some(input.number()?),
            LOG_SYNCED => self.synced_log(&mut Input(input.bytes()?))?,
            LOGS_GONE => self.logs_gone = Input(input.bytes()?).number()?,
            tag if tag & SKIPPABLE != 0 => drop(input.bytes()?),
            _ => return None,
        }
        Some(())
    }

    /// A log's number and, if it was synced, its size.
    fn synced_log(&mut self, input: &mut Input<'_>) -> Option<()> {
        let number = input.number()?;
        loop {
            match input.number()? {
                1 => return Some(()),
                2 => self.synced_logs.push((number, input.number()?)),
                _ => return None,
            }
        }
    }

    /// A table that was added; the three forms grew out of each other.
    fn table(&mut self, tag: u64, input: &mut Input<'_>) -> Option<()> {
        let (_level, number, size) = (input.number()?, input.number()?, input.number()?);
        let (_smallest, _largest) = (input.bytes()?, input.bytes()?);
        if tag != 7 {
            let (_first_write, _last_write) = (input.number()?, input.number()?);
        }
        if tag == 103 {
            self.table_fields(input)?;
        }
        self.tables.push((number, size));
        Some(())
    }

    /// What may be said of a table by name.
    fn table_fields(&mut self, input: &mut Input<'_>) -> Option<()> {
        loop {
            match input.number()? {
                1 => return Some(()),
                3 => {
                    let log = u64::from_le_bytes(input.bytes()?.try_into().ok()?);
                    self.min_log = self.min_log.max(log);
                }
                _ => drop(input.bytes()?),
            }
        }
    }
}

/// What is left of a record.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// A number of variable length, least significant bits first.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// Bytes behind their length.
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests;
