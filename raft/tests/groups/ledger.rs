//! The machine of the tests: remembers the start and the checksum of every payload it applied, and
//! forgets what it is told to. Like a real one it is far smaller than its log. It panics when it is poisoned.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf, BufMut, Bytes};
use quorate_raft::{Committed, DecodeError, Effects, Machine};
use quorate_storage::StatePut;

/// Whether the next payload made by [`poison`] that is applied, anywhere, ends its machine.
pub static POISON: AtomicBool = AtomicBool::new(false);

/// Bytes of a payload that are kept as they are.
const PREFIX: usize = 16;

/// What was applied, by index, as far as it is still needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    pub applied: u64,
    pub count: u64,
    pub entries: Vec<(u64, Bytes)>,
    pub trimmed_to: u64,
}

/// A payload that forgets all entries below an index.
pub fn trim(below: u64) -> Bytes {
    let mut payload = vec![b'T'];
    payload.put_u64(below);
    payload.into()
}

/// A payload that ends the machine that applies it once [`POISON`] is set, and is a note to any other.
pub fn poison() -> Bytes {
    Bytes::from_static(b"P")
}

/// What the ledger keeps of a payload.
pub fn gist(payload: &[u8]) -> Bytes {
    let mut gist = payload[..payload.len().min(PREFIX)].to_vec();
    gist.put_u32(crc32c::crc32c(payload));
    gist.into()
}

/// A payload to be remembered.
pub fn note(text: &str) -> Bytes {
    Bytes::from(format!("N{text}"))
}

impl Machine for Ledger {
    type Reply = u64;

    fn apply(&mut self, entry: Committed<'_>, effects: &mut Effects) -> u64 {
        assert!(
            entry.index == 0 || entry.index == self.applied + 1,
            "a gap before {}",
            entry.index
        );
        self.applied = entry.index;
        let Some(payload) = entry.payload else { return self.count };
        match payload[0] {
            b'T' => {
                self.trimmed_to = self.trimmed_to.max((&payload[1..]).get_u64());
                self.entries.retain(|(index, _)| *index >= self.trimmed_to);
            }
            kind => {
                let poisoned = kind == b'P' && POISON.swap(false, Ordering::SeqCst);
                assert!(!poisoned, "as a test wanted it");
                self.count += 1;
                self.entries.push((entry.index, gist(payload)));
                let key = [&b"n"[..], &entry.index.to_be_bytes()].concat();
                effects.puts.push(StatePut { key, value: Bytes::from_static(b"seen") });
            }
        }
        self.count
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u64(self.applied);
        out.put_u64(self.count);
        out.put_u64(self.trimmed_to);
        out.put_u64(self.entries.len() as u64);
        for (index, payload) in &self.entries {
            out.put_u64(*index);
            out.put_u32(payload.len() as u32);
            out.extend_from_slice(payload);
        }
        out
    }

    fn decode(mut bytes: &[u8]) -> Result<Self, DecodeError> {
        let bytes = &mut bytes;
        let mut ledger = Self {
            applied: number(bytes)?,
            count: number(bytes)?,
            trimmed_to: number(bytes)?,
            entries: Vec::new(),
        };
        for _ in 0..number(bytes)? {
            let index = number(bytes)?;
            let length = bytes.try_get_u32().map_err(|_| too_short())? as usize;
            let (payload, rest) = bytes.split_at_checked(length).ok_or_else(too_short)?;
            *bytes = rest;
            ledger.entries.push((index, Bytes::copy_from_slice(payload)));
        }
        if bytes.is_empty() { Ok(ledger) } else { Err(DecodeError("too long".into())) }
    }

    fn needed_from(&self) -> u64 {
        self.trimmed_to
    }
}

fn number(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    bytes.try_get_u64().map_err(|_| too_short())
}

fn too_short() -> DecodeError {
    DecodeError("too short".into())
}
