//! The client for event sourcing: what it decides on is a stream as it was at one time, and what was decided is appended
//! upon that, or not at all.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use quorate::client::{EventStore, Expected, Loaded, NewEvent, StoreError};
use serde_json::{Value, json};

use super::{append, ask, create, get, values};
use crate::support::cluster::Cluster;
use crate::support::http;

/// Why somebody decides on nothing.
#[derive(Debug, PartialEq)]
struct Refused;

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Refused {
        panic!("{error}")
    }
}

fn store(cluster: &Cluster, topic: &str) -> EventStore {
    let brokers = cluster.brokers().iter();
    let servers = brokers.map(|broker| format!("127.0.0.1:{}", broker.http).parse().unwrap());
    EventStore::new(servers.collect(), topic)
}

fn event(value: &str) -> NewEvent {
    NewEvent::new(value.as_bytes())
}

/// What a stream holds.
fn shown(loaded: &Loaded) -> Vec<String> {
    let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap()).unwrap();
    loaded.events.iter().map(|event| text(event.value())).collect()
}

#[test]
fn an_update_decides_again_until_nobody_was_faster() {
    let cluster = Cluster::shared();
    create(&cluster, "updated", 1);
    let (store, other) = (store(&cluster, "updated"), store(&cluster, "updated"));
    let mut seen = Vec::new();
    let version = store.update("k", 3, |loaded| {
        seen.push(loaded.version);
        if seen.len() < 3 {
            other.append("k", Expected::Any, &[event("other")])?;
        }
        Ok::<_, StoreError>(vec![event(&format!("upon {}", loaded.version)), event("more")])
    });
    assert_eq!((version, seen), (Ok(4), vec![0, 1, 2]));
    let loaded = store.load("k").unwrap();
    assert_eq!(
        (loaded.version, shown(&loaded).join(",")),
        (4, "other,other,upon 2,more".to_owned())
    );
    let nothing = store.update("k", 1, |_| Ok::<_, StoreError>(Vec::new()));
    assert_eq!(nothing, Ok(4), "nothing to append");
}

#[test]
fn an_update_gives_up_and_says_why() {
    let cluster = Cluster::shared();
    create(&cluster, "given-up", 1);
    let (store, other) = (store(&cluster, "given-up"), store(&cluster, "given-up"));
    let mut tried = 0;
    let gave_up = store.update("k", 4, |_| {
        tried += 1;
        other.append("k", Expected::Any, &[event("other")])?;
        Ok::<_, StoreError>(vec![event("never")])
    });
    let error = gave_up.unwrap_err();
    assert_eq!(error, StoreError::Contended { tries: 4, current: 4 });
    assert!(error.to_string().contains("faster 4 times"), "{error}");
    assert_eq!(tried, 4);
    assert_eq!(shown(&store.load("k").unwrap()), ["other"; 4], "nothing was appended");
    assert_eq!(store.update("k", 4, |_| Err::<Vec<_>, _>(Refused)), Err(Refused));
    ask(cluster.broker(1), "DELETE", "/v1/topics/given-up/streams/k", &[], &Value::Null).ok();
    let after = store.update("k", 1, |loaded| {
        assert!(loaded.deleted && loaded.events.is_empty(), "{loaded:?}");
        Ok::<_, StoreError>(vec![event("again")])
    });
    assert_eq!(after, Ok(6), "versions go on over a deletion");
    let path = "/v1/topics/given-up/streams/k?hard=true";
    ask(cluster.broker(1), "DELETE", path, &[], &Value::Null).ok();
    let closed = store.update("k", 4, |_| Ok::<_, StoreError>(vec![event("never")]));
    assert_eq!(closed, Err(StoreError::Closed { current: 7 }));
}

#[test]
fn of_many_updates_at_once_none_is_lost() {
    const WORKERS: usize = 6;
    const UPDATES: usize = 5;
    let cluster = Cluster::shared();
    create(&cluster, "counters", 1);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let store = store(&cluster, "counters");
                for _ in 0..UPDATES {
                    let next = |loaded: &Loaded| {
                        let last = shown(loaded).last().map_or(0, |text| text.parse().unwrap());
                        Ok::<_, StoreError>(vec![event(&(last + 1_u32).to_string())])
                    };
                    // Each time that one is in the way, that one has got on.
                    store.update("k", WORKERS * UPDATES, next).unwrap();
                }
            });
        }
    });
    let counted: Vec<Value> = (1..=WORKERS * UPDATES).map(|count| json!(count)).collect();
    assert_eq!(values(&get(cluster.broker(2), "/v1/topics/counters/streams/k")), counted);
}

/// Passes requests without a body on to a broker, one connection at a time; each path is told first.
fn relay(to: String, mut passes: impl FnMut(&str) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
            while let Some(Ok(first)) = lines.next() {
                let path = first.split(' ').nth(1).unwrap().to_owned();
                lines
                    .by_ref()
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .for_each(drop);
                passes(&path);
                let answer = http::request("GET", &format!("http://{to}{path}"), None).unwrap();
                let (status, kind, text) = (answer.status, answer.content_type, answer.text);
                let head = format!(
                    "HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\ncontent-length: {}",
                    text.len()
                );
                write!(connection, "{head}\r\n\r\n{text}").unwrap();
            }
        }
    });
    address
}

#[test]
fn what_is_deleted_between_two_pages_is_not_loaded() {
    let cluster = Cluster::shared();
    create(&cluster, "two-pages", 1);
    let path = "/v1/topics/two-pages/streams";
    let broker = cluster.broker(1);
    for key in ["deleted", "again", "as-it-is"] {
        for part in 0..2 {
            let all: Vec<Value> = (0..600).map(|n| json!(part * 600 + n)).collect();
            append(broker, &format!("two-pages/{key}"), &[], &all).ok();
        }
    }
    let own = format!("127.0.0.1:{}", broker.http);
    let url = broker.url(path);
    let mut done = Vec::new();
    let relay = relay(own, move |asked| {
        let second =
            asked.split_once("?from_version=1001").and_then(|(path, _)| path.rsplit('/').next());
        let Some(key) =
            second.filter(|key| *key != "as-it-is" && !done.contains(&(*key).to_owned()))
        else {
            return;
        };
        http::request("DELETE", &format!("{url}/{key}"), None).unwrap().ok();
        if key == "again" {
            let body = json!({ "events": [{ "value": "new" }] }).to_string();
            http::request("POST", &format!("{url}/{key}"), Some(&body)).unwrap().ok();
        }
        done.push(key.to_owned());
    });
    let store = EventStore::new(vec![relay.parse().unwrap()], "two-pages");
    let whole = store.load("as-it-is").unwrap();
    assert_eq!((whole.version, whole.events.len()), (1_200, 1_200));
    let deleted = store.load("deleted").unwrap();
    assert_eq!((deleted.version, deleted.deleted, deleted.events.len()), (1_201, true, 0));
    let again = store.load("again").unwrap();
    assert_eq!((again.version, shown(&again)), (1_202, vec!["\"new\"".to_owned()]));
}
