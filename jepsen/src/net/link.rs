//! What one directed link does to a packet; pure, so that it is tested without a network.

use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;

/// What a link does to packets. The default lets them pass untouched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// Nothing passes, nor what was delayed before.
    pub cut: bool,
    pub delay: Duration,
    /// Up to so much more delay, evenly spread; the order is kept.
    pub jitter: Duration,
    /// Probability that a packet is lost.
    pub loss: f64,
    /// Probability that a packet arrives twice.
    pub duplicate: f64,
    /// Probability that a packet is held back, so that later ones overtake it.
    pub reorder: f64,
    /// For how long, at most.
    pub reorder_by: Duration,
    /// Probability that one bit of a packet is flipped. TCP's checksum notices each.
    pub corrupt: f64,
    /// Bytes a second.
    pub rate: Option<u64>,
}

impl Rule {
    pub fn cut() -> Rule {
        Rule { cut: true, ..Rule::default() }
    }
}

/// Packets of one link since the start, by what became of them. A packet may count in several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub passed: u64,
    pub bytes: u64,
    pub cut: u64,
    pub delayed: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub corrupted: u64,
    /// The link's queue, or the receiver, was full.
    pub overflowed: u64,
}

impl Counters {
    /// What was done to packets, for a fault's proof: everything but what passed.
    pub fn harm(&self) -> u64 {
        self.cut
            + self.delayed
            + self.lost
            + self.duplicated
            + self.reordered
            + self.corrupted
            + self.overflowed
    }

    pub fn since(&self, before: &Counters) -> Counters {
        Counters {
            passed: self.passed - before.passed,
            bytes: self.bytes - before.bytes,
            cut: self.cut - before.cut,
            delayed: self.delayed - before.delayed,
            lost: self.lost - before.lost,
            duplicated: self.duplicated - before.duplicated,
            reordered: self.reordered - before.reordered,
            corrupted: self.corrupted - before.corrupted,
            overflowed: self.overflowed - before.overflowed,
        }
    }

    pub fn add(&mut self, other: &Counters) {
        self.passed += other.passed;
        self.bytes += other.bytes;
        self.cut += other.cut;
        self.delayed += other.delayed;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.overflowed += other.overflowed;
    }
}

impl std::fmt::Display for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = [
            ("cut", self.cut),
            ("delayed", self.delayed),
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
            ("corrupted", self.corrupted),
            ("overflowed", self.overflowed),
            ("passed", self.passed),
        ];
        let said: Vec<String> = all
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{count} packets {name}"))
            .collect();
        if said.is_empty() {
            return write!(f, "no packets");
        }
        write!(f, "{}", said.join(", "))
    }
}

/// One copy of a packet that is to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    /// When; now or earlier means at once.
    pub due: Instant,
    /// The bit to flip, counted from the packet's start.
    pub flip: Option<usize>,
}

/// Bytes a link holds back at most; beyond it the tail is dropped, as a real queue does.
const QUEUE_BYTES: usize = 8 << 20;

/// A directed link: its rule and what is under way on it.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub rule: Rule,
    pub counters: Counters,
    queued: usize,
    /// When the last packet in order is due, so that none overtakes it.
    last_due: Option<Instant>,
    /// When the line is free again, if it has a rate.
    free_at: Option<Instant>,
}

impl Link {
    /// Decides about a packet of `len` bytes: up to two copies that arrive.
    pub(super) fn decide(
        &mut self,
        len: usize,
        now: Instant,
        random: &mut StdRng,
    ) -> [Option<Copy>; 2] {
        if self.rule == Rule::default() && self.queued == 0 {
            return [Some(Copy { due: now, flip: None }), None];
        }
        if self.rule.cut {
            self.counters.cut += 1;
            return [None, None];
        }
        if self.hits(self.rule.loss, random) {
            self.counters.lost += 1;
            return [None, None];
        }
        if self.queued + len > QUEUE_BYTES {
            self.counters.overflowed += 1;
            return [None, None];
        }
        let flip = self.hits(self.rule.corrupt, random).then(|| {
            self.counters.corrupted += 1;
            // Behind the smallest IP header, so that it still arrives, and TCP is what notices.
            random.random_range(20 * 8..len.max(21) * 8)
        });
        let due = self.due(len, now, random);
        let again = self.hits(self.rule.duplicate, random);
        self.counters.duplicated += u64::from(again);
        [Some(Copy { due, flip }), again.then_some(Copy { due, flip: None })]
    }

    fn hits(&self, probability: f64, random: &mut StdRng) -> bool {
        probability > 0.0 && random.random_bool(probability.min(1.0))
    }

    fn due(&mut self, len: usize, now: Instant, random: &mut StdRng) -> Instant {
        let mut at = now;
        if let Some(rate) = self.rule.rate {
            let start = self.free_at.map_or(now, |free| free.max(now));
            at = start + Duration::from_secs_f64(len as f64 / rate.max(1) as f64);
            self.free_at = Some(at);
        }
        at += self.rule.delay + self.rule.jitter.mul_f64(random.random::<f64>());
        if self.hits(self.rule.reorder, random) {
            self.counters.reordered += 1;
            return at + self.rule.reorder_by.mul_f64(random.random::<f64>());
        }
        let due = self.last_due.map_or(at, |last| last.max(at));
        if due > now {
            self.counters.delayed += 1;
        }
        self.last_due = Some(due);
        due
    }

    /// Room taken by packets held back.
    pub(super) fn hold(&mut self, len: usize) {
        self.queued += len;
    }

    pub(super) fn release(&mut self, len: usize) {
        self.queued -= len;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn link(rule: Rule) -> Link {
        Link { rule, ..Link::default() }
    }

    fn arrivals(link: &mut Link, packets: usize, now: Instant) -> Vec<Copy> {
        let mut random = StdRng::seed_from_u64(7);
        (0..packets).flat_map(|_| link.decide(100, now, &mut random)).flatten().collect()
    }

    #[test]
    fn a_link_without_a_rule_lets_everything_pass_at_once() {
        let (mut link, now) = (link(Rule::default()), Instant::now());
        let arrived = arrivals(&mut link, 10, now);
        assert_eq!(arrived, vec![Copy { due: now, flip: None }; 10]);
        assert_eq!(link.counters.harm(), 0);
    }

    #[test]
    fn a_cut_link_lets_nothing_pass_and_counts_it() {
        let mut link = link(Rule::cut());
        assert!(arrivals(&mut link, 10, Instant::now()).is_empty());
        assert_eq!(link.counters.cut, 10);
    }

    #[test]
    fn loss_and_duplication_are_about_as_frequent_as_asked_for() {
        let mut link = link(Rule { loss: 0.2, duplicate: 0.5, ..Rule::default() });
        let arrived = arrivals(&mut link, 10_000, Instant::now()).len();
        assert!((1_800..2_200).contains(&link.counters.lost), "{:?}", link.counters);
        assert!((3_700..4_300).contains(&link.counters.duplicated), "{:?}", link.counters);
        assert_eq!(arrived as u64, 10_000 - link.counters.lost + link.counters.duplicated);
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_breaks_it() {
        let ms = Duration::from_millis;
        let now = Instant::now();
        let jitter = Rule { delay: ms(50), jitter: ms(20), ..Rule::default() };
        let mut steady = link(jitter.clone());
        let arrived = arrivals(&mut steady, 1_000, now);
        assert!(arrived.is_sorted_by_key(|copy| copy.due));
        assert!(arrived.iter().all(|copy| (ms(50)..=ms(70)).contains(&(copy.due - now))));
        assert_eq!(steady.counters.delayed, 1_000);
        let mut unruly = link(Rule { reorder: 0.2, reorder_by: ms(30), ..jitter });
        assert!(!arrivals(&mut unruly, 1_000, now).is_sorted_by_key(|copy| copy.due));
        assert!(unruly.counters.reordered > 100);
    }

    #[test]
    fn a_rate_spreads_packets_and_a_full_queue_drops_its_tail() {
        let now = Instant::now();
        let mut slow = link(Rule { rate: Some(10_000), ..Rule::default() });
        let arrived = arrivals(&mut slow, 100, now);
        assert_eq!((arrived[99].due - now).as_secs_f64().round(), 1.0);
        slow.hold(QUEUE_BYTES);
        assert!(arrivals(&mut slow, 1, now).is_empty());
        assert_eq!(slow.counters.overflowed, 1);
    }

    #[test]
    fn a_flipped_bit_lies_behind_the_header_and_within_the_packet() {
        let mut link = link(Rule { corrupt: 1.0, ..Rule::default() });
        let arrived = arrivals(&mut link, 1_000, Instant::now());
        assert!(arrived.iter().all(|copy| (160..800).contains(&copy.flip.unwrap())));
    }
}
