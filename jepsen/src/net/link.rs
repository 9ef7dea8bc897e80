//! What one directed link does to a packet; pure, so that it is tested without a network.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;

use super::tcp::Segment;

/// What a link does to packets. The default lets them pass untouched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// Nothing passes, nor what was delayed before.
    pub cut: bool,
    /// Nothing passes either, but senders are told at once that their connection is over.
    pub reject: bool,
    /// A connection that has lasted so long is over, for both its ends, when it is next to carry data; they may connect
    /// anew at once. Those from before the rule are over at once, so that the longest time ends only them.
    pub reset: Option<Duration>,
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
    /// In their stead a RST went to the sender, or to both ends.
    pub reset: u64,
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
            + self.reset
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
            reset: self.reset - before.reset,
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
        self.reset += other.reset;
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
            ("reset", self.reset),
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

/// Who is told that a connection is over, in the stead of a packet of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResetNotice {
    Sender,
    Both,
}

/// Bytes a link holds back at most; beyond it the tail is dropped, as a real queue does.
const QUEUE_BYTES: usize = 8 << 20;

/// A directed link: its rule and what is under way on it.
#[derive(Debug, Default)]
pub(super) struct Link {
    rule: Rule,
    pub counters: Counters,
    /// When connections began, by their ports, while some are to be reset.
    born: HashMap<(u16, u16), Instant>,
    queued: usize,
    /// When the last packet in order is due, so that none overtakes it.
    last_due: Option<Instant>,
    /// When the line is free again, if it has a rate.
    free_at: Option<Instant>,
}

impl Link {
    /// Changes the rule.
    pub(super) fn adjust(&mut self, adjust: impl FnOnce(&mut Rule)) {
        adjust(&mut self.rule);
        if self.rule.reset.is_none() {
            self.born.clear();
        }
    }

    /// Whether packets that come are dropped, whoever is told of it.
    pub(super) fn closed(&self) -> bool {
        self.rule.cut || self.rule.reject
    }

    /// Whether packets have to be shown to [`Link::refuse`].
    pub(super) fn ends_connections(&self) -> bool {
        !self.rule.cut && (self.rule.reject || self.rule.reset.is_some())
    }

    /// Whether the segment's connection is over, and who is told so.
    pub(super) fn refuse(&mut self, segment: &Segment, now: Instant) -> Option<ResetNotice> {
        // Nobody answers a reset.
        let told = match self.rule.reset {
            _ if segment.is_reset() => None,
            _ if self.rule.reject => Some(ResetNotice::Sender),
            Some(age) => self.outlived(segment, age, now).then_some(ResetNotice::Both),
            None => None,
        };
        self.counters.reset += u64::from(told.is_some());
        told
    }

    fn outlived(&mut self, segment: &Segment, age: Duration, now: Instant) -> bool {
        if segment.begins() {
            self.born.insert(segment.ports(), now);
            return false;
        }
        let born = self.born.get(&segment.ports());
        let over = segment.data > 0 && born.is_none_or(|born| now - *born >= age);
        if over {
            // What is sent again, because an end has not heard of it, is from before.
            self.born.remove(&segment.ports());
        }
        over
    }

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
        if self.closed() {
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
    use crate::net::tcp::tests::{DATA, END, OPEN, segment};

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
    fn a_link_that_rejects_answers_senders_and_lets_nothing_pass() {
        let mut link = link(Rule { reject: true, ..Rule::default() });
        let now = Instant::now();
        let mut refuse = |flags, data| {
            let segment = Segment::of(&segment(flags, data)).unwrap();
            link.refuse(&segment, now)
        };
        assert_eq!(refuse(OPEN, 0), Some(ResetNotice::Sender));
        assert_eq!(refuse(DATA, 0), Some(ResetNotice::Sender));
        assert_eq!(refuse(END, 0), None, "nobody answers a reset");
        assert_eq!(link.counters.reset, 2);
        // What is no segment, or gets no answer, is dropped.
        assert!(arrivals(&mut link, 1, now).is_empty());
        assert_eq!(link.counters.cut, 1);
    }

    #[test]
    fn connections_are_over_when_they_have_lasted_long_enough() {
        let ms = Duration::from_millis;
        let now = Instant::now();
        let rule = Rule { reset: Some(ms(100)), ..Rule::default() };
        let mut link = link(rule.clone());
        let refuse = |link: &mut Link, flags, data, after| {
            let segment = Segment::of(&segment(flags, data)).unwrap();
            link.refuse(&segment, now + ms(after))
        };
        assert_eq!(refuse(&mut link, DATA, 0, 0), None, "without data");
        assert_eq!(refuse(&mut link, DATA, 9, 0), Some(ResetNotice::Both), "from before the rule");
        assert_eq!(refuse(&mut link, OPEN, 0, 1), None);
        assert_eq!(refuse(&mut link, DATA, 9, 100), None, "young");
        assert_eq!(refuse(&mut link, DATA, 9, 101), Some(ResetNotice::Both), "old");
        assert_eq!(refuse(&mut link, DATA, 9, 102), Some(ResetNotice::Both), "sent again");
        assert_eq!(refuse(&mut link, OPEN, 0, 200), None);
        // Another time, another rule: who had connected in between is from before.
        link.adjust(|rule| rule.reset = None);
        assert!(!link.ends_connections());
        link.adjust(|rule| rule.reset = Some(Duration::MAX));
        assert_eq!(refuse(&mut link, DATA, 9, 201), Some(ResetNotice::Both));
        assert_eq!(refuse(&mut link, OPEN, 0, 202), None);
        assert_eq!(
            refuse(&mut link, DATA, 9, 3_600_000),
            None,
            "the longest time ends nobody else"
        );
        assert_eq!(link.counters.reset, 4);
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
