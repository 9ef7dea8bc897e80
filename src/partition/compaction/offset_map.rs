//! The newest offset of each key in a stretch of the log, in memory of a fixed size.
//!
//! A key is known by 128 bits of a keyed hash, so its length costs nothing, and nobody who does not know the hash's own
//! key, drawn anew for each compaction, can make two keys meet. That two meet by chance is less likely than that the memory
//! errs.
//!
//! Where one entry has more keys than fit, it is gone through in parts: a map then minds one share of all keys and knows
//! nothing of the others.

use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// What a key takes.
const SLOT_BYTES: usize = size_of::<u128>() + size_of::<i64>();
/// Of ten places so many are filled.
const LOAD_TENTHS: usize = 9;
/// No offset.
const EMPTY: i64 = -1;

/// The hash's own key; that of all parts of one whole.
pub(super) type Secret = (u64, u64);

/// Which share of all keys a map minds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) number: u32,
    pub(super) of: u32,
}

impl Part {
    /// All keys.
    pub(super) const WHOLE: Self = Self { number: 0, of: 1 };

    pub(super) fn is_last(self) -> bool {
        self.number + 1 == self.of
    }
}

/// See the file's header.
pub(super) struct OffsetMap {
    part: Part,
    secret: Secret,
    hashes: Vec<u128>,
    offsets: Vec<i64>,
    count: usize,
}

/// There is no place for another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl OffsetMap {
    /// Returns an empty map that takes about `bytes`.
    pub(super) fn new(bytes: usize, part: Part, secret: Secret) -> Self {
        let places = (bytes / SLOT_BYTES).max(2);
        let (hashes, offsets) = (vec![0; places], vec![EMPTY; places]);
        Self { part, secret, hashes, offsets, count: 0 }
    }

    /// Notes where a key stands; later places come later.
    pub(super) fn put(&mut self, key: &[u8], offset: i64) -> Result<(), Full> {
        let hash = self.hash(key);
        if !self.minds(hash) {
            return Ok(());
        }
        let at = self.place(hash);
        if self.offsets[at] == EMPTY {
            if (self.count + 1) * 10 > self.offsets.len() * LOAD_TENTHS {
                return Err(Full);
            }
            self.count += 1;
            self.hashes[at] = hash;
        }
        self.offsets[at] = offset;
        Ok(())
    }

    /// Returns the newest place of a key, if it is known.
    pub(super) fn newest(&self, key: &[u8]) -> Option<i64> {
        let hash = self.hash(key);
        if self.count == 0 || !self.minds(hash) {
            return None;
        }
        Some(self.offsets[self.place(hash)]).filter(|offset| *offset != EMPTY)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn part(&self) -> Part {
        self.part
    }

    fn hash(&self, key: &[u8]) -> u128 {
        let mut hasher = SipHasher13::new_with_keys(self.secret.0, self.secret.1);
        hasher.write(key);
        hasher.finish128().as_u128()
    }

    fn minds(&self, hash: u128) -> bool {
        hash % u128::from(self.part.of) == u128::from(self.part.number)
    }

    /// Where this key is, or would be.
    fn place(&self, hash: u128) -> usize {
        let places = self.offsets.len();
        // Other bits than those that tell its part.
        let mut at = usize::try_from((hash >> 64) % places as u128).unwrap_or(0);
        while self.offsets[at] != EMPTY && self.hashes[at] != hash {
            at = (at + 1) % places;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_place_of_each_key_is_known_until_it_is_full() {
        let mut map = OffsetMap::new(100 * SLOT_BYTES, Part::WHOLE, (1, 2));
        for round in 0..3 {
            for key in 0..90_i64 {
                map.put(&key.to_be_bytes(), round * 1_000 + key).unwrap();
            }
        }
        assert_eq!(map.put(b"one more", 9), Err(Full));
        map.put(&5_i64.to_be_bytes(), 9_999).unwrap();
        for key in 0..90_i64 {
            let newest = if key == 5 { 9_999 } else { 2_000 + key };
            assert_eq!(map.newest(&key.to_be_bytes()), Some(newest));
        }
        assert_eq!(map.newest(b"one more"), None);
    }

    #[test]
    fn every_key_is_minded_by_one_part() {
        let maps: Vec<OffsetMap> = (0..3)
            .map(|number| {
                let mut map = OffsetMap::new(1 << 16, Part { number, of: 3 }, (1, 2));
                (0..1_000_i64).for_each(|key| map.put(&key.to_be_bytes(), key).unwrap());
                map
            })
            .collect();
        for key in 0..1_000_i64 {
            let known = maps.iter().filter_map(|map| map.newest(&key.to_be_bytes()));
            assert_eq!(known.collect::<Vec<_>>(), [key]);
        }
        assert!(maps.iter().all(|map| map.count > 200));
    }
}
