//! Telling every broker which groups this one leads.
//!
//! Brokers that run a replica need no telling; this is for the others, whose clients ask them too. One
//! task per peer sends what that peer has not been told, as soon as it changes. A peer answers with a
//! number of its own run: another number means it restarted and forgot, so it is told everything again. It
//! also says whether it holds this broker for fenced (`fenced_status.rs`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_raft::Node;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::calls::{AnnounceReply as Answer, LEADERS};
use super::fenced_status::FencedStatus;
use crate::metadata::{LeaderClaim, Metadata, decode, encode};

/// Claims per call: about 60 KiB, well under any frame.
const CLAIMS: usize = 4_096;
/// An election moves many groups within milliseconds; one message carries them.
const GATHER: Duration = Duration::from_millis(5);
/// How often a peer that has been told everything is asked whether it still is the same process.
const RECALL: Duration = Duration::from_secs(2);
/// After a peer did not answer.
const RETRY: Duration = Duration::from_millis(200);
const CALL: Duration = Duration::from_secs(2);

/// The driver of the gossip.
pub(crate) struct Gossip {
    pub(crate) node: Arc<Node>,
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) fenced_status: Arc<FencedStatus>,
}

impl Gossip {
    /// Runs until dropped.
    pub(crate) async fn run(self) {
        let mut images = self.metadata.watch();
        let mut told: BTreeMap<u64, AbortHandle> = BTreeMap::new();
        let mut tellers = JoinSet::new();
        loop {
            let image = Arc::clone(&images.borrow_and_update());
            told.retain(|peer, teller| {
                let member = image.brokers.contains_key(peer);
                if !member {
                    teller.abort();
                }
                member
            });
            while tellers.try_join_next().is_some() {}
            for peer in image.brokers.keys().copied().filter(|peer| *peer != self.node.id()) {
                told.entry(peer).or_insert_with(|| {
                    let (node, metadata) = (Arc::clone(&self.node), Arc::clone(&self.metadata));
                    tellers.spawn(tell(node, metadata, Arc::clone(&self.fenced_status), peer))
                });
            }
            if images.changed().await.is_err() {
                return;
            }
        }
    }
}

async fn tell(
    node: Arc<Node>,
    metadata: Arc<Metadata>,
    fenced_status: Arc<FencedStatus>,
    peer: u64,
) {
    let mut changes = metadata.leaders().changes();
    let mut told = Announced::default();
    loop {
        changes.borrow_and_update();
        let news = told.news(metadata.leaders().led_by(node.id()));
        if tell_all(&node, &fenced_status, peer, news, &mut told).await {
            let _ = timeout(RECALL, changes.changed()).await;
            sleep(GATHER).await;
        } else {
            sleep(RETRY).await;
        }
    }
}

/// Sends the claims; false when they have to be looked at again soon.
async fn tell_all(
    node: &Node,
    fenced_status: &FencedStatus,
    peer: u64,
    news: Vec<LeaderClaim>,
    told: &mut Announced,
) -> bool {
    let mut rest = news.as_slice();
    loop {
        let (now, later) = rest.split_at(rest.len().min(CLAIMS));
        let body = Bytes::from(encode(&now));
        let Ok(answer) = node.call(peer, LEADERS, body, CALL).await else { return false };
        let Ok(answer) = decode::<Answer>(&answer) else { return false };
        fenced_status.hear(answer.index, answer.fenced);
        if !told.accept(answer.boot, now) {
            return false;
        }
        if later.is_empty() {
            return true;
        }
        rest = later;
    }
}

/// What one peer has been told since it started.
#[derive(Debug, Default)]
struct Announced {
    boot: Option<u64>,
    terms: HashMap<u64, u64>,
}

impl Announced {
    /// Returns the claims the peer does not know, and forgets those no longer made.
    fn news(&mut self, claims: Vec<LeaderClaim>) -> Vec<LeaderClaim> {
        let made: HashMap<u64, u64> = claims.iter().map(|it| (it.group, it.term)).collect();
        self.terms.retain(|group, term| made.get(group) == Some(term));
        claims.into_iter().filter(|claim| !self.terms.contains_key(&claim.group)).collect()
    }

    /// Notes that the peer took `claims`; false when it is another process than the one told before.
    fn accept(&mut self, boot: u64, claims: &[LeaderClaim]) -> bool {
        let same = self.boot.is_none_or(|known| known == boot);
        if !same {
            self.terms.clear();
        }
        self.boot = Some(boot);
        self.terms.extend(claims.iter().map(|claim| (claim.group, claim.term)));
        same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(group: u64, term: u64) -> LeaderClaim {
        LeaderClaim { group, term, leader: 1 }
    }

    #[test]
    fn only_what_is_new_to_the_peer_is_told() {
        let mut told = Announced::default();
        assert_eq!(told.news(vec![claim(1, 5)]), [claim(1, 5)]);
        assert!(told.accept(77, &[claim(1, 5)]));
        assert_eq!(told.news(vec![claim(1, 5), claim(2, 1)]), [claim(2, 1)]);
        assert_eq!(told.news(vec![claim(1, 6)]), [claim(1, 6)]);
    }

    #[test]
    fn a_leadership_lost_and_regained_is_told_again() {
        let mut told = Announced::default();
        told.accept(77, &[claim(1, 5)]);
        assert_eq!(told.news(vec![]), []);
        assert_eq!(told.news(vec![claim(1, 7)]), [claim(1, 7)]);
    }

    #[test]
    fn a_peer_that_restarted_is_told_everything() {
        let mut told = Announced::default();
        assert!(told.accept(77, &[claim(1, 5), claim(2, 5)]));
        assert!(!told.accept(78, &[claim(3, 5)]));
        assert_eq!(told.news(vec![claim(1, 5), claim(2, 5), claim(3, 5)]).len(), 2);
    }
}
