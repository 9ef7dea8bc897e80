//! The machine keeps the contract of all machines.

use quorate_raft::conformance;

use super::*;

#[test]
fn the_machine_keeps_its_contract() {
    let mut log = Log::with_brokers(4);
    log.apply_bytes(None);
    for (number, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        log.create(name, 1 + number as u32, None).unwrap();
    }
    let set = BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())]);
    let configs = Request::AlterConfigs { topic: id("a"), set, remove: Vec::new() };
    log.apply(configs).unwrap();
    log.set_replicas("a", &[1, 2]).unwrap();
    log.complete("a", 1).unwrap_or(Done::Changed);
    log.set_replicas("b", &[9]).unwrap_err();
    // The same request twice, and another one that was decided before it.
    let overtaken = decide(&log.image(), Uuid::from_u128(1003), &Request::Fence { broker: 2 });
    for request in [1001, 1002, 1001] {
        let allocate = Request::AllocateProducerIds { count: 10 };
        log.apply_again(Uuid::from_u128(request), &allocate).unwrap();
    }
    log.apply_command(&overtaken);
    log.apply(Request::DeleteTopic { id: id("c") }).unwrap();
    log.apply(Request::RegisterBroker(spec(Some(300), 2))).unwrap_or(Done::Changed);
    log.apply(Request::Fence { broker: 4 }).unwrap();
    log.apply(Request::RemoveBroker { broker: 300 }).unwrap_or(Done::Changed);
    log.apply_bytes(None);
    conformance::check(MetadataMachine::default, &log.entries);
}
