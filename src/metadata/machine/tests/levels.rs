//! Which brokers may be part of a cluster, and when its feature level is raised.

use super::*;
use crate::metadata::levels::tests::SUPPORTED;

fn register(log: &mut Log, id: u64, lowest: u16, highest: u16) -> Reply {
    let levels = Levels { lowest, highest };
    log.apply(Request::RegisterBroker(BrokerSpec { levels, ..spec(Some(id), id.into()) }))
}

/// As [`Log::apply`], without the look at this process's own release.
fn finalize(log: &mut Log, level: u16) -> Reply {
    let request = Uuid::from_u128(u128::from(level) << 64 | u128::from(log.image().version));
    let command = decide(&log.image(), request, &Request::Finalize { level });
    match log.machine.carry_out(command) {
        Applied::Answered(reply) => reply,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_level_is_finalized_when_every_registered_broker_supports_it_also_those_away() {
    let mut log = Log::with_brokers(2);
    register(&mut log, 1, 1, 2).unwrap();
    log.apply(Request::Fence { broker: 2 }).unwrap();
    assert_eq!(log.image().level_possible(), 1);
    let refused = AdminError::LevelNotSupported { level: 2, brokers: "2 (levels 1 alone)".into() };
    assert_eq!(finalize(&mut log, 2), Err(refused));
    assert_eq!(log.image().level, 1);
    register(&mut log, 2, 1, 3).unwrap();
    assert_eq!(log.image().level_possible(), 2);
    assert_eq!(finalize(&mut log, 2), Ok(Done::Changed));
    assert_eq!(log.image().level, 2);
    assert_eq!(finalize(&mut log, 2), Ok(Done::Changed), "it is so already");
    let lowered = AdminError::LevelNotLowered { finalized: 2, wanted: 1 };
    assert_eq!(finalize(&mut log, 1), Err(lowered));
}

#[test]
fn a_broker_whose_release_does_not_know_the_finalized_level_is_refused_and_told_what_to_do() {
    let mut log = Log::with_brokers(1);
    let refused = register(&mut log, 2, 2, 3).unwrap_err();
    let words = refused.to_string();
    assert!(words.contains("finalized at feature level 1"), "{words}");
    assert!(words.contains("supports 2 to 3") && words.contains("finalize a higher level first"));
    register(&mut log, 1, 1, 2).unwrap();
    finalize(&mut log, 2).unwrap();
    let words = register(&mut log, 1, 1, 1).unwrap_err().to_string();
    assert!(words.contains("level 2") && words.contains("supports 1 alone"), "{words}");
    assert!(words.contains("start this broker with a release that supports the level"), "{words}");
}

#[test]
fn before_a_level_is_finalized_a_broker_may_be_taken_back_and_then_the_level_may_not_be() {
    let mut log = Log::with_brokers(1);
    register(&mut log, 1, 1, 2).unwrap();
    register(&mut log, 1, 1, 1).unwrap();
    assert!(matches!(finalize(&mut log, 2), Err(AdminError::LevelNotSupported { .. })));
}

#[test]
fn no_release_supports_such_levels() {
    for (lowest, highest) in [(0, 1), (2, 1), (1, 40_000)] {
        let levels = Levels { lowest, highest };
        let request = Request::RegisterBroker(BrokerSpec { levels, ..spec(None, 9) });
        assert!(check_form(&request).is_err(), "{levels:?}");
    }
}

#[test]
fn a_checkpoint_of_a_level_that_this_release_does_not_know_is_refused_in_words() {
    let mut log = Log::with_brokers(1);
    register(&mut log, 1, 1, 3).unwrap();
    finalize(&mut log, 3).unwrap();
    let words = MetadataMachine::decode(&log.machine.encode()).unwrap_err().to_string();
    assert!(words.contains("finalized at feature level 3"), "{words}");
    assert!(words.contains("this release supports 1 to 2"), "{words}");
}

#[test]
fn a_release_that_gave_up_old_levels_still_replays_a_log_that_began_with_them() {
    SUPPORTED.set(Some(Levels { lowest: 3, highest: 4 }));
    let mut log = Log::with_brokers(1);
    register(&mut log, 1, 1, 4).unwrap();
    for level in 1..=3 {
        assert_eq!(log.apply(Request::Finalize { level }), Ok(Done::Changed));
        assert_eq!(log.image().level, level);
    }
    register(&mut log, 1, 3, 4).unwrap();
    assert!(matches!(register(&mut log, 2, 4, 5), Err(AdminError::ReleaseUnfit { .. })));
}
