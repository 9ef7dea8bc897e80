//! Who leads which group, from two sources.
//!
//! A broker that runs a replica knows the leader from Raft itself; of the others it hears by gossip: a
//! leader tells every broker which group it leads in which term. Terms order all of it. A claim of an
//! old term is no knowledge at all once a newer term was seen without a leader, for a client sent to a
//! deposed leader only finds out by being refused.
//!
//! Invariant: the epoch reported of a group never goes back; unknown is `None`, never epoch 0.

use std::collections::HashMap;

use parking_lot::RwLock;
use quorate_raft::Leadership;
use quorate_storage::GroupId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// A partition's leader and the epoch it leads in (the Raft term).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    pub id: u64,
    pub epoch: i32,
}

/// What a leader says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderClaim {
    pub group: u64,
    pub term: u64,
    pub leader: u64,
}

/// The table of leaders.
#[derive(Debug, Default)]
pub struct Leaders {
    /// Two maps under locks rather than an owner task: the Kafka interface reads them once per partition of
    /// every metadata answer, and no write holds them longer than one insertion.
    local: RwLock<HashMap<GroupId, watch::Receiver<Leadership>>>,
    heard: RwLock<HashMap<GroupId, LeaderClaim>>,
    /// Bumped whenever an answer of [`Leaders::get`] may have changed.
    changes: watch::Sender<u64>,
}

impl Leaders {
    /// Returns the leader of `group` of the highest term known.
    pub fn get(&self, group: GroupId) -> Option<Leader> {
        let local = self.local.read().get(&group).map(|leadership| *leadership.borrow());
        let heard = self.heard.read().get(&group).copied();
        choose(local, heard)
    }

    /// Returns a receiver that wakes when some leader may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Takes what Raft knows of a group that runs here.
    pub fn watch_local(&self, group: GroupId, leadership: watch::Receiver<Leadership>) {
        self.local.write().insert(group, leadership);
        self.announce();
    }

    /// Stops taking it, as the group no longer runs here.
    pub fn forget_local(&self, group: GroupId) {
        self.local.write().remove(&group);
        self.announce();
    }

    /// Wakes those who wait for changes.
    pub fn announce(&self) {
        self.changes.send_modify(|version| *version += 1);
    }

    /// Takes what another broker said; a claim of an older term than one heard is ignored.
    ///
    /// Wakes nobody when it was no news: two brokers that answered each other's silence would never stop.
    pub fn hear(&self, claims: &[LeaderClaim]) {
        let mut heard = self.heard.write();
        let mut news = false;
        for claim in claims {
            let known = heard.get(&GroupId(claim.group)).map(|newest| newest.term);
            if known.is_none_or(|term| claim.term > term) {
                heard.insert(GroupId(claim.group), *claim);
                news = true;
            }
        }
        drop(heard);
        if news {
            self.announce();
        }
    }

    /// Forgets what was heard of groups for which `exists` is false.
    pub fn retain(&self, exists: impl Fn(GroupId) -> bool) {
        self.heard.write().retain(|group, _| exists(*group));
    }

    /// Returns the groups `me` leads and may say so: it has applied an entry of its own term.
    pub fn led_by(&self, me: u64) -> Vec<LeaderClaim> {
        let local = self.local.read();
        local
            .iter()
            .filter_map(|(group, leadership)| claim_of(me, *group, *leadership.borrow()))
            .collect()
    }
}

fn claim_of(me: u64, group: GroupId, leadership: Leadership) -> Option<LeaderClaim> {
    (leadership.leader == Some(me) && leadership.ready).then_some(LeaderClaim {
        group: group.0,
        term: leadership.term,
        leader: me,
    })
}

fn choose(local: Option<Leadership>, heard: Option<LeaderClaim>) -> Option<Leader> {
    let (term, id) = match (local, heard) {
        (Some(local), Some(heard)) if heard.term > local.term => (heard.term, heard.leader),
        // The same term has one leader, so a claim fills in what Raft has not told this replica yet.
        (Some(local), Some(heard)) if heard.term == local.term => {
            (local.term, local.leader.unwrap_or(heard.leader))
        }
        (Some(local), _) => (local.term, local.leader?),
        (None, Some(heard)) => (heard.term, heard.leader),
        (None, None) => return None,
    };
    // A term past i32 would take two billion elections; such a leader is not reported at all.
    i32::try_from(term).ok().map(|epoch| Leader { id, epoch })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(term: u64, leader: Option<u64>) -> Option<Leadership> {
        let ready = leader.is_some();
        Some(Leadership { leader, term, ready, ready_since: None })
    }

    fn heard(term: u64, leader: u64) -> Option<LeaderClaim> {
        Some(LeaderClaim { group: 1, term, leader })
    }

    #[test]
    fn the_highest_term_wins_and_an_unknown_leader_is_none() {
        assert_eq!(choose(None, None), None);
        assert_eq!(choose(local(3, None), None), None);
        assert_eq!(choose(local(3, Some(1)), None), Some(Leader { id: 1, epoch: 3 }));
        assert_eq!(choose(None, heard(4, 2)), Some(Leader { id: 2, epoch: 4 }));
        assert_eq!(choose(local(3, Some(1)), heard(4, 2)), Some(Leader { id: 2, epoch: 4 }));
        assert_eq!(choose(local(5, Some(1)), heard(4, 2)), Some(Leader { id: 1, epoch: 5 }));
    }

    #[test]
    fn a_deposed_leader_is_not_reported_while_a_newer_term_has_none() {
        assert_eq!(choose(local(5, None), heard(4, 2)), None);
        assert_eq!(choose(local(5, None), heard(5, 2)), Some(Leader { id: 2, epoch: 5 }));
    }

    #[test]
    fn an_older_claim_does_not_replace_a_newer_one() {
        let leaders = Leaders::default();
        leaders.hear(&[LeaderClaim { group: 1, term: 7, leader: 3 }]);
        leaders.hear(&[LeaderClaim { group: 1, term: 6, leader: 2 }]);
        assert_eq!(leaders.get(GroupId(1)), Some(Leader { id: 3, epoch: 7 }));
        leaders.retain(|_| false);
        assert_eq!(leaders.get(GroupId(1)), None);
    }

    #[test]
    fn only_news_wakes_those_who_wait() {
        let leaders = Leaders::default();
        let claim = LeaderClaim { group: 1, term: 7, leader: 3 };
        let mut changes = leaders.changes();
        leaders.hear(&[claim]);
        assert!(changes.has_changed().unwrap());
        changes.borrow_and_update();
        leaders.hear(&[]);
        leaders.hear(&[claim, LeaderClaim { term: 6, ..claim }]);
        assert!(!changes.has_changed().unwrap());
    }

    #[test]
    fn only_a_ready_leader_claims() {
        let leaders = Leaders::default();
        let (told, leadership) =
            watch::channel(Leadership { leader: Some(1), term: 2, ..Leadership::default() });
        leaders.watch_local(GroupId(9), leadership);
        assert_eq!(leaders.led_by(1), []);
        told.send_modify(|leadership| leadership.ready = true);
        assert_eq!(leaders.led_by(1), [LeaderClaim { group: 9, term: 2, leader: 1 }]);
        assert_eq!(leaders.led_by(2), []);
    }
}
