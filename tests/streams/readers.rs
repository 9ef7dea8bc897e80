//! How many readers may wait for records at one broker, and what becomes of who comes beyond that.

use serde_json::{Value, json};

use super::{append, ask, create, get, values};
use crate::support::cluster::Cluster;
use crate::support::http::EventStream;

/// Half of all connections.
const READERS: usize = 4;

#[test]
fn beyond_the_bound_readers_who_wait_are_refused_and_all_others_go_on() {
    let settings = [("QUORATE_HTTP_CONNECTIONS_MAX", "8")];
    let cluster = Cluster::start_with("streams-readers", 1, &settings);
    let broker = cluster.broker(1);
    create(&cluster, "crowded", 1);
    append(broker, "crowded/k", &[], &[json!(1)]).ok();
    let path = "/v1/topics/crowded/streams/k";
    let open = || EventStream::open(&broker.url(path), None);
    let mut live: Vec<EventStream> = (0..READERS).map(|_| open()).collect();
    for reader in &mut live {
        assert_eq!(reader.next().unwrap().id, "1");
    }
    let events = [("accept", "text/event-stream")];
    for (path, headers) in [
        (path, &events[..]),
        ("/v1/topics/crowded/records", &events[..]),
        ("/v1/topics/crowded/streams/k?from_version=2&wait_ms=30000", &[]),
        ("/v1/topics/crowded/records?partition=0&offset=1&wait_ms=30000", &[]),
    ] {
        let refused = ask(broker, "GET", path, headers, &Value::Null);
        assert_eq!(refused.problem(503), "too_many_readers", "{path}");
        let hint = refused.json()["hint"].as_str().unwrap().to_owned();
        assert!(hint.contains("http.connections_max"), "{hint}");
    }
    assert_eq!(values(&get(broker, path)), [json!(1)], "who does not wait is answered");
    append(broker, "crowded/k", &[], &[json!(2)]).ok();
    for reader in &mut live {
        assert_eq!(reader.next().unwrap().id, "2", "who has a place keeps it");
    }
    live.pop();
    let mut next = cluster.wait("who leaves makes room", || {
        let reader = open();
        (reader.status == 200).then_some(reader)
    });
    assert_eq!(next.next().unwrap().id, "1");
    live.pop();
    let waits = "/v1/topics/crowded/streams/k?from_version=3&wait_ms=30000";
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            cluster.wait("there is room for a reader who waits", || {
                let answer = get(broker, waits);
                (answer.status != 503).then_some(answer)
            })
        });
        append(broker, "crowded/k", &[], &[json!(3)]).ok();
        assert_eq!(values(&waiting.join().unwrap()), [json!(3)]);
    });
}
