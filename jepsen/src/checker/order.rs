//! The order of values in a partition, as a history lets it be known.
//!
//! An offset may turn out to hold several values, and a value several offsets: both are anomalies, and what
//! else is said about such a partition still has to be right. So the log keeps sets. Offsets nobody ever saw are left
//! out of the order: a position in it is an *index*, and neighbours have neighbouring indexes.

use std::collections::{BTreeMap, HashMap};

/// See the module.
#[derive(Default)]
pub struct Order {
    /// Values by offset, in order of discovery.
    pub log: BTreeMap<i64, Vec<i64>>,
    /// One value for each offset.
    pub by_index: Vec<i64>,
    /// Where in `by_index` a value stands last.
    pub by_value: HashMap<i64, usize>,
    /// The offset of each index.
    offsets: Vec<i64>,
}

impl Order {
    /// Negative offsets are no places in a log.
    pub fn add(&mut self, offset: i64, value: i64) {
        if offset < 0 {
            return;
        }
        let values = self.log.entry(offset).or_default();
        if !values.contains(&value) {
            values.push(value);
        }
    }

    /// Call it once everything is added.
    pub fn finish(&mut self) {
        for values in self.log.values_mut() {
            values.sort_by_key(|value| rank(*value));
            self.by_index.push(values[0]);
        }
        self.offsets = self.log.keys().copied().collect();
        self.by_value =
            self.by_index.iter().enumerate().map(|(index, value)| (*value, index)).collect();
    }

    /// How far the second value is behind the first, and 1 unless both places are known: without knowledge
    /// nothing is wrong.
    pub fn delta(&self, first: Option<i64>, second: Option<i64>) -> i64 {
        let index = |value: Option<i64>| Some(*self.by_value.get(&value?)? as i64);
        match (index(first), index(second)) {
            (Some(first), Some(second)) => second - first,
            _ => 1,
        }
    }

    /// The values between two.
    pub fn between(&self, first: i64, second: i64) -> &[i64] {
        match (self.by_value.get(&first), self.by_value.get(&second)) {
            (Some(first), Some(second)) if first < second => &self.by_index[first + 1..*second],
            _ => &[],
        }
    }

    /// The value before this one.
    pub fn previous(&self, value: i64) -> Option<i64> {
        self.by_index.get(self.by_value.get(&value)?.checked_sub(1)?).copied()
    }

    /// The last offset of a value, if it stands for that offset.
    pub fn offset(&self, value: i64) -> Option<i64> {
        self.offsets.get(*self.by_value.get(&value)?).copied()
    }

    /// Offsets at which a value is; looks through the whole log.
    pub fn offsets_of(&self, value: i64) -> impl Iterator<Item = i64> {
        self.log.iter().filter(move |(_, values)| values.contains(&value)).map(|(at, _)| *at)
    }
}

/// When an offset holds several values, any of them could stand for it. Clojure takes the first of a hash set, and
/// taking the same one makes both checkers name the same anomalies: a set is walked by five bits of a 32-bit Murmur3
/// hash at a time, the lowest first.
fn rank(value: i64) -> [u32; 7] {
    let hash = murmur3(value);
    std::array::from_fn(|level| (hash >> (5 * level as u32)) & 31)
}

fn murmur3(value: i64) -> u32 {
    if value == 0 {
        return 0;
    }
    let bits = value as u64;
    let mut hash = 0u32;
    for half in [bits as u32, (bits >> 32) as u32] {
        let mixed = half.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        hash = (hash ^ mixed).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    hash ^= 8;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_hash_as_in_clojure() {
        assert_eq!(murmur3(0), 0);
        assert_eq!(murmur3(1), 1_392_991_556);
    }

    #[test]
    fn a_hole_takes_no_index_and_the_last_of_two_places_counts() {
        let mut order = Order::default();
        for (offset, value) in [(10, 1), (12, 2), (13, 1), (-1, 9)] {
            order.add(offset, value);
        }
        order.finish();
        assert_eq!(order.by_index, [1, 2, 1]);
        assert_eq!(order.by_value[&1], 2);
        assert_eq!(order.delta(Some(2), Some(1)), 1);
        assert_eq!(order.delta(Some(9), Some(1)), 1, "9 is nowhere");
        assert_eq!(order.offset(1), Some(13));
        assert_eq!(order.offsets_of(1).collect::<Vec<_>>(), [10, 13]);
    }
}
