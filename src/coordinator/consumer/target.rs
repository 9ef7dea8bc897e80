//! What is to be read by whom: what the members subscribe to, the epoch that a change of it makes, and the parts for that.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::assignor::{Assignor, Subscriber};
use super::{Changed, Group, Topics};
use crate::coordinator::record::{ConsumerMember, SeenTopic};

impl Group {
    /// Looks up what is subscribed to, and assigns anew if the group reads something else than before, or by `must`.
    ///
    /// A new leader's image may lag behind the one that was assigned by: until it has caught up, what was seen then counts.
    pub(super) fn refresh(&mut self, topics: &dyn Topics, must: bool, changed: &mut Changed) {
        let (version, head) = (topics.version(), &self.consumer.head);
        let lags = version < head.seen;
        if !must && (lags || self.seen == Some(version)) {
            return;
        }
        let find = |name: &String| match head.topics.get(name) {
            Some(seen) if lags => Some(*seen),
            _ => topics.find(name),
        };
        let names = self.subscribed();
        let found = names.into_iter().filter_map(|name| Some((find(&name)?, name)));
        let found: BTreeMap<String, SeenTopic> = found.map(|(topic, name)| (name, topic)).collect();
        self.seen = Some(version);
        if must || found != self.consumer.head.topics {
            let head = &mut self.consumer.head;
            (head.topics, head.seen) = (found, head.seen.max(version));
            self.assign(changed);
        }
    }

    /// Assigns anew because somebody is gone; of the topics nothing new is known.
    pub(super) fn refresh_without_topics(&mut self, changed: &mut Changed) {
        if self.has_members() && self.is_classic_alone() {
            // They go on by the classic protocol, with what they have until its rebalance.
            return;
        }
        let names = self.subscribed();
        self.consumer.head.topics.retain(|name, _| names.contains(name));
        self.assign(changed);
    }

    /// The names of what the members read.
    fn subscribed(&self) -> BTreeSet<String> {
        let head = &self.consumer.head;
        let members = self.consumer.members.values();
        members.flat_map(|member| reads(member, &head.matched)).cloned().collect()
    }

    /// Begins an epoch, and assigns for it.
    fn assign(&mut self, changed: &mut Changed) {
        let members = &self.consumer.members;
        let is_used = |regex: &String| members.values().any(|member| member.regex == *regex);
        self.consumer.head.matched.retain(|regex, _| is_used(regex));
        let head = &self.consumer.head;
        let subscribers: Vec<Subscriber<'_>> = members
            .iter()
            .map(|(id, member)| {
                let seen = reads(member, &head.matched).filter_map(|name| head.topics.get(name));
                let topics: BTreeMap<Uuid, i32> = seen.map(|it| (it.id, it.partitions)).collect();
                let instance_id = member.instance_id.as_deref();
                Subscriber { id, instance_id, topics, target: &member.target }
            })
            .collect();
        let assignor = self.assignor();
        let targets = assignor.assign(&subscribers);
        let ids: Vec<String> = members.keys().cloned().collect();
        for (id, target) in ids.into_iter().zip(targets) {
            let Some(member) = self.consumer.members.get_mut(&id) else { continue };
            if member.target != target {
                member.target = target;
                changed.members.insert(id);
            }
        }
        let head = &mut self.consumer.head;
        head.epoch = head.epoch.saturating_add(1);
        head.assignment_epoch = head.epoch;
        assignor.name().clone_into(&mut head.assignor);
        changed.head = true;
    }

    /// The assignor that most members ask for.
    fn assignor(&self) -> Assignor {
        let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
        for member in self.consumer.members.values() {
            let asked = member.assignor.as_deref().and_then(Assignor::named);
            asked.into_iter().for_each(|it| *votes.entry(it).or_default() += 1);
        }
        votes.into_iter().max_by_key(|(_, votes)| *votes).map_or(Assignor::DEFAULT, |(it, _)| it)
    }
}

/// The names of what a member reads.
fn reads<'a>(
    member: &'a ConsumerMember,
    matched: &'a BTreeMap<String, BTreeSet<String>>,
) -> impl Iterator<Item = &'a String> {
    member.topics.iter().chain(matched.get(&member.regex).into_iter().flatten())
}
