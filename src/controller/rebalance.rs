//! Handing leaderships back to preferred replicas.
//!
//! After a broker was away its groups are led by others, and stay so unless somebody acts; soon a few
//! brokers would lead everything. Each leader looks whether the preferred replica has been fit for a while
//! (a broker that comes and goes must not drag leaderships along) and hands over a few at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_storage::GroupId;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Controller;
use crate::metadata::Image;

const LOOK: Duration = Duration::from_secs(1);
/// How long the preferred replica must have been fit.
const FIT_FOR: Duration = Duration::from_secs(10);
/// Hand-overs per look: each stops its group's writes for some milliseconds.
const PACE: usize = 20;
/// Entries the preferred replica may lack; a transfer waits for them with writes stopped.
const LAG_MAX: u64 = 100;

/// The driver.
pub(crate) struct Rebalance {
    pub(crate) controller: Arc<Controller>,
}

impl Rebalance {
    /// Runs until dropped.
    pub(crate) async fn run(self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut patience = Patience::default();
        loop {
            looks.tick().await;
            let fit = self.fit();
            for (group, to) in patience.due(fit, Instant::now()) {
                match self.controller.transfer_here(group, to).await {
                    Ok(()) => tracing::debug!(group = group.0, to, "leadership handed back"),
                    Err(error) => {
                        tracing::debug!(group = group.0, to, %error, "leadership kept");
                        patience.since.remove(&group);
                    }
                }
            }
        }
    }

    /// The groups led here whose preferred replica is another one and could take over now.
    fn fit(&self) -> BTreeMap<GroupId, u64> {
        let me = self.controller.node().id();
        let image = self.controller.metadata().image();
        let led = self.controller.metadata().leaders().led_by(me);
        let groups = led.into_iter().map(|claim| GroupId(claim.group));
        groups.filter_map(|group| self.fit_for(&image, me, group).map(|to| (group, to))).collect()
    }

    fn fit_for(&self, image: &Image, me: u64, group: GroupId) -> Option<u64> {
        let (_, info) = image.placed(group)?;
        let to = info.preferred().filter(|to| *to != me && info.target.is_none())?;
        let live = image.brokers.get(&to).is_some_and(|broker| !broker.fenced);
        if !live || !self.controller.node().alive(to) || self.controller.clock().is_off(to) {
            return None;
        }
        let status = self.controller.node().status(group)?;
        let close = |it: &quorate_raft::FollowerStatus| it.id == to && it.lag <= LAG_MAX;
        status.followers.iter().any(close).then_some(to)
    }
}

/// Since when each preferred replica has been fit.
#[derive(Debug, Default)]
struct Patience {
    since: BTreeMap<GroupId, (u64, Instant)>,
}

impl Patience {
    fn due(&mut self, fit: BTreeMap<GroupId, u64>, now: Instant) -> Vec<(GroupId, u64)> {
        self.since.retain(|group, (to, _)| fit.get(group) == Some(to));
        for (group, to) in fit {
            self.since.entry(group).or_insert((to, now));
        }
        let ripe = self.since.iter().filter(|(_, (_, since))| now - *since >= FIT_FOR);
        ripe.map(|(group, (to, _))| (*group, *to)).take(PACE).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(groups: &[(u64, u64)]) -> BTreeMap<GroupId, u64> {
        groups.iter().map(|(group, to)| (GroupId(*group), *to)).collect()
    }

    #[test]
    fn a_replica_must_be_fit_for_the_whole_time() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        assert_eq!(patience.due(fit(&[(1, 3)]), start), []);
        assert_eq!(patience.due(fit(&[]), start + FIT_FOR / 2), []);
        assert_eq!(patience.due(fit(&[(1, 3)]), start + FIT_FOR), []);
        assert_eq!(patience.due(fit(&[(1, 3)]), start + FIT_FOR * 2), [(GroupId(1), 3)]);
    }

    #[test]
    fn another_preferred_replica_starts_anew() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        patience.due(fit(&[(1, 3)]), start);
        assert_eq!(patience.due(fit(&[(1, 2)]), start + FIT_FOR), []);
    }

    #[test]
    fn hand_overs_are_paced() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        let many: Vec<_> = (1..100).map(|group| (group, 3)).collect();
        patience.due(fit(&many), start);
        assert_eq!(patience.due(fit(&many), start + FIT_FOR).len(), PACE);
    }
}
