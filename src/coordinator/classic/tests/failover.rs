//! What another leader makes of what the log has.

use super::*;

impl Scene {
    /// Another leader takes over; only what is in the log is left.
    fn fail_over(&mut self, record: &Classic) {
        let limits = self.group.limits;
        let mut output = Output::default();
        self.group = Group::taken_over("g", 7, record, limits, self.now, &mut output);
        self.output = output;
    }

    /// What the log has if all commands so far are applied.
    fn record(&self, is_assigned: bool, must_rebalance: bool) -> Classic {
        Classic { is_assigned, must_rebalance, ..self.group.membership() }
    }
}

#[test]
fn a_stable_group_goes_on_and_everybody_has_a_whole_session() {
    let mut scene = stable(&["a", "b"]);
    let (generation, record) = (scene.group.generation, scene.record(true, false));
    scene.now += SESSION;
    scene.fail_over(&record);
    assert_eq!((scene.group.state(), scene.group.generation), (GroupState::Stable, generation));
    assert!(scene.output.commands.is_empty());
    scene.pass(SESSION - Duration::from_millis(1));
    assert_eq!(scene.heartbeat("a"), Ok(()));
    let token = scene.sync("b", &[]);
    assert_eq!(scene.part(token).unwrap(), "b", "its part is in the log");
    scene.pass(SESSION);
    assert_eq!(scene.group.describe().members.len(), 0, "neither spoke");
}

#[test]
fn parts_that_were_not_told_are_asked_for_again() {
    let mut scene = Scene::new();
    scene.join_new("a");
    scene.join_new("b");
    scene.join_again("a");
    let record = scene.record(false, false);
    scene.fail_over(&record);
    assert_eq!(scene.group.state(), GroupState::CompletingRebalance);
    let waiting = scene.sync("b", &[]);
    let leader = scene.sync("a", &[("a", "1"), ("b", "2")]);
    assert_eq!(
        (scene.part(leader).unwrap(), scene.part(waiting).unwrap()),
        (bytes("1"), bytes("2"))
    );
    // Or the leader of the group is gone too.
    scene.fail_over(&record);
    scene.sync("b", &[]);
    for _ in 0..13 {
        scene.pass(SESSION / 2);
        let _ = scene.heartbeat("b");
    }
    let token = scene.join_again("b");
    assert_eq!(scene.joined(token).unwrap().leader, "b");
}

/// Its part would be nobody's for ever: the others joined again for nothing and were told the present generation.
#[test]
fn a_member_that_was_removed_before_the_leader_died_has_the_group_rebalance() {
    let mut scene = stable(&["a", "b", "c"]);
    let generation = scene.group.generation;
    scene.leave("b").unwrap();
    let record = scene.record(true, true);
    scene.fail_over(&record);
    assert_eq!(scene.group.state(), GroupState::PreparingRebalance);
    assert_eq!(scene.heartbeat("a"), Err(GroupError::Rebalancing));
    let token = scene.join_again("a");
    scene.join_again("c");
    let joined = scene.joined(token).unwrap();
    assert_eq!((joined.generation, joined.members.len()), (generation + 1, 2));
}

#[test]
fn a_group_whose_last_member_was_removed_is_empty_at_once() {
    let mut scene = stable(&["a"]);
    let mut record = scene.record(true, true);
    record.members.clear();
    scene.fail_over(&record);
    assert_eq!(scene.group.state(), GroupState::Empty);
    assert!(matches!(scene.output.commands[..], [Command::Begin { .. }]));
}

/// Whatever is asked, in whatever order: a generation has one set of parts, they are only told of that generation, and
/// nobody who waits is forgotten once the group has come to rest.
#[test]
fn nobody_is_forgotten_and_no_generation_has_two_sets_of_parts() {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    for seed in 0..300 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let delay = if rng.random() { DELAY } else { Duration::ZERO };
        let mut scene = Scene::with(Limits { members_max: 6, ..limits(delay) });
        let (mut asked, mut ids) = (BTreeSet::new(), Vec::<String>::new());
        for step in 0..200 {
            let id = ids.get(rng.random_range(0..=ids.len())).cloned();
            let id = id.unwrap_or_else(|| "nobody".to_owned());
            match rng.random_range(0..10) {
                0..2 => {
                    let fresh_id = format!("m{step}");
                    ids.push(fresh_id.clone());
                    let needs_known_id = rng.random();
                    let instance = rng.random_range(0..9);
                    let instance_id = (instance < 3).then(|| instance.to_string());
                    let join = Join { fresh_id, needs_known_id, instance_id, ..join("", "range") };
                    asked.insert(scene.ask(join));
                }
                2..5 => drop(asked.insert(scene.join_again(&id))),
                5..7 => {
                    let all: Vec<String> = scene.group.members.keys().cloned().collect();
                    let parts: Vec<(&str, &str)> = all.iter().map(|id| (&**id, &**id)).collect();
                    asked.insert(scene.sync(&id, &parts));
                }
                7 => drop(scene.heartbeat(&id)),
                8 => drop(scene.leave(&id)),
                _ => scene.pass(SESSION * rng.random_range(1..12) / 10),
            }
        }
        // All fall silent.
        for _ in 0..40 {
            scene.pass(REBALANCE);
        }
        assert_eq!(scene.group.state(), GroupState::Empty, "seed {seed}");
        for token in asked {
            assert!(!scene.waits(token), "seed {seed}: {token:?} was not answered");
        }
        let mut last = 0;
        for command in &scene.output.commands {
            match command {
                Command::Begin { membership, .. } => {
                    assert!(membership.generation > last, "seed {seed}");
                    last = membership.generation;
                }
                Command::Assign { generation, .. } => assert_eq!(*generation, last, "seed {seed}"),
                _ => {}
            }
        }
        let assigned: Vec<i32> = scene
            .output
            .commands
            .iter()
            .filter_map(|it| match it {
                Command::Assign { generation, .. } => Some(*generation),
                _ => None,
            })
            .collect();
        assert!(assigned.is_sorted_by(|one, other| one < other), "seed {seed}: {assigned:?}");
    }
}
