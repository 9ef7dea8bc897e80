use super::*;

const TICK: Duration = Duration::from_millis(100);

fn config() -> StallConfig {
    StallConfig {
        step_aside_after: Duration::from_secs(2),
        end_after: Duration::from_secs(20),
        calm: Duration::from_secs(5),
    }
}

/// Looks every tick for a while; gives the state after each second.
fn watch(
    dog: &mut Watchdog,
    seconds: u32,
    redundant: bool,
    operations: Operations,
) -> Vec<DiskState> {
    let mut looks = (0..seconds * 10).map(|_| dog.step(operations, TICK, redundant, &config()));
    let mut states = Vec::new();
    while let Some(state) = looks.by_ref().take(10).last() {
        states.push(state);
    }
    states
}

use DiskState::{Fine, Lost, Stalled};

#[test]
fn an_operation_that_does_not_end_is_noticed_after_two_seconds_and_given_up_after_twenty() {
    let mut dog = Watchdog::default();
    assert_eq!(dog.step([0, 0, 0], TICK, true, &config()), Fine);
    // The first look at the operation sees it begin.
    assert_eq!(dog.step([0, 1, 0], TICK, true, &config()), Fine);
    let states = watch(&mut dog, 20, true, [0, 1, 0]);
    let expected = |second| match second {
        ..2 => Fine,
        2..20 => Stalled,
        _ => Lost,
    };
    assert_eq!(states, (1..=20_u32).map(expected).collect::<Vec<_>>());
}

#[test]
fn every_kind_of_operation_counts_and_one_after_the_other_does_not() {
    for operation in 0..3 {
        let mut dog = Watchdog::default();
        let mut stuck = [4, 4, 4];
        stuck[operation] = 5;
        assert_eq!(watch(&mut dog, 4, true, stuck).last(), Some(&Stalled), "operation {operation}");
    }
    let mut dog = Watchdog::default();
    // Busy at every look, yet never with the same operation.
    for n in 0..400 {
        assert_eq!(dog.step([2 * n + 1; 3], TICK, true, &config()), Fine);
    }
}

#[test]
fn where_nobody_can_go_on_the_node_waits_and_ends_once_somebody_can() {
    let mut dog = Watchdog::default();
    let waits = watch(&mut dog, 120, false, [1, 0, 0]);
    assert!(waits[2..].iter().all(|state| *state == Stalled));
    assert_eq!(dog.step([1, 0, 0], TICK, true, &config()), Lost);
}

#[test]
fn a_disk_that_answers_again_has_to_go_on_doing_so_before_it_may_lead() {
    let mut dog = Watchdog::default();
    watch(&mut dog, 10, true, [1, 0, 0]);
    let states = watch(&mut dog, 7, true, [2, 0, 0]);
    assert_eq!(states, [Stalled, Stalled, Stalled, Stalled, Fine, Fine, Fine]);
}

#[test]
fn a_node_that_was_paused_does_not_take_that_for_its_disk() {
    let mut dog = Watchdog::default();
    dog.step([1, 0, 0], TICK, true, &config());
    // The driver caps what a look may count for, however long the process slept.
    for _ in 0..9 {
        assert_eq!(dog.step([1, 0, 0], LOOK * 2, true, &config()), Fine);
    }
}
