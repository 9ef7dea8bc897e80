//! When a broker is taken out of service and back, and which voter should judge that; pure.
//!
//! Two clocks run on a broker's silence. Raft's failure detector moves its leaderships away within a
//! second, which costs nothing if it was wrong. Fencing, after several, hides the broker from clients and
//! from placement, for everybody alike, so it goes through the log, waits longer, and is not for the
//! metadata leader alone to say: one cut link would take a healthy broker out of service. A broker is
//! silent when a majority of the metadata voters does not hear it. And a metadata leader that hears
//! fewer brokers than another voter does hands over to that one, which can keep all of them up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::metadata::{Image, Request};

/// How long another voter must have heard more brokers than the leader before it is given the lead.
const BETTER_FOR: Duration = Duration::from_secs(2);

/// Whom the metadata voters hear.
#[derive(Debug, Default)]
pub(super) struct Views {
    /// The leader, who asks.
    pub(super) me: u64,
    /// How many voters there are, answering or not.
    pub(super) voters: usize,
    /// The nodes that each voter hears, of those that answered; each hears itself.
    pub(super) heard: BTreeMap<u64, BTreeSet<u64>>,
}

impl Views {
    /// Returns whether a majority of the voters does not hear the broker.
    fn lost(&self, broker: u64) -> bool {
        self.without(broker) > self.voters / 2
    }

    /// Returns whether that may be so: some voters have not answered.
    fn maybe_lost(&self, broker: u64) -> bool {
        let silent = self.voters.saturating_sub(self.heard.len());
        self.without(broker) + silent > self.voters / 2
    }

    fn without(&self, broker: u64) -> usize {
        self.heard.values().filter(|heard| !heard.contains(&broker)).count()
    }

    fn hears(&self, voter: u64, broker: u64) -> bool {
        self.heard.get(&voter).is_some_and(|heard| heard.contains(&broker))
    }
}

/// Since when each broker is silent, in the eyes of the metadata leader.
#[derive(Debug, Default)]
pub(super) struct Fencing {
    silent_since: BTreeMap<u64, Duration>,
    better: Option<(u64, Duration)>,
}

impl Fencing {
    /// Returns the commands that make the image agree with what is heard.
    ///
    /// `caught_up` says whether a broker knows what it missed: before, it would deny topics that exist, and is
    /// not taken back. `now` is any clock that only goes forward. A new metadata leader starts with an empty
    /// `Fencing`, so it gives every broker the full time again.
    pub(super) fn step(
        &mut self,
        image: &Image,
        views: &Views,
        caught_up: impl Fn(u64) -> bool,
        now: Duration,
        fence_after: Duration,
    ) -> Vec<Request> {
        let mut requests = Vec::new();
        self.silent_since.retain(|broker, _| image.brokers.contains_key(broker));
        for broker in image.brokers.values() {
            let leader = broker.id == views.me;
            if leader || !views.maybe_lost(broker.id) {
                self.silent_since.remove(&broker.id);
                let back = leader || (views.hears(views.me, broker.id) && caught_up(broker.id));
                if broker.fenced && back {
                    requests.push(Request::Unfence { broker: broker.id });
                }
                continue;
            }
            if !views.lost(broker.id) {
                continue;
            }
            let since = *self.silent_since.entry(broker.id).or_insert(now);
            if !broker.fenced && now.saturating_sub(since) >= fence_after {
                requests.push(Request::Fence { broker: broker.id });
            }
        }
        requests
    }

    /// The one that should lead did not take over: it is not asked again at once.
    pub(super) fn keep_leading(&mut self) {
        self.better = None;
    }

    /// Returns the voter that should lead instead, having heard more brokers than the leader for a while.
    /// More, not others: so the lead never goes round.
    pub(super) fn better_leader(
        &mut self,
        image: &Image,
        views: &Views,
        now: Duration,
    ) -> Option<u64> {
        let count = |voter: u64| image.brokers.keys().filter(|id| views.hears(voter, **id)).count();
        let others = views.heard.keys().copied().filter(|voter| *voter != views.me);
        let best = others.max_by_key(|voter| (count(*voter), std::cmp::Reverse(*voter)));
        let better = best.filter(|voter| count(*voter) > count(views.me));
        self.better = better.map(|voter| match self.better {
            Some((before, since)) if before == voter => (voter, since),
            _ => (voter, now),
        });
        self.better
            .filter(|(_, since)| now.saturating_sub(*since) >= BETTER_FOR)
            .map(|(voter, _)| voter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{Broker, HostPort, Levels};

    const AFTER: Duration = Duration::from_secs(10);

    fn image(brokers: &[(u64, bool)]) -> Image {
        let broker = |(id, fenced): &(u64, bool)| Broker {
            id: *id,
            rack: None,
            kafka: HostPort::new("k", 1),
            http: HostPort::new("h", 1),
            peer: HostPort::new("p", 1),
            directory_id: 1,
            fenced: *fenced,
            levels: Levels::supported(),
        };
        let brokers = brokers.iter().map(|it| (it.0, broker(it))).collect();
        Image { brokers, ..Image::default() }
    }

    /// What voters 1, 2 and 3 hear; an empty list is no answer.
    fn views(heard: [&[u64]; 3]) -> Views {
        let answered = (1..).zip(heard).filter(|(_, heard)| !heard.is_empty());
        let heard = answered.map(|(id, heard)| (id, heard.iter().copied().collect())).collect();
        Views { me: 1, voters: 3, heard }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn all() -> Image {
        image(&[(1, false), (2, false), (3, false), (4, false)])
    }

    #[test]
    fn a_broker_is_fenced_after_the_whole_silence_and_not_before() {
        let mut fencing = Fencing::default();
        let silent = views([&[1, 2, 3], &[1, 2, 3], &[1, 2, 3]]);
        let mut step = |now| fencing.step(&all(), &silent, |_| true, at(now), AFTER);
        assert_eq!(step(100), []);
        assert_eq!(step(109), []);
        assert_eq!(step(110), [Request::Fence { broker: 4 }]);
    }

    #[test]
    fn a_word_in_between_starts_the_silence_anew() {
        let mut fencing = Fencing::default();
        let silent = views([&[1, 2, 3], &[1, 2, 3], &[1, 2, 3]]);
        let heard = views([&[1, 2, 3, 4], &[1, 2, 3, 4], &[1, 2, 3, 4]]);
        let mut step = |views, now| fencing.step(&all(), views, |_| true, at(now), AFTER);
        step(&silent, 0);
        step(&heard, 9);
        assert_eq!(step(&silent, 10), []);
        assert_eq!(step(&silent, 19), []);
        assert_eq!(step(&silent, 20), [Request::Fence { broker: 4 }]);
    }

    #[test]
    fn a_broker_that_the_leader_alone_does_not_hear_stays_in_service() {
        let mut fencing = Fencing::default();
        for lost in [2, 4] {
            let without: Vec<u64> = (1..=4).filter(|id| *id != lost).collect();
            let cut = views([&without, &[1, 2, 3, 4], &[1, 2, 3, 4]]);
            assert_eq!(fencing.step(&all(), &cut, |_| true, at(0), AFTER), []);
            assert_eq!(fencing.step(&all(), &cut, |_| true, at(3600), AFTER), []);
        }
        // Who does not answer has lost nobody.
        let silent = views([&[1, 3], &[], &[1, 2, 3, 4]]);
        fencing.step(&all(), &silent, |_| true, at(4000), AFTER);
        assert_eq!(fencing.step(&all(), &silent, |_| true, at(5000), AFTER), []);
    }

    #[test]
    fn a_voter_that_died_is_lost_by_the_majority_that_is_left() {
        let mut fencing = Fencing::default();
        let died = views([&[1, 3, 4], &[], &[1, 3, 4]]);
        fencing.step(&all(), &died, |_| true, at(0), AFTER);
        let requests = fencing.step(&all(), &died, |_| true, at(10), AFTER);
        assert_eq!(requests, [Request::Fence { broker: 2 }]);
    }

    #[test]
    fn an_answer_that_is_missing_once_does_not_start_the_silence_anew() {
        let mut fencing = Fencing::default();
        let silent = views([&[1, 2, 3], &[1, 2, 3], &[1, 2, 3]]);
        let one = views([&[1, 2, 3], &[], &[1, 2, 3, 4]]);
        let mut step = |views, now| fencing.step(&all(), views, |_| true, at(now), AFTER);
        step(&silent, 0);
        assert_eq!(step(&one, 9), []);
        assert_eq!(step(&silent, 10), [Request::Fence { broker: 4 }]);
    }

    #[test]
    fn a_fenced_broker_returns_when_it_is_heard_and_knows_what_it_missed() {
        let mut fencing = Fencing::default();
        let image = image(&[(1, false), (2, false), (3, false), (4, true)]);
        let heard = views([&[1, 2, 3, 4], &[1, 2, 3, 4], &[1, 2, 3, 4]]);
        let by_others = views([&[1, 2, 3], &[1, 2, 3, 4], &[1, 2, 3, 4]]);
        let by_me = views([&[1, 2, 3, 4], &[1, 2, 3], &[1, 2, 3]]);
        let mut step = |views, knows| fencing.step(&image, views, |_| knows, at(99), AFTER);
        assert_eq!(step(&by_others, true), []);
        assert_eq!(step(&by_me, true), []);
        assert_eq!(step(&heard, false), []);
        assert_eq!(step(&heard, true), [Request::Unfence { broker: 4 }]);
    }

    #[test]
    fn the_voter_that_hears_more_brokers_should_lead() {
        let mut fencing = Fencing::default();
        let cut = views([&[1, 2, 3], &[1, 2, 3, 4], &[1, 2, 3, 4]]);
        assert_eq!(fencing.better_leader(&all(), &cut, at(5)), None);
        assert_eq!(fencing.better_leader(&all(), &cut, at(7)), Some(2));
        // A link to a voter: the third hears both ends.
        let cut = views([&[1, 3, 4], &[2, 3, 4], &[1, 2, 3, 4]]);
        assert_eq!(
            fencing.better_leader(&all(), &cut, at(8)),
            None,
            "another, so from the beginning"
        );
        assert_eq!(fencing.better_leader(&all(), &cut, at(10)), Some(3));
        // Others are not more: in a ring everybody lacks somebody.
        let ring = views([&[1, 2, 4], &[1, 2, 3], &[2, 3, 4]]);
        assert_eq!(fencing.better_leader(&all(), &ring, at(20)), None);
        assert_eq!(fencing.better_leader(&all(), &ring, at(30)), None);
        let whole = views([&[1, 2, 3, 4], &[1, 2, 3, 4], &[1, 2, 3, 4]]);
        assert_eq!(fencing.better_leader(&all(), &whole, at(40)), None);
    }
}
