//! Hashes that tell whether two replicas hold the same: of a machine's bytes, and of a set that changes element by
//! element.
//!
//! They find defects, not attackers, and are the same in every release and on every machine: both sides of a comparison
//! may be of different releases.

/// Odd, and without a pattern in its bits (2^64 divided by the golden ratio).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of some bytes.
pub(crate) fn of(bytes: &[u8]) -> u64 {
    finish(add(0, bytes))
}

/// The hash of an element of keyed state. The hash of a set is the wrapping sum of its elements', so an element comes
/// and goes without a look at the others.
pub(crate) fn of_pair(key: &[u8], value: &[u8]) -> u64 {
    finish(add(add(1, key), value))
}

/// Two hashes as one.
pub(crate) fn combine(one: u64, other: u64) -> u64 {
    finish(word(word(2, one), other))
}

fn add(hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(hash, |hash, it| word(hash, u64::from_le_bytes(*it)));
    let last = rest.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    // The length tells a word from bytes that end before it, and one part from the next.
    word(word(hash, last), bytes.len() as u64)
}

fn word(hash: u64, word: u64) -> u64 {
    let hash = (hash ^ word).wrapping_mul(MULTIPLIER);
    hash ^ hash >> 29
}

fn finish(hash: u64) -> u64 {
    let hash = (hash ^ hash >> 32).wrapping_mul(MULTIPLIER);
    hash ^ hash >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_differs_in_little_differs_in_its_hash() {
        let mut seen = BTreeSet::new();
        for length in 0..40 {
            let bytes = vec![0; length];
            assert!(seen.insert(of(&bytes)), "{length} zeros");
            for at in 0..length {
                let mut one = bytes.clone();
                one[at] = 1;
                assert!(seen.insert(of(&one)), "{length} bytes, {at} is 1");
            }
        }
        assert_ne!(of_pair(b"ab", b"c"), of_pair(b"a", b"bc"));
        assert_ne!(combine(1, 2), combine(2, 1));
    }

    #[test]
    fn hashes_are_frozen() {
        assert_eq!(of(b"the same in every release"), 10_779_454_338_540_837_884);
    }
}
