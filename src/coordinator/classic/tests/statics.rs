//! Static members (KIP-345, KIP-814).

use super::*;

fn static_join(instance: &str, fresh_id: &str) -> Join {
    Join {
        instance_id: Some(instance.to_owned()),
        fresh_id: fresh_id.to_owned(),
        needs_known_id: true,
        ..join("", "range")
    }
}

/// A stable group of a static member `a1`, known as `a`, that leads, and `b`.
fn with_static() -> Scene {
    let mut scene = Scene::new();
    scene.ask(static_join("a", "a1"));
    scene.join_new("b");
    scene.ask(Join { instance_id: Some("a".to_owned()), ..join("a1", "range") });
    scene.sync("b", &[]);
    scene.sync("a1", &[("a1", "1"), ("b", "2")]);
    assert_eq!(scene.group.state(), GroupState::Stable);
    scene.output = Output::default();
    scene
}

#[test]
fn a_static_member_that_comes_back_takes_its_place_without_a_rebalance() {
    for can_skip in [false, true] {
        let mut scene = with_static();
        let generation = scene.group.generation;
        let back = Join { can_skip_assignment: can_skip, ..static_join("a", "a2") };
        let token = scene.ask(back);
        let joined = scene.joined(token).unwrap();
        assert_eq!((joined.generation, joined.member_id.as_str()), (generation, "a2"));
        assert_eq!(joined.skip_assignment, can_skip);
        if can_skip {
            assert_eq!((joined.leader.as_str(), joined.members.len()), ("a2", 2));
        } else {
            assert_eq!(
                (joined.leader.as_str(), joined.members.len()),
                ("a1", 0),
                "it is no leader"
            );
        }
        assert_eq!(scene.group.state(), GroupState::Stable);
        let commands = scene.take_commands();
        let [Command::Replace { former, member_id, .. }] = &commands[..] else {
            panic!("{commands:?}");
        };
        assert_eq!((former.as_str(), member_id.as_str()), ("a1", "a2"));
        let token = scene.sync("a2", &[]);
        assert_eq!(scene.part(token).unwrap(), "1", "its part is still its own");
    }
}

#[test]
fn the_former_self_is_fenced_wherever_it_speaks() {
    let mut scene = with_static();
    scene.ask(static_join("a", "a2"));
    let generation = scene.group.generation;
    let former = Identity { instance_id: Some("a".to_owned()), ..identity("a1", generation) };
    assert_eq!(scene.group.heartbeat(&former, scene.now), Err(GroupError::FencedInstance));
    assert_eq!(scene.group.check_commit(&former, scene.now), Err(GroupError::FencedInstance));
    let token = scene.sync_as(Sync { who: former, ..sync("", 0) });
    assert_eq!(scene.part(token), Err(GroupError::FencedInstance));
    let token = scene.ask(Join { instance_id: Some("a".to_owned()), ..join("a1", "range") });
    assert_eq!(scene.joined(token), Err(GroupError::FencedInstance));
    let stranger = Join { instance_id: Some("z".to_owned()), ..join("a1", "range") };
    let token = scene.ask(stranger);
    assert_eq!(scene.joined(token), Err(GroupError::UnknownMember));
}

#[test]
fn a_former_self_that_waits_is_told_at_once() {
    let mut scene = with_static();
    scene.join_new("c");
    let waiting = scene.ask(Join { instance_id: Some("a".to_owned()), ..join("a1", "range") });
    assert!(scene.waits(waiting));
    let back = scene.ask(static_join("a", "a2"));
    assert_eq!(scene.joined(waiting), Err(GroupError::FencedInstance));
    assert!(scene.waits(back), "the rebalance goes on");
    scene.join_again("b");
    assert_eq!(scene.joined(back).unwrap().leader, "a2");
}

#[test]
fn a_static_member_is_given_its_session_to_come_back() {
    let mut scene = with_static();
    // It does not leave when it stops. Others rebalance, and it keeps its place.
    scene.join_new("c");
    let again = scene.join_again("b");
    let in_time = REBALANCE.min(SESSION / 2);
    scene.pass(in_time);
    assert!(scene.waits(again));
    let back = scene.ask(static_join("a", "a2"));
    assert_eq!(scene.joined(again).unwrap().generation, scene.joined(back).unwrap().generation);
    // And if it does not it is gone.
    let mut scene = with_static();
    scene.pass(SESSION / 2);
    scene.heartbeat("b").unwrap();
    scene.pass(SESSION / 2);
    assert_eq!(scene.heartbeat("b"), Err(GroupError::Rebalancing));
    let back = scene.ask(static_join("a", "a3"));
    scene.join_again("b");
    assert_eq!(scene.joined(back).unwrap().leader, "b");
}

#[test]
fn an_operator_removes_a_static_member_by_its_name_alone() {
    let mut scene = with_static();
    let who = vec![
        (String::new(), Some("a".to_owned())),
        (String::new(), Some("z".to_owned())),
        ("b".to_owned(), Some("a".to_owned())),
    ];
    let answers = scene.group.leave(who, scene.now, &mut scene.output);
    let expected = [Ok(()), Err(GroupError::UnknownMember), Err(GroupError::FencedInstance)];
    assert_eq!(answers, expected);
    assert_eq!(scene.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_static_member_that_wants_another_assignor_has_the_group_rebalance() {
    let mut scene = with_static();
    let protocols = vec![("sticky".to_owned(), bytes("s")), ("range".to_owned(), bytes("r"))];
    // All know `range` alone, so nothing else can be chosen.
    let token = scene.ask(Join { protocols, ..static_join("a", "a2") });
    assert!(!scene.waits(token));
    scene.leave("b").unwrap();
    let again = Join { instance_id: Some("a".to_owned()), ..join("a2", "sticky") };
    let token = scene.ask(again);
    assert_eq!(scene.joined(token).unwrap().protocol, "sticky");
}
