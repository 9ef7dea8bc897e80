//! A coordinator that no majority hears: it says nothing of its transactions that may not be so any more, and of an end that
//! it was asked for no more than that it may have come.

use super::{at_coordinator, begin};
use crate::support::cluster::{Broker, Cluster};
use crate::support::http;
use crate::support::kafka::{COORDINATOR_NOT_AVAILABLE, NONE};
use crate::support::transactions::{self, Filters, describe, list};
use crate::support::wire::Wire;

const ID: &str = "unheard";

/// Three brokers and an open transaction, of which the coordinator alone runs.
fn scene(name: &str) -> (Cluster, u64) {
    let cluster = Cluster::start(name, 3);
    cluster.create_topic(ID, 1, 3);
    let (mut wire, producer) = begin(&cluster, ID, 600_000);
    producer.join(&cluster, &mut wire, ID);
    let coordinator = cluster.wait("it has a coordinator", || {
        let (error, broker) = transactions::coordinator(&cluster, ID);
        u64::try_from(broker).ok().filter(|_| error == NONE)
    });
    cluster.brokers().iter().filter(|it| it.id != coordinator).for_each(Broker::kill9);
    (cluster, coordinator)
}

#[test]
fn a_coordinator_without_a_majority_tells_nobody_what_was_true_once() {
    let (cluster, coordinator) = scene("tx-unheard");
    let broker = cluster.broker(coordinator);
    let mut wire = Wire::connect(broker.kafka);
    let (error, _, rows) = list(&mut wire, &Filters::default());
    assert_eq!((error, rows), (COORDINATOR_NOT_AVAILABLE, Vec::new()), "no part of its ids");
    assert_eq!(describe(&mut wire, ID).error, COORDINATOR_NOT_AVAILABLE);
    let described = broker.get(&format!("/v1/transactions/{ID}")).unwrap();
    assert_eq!(described.problem(503), "coordinator_unavailable");
    let listed = broker.get("/v1/transactions").unwrap().ok();
    assert_eq!(listed["transactions"].as_array().unwrap().len(), 0, "{listed}");
    assert_eq!(listed["missing"].as_array().unwrap().len(), 32, "nobody spoke for any: {listed}");
}

#[test]
fn of_an_abort_that_no_majority_has_heard_it_is_said_that_it_may_have_been() {
    let (cluster, coordinator) = scene("tx-unheard-abort");
    let abort = |broker: &Broker| {
        let url = broker.url(&format!("/v1/transactions/{ID}/abort"));
        http::request("POST", &url, None).unwrap()
    };
    let asked = abort(cluster.broker(coordinator));
    assert_eq!(asked.problem(504), "timeout_unknown_outcome");
    for broker in cluster.brokers().iter().filter(|it| it.id != coordinator) {
        broker.start();
    }
    cluster.wait_whole();
    // It was, or it can be now; and never is it anything else.
    cluster.wait("it is aborted", || {
        let told = describe(&mut at_coordinator(&cluster, ID)?, ID);
        if told.error == NONE && told.state == "Ongoing" {
            abort(cluster.broker(coordinator));
        }
        assert!(!told.state.ends_with("Commit"), "{told:?}");
        (told.error == NONE && told.state == "CompleteAbort").then_some(())
    });
}
