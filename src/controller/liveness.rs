//! When a broker is taken out of service and back; pure.
//!
//! Two clocks run on a broker's silence. Raft's failure detector moves its leaderships away within a
//! second, which costs nothing if it was wrong. Fencing, after several, hides the broker from clients and
//! from placement, for everybody alike, so it goes through the log and waits longer.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::metadata::{Command, Image};

/// Since when each broker is silent, in the eyes of the metadata leader.
#[derive(Debug, Default)]
pub(super) struct Fencing {
    silent_since: BTreeMap<u64, Duration>,
}

impl Fencing {
    /// Returns the commands that make the image agree with what is heard.
    ///
    /// `heard` says whether a broker answers, `now` is any clock that only goes forward. A new metadata
    /// leader starts with an empty `Fencing`, so it gives every broker the full time again.
    pub(super) fn step(
        &mut self,
        image: &Image,
        heard: impl Fn(u64) -> bool,
        now: Duration,
        fence_after: Duration,
    ) -> Vec<Command> {
        let mut commands = Vec::new();
        self.silent_since.retain(|broker, _| image.brokers.contains_key(broker));
        for broker in image.brokers.values() {
            if heard(broker.id) {
                self.silent_since.remove(&broker.id);
                if broker.fenced {
                    commands.push(Command::Unfence { broker: broker.id });
                }
                continue;
            }
            let since = *self.silent_since.entry(broker.id).or_insert(now);
            if !broker.fenced && now.saturating_sub(since) >= fence_after {
                commands.push(Command::Fence { broker: broker.id });
            }
        }
        commands
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostPort;
    use crate::metadata::Broker;

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
        };
        let brokers = brokers.iter().map(|it| (it.0, broker(it))).collect();
        Image { brokers, ..Image::default() }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_broker_is_fenced_after_the_whole_silence_and_not_before() {
        let mut fencing = Fencing::default();
        let image = image(&[(1, false), (2, false)]);
        let heard = |id| id == 1;
        assert_eq!(fencing.step(&image, heard, at(100), AFTER), []);
        assert_eq!(fencing.step(&image, heard, at(109), AFTER), []);
        assert_eq!(fencing.step(&image, heard, at(110), AFTER), [Command::Fence { broker: 2 }]);
    }

    #[test]
    fn a_word_in_between_starts_the_silence_anew() {
        let mut fencing = Fencing::default();
        let image = image(&[(2, false)]);
        fencing.step(&image, |_| false, at(0), AFTER);
        fencing.step(&image, |_| true, at(9), AFTER);
        assert_eq!(fencing.step(&image, |_| false, at(10), AFTER), []);
        assert_eq!(fencing.step(&image, |_| false, at(19), AFTER), []);
        assert_eq!(fencing.step(&image, |_| false, at(20), AFTER), [Command::Fence { broker: 2 }]);
    }

    #[test]
    fn a_fenced_broker_returns_as_soon_as_it_is_heard_and_is_not_fenced_twice() {
        let mut fencing = Fencing::default();
        let image = image(&[(2, true)]);
        assert_eq!(fencing.step(&image, |_| false, at(0), AFTER), []);
        assert_eq!(fencing.step(&image, |_| false, at(60), AFTER), []);
        assert_eq!(fencing.step(&image, |_| true, at(61), AFTER), [Command::Unfence { broker: 2 }]);
    }
}
