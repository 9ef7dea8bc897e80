//! Pages of what belongs to a snapshot, and where each begins.
//!
//! ```text
//!   keyed state      a .. k │ l .. z │ records   0 .. 41 │ 42 .. 77
//!                  page     │ page   │         page      │ page      a position stands between two
//! ```

use bytes::{Bytes, BytesMut};

use crate::codec::{Get, Put};
use crate::error::DecodeError;

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
