//! Where internal groups are, and what that keeps others from.

use super::*;
use crate::metadata::{GroupKind, InternalId, InternalKind, InternalRequest};

const KIND: InternalKind = InternalKind(7);
const OTHER: InternalKind = InternalKind(8);

fn make(log: &mut Log, kind: InternalKind, count: u32) -> Reply {
    log.apply(Request::Internal(InternalRequest::Make { kind, count }))
}

fn move_to(log: &mut Log, number: u32, replicas: &[u64]) -> Reply {
    let group = group_of(log, number).0;
    log.apply(Request::Internal(InternalRequest::SetReplicas { group, replicas: replicas.into() }))
}

fn info(log: &Log, number: u32) -> PartitionInfo {
    log.image().internal.get(InternalId { kind: KIND, number }).unwrap().clone()
}

fn group_of(log: &Log, number: u32) -> GroupId {
    info(log, number).group
}

fn replicas(log: &Log) -> Vec<Vec<u64>> {
    log.image().internal.iter().map(|(_, info)| info.replicas.clone()).collect()
}

#[test]
fn those_that_are_missing_are_made_once_on_brokers_in_service() {
    let mut log = Log::with_brokers(2);
    log.apply(Request::Fence { broker: 1 }).unwrap();
    make(&mut log, KIND, 2).unwrap();
    assert_eq!(replicas(&log), [[2], [2]], "two brokers are too few for three replicas");
    let made = log.image();
    make(&mut log, KIND, 1).unwrap();
    assert_eq!(log.image().internal, made.internal, "there are as many already");
    log.create("a", 1, Some(1)).unwrap();
    make(&mut log, OTHER, 1).unwrap();
    make(&mut log, KIND, 3).unwrap();
    let groups: BTreeSet<u64> = (0..3).map(|number| group_of(&log, number).0).collect();
    assert_eq!(groups, [1, 2, 5].into(), "ids go on where those of partitions and others are");
    let image = log.image();
    assert_eq!(image.placed(GroupId(1)).unwrap().0, GroupKind::Internal(KIND));
    assert_eq!(image.placed(GroupId(3)).unwrap().0, GroupKind::Partition);
    assert!((1..6).all(|group| !image.deleted(GroupId(group))));
    assert_eq!(image.groups.len(), 1, "they are no partitions");
}

#[test]
fn with_three_brokers_they_have_three_replicas_spread_like_others() {
    let mut log = Log::with_brokers(4);
    make(&mut log, KIND, 8).unwrap();
    let load = Load { replicas: 6, leaders: 2 };
    assert_eq!(log.image().load, (1..=4).map(|broker| (broker, load)).collect());
}

#[test]
fn what_cannot_be_made_is_refused() {
    let mut log = Log::with_brokers(1);
    for count in [0, 1_001] {
        assert!(matches!(make(&mut log, KIND, count), Err(AdminError::InvalidRequest(_))));
    }
    log.apply(Request::Fence { broker: 1 }).unwrap();
    let none = AdminError::NotEnoughBrokers { wanted: 1, registered: 1, live: 0 };
    assert_eq!(make(&mut log, KIND, 1), Err(none));
    let unknown = InternalRequest::SetReplicas { group: 1, replicas: vec![1] };
    let refused = log.apply(Request::Internal(unknown));
    assert!(matches!(refused, Err(AdminError::InvalidRequest(_))), "{refused:?}");
}

#[test]
fn a_move_is_wanted_carried_out_and_stated_complete_as_a_partitions() {
    let mut log = Log::with_brokers(2);
    make(&mut log, KIND, 1).unwrap();
    log.apply(Request::RegisterBroker(spec(Some(3), 3))).unwrap();
    let fenced = move_to(&mut log, 0, &[1, 2, 3]);
    assert!(matches!(fenced, Err(AdminError::InvalidAssignment(_))), "{fenced:?}");
    log.apply(Request::Unfence { broker: 3 }).unwrap();
    move_to(&mut log, 0, &[1, 2, 3]).unwrap();
    let moving = info(&log, 0);
    assert_eq!((moving.replicas, moving.target), (vec![1], Some(vec![1, 2, 3])));
    assert_eq!(log.image().moving, [moving.group].into());
    assert_eq!(log.image().load[&3], Load { replicas: 1, leaders: 0 });
    let complete = |change| Request::CompleteReplicas { group: moving.group.0, change };
    let older = log.apply(complete(moving.change - 1));
    assert_eq!(older, Err(AdminError::ChangeSuperseded));
    log.apply(complete(moving.change)).unwrap();
    let moved = info(&log, 0);
    assert_eq!((moved.replicas, moved.target), (vec![1, 2, 3], None));
    assert!(moved.initial.is_empty(), "nobody bootstraps it again");
    assert!(log.image().moving.is_empty());
}

#[test]
fn a_broker_is_removed_unless_an_internal_group_would_have_no_majority() {
    let mut log = Log::with_brokers(3);
    make(&mut log, KIND, 2).unwrap();
    log.apply(Request::Fence { broker: 3 }).unwrap();
    log.apply(Request::RemoveBroker { broker: 3 }).unwrap();
    log.apply(Request::Fence { broker: 2 }).unwrap();
    let named = "internal-7-0, internal-7-1".to_owned();
    let refusal = AdminError::InternalGroupsNeed { broker: 2, groups: 2, named };
    assert_eq!(log.apply(Request::RemoveBroker { broker: 2 }), Err(refusal));
    // Also where a move that is under way would end so, or comes from there.
    let mut log = Log::with_brokers(5);
    make(&mut log, KIND, 1).unwrap();
    for target in [[4], [5]] {
        move_to(&mut log, 0, &target).unwrap();
    }
    for broker in [4, 5] {
        log.apply(Request::Fence { broker }).unwrap();
        let refused = log.apply(Request::RemoveBroker { broker });
        assert!(matches!(refused, Err(AdminError::InternalGroupsNeed { .. })), "{refused:?}");
    }
    let change = info(&log, 0).change;
    log.apply(Request::CompleteReplicas { group: group_of(&log, 0).0, change }).unwrap();
    log.apply(Request::RemoveBroker { broker: 4 }).unwrap();
}
