//! Leaders that die and brokers that cannot be sure.

use std::time::Instant;

use serde_json::{Value, json};

use super::{append, create, get, leader_and_other, values};
use crate::support::cluster::Cluster;
use crate::support::http::{Answer, EventStream};
use crate::support::kafka;

#[test]
fn appends_go_on_when_leaders_are_killed_and_versions_have_no_gap() {
    let cluster = Cluster::start("streams-killed", 3);
    create(&cluster, "survives", 1);
    let mut version = 0;
    for round in 0..3 {
        let (leader, other) = leader_and_other(&cluster, "survives");
        let mut live = EventStream::open(
            &cluster.broker(other).url("/v1/topics/survives/streams/k"),
            Some(&version.to_string()),
        );
        for n in 0..20 {
            if n == 10 {
                cluster.broker(leader).kill9();
            }
            let (tag, key) = (format!("\"{version}\""), format!("{round}-{n}"));
            let headers = [("if-match", tag.as_str()), ("idempotency-key", key.as_str())];
            // A broker looks for a leader as long as it takes; what it cannot know is asked again under the same key.
            let made = cluster.wait("the append is answered", || {
                let made =
                    append(cluster.broker(other), "survives/k", &headers, &[json!(version + 1)]);
                (![503, 504].contains(&made.status)).then_some(made)
            });
            version += 1;
            assert_eq!(made.ok()["version"], version, "{made:?}");
            assert_eq!(live.next().unwrap().id, version.to_string());
        }
        cluster.broker(leader).start();
        cluster.wait_whole();
    }
    let wanted: Vec<Value> = (1..=version).map(|it| json!(it)).collect();
    for broker in cluster.brokers() {
        assert_eq!(values(&get(broker, "/v1/topics/survives/streams/k")), wanted);
    }
}

#[test]
fn a_replica_that_hears_no_leader_shows_what_it_has_only_to_who_asks_for_that() {
    let settings = [("QUORATE_HTTP_REQUEST_TIMEOUT_MS", "4000")];
    let cluster = Cluster::start_with("streams-alone", 3, &settings);
    create(&cluster, "alone", 1);
    append(cluster.broker(1), "alone/k", &[], &[json!(1)]).ok();
    let path = "/v1/topics/alone/streams/k";
    assert_eq!(values(&get(cluster.broker(1), path)), [json!(1)]);
    cluster.broker(2).kill9();
    cluster.broker(3).kill9();
    let one = cluster.broker(1);
    let committed = get(one, &format!("{path}?consistency=committed"));
    assert_eq!(values(&committed), [json!(1)]);
    let linearizable = get(one, path);
    assert!([503, 504].contains(&linearizable.status), "{linearizable:?}");
    let made = append(one, "alone/k", &[], &[json!(2)]);
    assert!([503, 504].contains(&made.status), "{made:?}");
    let behind = get(one, &format!("{path}?consistency=committed&min_offset=100"));
    assert_eq!(behind.problem(504), "not_caught_up");
    for id in [2, 3] {
        cluster.broker(id).start();
    }
    cluster.wait_whole();
}

/// How long ago the replica that answers says that it heard from the leader, in milliseconds.
fn contact(answer: &Answer) -> u128 {
    answer.headers["quorate-last-contact-ms"].parse().unwrap()
}

#[test]
fn a_replica_says_how_long_ago_it_heard_from_the_leader() {
    let cluster = Cluster::start("streams-contact", 3);
    create(&cluster, "heard", 1);
    append(cluster.broker(1), "heard/k", &[], &[json!(1)]).ok();
    let path = "/v1/topics/heard/streams/k";
    let committed = format!("{path}?consistency=committed");
    for broker in cluster.brokers() {
        let started = Instant::now();
        // The leader confirmed it, and a majority the leader, while the reader waited.
        let fresh = get(broker, path);
        assert!(contact(&fresh) <= started.elapsed().as_millis(), "{fresh:?}");
        let paths = [&format!("{path}?min_offset=1"), "/v1/topics/heard/records?partition=0"];
        for path in paths {
            assert!(get(broker, path).headers.contains_key("quorate-last-contact-ms"), "{path}");
        }
    }
    let (leader, other) = leader_and_other(&cluster, "heard");
    let other = cluster.broker(other);
    let is = |what: &str, holds: &dyn Fn(u128) -> bool| {
        cluster.wait(what, || holds(contact(&get(other, &committed))).then_some(()));
    };
    // A leader says something about every three seconds.
    is("it hears from the leader", &|ms| ms < 3_000);
    let silent: Vec<_> = cluster.brokers().iter().filter(|it| it.id != other.id).collect();
    silent.iter().for_each(|it| it.pause());
    is("it has heard from nobody for long", &|ms| ms > 6_000);
    assert_eq!(get(other, &committed).headers["quorate-role"], "follower");
    silent.iter().for_each(|it| it.unpause());
    is("it hears from a leader again", &|ms| ms < 3_000);
    // A leader that is alone says since when nobody answers it.
    let leader = match kafka::leader(&cluster, "heard", 0).leader {
        id if id > 0 => cluster.broker(u64::try_from(id).unwrap()),
        _ => cluster.broker(leader),
    };
    let others: Vec<_> = cluster.brokers().iter().filter(|it| it.id != leader.id).collect();
    others.iter().for_each(|it| it.pause());
    cluster.wait("the leader has heard from no majority for long", || {
        (contact(&get(leader, &committed)) > 6_000).then_some(())
    });
    others.iter().for_each(|it| it.unpause());
    cluster.wait_whole();
}

#[test]
fn a_broker_that_stops_ends_what_would_go_on_for_ever() {
    let cluster = Cluster::start("streams-stop", 3);
    create(&cluster, "stopped-streams", 1);
    append(cluster.broker(1), "stopped-streams/k", &[], &[json!(1)]).ok();
    let broker = cluster.broker(3);
    let mut streams = EventStream::open(&broker.url("/v1/topics/stopped-streams/streams/k"), None);
    let mut records = EventStream::open(&broker.url("/v1/topics/stopped-streams/records"), None);
    assert_eq!(streams.next().unwrap().id, "1");
    records.next().unwrap();
    broker.stop();
    assert_eq!((streams.next(), records.next()), (None, None));
    assert!(!broker.log_text().contains("http requests were cut off"));
    broker.start();
    cluster.wait_whole();
}
