//! The answers given to recent requests, so that a request is carried out once however often it arrives.
//!
//! A sender that did not learn the outcome repeats its command, and the first attempt may still be on its way: through
//! a leader that was cut off, say. Arriving late it would undo what others did meanwhile; a topic that was created,
//! deleted and created again by an echo is a topic back from the dead. So a request carries an id, and the second
//! time it is answered as the first.
//!
//! How much is remembered is a constant and not a setting, because replicas that disagree about it would disagree about
//! the image; so it changes with a feature level only. A sender may repeat for five minutes, in which a few clients create tens of thousands of topics;
//! what was carried out costs few bytes to remember, and only refusals cost more, for they say why. So there is a bound
//! on the number and one on the bytes, and the oldest go first.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::metadata::{Reply, encode};

/// Requests remembered: some ten MiB of memory and two of checkpoint when all were carried out.
const REQUESTS_MAX: usize = 65_536;
/// Encoded bytes of the replies remembered.
const REPLY_BYTES_MAX: usize = 8 * 1024 * 1024;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RequestDeduplication {
    order: VecDeque<Uuid>,
    replies: BTreeMap<Uuid, Reply>,
    reply_bytes: usize,
}

/// As it is checkpointed, oldest first.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Stored(Vec<(Uuid, Reply)>);

impl RequestDeduplication {
    pub(super) fn get(&self, request: &Uuid) -> Option<&Reply> {
        self.replies.get(request)
    }

    pub(super) fn remember(&mut self, request: Uuid, reply: Reply) {
        self.order.push_back(request);
        self.reply_bytes += bytes_of(&reply);
        self.replies.insert(request, reply);
        while self.order.len() > REQUESTS_MAX || self.reply_bytes > REPLY_BYTES_MAX {
            let oldest = self.order.pop_front().and_then(|oldest| self.replies.remove(&oldest));
            self.reply_bytes -= oldest.as_ref().map_or(0, bytes_of);
        }
    }

    pub(super) fn store(&self) -> Stored {
        Stored(self.order.iter().map(|id| (*id, self.replies[id].clone())).collect())
    }
}

/// The same on every broker, unlike what it takes in memory.
fn bytes_of(reply: &Reply) -> usize {
    encode(reply).len()
}

impl From<Stored> for RequestDeduplication {
    fn from(stored: Stored) -> Self {
        let mut deduplication = Self::default();
        for (request, reply) in stored.0 {
            deduplication.remember(request, reply);
        }
        deduplication
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{AdminError, Done};

    #[test]
    fn the_oldest_are_forgotten_and_the_rest_survives_a_checkpoint() {
        let mut deduplication = RequestDeduplication::default();
        let id = |number: usize| Uuid::from_u128(number as u128);
        for number in 0..=REQUESTS_MAX {
            deduplication.remember(id(number), Ok(Done::Changed));
        }
        assert_eq!(deduplication.get(&id(0)), None);
        assert_eq!(deduplication.get(&id(1)), Some(&Ok(Done::Changed)));
        assert_eq!(RequestDeduplication::from(deduplication.store()), deduplication);
    }

    #[test]
    fn long_refusals_are_bounded_in_bytes() {
        let mut deduplication = RequestDeduplication::default();
        let long = Err(AdminError::InvalidRequest("x".repeat(100_000)));
        for number in 0..100 {
            deduplication.remember(Uuid::from_u128(number), long.clone());
        }
        assert_eq!(deduplication.replies.len(), REPLY_BYTES_MAX / bytes_of(&long));
        assert!(deduplication.replies.contains_key(&Uuid::from_u128(99)), "the newest stays");
        assert_eq!(RequestDeduplication::from(deduplication.store()), deduplication);
    }
}
