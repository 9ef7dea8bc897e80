//! Which fault begins and ends when.
//!
//! Time goes in rounds. Each begins quietly, so that there is always a stretch in which the cluster can recover; in a
//! quarter of them nothing happens at all. In the others some classes come together, every class in its turn, so that
//! each meets each in the long run.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Since the beginning.
    pub at: Duration,
    /// The fault's class.
    pub fault: String,
    pub action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The seed decides everything else about the fault.
    Begin {
        seed: u64,
    },
    End,
}

/// Seconds of a round, and how much of it is quiet.
const ROUND: std::ops::Range<f64> = 4.0..10.0;
const QUIET: std::ops::Range<f64> = 0.1..0.35;
/// Rounds without a fault.
const NONE: f64 = 0.25;
/// Classes in a round, at most.
const TOGETHER: usize = 3;

/// The steps of a run of this length, in order. Faults that begin also end within it.
pub fn schedule(seed: u64, faults: &[&str], time: Duration) -> Vec<Step> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut steps = Vec::new();
    let mut turns: Vec<&str> = Vec::new();
    let (mut now, end) = (0.0, time.as_secs_f64());
    while !faults.is_empty() && now < end {
        let length = random.random_range(ROUND).min(end - now);
        let quiet = length * random.random_range(QUIET);
        // The first round always has a fault: short runs are there for them.
        let none = random.random_bool(NONE) && now > 0.0;
        for name in if none { Vec::new() } else { some(faults, &mut turns, &mut random) } {
            let begin = now + quiet + (length - quiet) * random.random_range(0.0..0.4);
            let until = now + length - (now + length - begin) * random.random_range(0.0..0.3);
            let step = |at: f64, action| Step {
                at: Duration::from_secs_f64(at),
                fault: name.to_owned(),
                action,
            };
            steps.push(step(begin, Action::Begin { seed: random.random() }));
            steps.push(step(until, Action::End));
        }
        now += length;
    }
    steps.sort_by_key(|step| step.at);
    steps
}

/// The next class in turn and some others.
fn some<'a>(faults: &[&'a str], turns: &mut Vec<&'a str>, random: &mut StdRng) -> Vec<&'a str> {
    if turns.is_empty() {
        turns.extend(faults);
        turns.shuffle(random);
    }
    let mut some: Vec<&str> = turns.pop().into_iter().collect();
    let mut others: Vec<&str> = faults.iter().copied().filter(|it| !some.contains(it)).collect();
    others.shuffle(random);
    // One alone, two or three.
    let more = random.random_range(0..TOGETHER);
    some.extend(others.into_iter().take(more));
    some
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const FAULTS: [&str; 4] = ["kill", "pause", "partition", "clock"];

    #[test]
    fn a_seed_decides_everything() {
        let of = |seed| schedule(seed, &FAULTS, Duration::from_secs(600));
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn every_class_has_its_turn_and_what_begins_ends_before_it_begins_again() {
        for seed in 0..50 {
            let time = Duration::from_secs(300);
            let mut open: BTreeMap<String, bool> = BTreeMap::new();
            for step in schedule(seed, &FAULTS, time) {
                assert!(step.at <= time);
                let was = open.insert(step.fault, matches!(step.action, Action::Begin { .. }));
                assert_eq!(was.unwrap_or(false), step.action == Action::End, "seed {seed}");
            }
            assert_eq!(open.len(), FAULTS.len(), "seed {seed}");
            assert!(open.values().all(|open| !open), "seed {seed}");
        }
    }

    #[test]
    fn there_are_quiet_stretches_and_short_runs_have_a_fault() {
        for seed in 0..50 {
            assert!(!schedule(seed, &FAULTS, Duration::from_secs(5)).is_empty());
            let steps = schedule(seed, &FAULTS, Duration::from_secs(600));
            let (mut running, mut quiet, mut since) = (0, Duration::ZERO, Duration::ZERO);
            for step in &steps {
                if running == 0 {
                    quiet += step.at - since;
                }
                match step.action {
                    Action::Begin { .. } => running += 1,
                    Action::End => running -= 1,
                }
                since = step.at;
            }
            assert!(quiet > Duration::from_secs(120), "{quiet:?} quiet of 600 s, seed {seed}");
        }
    }

    #[test]
    fn without_classes_nothing_happens() {
        assert!(schedule(7, &[], Duration::from_secs(600)).is_empty());
    }
}
