//! Topics of which the newest record of every key stays: asked for by an operator, carried out by every replica, read by
//! stock clients; what such a topic refuses; and replicas that come late.

mod crashes;
mod edges;
mod held;
mod table;

use std::collections::BTreeMap;
use std::fs;

use rdkafka::Message;
use rdkafka::consumer::Consumer;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use crate::support::clients::{self, Client};
use crate::support::cluster::{Broker, Cluster, SOON};
use crate::support::kafka::{self, NONE, at_leader, leader};
use crate::support::wire::Batch;

/// Looks often, so that a test need not wait for the next look, and frees the log at once.
const OFTEN: [(&str, &str); 2] =
    [("QUORATE_COMPACTION_CHECK_MS", "200"), ("QUORATE_COMPACTION_LOG_KEPT_MS", "0")];
/// Keys of each topic.
const KEYS: usize = 40;

/// What a topic's one partition has to hold: the newest record of every key at its offset.
struct Model {
    topic: &'static str,
    newest: BTreeMap<String, (i64, Option<String>)>,
    end: i64,
}

impl Model {
    fn new(topic: &'static str) -> Model {
        Model { topic, newest: BTreeMap::new(), end: 0 }
    }

    /// Writes as many rounds over all keys. In each some keys get a tombstone; the last record is none.
    fn write(&mut self, cluster: &Cluster, rounds: usize) {
        let producer: BaseProducer = clients::producer(&cluster.bootstrap()).create().unwrap();
        for round in 0..rounds {
            for n in 0..KEYS {
                let key = format!("key-{n}");
                let dies = n % 7 == 3 && n % rounds.max(2) <= round;
                let value = format!("{key} of {} {}", self.end, "é".repeat(200));
                let value = (!dies).then_some(value);
                let record = || {
                    let record = BaseRecord::to(self.topic).partition(0).key(&key);
                    if let Some(value) = &value { record.payload(value) } else { record }
                };
                while producer.send(record()).is_err() {
                    producer.poll(std::time::Duration::from_millis(50));
                }
                self.newest.insert(key, (self.end, value));
                self.end += 1;
            }
            producer.flush(SOON).unwrap();
        }
        assert_eq!(producer.in_flight_count(), 0);
    }

    /// The records that stay, by offset.
    fn records(&self, tombstones: bool) -> BTreeMap<i64, (String, Option<String>)> {
        let newest = self.newest.iter().filter(|(_, (_, value))| tombstones || value.is_some());
        newest.map(|(key, (at, value))| (*at, (key.clone(), value.clone()))).collect()
    }

    /// Whether a reader who begins at the beginning sees exactly these.
    fn is_read(&self, cluster: &Cluster, tombstones: bool) -> bool {
        let consumer = clients::consumer_at(&cluster.bootstrap(), self.topic, 0, 0);
        assert_eq!(consumer.fetch_watermarks(self.topic, 0, SOON).unwrap(), (0, self.end));
        let mut seen = BTreeMap::new();
        // The last record has the newest value of its key, and stays.
        while seen.last_key_value().is_none_or(|(at, _)| *at < self.end - 1) {
            let message = consumer.poll(SOON).expect("a record within time").unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let (key, value) = (text(message.key().unwrap()), message.payload().map(text));
            assert_eq!(seen.insert(message.offset(), (key, value)), None, "an offset twice");
        }
        seen == self.records(tombstones)
    }

    /// Fails unless a stock client that begins at the beginning sees exactly the newest value of every key.
    fn assert_read_by(&self, cluster: &Cluster, client: Client) {
        let records = self.records(false);
        let file = cluster.dir.join(format!("{client:?}.read"));
        client.read(&cluster.bootstrap(), self.topic, records.len(), &file);
        let line = |(at, (key, value)): (i64, (String, Option<String>))| {
            format!("{at}\t{key}\t{}\n", value.unwrap_or_default())
        };
        let expected: String = records.into_iter().map(line).collect();
        assert!(fs::read_to_string(&file).unwrap() == expected, "{client:?}: {}", file.display());
    }

    /// Waits until a broker has compacted all that was written.
    fn compacted_on(&self, cluster: &Cluster, broker: &Broker) {
        compacted_upto(cluster, broker, self.topic, self.end);
    }

    /// Has each of these brokers lead, and reads what it has.
    fn is_read_from(&self, cluster: &Cluster, brokers: &[u64]) {
        for id in brokers {
            lead(cluster, self.topic, *id);
            assert!(self.is_read(cluster, true), "{} as broker {id} has it", self.topic);
        }
    }
}

/// Waits until a broker has compacted a partition 0 up to an offset.
fn compacted_upto(cluster: &Cluster, broker: &Broker, topic: &str, upto: i64) {
    cluster.wait(&format!("{topic} is compacted up to {upto} on {}", broker.id), || {
        (metric(broker, "compaction_compacted_offset", topic)? >= upto as f64).then_some(())
    });
}

/// A metric of a partition 0 on a broker, if that has it.
fn metric(broker: &Broker, name: &str, topic: &str) -> Option<f64> {
    let metrics = broker.get("/metrics")?.text;
    let series = format!("quorate_{name}{{topic=\"{topic}\",partition=\"0\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&series))?.parse().ok()
}

fn lead(cluster: &Cluster, topic: &str, id: u64) {
    let path = format!("/v1/topics/{topic}/partitions/0/leader");
    cluster.wait(&format!("{id} leads {topic}"), || {
        cluster.request("PUT", &path, Some(&json!({ "broker": id }).to_string()));
        (leader(cluster, topic, 0).leader as u64 == id).then_some(())
    });
}

fn create(cluster: &Cluster, topic: &str, replicas: &[u64], configs: &Value) {
    let body = json!({ "name": topic, "replicas": [replicas], "configs": configs }).to_string();
    cluster.request("POST", "/v1/topics", Some(&body)).ok();
    at_leader(cluster, topic, 0);
}

fn set(cluster: &Cluster, path: &str, configs: &Value) {
    let body = json!({ "configs": configs }).to_string();
    cluster.request("PATCH", &format!("/v1/{path}/configs"), Some(&body)).ok();
}

/// What the leader of partition 0 says, asked through that broker.
fn state(broker: &Broker, topic: &str) -> Value {
    broker.get(&format!("/v1/topics/{topic}/partitions/0")).unwrap().ok()["compaction"].clone()
}

#[test]
fn what_is_asked_for_is_compacted_on_every_broker_and_read_by_stock_clients() {
    let cluster = Cluster::start_with("compaction", 3, &OFTEN);
    let mut model = Model::new("newest");
    let compact = json!({ "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "1" });
    create(&cluster, "newest", &[1, 2, 3], &compact);
    model.write(&cluster, 25);
    for broker in cluster.brokers() {
        let dirty = state(broker, "newest");
        assert_eq!((&dirty["decided_upto"], &dirty["dirty_ratio"]), (&json!(0), &json!(1.0)));
        assert_eq!((&dirty["paused"], &dirty["running"]), (&json!(false), &json!(false)));
    }

    // Asked of each broker, of which only one leads.
    for broker in cluster.brokers() {
        let url = broker.url("/v1/topics/newest/compaction");
        let asked = crate::support::http::request("POST", &url, None).unwrap();
        assert_eq!(asked.status, 202, "{asked:?}");
        let partition = &asked.json()["partitions"][0];
        assert_eq!(partition["decided"], broker.id == 1, "only the first finds news: {partition}");
        assert_eq!(
            (&partition["decided_upto"], &partition["error"]),
            (&json!(model.end), &Value::Null)
        );
    }
    for broker in cluster.brokers() {
        model.compacted_on(&cluster, broker);
        assert_eq!(metric(broker, "compaction_dirty_ratio", "newest"), Some(0.0));
        assert_eq!(metric(broker, "compaction_pending_offsets", "newest"), Some(0.0));
        for total in ["runs", "read_bytes", "written_bytes", "saved_bytes"] {
            let total = format!("compaction_{total}_total");
            assert!(metric(broker, &total, "newest") > Some(0.0), "{total}");
        }
        let told = state(broker, "newest");
        assert_eq!((&told["compacted_upto"], &told["dirty_bytes"]), (&json!(model.end), &json!(0)));
        assert!(told["bytes_saved"].as_u64() > told["bytes_written"].as_u64(), "{told}");
        assert!(told["last_run"]["ended"].as_str().unwrap().ends_with('Z'), "{told}");
    }
    model.is_read_from(&cluster, &[1, 2, 3]);

    // More, asked for on the command line.
    model.write(&cluster, 3);
    let asked = cluster.cli(&["topic", "compact", "newest", "--partition", "0"], "").ok("compact");
    let row: Vec<&str> = asked.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..3], ["0", "true", &model.end.to_string()], "{asked}");
    cluster.brokers().iter().for_each(|broker| model.compacted_on(&cluster, broker));
    let again = cluster.cli(&["topic", "compact", "newest", "--format", "json"], "").ok("compact");
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["partitions"][0]["decided"], false, "{again}");
    let told = cluster.cli(&["topic", "describe", "newest"], "").ok("describe");
    let row = told.lines().last().unwrap();
    let end = model.end.to_string();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[..4], ["0", "0.000", &end, &end], "{told}");
    assert!(row.contains('Z') && row.ends_with(" ms"), "{told}");

    // Tombstones stay for a day, unless told otherwise.
    assert!(model.is_read(&cluster, true));
    set(&cluster, "topics/newest", &json!({ "delete.retention.ms": "0" }));
    cluster.wait("tombstones are gone", || model.is_read(&cluster, false).then_some(()));
    for client in Client::ALL {
        model.assert_read_by(&cluster, client);
    }
}

#[test]
fn a_compacted_topic_wants_keys_and_may_become_another_and_be_one_again() {
    let cluster = Cluster::start_with("compaction-policies", 1, &OFTEN);
    create(&cluster, "policy", &[1], &json!({}));
    let mut wire = at_leader(&cluster, "policy", 0);
    let records = Batch::of(&["a", "b", "c", "d"]).keyed(&[Some("k"), None, Some("k")]).bytes();
    let mut judged = || kafka::judged(&mut wire, "policy", 0, &records);
    assert_eq!(judged().0, NONE, "without compaction keys do not matter");
    let ask = || cluster.request("POST", "/v1/topics/policy/partitions/0/compaction", None);
    assert_eq!(ask().problem(409), "not_compacted");
    let refused = cluster.cli(&["topic", "compact", "policy"], "");
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("not compacted"), "{}", refused.stderr);

    let policy =
        |policy: &str| set(&cluster, "topics/policy", &json!({ "cleanup.policy": policy }));
    policy("compact");
    // The second and the last have no key.
    assert_eq!(judged(), (kafka::INVALID_RECORD, vec![(1, true), (3, true)], true));
    let delete =
        |before| kafka::delete_records(&mut at_leader(&cluster, "policy", 0), "policy", 0, before);
    assert_eq!(delete(1).1, kafka::POLICY_VIOLATION);
    assert_eq!(ask().ok()["decided"], true);
    let left = || {
        let mut wire = at_leader(&cluster, "policy", 0);
        let begin = kafka::list_offset(&mut wire, "policy", 0, -1, -2).offset;
        let consumer = clients::consumer_at(&cluster.bootstrap(), "policy", 0, begin);
        let message = consumer.poll(SOON).unwrap().unwrap();
        (message.offset(), message.payload().map(<[u8]>::to_vec))
    };
    // What has no key is of no use in it.
    cluster.wait("the newest is the first", || (left() == (2, Some(b"c".to_vec()))).then_some(()));

    policy("compact,delete");
    assert_eq!(judged().0, kafka::INVALID_RECORD);
    assert_eq!(delete(2), (2, NONE));
    policy("delete");
    assert_eq!(judged().0, NONE);
    assert_eq!(ask().problem(409), "not_compacted");
    assert_eq!(left(), (2, Some(b"c".to_vec())));
    let topic = cluster.get("/v1/topics/policy/compaction");
    assert_eq!(topic, json!({ "topic": "policy", "compacted": false, "partitions": [] }));
    assert_eq!(metric(cluster.broker(1), "compaction_runs_total", "policy"), None);

    // By itself, as soon as there is enough.
    let soon = json!({
        "cleanup.policy": "compact", "segment.ms": "1", "min.cleanable.dirty.ratio": "0" });
    set(&cluster, "topics/policy", &soon);
    cluster.wait("nobody has to ask", || (left() == (6, Some(b"c".to_vec()))).then_some(()));
}

#[test]
fn replicas_that_are_paused_away_or_new_come_to_hold_the_same() {
    let cluster = Cluster::start_with("compaction-late", 4, &OFTEN);
    let mut model = Model::new("late");
    let compact = json!({ "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "1" });
    create(&cluster, "late", &[1, 2, 3], &compact);
    let ask = || cluster.request("POST", "/v1/topics/late/compaction", None).ok();
    model.write(&cluster, 10);
    let paused = cluster.broker(3);
    let is_paused = |expected: &str| {
        let line = format!("quorate_compaction_paused {expected}");
        cluster.wait(&line, || {
            paused.get("/metrics")?.text.lines().any(|it| it == line).then_some(())
        });
    };
    set(&cluster, "brokers/3", &json!({ "log.cleaner.enable": "false" }));
    is_paused("1");
    assert_eq!(ask()["partitions"][0]["decided_upto"], model.end);
    [1, 2].iter().for_each(|id| model.compacted_on(&cluster, cluster.broker(*id)));
    cluster.wait("the paused one has heard of it", || {
        (metric(paused, "compaction_pending_offsets", "late")? > 0.0).then_some(())
    });
    assert_eq!(metric(paused, "compaction_runs_total", "late"), Some(0.0));
    set(&cluster, "brokers/3", &json!({ "log.cleaner.enable": null }));
    is_paused("0");
    model.compacted_on(&cluster, paused);
    model.is_read_from(&cluster, &[3, 2, 1]);

    // One is away while the others compact, and free their logs of what it lacks.
    paused.kill9();
    let last = |broker: &Broker, field: &str| {
        let groups = broker.get("/v1/raft/groups")?.json();
        let groups = groups["groups"].as_array()?.clone();
        groups.into_iter().find(|group| group["partition"] == "late-0")?[field].as_u64()
    };
    let had = last(cluster.broker(1), "last_index").unwrap();
    model.write(&cluster, 10);
    ask();
    for id in [1, 2] {
        let broker = cluster.broker(id);
        model.compacted_on(&cluster, broker);
        cluster
            .wait("its log begins later", || (last(broker, "purged_index")? > had).then_some(()));
    }
    paused.start();
    cluster.wait_whole();
    model.compacted_on(&cluster, paused);

    // One has never had anything.
    let body = json!({ "brokers": [4, 3] }).to_string();
    cluster.request("PUT", "/v1/topics/late/partitions/0/replicas", Some(&body)).ok();
    cluster.wait("it has moved", || {
        let partition = cluster.get("/v1/topics/late/partitions/0");
        (partition["replicas"] == json!([4, 3]) && partition["target"].is_null()).then_some(())
    });
    model.compacted_on(&cluster, cluster.broker(4));
    model.is_read_from(&cluster, &[4, 3]);
}
