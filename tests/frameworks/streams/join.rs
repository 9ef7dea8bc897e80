//! A join of two streams within a window: every pair that belongs together once.

use std::collections::BTreeSet;

use super::app::{App, PARTITIONS, REPARTITION};
use crate::support::cluster::Cluster;
use crate::support::kafka;

const PART: usize = 3_000;
const PARTS: usize = 4;
const CUSTOMERS: usize = 40;
/// Between two orders, and how far a payment may be from its order; in milliseconds.
const STEP: i64 = 10;
const WINDOW: i64 = 1_000;
/// How long Streams has what it joined be kept: the window, an hour for what comes late, and a day.
const RETENTION: &str = "90002000";

/// Customer, number and time.
type Event = (usize, usize, i64);

fn orders(from: usize, to: usize) -> Vec<Event> {
    (from..to).map(|n| (n % CUSTOMERS, n, n as i64 * STEP)).collect()
}

/// Not as regular as the orders.
fn payments(from: usize, to: usize) -> Vec<Event> {
    let time = |n: usize| n as i64 * STEP + (n * n % 700) as i64;
    (from..to).map(|n| (n * n % CUSTOMERS, n, time(n))).collect()
}

/// The pairs that belong together of so many orders and payments.
fn model(count: usize) -> BTreeSet<(String, String)> {
    let (orders, payments) = (orders(0, count), payments(0, count));
    let mut pairs = BTreeSet::new();
    for (customer, order, at) in orders {
        let near = |it: &&Event| it.0 == customer && (it.2 - at).abs() <= WINDOW;
        for (_, payment, _) in payments.iter().filter(near) {
            pairs.insert((
                format!("customer-{customer}"),
                format!("order-{order} payment-{payment}"),
            ));
        }
    }
    pairs
}

fn write(app: &App<'_>, begin: i64, part: usize) {
    let (from, to) = (part * PART, (part + 1) * PART);
    for (topic, name, events) in
        [("orders", "order", orders(from, to)), ("payments", "payment", payments(from, to))]
    {
        let line =
            |(customer, n, at): Event| (begin + at, format!("customer-{customer} {name}-{n}"));
        let lines: Vec<_> = events.into_iter().map(line).collect();
        app.write(topic, lines.iter().map(|(at, line)| (*at, line.as_str())));
    }
}

#[test]
fn a_pair_is_joined_once_while_brokers_and_instances_die() {
    let cluster = Cluster::start("streams-join", 3);
    let topics = ["orders", "payments", "paid"];
    topics.iter().for_each(|topic| cluster.create_topic(topic, PARTITIONS, 3));
    let app = App { cluster: &cluster, id: "join", topology: "join", output: "paid" };
    let (mut first, mut second) = (app.start("first", &[]), app.start("second", &[]));
    // For each partition one that names the customers of orders, one of payments, and one that joins them.
    app.share(&mut [&mut first, &mut second], (6, 2));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let begin = now.as_millis() as i64 - 600_000;
    let pairs: Vec<usize> = (0..=PARTS).map(|parts| model(parts * PART).len()).collect();

    write(&app, begin, 0);
    write(&app, begin, 1);
    app.reaches(pairs[1] / 3);
    let dead = app.is_amid(pairs[2]);
    dead.kill9();
    app.reaches(pairs[2]);
    dead.start();
    cluster.wait_whole();

    write(&app, begin, 2);
    write(&app, begin, 3);
    app.reaches(pairs[2] + (pairs[3] - pairs[2]) / 3);
    app.is_amid(pairs[4]);
    first.kill9();
    let leader = kafka::leader(&cluster, "join-paid-left-repartition", 0).leader as u64;
    cluster.broker(leader).kill9();
    app.reaches(pairs[3]);
    cluster.broker(leader).start();
    let mut first = app.start("first", &[]);
    cluster.wait_whole();

    let written = app.finishes(pairs[PARTS]);
    app.share(&mut [&mut first, &mut second], (6, 2));
    let mut joined = BTreeSet::new();
    for (at, customer, pair) in written.into_iter().flatten() {
        let pair = (customer, String::from_utf8(pair).unwrap());
        assert!(joined.insert(pair.clone()), "{pair:?} again at {at}");
    }
    let all = model(PARTS * PART);
    assert!(joined == all, "{:?} differ", joined.symmetric_difference(&all).collect::<Vec<_>>());
    for side in ["left", "right"] {
        let topic = format!("join-paid-{side}-repartition");
        app.purges(&topic, PARTS * PART);
        app.has_configs(&topic, &REPARTITION);
    }
    for side in ["this", "other"] {
        let topic = format!("join-paid-{side}-join-store-changelog");
        app.has_configs(&topic, &[("cleanup.policy", "delete"), ("retention.ms", RETENTION)]);
    }
    first.stop();
    second.stop();
}
