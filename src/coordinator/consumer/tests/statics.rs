//! Static members: who is known by an instance id (KIP-345).

use super::*;

fn as_instance(heartbeat: MemberHeartbeat) -> MemberHeartbeat {
    MemberHeartbeat { instance_id: Some("i".to_owned()), ..heartbeat }
}

fn leave(scene: &mut Scene, id: &str, epoch: i32) -> Result<(), GroupError> {
    let mut output = Output::default();
    let left = scene.group.leave(&as_instance(heartbeat(id, epoch)), &mut output);
    scene.write(output);
    left
}

fn group_of_two() -> Scene {
    let mut scene = Scene::new(&[("t", 4)]);
    scene.hear(&as_instance(join("a", &["t"]))).unwrap();
    scene.join("b", &["t"]);
    scene.settle();
    scene
}

#[test]
fn one_that_is_started_again_goes_on_with_its_part_and_nobody_notices() {
    let mut scene = group_of_two();
    let part = scene.group.consumer.members["a"].parts.clone();
    assert_eq!(leave(&mut scene, "a", LEFT), Ok(()));
    let epoch = scene.group.epoch();
    scene.beat("b").unwrap();
    assert_eq!(scene.counts(), [2, 2], "its part is kept");
    assert_eq!(scene.hear(&as_instance(join("a2", &["t"]))), Ok(epoch));
    assert_eq!((scene.group.epoch(), &scene.told["a2"].1), (epoch, &part));
    assert_eq!(scene.group.state(), GroupState::Stable);
    assert_eq!(scene.hear(&as_instance(heartbeat("a", LEFT))), Err(GroupError::FencedInstance));
}

#[test]
fn one_that_does_not_come_back_is_gone_when_its_session_is_over() {
    let mut scene = group_of_two();
    leave(&mut scene, "a", LEFT).unwrap();
    scene.pass(SESSION - Duration::from_secs(1));
    scene.beat("b").unwrap();
    assert_eq!(scene.counts(), [2, 2]);
    scene.pass(Duration::from_secs(1));
    scene.settle();
    assert_eq!(scene.counts(), [4]);
    assert!(scene.group.instances.is_empty());
}

#[test]
fn an_instance_that_has_not_left_is_not_taken_over() {
    let mut scene = group_of_two();
    let again = as_instance(join("a2", &["t"]));
    assert_eq!(scene.hear(&again), Err(GroupError::UnreleasedInstance));
    let unknown = MemberHeartbeat { instance_id: Some("j".to_owned()), ..heartbeat("a", 2) };
    assert_eq!(scene.hear(&unknown), Err(GroupError::UnknownMember));
    assert_eq!(leave(&mut scene, "z", -1), Err(GroupError::FencedInstance));
    // For good, also a static one.
    assert_eq!(leave(&mut scene, "a", -1), Ok(()));
    assert!(scene.hear(&again).is_ok());
}

#[test]
fn an_operator_removes_by_id_or_by_the_instance_alone() {
    let mut scene = group_of_two();
    let who = |id: &str, instance: Option<&str>| (id.to_owned(), instance.map(str::to_owned));
    let mut output = Output::default();
    let asked = vec![who("b", None), who("", Some("j")), who("b", Some("i")), who("", Some("i"))];
    let answers = scene.group.leave_as_classic(asked, &mut output);
    scene.write(output);
    let unknown = Err(GroupError::UnknownMember);
    assert_eq!(answers, [Ok(()), unknown, Err(GroupError::FencedInstance), Ok(())]);
    assert!(scene.counts().is_empty());
}

/// What it was called before is free for others.
#[test]
fn a_member_may_change_its_name() {
    let mut scene = group_of_two();
    let renamed = MemberHeartbeat { instance_id: Some("j".to_owned()), ..join("a", &["t"]) };
    assert!(scene.hear(&renamed).is_ok());
    assert!(scene.hear(&as_instance(join("c", &["t"]))).is_ok());
    let instances: Vec<&String> = scene.group.instances.keys().collect();
    assert_eq!(instances, ["i", "j"]);
}
