//! Connections that are reset: both ends are told that they are over, and may connect anew at once.
//!
//! What was under way on them is lost while the network stays whole, so requests arrive whose answers do not, far more
//! often than by cuts and deaths.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::target::{TargetClass, brokers, clients, lines, named, sent_by};
use super::{Fault, Outcome, installed, skipped};
use crate::net::{Counters, HostId};
use crate::sandbox::Cluster;

#[derive(Default)]
struct Reset {
    what: String,
    links: Vec<(HostId, HostId)>,
    before: Counters,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<Reset>::default()
}

/// How long a connection lasts; the longest time ends each that there is once, and no other.
const LASTS: [Duration; 4] = [
    Duration::MAX,
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(1_000),
];

/// Which connections of a broker.
#[derive(Clone, Copy, Debug)]
enum ConnectionClass {
    /// Those with clients, when the broker answers.
    Answers,
    Clients,
    Brokers,
    All,
}

const WHICH: [ConnectionClass; 4] = [
    ConnectionClass::Answers,
    ConnectionClass::Clients,
    ConnectionClass::Brokers,
    ConnectionClass::All,
];

impl ConnectionClass {
    fn links(self, some: &[u64], cluster: &Cluster) -> Vec<(HostId, HostId)> {
        let far = match self {
            ConnectionClass::Answers | ConnectionClass::Clients => clients(cluster),
            ConnectionClass::Brokers => brokers(cluster),
            ConnectionClass::All => [brokers(cluster), clients(cluster)].concat(),
        };
        let mut links = lines(some, &far);
        if matches!(self, ConnectionClass::Answers) {
            sent_by(some, &mut links);
        }
        links
    }
}

impl Fault for Reset {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let lasts = LASTS.choose(random).copied().unwrap_or(Duration::MAX);
        let which = WHICH.choose(random).copied().unwrap_or(ConnectionClass::All);
        let who = TargetClass::any(
            &[TargetClass::Leader, TargetClass::Leader, TargetClass::One, TargetClass::All],
            random,
        );
        let some = who.pick(cluster, random);
        if some.is_empty() {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        }
        self.links = which.links(&some, cluster);
        let when = match lasts {
            Duration::MAX => "once".to_owned(),
            lasts => format!("after {lasts:?}"),
        };
        self.what = format!("{who:?}: {}: {which:?}, each connection {when}", named(&some));
        let network = cluster.network();
        self.before = network.counters(&self.links);
        network.adjust(&self.links, |rule| rule.reset = Some(lasts));
        Ok(installed(&self.what, format!("rules of {} directed links", self.links.len())))
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let network = cluster.network();
        network.adjust(&self.links, |rule| rule.reset = None);
        let met = network.counters(&self.links).since(&self.before);
        self.links.clear();
        match met.reset {
            0 => Ok(skipped(format!("{}: nothing was sent on an old connection", self.what))),
            count => Ok(installed("connections last", format!("{count} packets answered by RST"))),
        }
    }
}
