//! The answers given to recent requests, so that a request is carried out once however often it arrives.
//!
//! A sender that did not learn the outcome repeats its command, and the first attempt may still be on its way: through
//! a leader that was cut off, say. Arriving late it would undo what others did meanwhile; a topic that was created,
//! deleted and created again by an echo is a topic back from the dead. So a request carries an id, and the second
//! time it is answered as the first.
//!
//! The number remembered is a constant and not a setting, because replicas that disagree about it would disagree about
//! the image. An attempt is given up after seconds, in which far fewer requests than that are made.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::metadata::Reply;

/// Requests remembered: a few hundred KiB of memory and of checkpoint.
const REQUESTS_MAX: usize = 4_096;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answered {
    order: VecDeque<Uuid>,
    replies: BTreeMap<Uuid, Reply>,
}

/// As it is checkpointed, oldest first.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Stored(Vec<(Uuid, Reply)>);

impl Answered {
    pub(super) fn get(&self, request: &Uuid) -> Option<&Reply> {
        self.replies.get(request)
    }

    pub(super) fn remember(&mut self, request: Uuid, reply: Reply) {
        if self.order.len() == REQUESTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.replies.remove(&oldest);
        }
        self.order.push_back(request);
        self.replies.insert(request, reply);
    }

    pub(super) fn store(&self) -> Stored {
        Stored(self.order.iter().map(|id| (*id, self.replies[id].clone())).collect())
    }
}

impl From<Stored> for Answered {
    fn from(stored: Stored) -> Self {
        let mut answered = Self::default();
        for (request, reply) in stored.0 {
            answered.remember(request, reply);
        }
        answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Done;

    #[test]
    fn the_oldest_are_forgotten_and_the_rest_survives_a_checkpoint() {
        let mut answered = Answered::default();
        let id = |number: usize| Uuid::from_u128(number as u128);
        for number in 0..=REQUESTS_MAX {
            answered.remember(id(number), Ok(Done::Changed));
        }
        assert_eq!(answered.get(&id(0)), None);
        assert_eq!(answered.get(&id(1)), Some(&Ok(Done::Changed)));
        assert_eq!(Answered::from(answered.store()), answered);
    }
}
