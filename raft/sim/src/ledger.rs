//! The machine under test: remembers of every client which request it has applied, and a digest of
//! everything in order.
//!
//! With the feature `keyed` it also counts every client's notes in keyed state, so that a replica which sees another
//! number anywhere has another digest, and its entries are records (`records.rs`).
//!
//! Requests carry a client and a serial number, and one that is proposed again is applied once, as
//! a real machine does it. The digest makes two replicas comparable at any index.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};
use quorate_raft::{Committed, DecodeError, Effects, Machine, Records};
use quorate_storage::{StateDelete, StatePut};

use crate::records::LedgerRecords;

/// Something a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// To be applied once per client and serial. `attempt` is unique among all proposals.
    Note { client: u64, serial: u64, attempt: u64 },
    /// Entries below the index are needed no longer.
    Trim { below: u64, attempt: u64 },
}

impl Request {
    /// Its bytes, with `filler` more.
    pub fn encode(self, filler: usize) -> Bytes {
        let mut out = Vec::with_capacity(25 + filler);
        match self {
            Request::Note { client, serial, attempt } => {
                out.put_u8(b'N');
                out.put_u64(attempt);
                out.put_u64(client);
                out.put_u64(serial);
            }
            Request::Trim { below, attempt } => {
                out.put_u8(b'T');
                out.put_u64(attempt);
                out.put_u64(below);
            }
        }
        out.resize(out.len() + filler, b'.');
        out.into()
    }

    /// Inverse of [`Request::encode`].
    pub fn decode(mut bytes: &[u8]) -> Option<Request> {
        if bytes.len() < 17 {
            return None;
        }
        let kind = bytes.get_u8();
        let attempt = bytes.get_u64();
        match kind {
            b'N' if bytes.len() >= 16 => {
                Some(Request::Note { client: bytes.get_u64(), serial: bytes.get_u64(), attempt })
            }
            b'T' => Some(Request::Trim { below: bytes.get_u64(), attempt }),
            _ => None,
        }
    }

    /// Number of the proposal.
    pub fn attempt(&self) -> u64 {
        match self {
            Request::Note { attempt, .. } | Request::Trim { attempt, .. } => *attempt,
        }
    }
}

/// What a client has had applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Its greatest serial.
    pub serial: u64,
    /// Where that was applied.
    pub index: u64,
}

/// The machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Index of the last entry applied; None before the first.
    pub applied: Option<u64>,
    pub clients: BTreeMap<u64, Done>,
    pub trimmed_to: u64,
    /// Over index, term and payload of all entries in order.
    pub digest: u64,
    /// Adds every tenth entry twice to the digest, as no other replica does. No part of the state.
    pub wrong: bool,
}

/// Key under which an effect remembers what a client had applied last. The same whoever writes it and when, so that it may
/// come with a snapshot that is never installed.
pub fn effect_key(client: u64, index: u64) -> Vec<u8> {
    [&b"c"[..], &client.to_be_bytes(), &index.to_be_bytes()].concat()
}

/// The effect of a client's note.
pub fn effect(client: u64, index: u64) -> StatePut {
    StatePut { key: effect_key(client, index), value: Bytes::from_static(b"applied") }
}

/// The keys of all effects.
pub fn effects() -> StateDelete {
    StateDelete { from: b"c".to_vec(), to: b"d".to_vec() }
}

/// Mixes a value into a digest (FNV-1a, 64 bits).
pub fn mix(digest: u64, bytes: &[u8]) -> u64 {
    let start = if digest == 0 { 0xcbf2_9ce4_8422_2325 } else { digest };
    bytes.iter().fold(start, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Bytes kept with the number of a client's notes, so that few of them make a checkpoint.
const BESIDE: usize = 500;

impl Ledger {
    /// Counts all notes of a client in the keyed state; what was read there is part of the digest.
    fn count(&mut self, client: u64, effects: &mut Effects) {
        let key = client.to_be_bytes();
        let known = effects.keyed.get(&key).map_or(0, |value| (&value[..]).get_u64());
        self.digest = mix(self.digest, &known.to_be_bytes());
        let mut value = (known + 1).to_be_bytes().to_vec();
        value.resize(8 + BESIDE, b'.');
        effects.keyed.put(&key, value.into());
    }
}

impl Machine for Ledger {
    /// What the client has had applied now.
    type Reply = Done;

    const KEYED: bool = cfg!(feature = "keyed");

    fn needs(entry: Committed<'_>) -> Vec<Bytes> {
        match entry.payload.map(|payload| Request::decode(payload)) {
            Some(Some(Request::Note { client, .. })) if Self::KEYED => {
                vec![Bytes::copy_from_slice(&client.to_be_bytes())]
            }
            _ => Vec::new(),
        }
    }

    fn apply(&mut self, entry: Committed<'_>, effects: &mut Effects) -> Done {
        let next = self.applied.map_or(entry.index, |applied| applied + 1);
        assert!(entry.index == next, "index {} applied where {next} was due", entry.index);
        self.applied = Some(entry.index);
        self.digest = mix(self.digest, &entry.index.to_be_bytes());
        self.digest = mix(self.digest, &entry.term.to_be_bytes());
        let Some(payload) = entry.payload else { return Done::default() };
        let times = if self.wrong && entry.index.is_multiple_of(10) { 2 } else { 1 };
        for _ in 0..times {
            self.digest = mix(self.digest, &crc32c::crc32c(payload).to_be_bytes());
        }
        match Request::decode(payload) {
            Some(Request::Note { client, serial, .. }) => {
                if Self::KEYED {
                    self.count(client, effects);
                }
                let done = self.clients.entry(client).or_default();
                if serial > done.serial {
                    assert!(serial == done.serial + 1, "client {client} skipped to {serial}");
                    *done = Done { serial, index: entry.index };
                    effects.puts.push(effect(client, entry.index));
                }
                *done
            }
            Some(Request::Trim { below, .. }) => {
                self.trimmed_to = self.trimmed_to.max(below);
                Done::default()
            }
            None => panic!("entry {} holds what nobody proposed", entry.index),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u8(u8::from(self.applied.is_some()));
        out.put_u64(self.applied.unwrap_or(0));
        out.put_u64(self.trimmed_to);
        out.put_u64(self.digest);
        out.put_u64(self.clients.len() as u64);
        for (client, done) in &self.clients {
            out.put_u64(*client);
            out.put_u64(done.serial);
            out.put_u64(done.index);
        }
        out
    }

    fn decode(mut bytes: &[u8]) -> Result<Self, DecodeError> {
        let nonsense = || DecodeError(format!("{} bytes are no ledger", bytes.len()));
        let (head, rest) = bytes.split_at_checked(33).ok_or_else(nonsense)?;
        let mut head = head;
        let some = head.get_u8() == 1;
        let applied = Some(head.get_u64()).filter(|_| some);
        let (trimmed_to, digest) = (head.get_u64(), head.get_u64());
        if head.get_u64().checked_mul(24) != Some(rest.len() as u64) {
            return Err(nonsense());
        }
        bytes = rest;
        let mut clients = BTreeMap::new();
        while !bytes.is_empty() {
            let client = bytes.get_u64();
            clients.insert(client, Done { serial: bytes.get_u64(), index: bytes.get_u64() });
        }
        Ok(Ledger { applied, clients, trimmed_to, digest, wrong: false })
    }

    fn records() -> Option<&'static dyn Records> {
        if Self::KEYED { Some(&LedgerRecords) } else { None }
    }

    fn needed_from(&self) -> u64 {
        self.trimmed_to
    }
}

#[cfg(test)]
mod tests {
    use quorate_raft::conformance::{self, LogEntry};

    use super::*;

    #[test]
    fn the_ledger_keeps_the_contract_of_a_machine() {
        let request = |n: u64| match n % 10 {
            0 => None,
            1 => Some(Request::Trim { below: n / 2, attempt: n }),
            // Every third request comes twice.
            kind => {
                let serial = n / 10 + u64::from(kind > 4);
                Some(Request::Note { client: kind % 3, serial: serial.max(1), attempt: n })
            }
        };
        let mut done: BTreeMap<u64, u64> = BTreeMap::new();
        let mut log = Vec::new();
        for n in 0..200 {
            let mut fits = |request: &Request| match *request {
                Request::Note { client, serial, .. } => {
                    let done = done.entry(client).or_default();
                    let fits = serial <= *done + 1;
                    *done = if fits { serial.max(*done) } else { *done };
                    fits
                }
                Request::Trim { .. } => true,
            };
            let payload = request(n).filter(&mut fits).map(|it| it.encode(n as usize % 9));
            log.push(LogEntry { term: n / 30, payload });
        }
        assert!(done.values().any(|serial| *serial > 3), "{done:?}");
        conformance::check(Ledger::default, &log);
    }
}
