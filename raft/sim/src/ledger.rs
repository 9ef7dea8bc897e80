//! The machine under test: remembers of every client which request it has applied, and a digest of
//! everything in order.
//!
//! Requests carry a client and a serial number, and one that is proposed again is applied once, as
//! a real machine does it. The digest makes two replicas comparable at any index.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};
use quorate_raft::{Committed, DecodeError, Effects, Machine};
use quorate_storage::StatePut;

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
}

/// Key under which an effect remembers a client.
pub fn effect_key(client: u64) -> Vec<u8> {
    [&b"c"[..], &client.to_be_bytes()].concat()
}

/// Mixes a value into a digest (FNV-1a, 64 bits).
pub fn mix(digest: u64, bytes: &[u8]) -> u64 {
    let start = if digest == 0 { 0xcbf2_9ce4_8422_2325 } else { digest };
    bytes.iter().fold(start, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

impl Machine for Ledger {
    /// What the client has had applied now.
    type Reply = Done;

    fn apply(&mut self, entry: Committed<'_>, effects: &mut Effects) -> Done {
        let next = self.applied.map_or(entry.index, |applied| applied + 1);
        assert!(entry.index == next, "index {} applied where {next} was due", entry.index);
        self.applied = Some(entry.index);
        self.digest = mix(self.digest, &entry.index.to_be_bytes());
        self.digest = mix(self.digest, &entry.term.to_be_bytes());
        let Some(payload) = entry.payload else { return Done::default() };
        self.digest = mix(self.digest, &crc32c::crc32c(payload).to_be_bytes());
        match Request::decode(payload) {
            Some(Request::Note { client, serial, .. }) => {
                let done = self.clients.entry(client).or_default();
                if serial > done.serial {
                    assert!(serial == done.serial + 1, "client {client} skipped to {serial}");
                    *done = Done { serial, index: entry.index };
                    let value = Bytes::copy_from_slice(&entry.index.to_be_bytes());
                    effects.puts.push(StatePut { key: effect_key(client), value });
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
        for (client, done) in &self.clients {
            out.put_u64(*client);
            out.put_u64(done.serial);
            out.put_u64(done.index);
        }
        out
    }

    fn decode(mut bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() < 25 || !(bytes.len() - 25).is_multiple_of(24) {
            return Err(DecodeError(format!("{} bytes are no ledger", bytes.len())));
        }
        let some = bytes.get_u8() == 1;
        let applied = Some(bytes.get_u64()).filter(|_| some);
        let (trimmed_to, digest) = (bytes.get_u64(), bytes.get_u64());
        let mut clients = BTreeMap::new();
        while !bytes.is_empty() {
            let client = bytes.get_u64();
            clients.insert(client, Done { serial: bytes.get_u64(), index: bytes.get_u64() });
        }
        Ok(Ledger { applied, clients, trimmed_to, digest })
    }

    fn needed_from(&self) -> u64 {
        self.trimmed_to
    }
}
