//! A machine with keyed state: counts, for every key, how often it was asked to, and keeps as much beside the count as it
//! is told to. Of all it answered it remembers a digest alone.

use bytes::{Buf, BufMut, Bytes};
use quorate_raft::{Committed, DecodeError, Effects, Machine};

/// Entries that stay in the log.
const KEPT: u64 = 32;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Behind the last entry applied.
    pub end: u64,
    /// Over everything it answered, in order.
    pub answers: u64,
    /// Counts twice, as no other replica does. No part of the state.
    pub wrong: bool,
}

/// Counts a key, and keeps so many bytes with it.
pub fn count(key: u64, size: u32) -> Bytes {
    let mut payload = vec![b'C'];
    payload.put_u64(key);
    payload.put_u32(size);
    payload.into()
}

/// Forgets some keys.
pub fn forget(keys: &[u64]) -> Bytes {
    let mut payload = vec![b'F'];
    keys.iter().for_each(|key| payload.put_u64(*key));
    payload.into()
}

impl Machine for Tally {
    /// How often the key was counted.
    type Reply = u64;

    const KEYED: bool = true;

    fn needs(entry: Committed<'_>) -> Vec<Bytes> {
        match entry.payload {
            None => Vec::new(),
            Some(payload) if payload[0] == b'C' => vec![payload.slice(1..9)],
            Some(payload) => {
                (1..payload.len()).step_by(8).map(|at| payload.slice(at..at + 8)).collect()
            }
        }
    }

    fn apply(&mut self, entry: Committed<'_>, effects: &mut Effects) -> u64 {
        self.end = entry.index + 1;
        let Some(payload) = entry.payload else { return 0 };
        let keyed = &mut effects.keyed;
        let mut known = 0;
        for key in Self::needs(entry) {
            known = keyed.get(&key).map_or(0, |value| (&value[..]).get_u64());
            self.answers = self.answers.wrapping_mul(31).wrapping_add(known + 1);
            if payload[0] == b'C' {
                known += 1 + u64::from(self.wrong);
                let mut value = known.to_be_bytes().to_vec();
                value.resize(8 + (&payload[9..]).get_u32() as usize, b'.');
                keyed.put(&key, value.into());
            } else {
                keyed.remove(&key);
            }
        }
        known
    }

    fn encode(&self) -> Vec<u8> {
        [self.end.to_be_bytes(), self.answers.to_be_bytes()].concat()
    }

    fn decode(mut bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() != 16 {
            return Err(DecodeError("no tally".into()));
        }
        Ok(Self { end: bytes.get_u64(), answers: bytes.get_u64(), wrong: false })
    }

    fn needed_from(&self) -> u64 {
        self.end.saturating_sub(KEPT)
    }
}
