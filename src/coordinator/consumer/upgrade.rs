//! A group of the classic protocol as one of the consumer protocol (KIP-848, "Online upgrade").
//!
//! Everybody has what was assigned. While a generation is beginning nothing is, and members that rebalance cooperatively go on
//! reading what they said to have when they joined; so they have that. Of two who have the same the first has it.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::Topics;
use crate::coordinator::record::{
    Classic, ClassicSession, Consumer, ConsumerMember, Member, Parts, SeenTopic,
};
use crate::coordinator::subscription::{self, Named, Subscription};

/// `None` if its members are no consumers, or what their assignor has told them beside the partitions would be lost.
pub(in crate::coordinator) fn from_classic(
    classic: &Classic,
    topics: &dyn Topics,
) -> Option<Consumer> {
    if !classic.members.is_empty() && classic.protocol_type != subscription::CONSUMER {
        return None;
    }
    let mut consumer = Consumer::default();
    (consumer.head.epoch, consumer.head.assignment_epoch) =
        (classic.generation, classic.generation);
    consumer.head.seen = topics.version();
    let mut said = BTreeMap::new();
    for (id, record) in &classic.members {
        let subscription = subscription_of(classic, record)?;
        for name in &subscription.topics {
            let topic = topics.find(name).map(|topic| (name.clone(), topic));
            consumer.head.topics.extend(topic);
        }
        said.insert(id, subscription);
    }
    let mut taken = BTreeSet::new();
    let mut parts: BTreeMap<&String, Parts> = BTreeMap::new();
    for (id, record) in &classic.members {
        let (named, has_more) = subscription::assigned(&record.assignment.0).unwrap_or_default();
        if has_more {
            return None;
        }
        parts.insert(id, claim(named, &consumer.head.topics, &mut taken));
    }
    for (id, subscription) in &said {
        let part = parts.entry(id).or_default();
        if part.is_empty() {
            *part = claim(subscription.owned.clone(), &consumer.head.topics, &mut taken);
        }
    }
    for (id, subscription) in said {
        let part = parts.remove(id).unwrap_or_default();
        let member = member(classic, &classic.members[id], subscription, part);
        consumer.members.insert(id.clone(), member);
    }
    Some(consumer)
}

/// What a member says to the assignor that was chosen, or before one is to the first.
fn subscription_of(classic: &Classic, record: &Member) -> Option<Subscription> {
    let protocol = classic.protocol.as_deref().unwrap_or_default();
    let chosen = Some(record.metadata(protocol)).filter(|it| !it.is_empty());
    let first = || record.protocols.first().map(|(_, metadata)| metadata.0.clone());
    Subscription::read(&chosen.or_else(first)?)
}

/// Of partitions those that are there and nobody has yet.
fn claim(
    named: Named,
    topics: &BTreeMap<String, SeenTopic>,
    taken: &mut BTreeSet<(Uuid, i32)>,
) -> Parts {
    let mut parts = Parts::new();
    for (name, partitions) in named {
        let Some(topic) = topics.get(&name) else { continue };
        let real = partitions.into_iter().filter(|it| (0..topic.partitions).contains(it));
        let own: BTreeSet<i32> = real.filter(|it| taken.insert((topic.id, *it))).collect();
        if !own.is_empty() {
            parts.entry(topic.id).or_default().extend(own);
        }
    }
    parts
}

fn member(
    classic: &Classic,
    record: &Member,
    subscription: Subscription,
    parts: Parts,
) -> ConsumerMember {
    ConsumerMember {
        instance_id: record.instance_id.clone(),
        rack: subscription.rack,
        client_id: record.client_id.clone(),
        client_host: record.client_host.clone(),
        rebalance_timeout_ms: record.rebalance_timeout_ms,
        topics: subscription.topics.into_iter().collect(),
        epoch: classic.generation,
        previous_epoch: classic.generation,
        target: parts.clone(),
        parts,
        classic: Some(ClassicSession {
            session_timeout_ms: record.session_timeout_ms,
            protocols: record.protocols.clone(),
        }),
        ..ConsumerMember::default()
    }
}
