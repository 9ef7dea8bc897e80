//! Who can be removed from a cluster, and what nobody can do afterwards.

use super::*;

fn remove(log: &mut Log, broker: u64) -> Reply {
    log.apply(Request::RemoveBroker { broker })
}

/// Four brokers of which the third is lost.
fn without_third() -> Log {
    let mut log = Log::with_brokers(4);
    log.apply(Request::Fence { broker: 3 }).unwrap();
    log
}

#[test]
fn a_broker_that_is_out_of_service_and_keeps_nothing_is_removed() {
    let mut log = without_third();
    assert_eq!(remove(&mut log, 3), Ok(Done::Changed));
    let image = log.image();
    assert_eq!(image.brokers.keys().copied().collect::<Vec<_>>(), [1, 2, 4]);
    assert_eq!(image.removed, BTreeSet::from([3]));
    for command in [Request::Fence { broker: 3 }, Request::Unfence { broker: 3 }] {
        assert_eq!(log.apply(command), Err(AdminError::UnknownBroker(3)));
    }
    let onto = log.create("a", 1, Some(3)).and_then(|_| log.set_replicas("a", &[1, 2, 3]));
    assert!(matches!(onto, Err(AdminError::InvalidAssignment(_))), "{onto:?}");
}

#[test]
fn who_is_unknown_removed_already_or_in_service_is_not_removed() {
    let mut log = without_third();
    assert_eq!(remove(&mut log, 9), Err(AdminError::UnknownBroker(9)));
    assert_eq!(remove(&mut log, 2), Err(AdminError::BrokerAlive(2)));
    remove(&mut log, 3).unwrap();
    assert_eq!(remove(&mut log, 3), Err(AdminError::BrokerRemoved(3)));
}

#[test]
fn the_last_broker_stays_in_service_or_not() {
    let mut log = Log::with_brokers(1);
    assert_eq!(remove(&mut log, 1), Err(AdminError::LastBroker(1)));
    log.apply(Request::Fence { broker: 1 }).unwrap();
    assert_eq!(remove(&mut log, 1), Err(AdminError::LastBroker(1)));
}

#[test]
fn a_broker_that_keeps_replicas_is_not_removed_and_they_are_named_up_to_a_few() {
    let mut log = Log::with_brokers(3);
    log.create("b", 6, Some(3)).unwrap();
    log.create("a", 1, Some(3)).unwrap();
    log.apply(Request::Fence { broker: 3 }).unwrap();
    let named = "a-0, b-0, b-1, b-2, b-3, ...".to_owned();
    let refusal = AdminError::BrokerHasReplicas { broker: 3, partitions: 7, named };
    assert_eq!(remove(&mut log, 3), Err(refusal));
    log.apply(Request::DeleteTopic { id: id("b") }).unwrap();
    let refusal =
        AdminError::BrokerHasReplicas { broker: 3, partitions: 1, named: "a-0".to_owned() };
    assert_eq!(remove(&mut log, 3), Err(refusal));
    log.apply(Request::DeleteTopic { id: id("a") }).unwrap();
    assert_eq!(remove(&mut log, 3), Ok(Done::Changed));
}

#[test]
fn every_part_in_a_move_keeps_a_broker_until_the_move_is_complete() {
    let mut log = Log::with_brokers(5);
    log.create("a", 1, Some(3)).unwrap();
    log.set_replicas("a", &[1, 2, 4]).unwrap();
    // The move is to end on 5 instead: 3 has it, 4 is leaving again, 5 is wanted.
    log.set_replicas("a", &[1, 2, 5]).unwrap();
    for broker in [3, 4, 5] {
        log.apply(Request::Fence { broker }).unwrap();
        let reply = remove(&mut log, broker);
        assert!(matches!(reply, Err(AdminError::BrokerHasReplicas { .. })), "{broker}: {reply:?}");
    }
    let change = log.partition("a", 0).change;
    log.complete("a", change).unwrap();
    remove(&mut log, 3).unwrap();
    remove(&mut log, 4).unwrap();
    assert!(matches!(remove(&mut log, 5), Err(AdminError::BrokerHasReplicas { .. })));
}

#[test]
fn nobody_comes_back_under_a_removed_id_and_none_is_given_again() {
    let mut log = without_third();
    log.apply(Request::Fence { broker: 4 }).unwrap();
    remove(&mut log, 3).unwrap();
    remove(&mut log, 4).unwrap();
    for directory in [3, 99] {
        let back = log.apply(Request::RegisterBroker(spec(Some(3), directory)));
        assert_eq!(back, Err(AdminError::BrokerRemoved(3)), "directory {directory}");
    }
    let words = AdminError::BrokerRemoved(3).to_string();
    assert!(words.contains("empty data directory"), "it says what to do: {words}");
    // The greatest id was removed, and is not given again either; by whatever directory it is asked for.
    let anew = log.apply(Request::RegisterBroker(spec(None, 4)));
    assert_eq!(anew, Ok(Done::Registered { broker: 5 }));
}

#[test]
fn a_removal_that_arrives_again_is_answered_as_the_first_time() {
    let mut log = without_third();
    let remove = Request::RemoveBroker { broker: 3 };
    let mut once = |request| log.apply_again(Uuid::from_u128(request), &remove);
    assert_eq!(once(1 << 64), Ok(Done::Changed));
    assert_eq!(once(1 << 64), Ok(Done::Changed));
    assert_eq!(once(1 << 65), Err(AdminError::BrokerRemoved(3)));
}
