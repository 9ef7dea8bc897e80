//! What to think of a wall clock; pure.
//!
//! Where there are other brokers, a majority of all that agree within a minute decides. Where there are none,
//! the monotonic clock does: it cannot be set, so a wall clock that parts from it was. Which of the two times
//! was right nobody can tell, so the new one is taken for right after an hour without another jump, or when an
//! operator says so; a clock that comes back to where it was is right at once.

use std::fmt;

/// How far clocks may be apart; more than that no two clocks that anybody looks after ever are.
pub(super) const OFF_MAX_MS: i64 = 60_000;
/// How long a lone clock must agree with the monotonic one after a jump.
const SETTLED_MS: i64 = 3_600_000;

/// What is thought of this broker's wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    Right,
    /// So many of the brokers' clocks are known and agree, and so many would have to.
    Unknown {
        agree: usize,
        needed: usize,
    },
    /// A majority's clocks agree, and this one is so far ahead of them.
    Wrong {
        ahead_ms: i64,
    },
    /// A lone broker's clock was set forward by so much; it is believed again in so long.
    Jumped {
        by_ms: i64,
        settles_in_ms: i64,
    },
}

/// What is there to see at one moment.
pub(super) struct Observation<'a> {
    /// The monotonic clock.
    pub(super) at_ms: i64,
    pub(super) wall_ms: i64,
    /// Brokers of the cluster, this one too; 0 while none are known.
    pub(super) brokers: usize,
    /// How far the clocks of others are ahead of this one, where that is known.
    pub(super) others: &'a [(u64, i64)],
}

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// Wall clock less monotonic clock, when it was last right.
    right: Option<i64>,
    /// Since when it differs from that, and what it is since.
    jumped: Option<(i64, i64)>,
}

impl Judge {
    /// Returns the judgement, and how far the majority's clocks are ahead of this one.
    pub(super) fn look(&mut self, look: &Observation<'_>) -> (Judgement, Option<i64>) {
        let offset = look.wall_ms.saturating_sub(look.at_ms);
        let (judgement, majority_ms) = match look.brokers {
            1 => (self.alone(offset, look.at_ms), Some(0)),
            brokers => compare(brokers, look.others),
        };
        if judgement == Judgement::Right {
            (self.right, self.jumped) = (Some(offset), None);
        }
        (judgement, majority_ms)
    }

    fn alone(&mut self, offset: i64, at_ms: i64) -> Judgement {
        let Some(right) = self.right else { return Judgement::Right };
        let by_ms = offset.saturating_sub(right);
        if by_ms.abs() <= OFF_MAX_MS {
            return Judgement::Right;
        }
        let same = self.jumped.filter(|(_, to)| (offset.saturating_sub(*to)).abs() <= OFF_MAX_MS);
        let (since, _) = *self.jumped.insert(same.unwrap_or((at_ms, offset)));
        match SETTLED_MS.saturating_sub(at_ms.saturating_sub(since)) {
            ..=0 => Judgement::Right,
            settles_in_ms => Judgement::Jumped { by_ms, settles_in_ms },
        }
    }

    pub(super) fn confirm(&mut self) {
        self.right = None;
    }
}

fn compare(brokers: usize, others: &[(u64, i64)]) -> (Judgement, Option<i64>) {
    let needed = brokers / 2 + 1;
    let mut clocks: Vec<i64> = others.iter().map(|(_, ahead)| *ahead).chain([0]).collect();
    clocks.sort_unstable();
    let (low, high) = (clocks[(clocks.len() - 1) / 2], clocks[clocks.len() / 2]);
    let median = low.saturating_add(high.saturating_sub(low) / 2);
    let agrees = |clock: &&i64| clock.saturating_sub(median).abs() <= OFF_MAX_MS;
    let agree = clocks.iter().filter(agrees).count();
    if brokers == 0 || agree < needed {
        return (Judgement::Unknown { agree, needed }, None);
    }
    if agrees(&&0) {
        (Judgement::Right, Some(median))
    } else {
        (Judgement::Wrong { ahead_ms: median.saturating_neg() }, Some(median))
    }
}

impl Judgement {
    /// Returns whether others are known to know better.
    pub fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong { .. })
    }

    /// Returns whether it is worth a line in the log when `told` was the last.
    pub(super) fn is_news_after(&self, told: &Self) -> bool {
        std::mem::discriminant(self) != std::mem::discriminant(told)
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Right => write!(f, "its clock is right as far as can be told"),
            Self::Unknown { agree, needed } => write!(
                f,
                "the clocks of {agree} brokers are known and agree, {needed} are needed; until then nothing is \
                 deleted for its age"
            ),
            Self::Wrong { ahead_ms } => write!(
                f,
                "its clock is {} a majority's; set it right: until then it leads nothing that another can lead \
                 and deletes nothing for its age",
                Shift(ahead_ms)
            ),
            Self::Jumped { by_ms, settles_in_ms } => write!(
                f,
                "its clock was set and is {} where it was; nothing is deleted for its age for {} s, or until \
                 `quorate cluster confirm-clock` says that it is right",
                Shift(by_ms),
                settles_in_ms / 1000
            ),
        }
    }
}

/// How far ahead, in words.
struct Shift(i64);

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.0 < 0 { "behind" } else { "ahead of" };
        write!(f, "{} s {way}", self.0.unsigned_abs() / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    /// Others by how far their clocks are ahead.
    fn among(brokers: usize, others: &[i64]) -> Judgement {
        let others: Vec<(u64, i64)> = (2..).zip(others.iter().copied()).collect();
        let look = Observation { at_ms: 5, wall_ms: 7, brokers, others: &others };
        Judge::default().look(&look).0
    }

    #[test]
    fn a_majority_that_agrees_decides() {
        assert_eq!(among(3, &[40, -60_000]), Judgement::Right);
        assert_eq!(among(3, &[8 * DAY_MS, 10]), Judgement::Right, "another's is wrong");
        let ahead = Judgement::Wrong { ahead_ms: 8 * DAY_MS };
        assert_eq!(among(3, &[-8 * DAY_MS, -8 * DAY_MS]), ahead);
        let behind = Judgement::Wrong { ahead_ms: -61_000 };
        assert_eq!(among(5, &[61_000, 61_000, 61_000, DAY_MS]), behind);
        assert_eq!(among(3, &[0]), Judgement::Right, "two of three are a majority");
    }

    #[test]
    fn without_a_majority_that_agrees_nobody_is_right_or_wrong() {
        assert_eq!(among(3, &[]), Judgement::Unknown { agree: 1, needed: 2 });
        assert_eq!(among(2, &[DAY_MS]), Judgement::Unknown { agree: 0, needed: 2 });
        assert_eq!(among(3, &[DAY_MS, -DAY_MS]), Judgement::Unknown { agree: 1, needed: 2 });
        assert_eq!(among(0, &[]), Judgement::Unknown { agree: 1, needed: 1 });
    }

    /// A lone broker, a second at a time.
    #[derive(Default)]
    struct Alone {
        judge: Judge,
        at_ms: i64,
        ahead_ms: i64,
    }

    impl Alone {
        fn after(&mut self, seconds: i64) -> Judgement {
            let mut last = None;
            for _ in 0..seconds {
                self.at_ms += 1000;
                let wall_ms = 100 * DAY_MS + self.at_ms + self.ahead_ms;
                let look = Observation { at_ms: self.at_ms, wall_ms, brokers: 1, others: &[] };
                last = Some(self.judge.look(&look).0);
            }
            last.unwrap()
        }
    }

    #[test]
    fn a_lone_clock_that_jumped_is_doubted_until_it_kept_still_for_an_hour() {
        for days in [-3, 3] {
            let mut alone = Alone::default();
            assert_eq!(alone.after(100), Judgement::Right);
            alone.ahead_ms = days * DAY_MS;
            for second in 0..3_600 {
                let doubted = alone.after(1);
                let settles_in_ms = SETTLED_MS - second * 1000;
                assert_eq!(doubted, Judgement::Jumped { by_ms: days * DAY_MS, settles_in_ms });
            }
            assert_eq!(alone.after(1), Judgement::Right);
        }
    }

    #[test]
    fn a_second_jump_starts_the_hour_anew_and_the_way_back_ends_it() {
        let mut alone = Alone::default();
        alone.after(10);
        alone.ahead_ms = 2 * DAY_MS;
        alone.after(3_500);
        alone.ahead_ms = 3 * DAY_MS;
        assert!(matches!(alone.after(3_600), Judgement::Jumped { .. }));
        alone.ahead_ms = 0;
        assert_eq!(alone.after(1), Judgement::Right);
        alone.ahead_ms = 2 * DAY_MS;
        assert!(matches!(alone.after(200), Judgement::Jumped { .. }), "nothing of before counts");
    }

    #[test]
    fn an_operator_may_confirm() {
        let mut alone = Alone::default();
        alone.after(10);
        alone.ahead_ms = DAY_MS;
        alone.after(10);
        alone.judge.confirm();
        assert_eq!(alone.after(1), Judgement::Right);
        alone.ahead_ms = 0;
        assert!(
            matches!(alone.after(1), Judgement::Jumped { .. }),
            "the new time is the right one"
        );
    }

    #[test]
    fn a_clock_that_is_slewed_is_followed() {
        let mut alone = Alone::default();
        for _ in 0..1000 {
            alone.ahead_ms += 500;
            assert_eq!(alone.after(1), Judgement::Right);
        }
    }

    #[test]
    fn what_it_says_tells_what_to_do() {
        let wrong = Judgement::Wrong { ahead_ms: 8 * DAY_MS }.to_string();
        assert!(wrong.contains("691200 s ahead of a majority's; set it right"), "{wrong}");
        let jumped = Judgement::Jumped { by_ms: -DAY_MS, settles_in_ms: 3_599_000 }.to_string();
        assert!(jumped.contains("86400 s behind where it was"), "{jumped}");
        assert!(jumped.contains("confirm-clock"), "{jumped}");
    }
}
