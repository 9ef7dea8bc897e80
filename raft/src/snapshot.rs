//! What a replica that fell behind is given: a checkpoint, and the keyed state as of it.
//!
//! Of a machine without keyed state it is the checkpoint just below the first entry that is still needed, so that the
//! receiver replays and keeps the rest. Keyed state exists as of the newest checkpoint only, so of a machine with it it
//! is that one. The consensus core is told another index all the same, the one below which the log may go: it purges
//! by it, and sends whoever lacks less than that the entries. The receiver is then further than its sender assumes, which
//! Raft allows: it is told entries that it has.
//!
//! It is sent in pieces, and nobody holds more than one of them besides the checkpoint, which a machine has in memory
//! anyway: first the checkpoint's bytes, then pages of the keyed state. The receiver says after each what it has, so a
//! transfer that was cut off goes on there as long as the sender's view lasts (`frozen.rs`).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::codec::{Get, Put};
use crate::error::DecodeError;
use crate::frozen::{Frozen, Page};

/// A snapshot, as the consensus core hands it from part to part.
#[derive(Debug)]
pub(crate) enum SnapshotData {
    /// A checkpoint of a machine without keyed state.
    Whole(Bytes),
    /// To be sent.
    Frozen(Arc<Frozen>),
    /// Received: the checkpoint, and the slot in which its keyed state is on disk.
    Staged(Bytes, u8),
}

impl SnapshotData {
    pub fn checkpoint(&self) -> &Bytes {
        match self {
            Self::Whole(checkpoint) | Self::Staged(checkpoint, _) => checkpoint,
            Self::Frozen(frozen) => &frozen.checkpoint,
        }
    }

    /// The view that its keyed state is read from.
    pub fn frozen(&self) -> Option<&Arc<Frozen>> {
        match self {
            Self::Frozen(frozen) => Some(frozen),
            Self::Whole(_) | Self::Staged(..) => None,
        }
    }
}

/// A page on its way.
#[derive(Debug)]
pub(crate) struct Pairs {
    /// The key that the first comes after.
    pub after: Option<Bytes>,
    pub page: Page,
}

impl Pairs {
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        put_key(&mut out, self.after.as_ref());
        put_key(&mut out, self.page.upto.as_ref());
        for (key, value) in &self.page.pairs {
            for part in [key, value] {
                out.u32(u32::try_from(part.len()).expect("keys and values are smaller"));
                out.extend_from_slice(part);
            }
        }
        out.freeze()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut input = Get::new(bytes);
        let (after, upto) = (get_key(&mut input)?, get_key(&mut input)?);
        let mut pairs = Vec::new();
        while !input.is_empty() {
            let length = input.u32()? as usize;
            let key = input.bytes(length)?;
            let length = input.u32()? as usize;
            pairs.push((key, input.bytes(length)?));
        }
        Ok(Self { after, page: Page { pairs, upto } })
    }
}

pub(crate) fn put_key(out: &mut BytesMut, key: Option<&Bytes>) {
    out.u8(u8::from(key.is_some()));
    if let Some(key) = key {
        out.u32(u32::try_from(key.len()).expect("keys are short"));
        out.extend_from_slice(key);
    }
}

pub(crate) fn get_key(input: &mut Get) -> Result<Option<Bytes>, DecodeError> {
    if !input.flag()? {
        return Ok(None);
    }
    let length = input.u32()? as usize;
    input.bytes(length).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_survives_its_byte_form_and_no_part_of_one_is_a_panic() {
        let pair = |n: u8| (Bytes::from(vec![n]), Bytes::from(vec![n; usize::from(n)]));
        let pairs: Vec<_> = (0..4).map(pair).collect();
        let upto = Some(Bytes::from_static(b"end"));
        let whole = Pairs { after: None, page: Page { pairs: pairs.clone(), upto: upto.clone() } };
        let whole = whole.encode();
        let read = Pairs::decode(whole.clone()).unwrap();
        assert_eq!((read.after, read.page.upto, read.page.pairs), (None, upto, pairs));
        for cut in 0..whole.len() {
            drop(Pairs::decode(whole.slice(..cut)));
        }
    }
}
