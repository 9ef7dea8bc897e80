//! What a replica that fell behind is given: a checkpoint, and what belongs to it besides, keyed state and records.
//!
//! Of a machine with neither it is the checkpoint just below the first entry that is still needed, so that the
//! receiver replays and keeps the rest. The rest exists as of the newest checkpoint only, so of a machine with it it
//! is that one. The consensus core is told another index all the same, the one below which the log may go: it purges
//! by it, and sends whoever lacks less than that the entries. The receiver is then further than its sender assumes, which
//! Raft allows: it is told entries that it has.
//!
//! It is sent in pieces, and nobody holds more than one of them besides the checkpoint, which a machine has in memory
//! anyway: first the checkpoint's bytes, then pages of the keyed state, then pages of the records. The receiver says after
//! each what it has, so a transfer that was cut off goes on there as long as the sender's view lasts (`frozen.rs`).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quorate_storage::NewChunk;

use crate::codec::{Get, Put};
use crate::error::DecodeError;
use crate::frozen::Frozen;

/// A snapshot, as the consensus core hands it from part to part.
#[derive(Debug)]
pub(crate) enum SnapshotData {
    /// A checkpoint to which nothing else belongs.
    Whole(Bytes),
    /// To be sent.
    Frozen(Arc<Frozen>),
    /// Received.
    Staged(Received),
}

/// A snapshot that is here as a whole and not in place yet.
#[derive(Debug)]
pub(crate) struct Received {
    pub checkpoint: Bytes,
    /// In which its keyed state is on disk.
    pub slot: u8,
    /// Its records.
    pub chunks: Vec<NewChunk>,
}

impl SnapshotData {
    pub fn checkpoint(&self) -> &Bytes {
        match self {
            Self::Whole(checkpoint) => checkpoint,
            Self::Staged(received) => &received.checkpoint,
            Self::Frozen(frozen) => &frozen.checkpoint,
        }
    }

    /// The view that the rest is read from.
    pub fn frozen(&self) -> Option<&Arc<Frozen>> {
        match self {
            Self::Frozen(frozen) => Some(frozen),
            Self::Whole(_) | Self::Staged(_) => None,
        }
    }
}

/// What of a snapshot pages are of, in the order of sending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    #[default]
    Keyed,
    Records,
}

/// Where a page begins: all before it has been sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub part: Part,
    /// Behind this key; `None`: at the first.
    pub after: Option<Bytes>,
}

/// A page on its way.
#[derive(Debug)]
pub(crate) struct Pairs {
    pub at: Position,
    pub pairs: Vec<(Bytes, Bytes)>,
    /// Where the next page begins; `None` behind the last.
    pub next: Option<Position>,
}

impl Position {
    pub fn new(part: Part, after: Option<Bytes>) -> Self {
        Self { part, after }
    }

    pub fn put(&self, out: &mut BytesMut) {
        out.u8(match self.part {
            Part::Keyed => 0,
            Part::Records => 1,
        });
        out.u8(u8::from(self.after.is_some()));
        if let Some(key) = &self.after {
            put_bytes(out, key);
        }
    }

    pub fn get(input: &mut Get) -> Result<Self, DecodeError> {
        let part = match input.u8()? {
            0 => Part::Keyed,
            1 => Part::Records,
            other => return Err(DecodeError(format!("part {other} of a snapshot is unknown"))),
        };
        let after = if input.flag()? { Some(get_bytes(input)?) } else { None };
        Ok(Self { part, after })
    }
}

impl Pairs {
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.at.put(&mut out);
        out.u8(u8::from(self.next.is_some()));
        if let Some(next) = &self.next {
            next.put(&mut out);
        }
        for (key, value) in &self.pairs {
            put_bytes(&mut out, key);
            put_bytes(&mut out, value);
        }
        out.freeze()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut input = Get::new(bytes);
        let at = Position::get(&mut input)?;
        let next = if input.flag()? { Some(Position::get(&mut input)?) } else { None };
        let mut pairs = Vec::new();
        while !input.is_empty() {
            pairs.push((get_bytes(&mut input)?, get_bytes(&mut input)?));
        }
        Ok(Self { at, pairs, next })
    }
}

fn put_bytes(out: &mut BytesMut, bytes: &Bytes) {
    out.u32(u32::try_from(bytes.len()).expect("keys and values are smaller"));
    out.extend_from_slice(bytes);
}

fn get_bytes(input: &mut Get) -> Result<Bytes, DecodeError> {
    let length = input.u32()? as usize;
    input.bytes(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_survives_its_byte_form_and_no_part_of_one_is_a_panic() {
        let pair = |n: u8| (Bytes::from(vec![n]), Bytes::from(vec![n; usize::from(n)]));
        let pairs: Vec<_> = (0..4).map(pair).collect();
        let at = Position::new(Part::Records, Some(Bytes::from_static(b"begin")));
        let next = Some(Position::new(Part::Records, Some(Bytes::from_static(b"end"))));
        let whole = Pairs { at: at.clone(), pairs: pairs.clone(), next: next.clone() }.encode();
        let read = Pairs::decode(whole.clone()).unwrap();
        assert_eq!((read.at, read.next, read.pairs), (at, next, pairs));
        for cut in 0..whole.len() {
            drop(Pairs::decode(whole.slice(..cut)));
        }
    }

    #[test]
    fn whoever_has_more_is_further() {
        let key = |key: &'static str| Some(Bytes::from_static(key.as_bytes()));
        let order = [
            Position::default(),
            Position::new(Part::Keyed, key("a")),
            Position::new(Part::Keyed, key("b")),
            Position::new(Part::Records, None),
            Position::new(Part::Records, key("a")),
        ];
        assert!(order.is_sorted_by(|one, other| one < other));
    }
}
