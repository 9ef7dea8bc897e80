//! Which groups a new image says something new about; pure.
//!
//! Images share the topics that did not change, so comparing two costs one pointer per topic (and one for all internal
//! groups). Looking at
//! every partition after every command would make creating many topics quadratic.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_storage::GroupId;

use crate::metadata::{Image, Topic};

/// Returns the internal groups, and the groups of topics, that are in one image and not, or differently, in the other.
pub(super) fn changed_groups(before: &Image, after: &Image) -> BTreeSet<GroupId> {
    let mut changed = BTreeSet::new();
    let mut add = |topic: &Topic| changed.extend(topic.partitions.iter().map(|it| it.group));
    let mut old = before.topics.values().peekable();
    let mut new = after.topics.values().peekable();
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => None,
            (Some(old), Some(new)) => Some(old.name.cmp(&new.name)),
            (Some(_), None) => Some(Ordering::Less),
            (None, Some(_)) => Some(Ordering::Greater),
            (None, None) => break,
        };
        if order.is_none_or(Ordering::is_le) {
            let gone = old.next();
            if order.is_some() {
                gone.into_iter().for_each(|topic| add(topic));
            }
        }
        if order.is_none_or(Ordering::is_ge) {
            let come = new.next();
            if order.is_some() {
                come.into_iter().for_each(|topic| add(topic));
            }
        }
    }
    if !Arc::ptr_eq(&before.internal, &after.internal) {
        changed.extend(after.internal.changed(&before.internal));
    }
    changed
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::metadata::{PartitionInfo, TopicConfigs};

    fn topic(name: &str, group: u64) -> Arc<Topic> {
        let partitions = vec![PartitionInfo::new(GroupId(group), vec![1])];
        let (id, configs) = (Uuid::from_u64_pair(0, group), TopicConfigs::default());
        Arc::new(Topic { name: name.into(), id, partitions, configs })
    }

    fn image(topics: &[&Arc<Topic>]) -> Image {
        let topics = topics.iter().map(|it| (it.name.clone(), Arc::clone(it))).collect();
        Image { topics, ..Image::default() }
    }

    fn changed(before: &[&Arc<Topic>], after: &[&Arc<Topic>]) -> Vec<u64> {
        changed_groups(&image(before), &image(after)).into_iter().map(|group| group.0).collect()
    }

    #[test]
    fn only_topics_that_differ_count() {
        let (a, b, c) = (topic("a", 1), topic("b", 2), topic("c", 3));
        assert_eq!(changed(&[&a, &b, &c], &[&a, &b, &c]), [] as [u64; 0]);
        assert_eq!(changed(&[], &[&a, &b]), [1, 2]);
        assert_eq!(changed(&[&a, &c], &[&a, &b, &c]), [2]);
        assert_eq!(changed(&[&a, &b, &c], &[&b]), [1, 3]);
    }

    #[test]
    fn a_topic_created_anew_counts_with_its_old_groups_and_its_new() {
        let (a, b) = (topic("a", 1), topic("b", 2));
        assert_eq!(changed(&[&a, &b], &[&topic("a", 7), &b]), [1, 7]);
    }
}
