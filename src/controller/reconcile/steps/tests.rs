use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::metadata::{PartitionInfo, Topic, TopicConfigs};

const GROUP: GroupId = GroupId(1);
const ME: u64 = 3;

fn image(partition: Option<PartitionInfo>) -> Image {
    let id = Uuid::from_bytes([1; 16]);
    let mut image = Image { next_group: 2, ..Image::default() };
    if let Some(info) = partition {
        let configs = TopicConfigs::default();
        let topic = Topic { name: "t".into(), id, partitions: vec![info], configs };
        image.groups.insert(GROUP, (id, 0));
        image.topic_names.insert(id, "t".into());
        image.topics.insert("t".into(), Arc::new(topic));
    }
    image
}

fn step(partition: Option<PartitionInfo>, held: ReplicaState, current: bool) -> Option<Step> {
    next_step(&image(partition), ME, GROUP, held, current)
}

fn mine() -> Option<PartitionInfo> {
    Some(PartitionInfo::new(GROUP, vec![1, 2, ME]))
}

fn others() -> Option<PartitionInfo> {
    Some(PartitionInfo::new(GROUP, vec![1, 2, 4]))
}

const OPEN: ReplicaState = ReplicaState::Open { bootstrapped: false };

#[test]
fn a_new_replica_is_opened_and_bootstrapped() {
    assert_eq!(step(mine(), ReplicaState::Nothing, true), Some(Step::Open { bootstrap: true }));
    assert_eq!(step(mine(), OPEN, true), Some(Step::Bootstrap));
    assert_eq!(step(mine(), ReplicaState::Open { bootstrapped: true }, true), None);
}

#[test]
fn a_newcomer_to_a_living_group_never_bootstraps_it() {
    let joined = |info: PartitionInfo| PartitionInfo { initial: vec![], ..info };
    assert_eq!(
        step(mine().map(joined), ReplicaState::Nothing, true),
        Some(Step::Open { bootstrap: false })
    );
    let target = |info| PartitionInfo { target: Some(vec![1, 2, ME]), ..info };
    assert_eq!(
        step(others().map(target), ReplicaState::Nothing, true),
        Some(Step::Open { bootstrap: false })
    );
}

#[test]
fn before_the_image_is_current_only_what_is_on_disk_runs() {
    assert_eq!(step(mine(), ReplicaState::Nothing, false), None);
    assert_eq!(step(mine(), ReplicaState::OnDisk, false), Some(Step::Open { bootstrap: false }));
    assert_eq!(step(mine(), OPEN, false), None);
    assert_eq!(step(others(), ReplicaState::OnDisk, false), None);
    assert_eq!(step(None, ReplicaState::OnDisk, false), None);
}

#[test]
fn what_was_moved_away_or_deleted_is_deleted_once_current() {
    for held in [ReplicaState::OnDisk, OPEN] {
        assert_eq!(step(others(), held, true), Some(Step::Delete));
        assert_eq!(step(None, held, true), Some(Step::Delete));
    }
    assert_eq!(step(others(), ReplicaState::Nothing, true), None);
    assert_eq!(step(None, ReplicaState::Nothing, true), None);
}

#[test]
fn a_replica_that_is_leaving_runs_until_the_change_is_complete() {
    let leaving = |info| PartitionInfo { target: Some(vec![1, 2]), leaving: vec![ME], ..info };
    assert_eq!(step(others().map(leaving), ReplicaState::Open { bootstrapped: true }, true), None);
}

#[test]
fn data_of_a_group_the_image_never_knew_is_left_alone() {
    assert_eq!(next_step(&image(None), ME, GroupId(2), ReplicaState::OnDisk, true), None);
    assert_eq!(next_step(&image(None), ME, GroupId(0), ReplicaState::OnDisk, true), None);
}
