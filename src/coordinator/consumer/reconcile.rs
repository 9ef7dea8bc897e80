//! How a member comes from what it reads to what it is to read (KIP-848, "Reconciliation").
//!
//! ```text
//!            has to give something back        it says that it has
//!  at rest ───────────────────────────▶ giving back ─────────┐
//!     │                                                       ▼
//!     └──────────────────────────────────────────▶ next epoch, with what is free of its target
//!                                                     │ something is not free
//!                                                     ▼
//!                                                  waiting ──(each time it is heard)──▶ with what became free
//! ```
//!
//! Invariant: no partition is with two members, what one has yet to give back included.

use uuid::Uuid;

use crate::coordinator::record::{ConsumerMember, Parts};

/// Takes a member as far towards its target as it can come now.
///
/// `owned`: what it says to have, if it says so. `is_free`: whether no other member has a partition.
pub(super) fn reconcile(
    member: &ConsumerMember,
    assignment_epoch: i32,
    owned: Option<&Parts>,
    is_free: impl Fn(Uuid, i32) -> bool,
) -> ConsumerMember {
    // Before it has not given back all it had to, it stays where it is.
    if !member.revoking.is_empty() && has_any(owned, &member.revoking) {
        return member.clone();
    }
    if member.is_done(assignment_epoch) {
        return member.clone();
    }
    let kept = both(&member.parts, &member.target);
    let revoking = without(&member.parts, &kept);
    let mut next = ConsumerMember { parts: kept, ..member.clone() };
    if !revoking.is_empty() && has_any(owned, &revoking) {
        (next.revoking, next.is_waiting) = (revoking, false);
        return next;
    }
    next.revoking = Parts::new();
    next.is_waiting = false;
    for (topic, partitions) in &member.target {
        for partition in partitions {
            let has = next.parts.get(topic).is_some_and(|it| it.contains(partition));
            if has {
                continue;
            }
            if is_free(*topic, *partition) {
                next.parts.entry(*topic).or_default().insert(*partition);
            } else {
                next.is_waiting = true;
            }
        }
    }
    if next.epoch != assignment_epoch {
        (next.previous_epoch, next.epoch) = (next.epoch, assignment_epoch);
    }
    next
}

/// Whether some of `parts` are among what a member says to have. Who says nothing may have all.
fn has_any(owned: Option<&Parts>, parts: &Parts) -> bool {
    owned.is_none_or(|owned| !both(owned, parts).is_empty())
}

/// What is in both.
pub(super) fn both(one: &Parts, other: &Parts) -> Parts {
    let common = one.iter().filter_map(|(topic, partitions)| {
        let common = partitions & other.get(topic)?;
        (!common.is_empty()).then_some((*topic, common))
    });
    common.collect()
}

/// What of `all` is not in `those`.
pub(super) fn without(all: &Parts, those: &Parts) -> Parts {
    let rest = all.iter().filter_map(|(topic, partitions)| {
        let rest = match those.get(topic) {
            Some(those) => partitions - those,
            None => partitions.clone(),
        };
        (!rest.is_empty()).then_some((*topic, rest))
    });
    rest.collect()
}

/// Whether all of `some` is in `all`.
pub(super) fn holds(all: &Parts, some: &Parts) -> bool {
    without(some, all).is_empty()
}

#[cfg(test)]
mod tests;
