use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::{Assignor, Subscriber};
use crate::coordinator::record::Parts;

fn topic(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// Members by id with the topics they read and what they had.
type Members = BTreeMap<String, (BTreeMap<Uuid, i32>, Parts)>;

fn assign(assignor: Assignor, members: &Members) -> Vec<Parts> {
    let subscribers: Vec<Subscriber<'_>> = members
        .iter()
        .map(|(id, (topics, target))| Subscriber {
            id,
            instance_id: None,
            topics: topics.clone(),
            target,
        })
        .collect();
    assignor.assign(&subscribers)
}

/// Lets an assignor assign, and takes that over.
fn reassign(assignor: Assignor, members: &mut Members) {
    let parts = assign(assignor, members);
    members.values_mut().zip(parts).for_each(|((_, had), part)| *had = part);
}

fn count(parts: &Parts) -> usize {
    parts.values().map(std::collections::BTreeSet::len).sum()
}

fn moved(before: &Members, after: &Members) -> usize {
    let kept = |(id, (_, had)): (&String, &(BTreeMap<Uuid, i32>, Parts))| {
        let Some((_, now)) = after.get(id) else { return 0 };
        count(&super::super::reconcile::both(had, now))
    };
    after.values().map(|(_, parts)| count(parts)).sum::<usize>()
        - before.iter().map(kept).sum::<usize>()
}

#[test]
fn every_partition_goes_to_one_who_reads_it_whatever_was_before() {
    for seed in 0..300 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let sizes: BTreeMap<Uuid, i32> =
            (0..rng.random_range(1..6)).map(|it| (topic(it), rng.random_range(1..12))).collect();
        let mut members = Members::new();
        for member in 0..rng.random_range(1..8) {
            let reads: BTreeMap<Uuid, i32> =
                sizes.iter().filter(|_| rng.random_bool(0.7)).map(|(id, it)| (*id, *it)).collect();
            // Also partitions that are not there, that others have too, and of topics it does not read.
            let had = (0..4).map(|it| (topic(it), (0..rng.random_range(1..15)).collect()));
            members.insert(format!("m{member}"), (reads, had.collect()));
        }
        for assignor in Assignor::ALL {
            let parts = assign(assignor, &members);
            let mut owners: BTreeMap<(Uuid, i32), usize> = BTreeMap::new();
            for ((reads, _), part) in members.values().zip(&parts) {
                for (topic, partitions) in part {
                    assert!(!partitions.is_empty(), "seed {seed}");
                    for partition in partitions {
                        assert!(
                            reads.get(topic).is_some_and(|size| (0..*size).contains(partition))
                        );
                        *owners.entry((*topic, *partition)).or_default() += 1;
                    }
                }
            }
            assert!(owners.values().all(|owners| *owners == 1), "seed {seed}: {owners:?}");
            let read = |id: &Uuid| members.values().any(|(reads, _)| reads.contains_key(id));
            let all: i32 = sizes.iter().filter(|(id, _)| read(id)).map(|(_, size)| size).sum();
            assert_eq!(i32::try_from(owners.len()), Ok(all), "seed {seed}, {assignor:?}");
        }
    }
}

#[test]
fn uniform_is_even_and_moves_no_more_than_that_takes() {
    let reads: BTreeMap<Uuid, i32> = [(topic(1), 7), (topic(2), 5), (topic(3), 1)].into();
    let mut members = Members::new();
    for (number, expected) in [(1, 13), (2, 6), (3, 4), (4, 3), (5, 2)] {
        let before = members.clone();
        members.insert(format!("m{number}"), (reads.clone(), Parts::new()));
        reassign(Assignor::Uniform, &mut members);
        let counts = members.values().map(|(_, parts)| count(parts));
        let (least, most) = (counts.clone().min().unwrap_or(0), counts.max().unwrap_or(0));
        assert!(most - least <= 1, "{number} members: {least} to {most}");
        assert_eq!(moved(&before, &members), expected, "{number} members");
    }
    members.remove("m2");
    let before = members.clone();
    reassign(Assignor::Uniform, &mut members);
    assert_eq!(moved(&before, &members), 3, "only what the one that left had");
    let before = members.clone();
    reassign(Assignor::Uniform, &mut members);
    assert_eq!(before, members, "nothing happened, so nothing moves");
}

#[test]
fn uniform_minds_who_reads_what() {
    let all: BTreeMap<Uuid, i32> = [(topic(1), 6), (topic(2), 6)].into();
    let one: BTreeMap<Uuid, i32> = [(topic(1), 6)].into();
    let mut members = Members::new();
    members.insert("a".to_owned(), (all, Parts::new()));
    members.insert("b".to_owned(), (one, Parts::new()));
    reassign(Assignor::Uniform, &mut members);
    let expected: [Parts; 2] =
        [[(topic(2), (0..6).collect())].into(), [(topic(1), (0..6).collect())].into()];
    assert!(members.values().map(|(_, parts)| parts).eq(&expected), "{members:?}");
}

#[test]
fn range_gives_runs_and_the_same_ones_in_topics_alike() {
    let reads: BTreeMap<Uuid, i32> = [(topic(1), 5), (topic(2), 5), (topic(3), 1)].into();
    let empty = Parts::new();
    let member =
        |id, instance_id| Subscriber { id, instance_id, topics: reads.clone(), target: &empty };
    // In the order: the static ones by instance, then the others by id.
    let members = [member("a", None), member("z", Some("i1")), member("y", Some("i2"))];
    let parts = Assignor::Range.assign(&members);
    let runs: Vec<Vec<i32>> = parts
        .iter()
        .map(|part| part.get(&topic(1)).into_iter().flatten().copied().collect())
        .collect();
    assert_eq!(runs, [vec![4], vec![0, 1], vec![2, 3]]);
    assert!(parts.iter().all(|part| part.get(&topic(1)) == part.get(&topic(2))));
    assert_eq!(parts[1].get(&topic(3)), Some(&[0].into()));
}
