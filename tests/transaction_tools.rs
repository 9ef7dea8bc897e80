//! Transactions as operators and readers without a Kafka client meet them: the HTTP interface, the command line, and what is
//! measured of them.

use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use crate::support::clients;
use crate::support::cluster::{Cluster, SOON};
use crate::support::http::{self, EventStream};

const LIMIT: Duration = Duration::from_secs(60);

/// A producer that has a transactional id.
fn transactional(cluster: &Cluster, id: &str) -> BaseProducer {
    clients::transactional(&cluster.bootstrap(), id)
}

/// Begins a transaction with some records of partition 0, which are stored when this returns.
fn begin(producer: &BaseProducer, topic: &str, values: &[&str]) {
    producer.begin_transaction().unwrap();
    for value in values {
        let record = BaseRecord::<str, str>::to(topic).partition(0).payload(value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LIMIT).unwrap();
}

fn values(page: &Value) -> Vec<String> {
    let records = page["records"].as_array().unwrap().iter();
    records.map(|record| record["value_text"].as_str().unwrap().to_owned()).collect()
}

fn read(cluster: &Cluster, topic: &str, isolation: &str) -> Vec<String> {
    values(&cluster.get(&format!("/v1/topics/{topic}/records?partition=0{isolation}")))
}

fn listed(cluster: &Cluster, topic: &str) -> Vec<Value> {
    let path = format!("/v1/topics/{topic}/partitions/0/transactions");
    cluster.get(&path)["transactions"].as_array().unwrap().clone()
}

#[test]
fn http_shows_what_is_committed_and_all_of_it_only_to_those_who_ask() {
    let cluster = Cluster::shared();
    cluster.create_topic("http-committed", 1, 3);
    let producer = transactional(&cluster, "http-committed");
    begin(&producer, "http-committed", &["kept"]);
    producer.commit_transaction(LIMIT).unwrap();
    begin(&producer, "http-committed", &["dropped", "dropped too"]);
    producer.abort_transaction(LIMIT).unwrap();
    begin(&producer, "http-committed", &["open"]);
    cluster.wait("what was committed is seen", || {
        (read(&cluster, "http-committed", "") == ["kept"]).then_some(())
    });
    let all = read(&cluster, "http-committed", "&isolation=read_uncommitted");
    assert_eq!(all, ["kept", "dropped", "dropped too", "open"]);
    let shared = "consume http-committed --from beginning --exit";
    let cli = |more: &[&str]| {
        let args: Vec<&str> = shared.split(' ').chain(more.iter().copied()).collect();
        cluster.cli(&args, "").ok("consume").lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(cli(&[]), ["kept"]);
    assert_eq!(cli(&["--uncommitted"]), all);
    producer.commit_transaction(LIMIT).unwrap();
    cluster.wait("the last one is seen", || {
        (read(&cluster, "http-committed", "") == ["kept", "open"]).then_some(())
    });
    assert_eq!(cli(&[]), ["kept", "open"]);
}

#[test]
fn whoever_waits_for_records_is_told_when_they_are_committed() {
    let cluster = Cluster::shared();
    cluster.create_topic("http-waits", 1, 3);
    let producer = transactional(&cluster, "http-waits");
    let leader = cluster.get("/v1/topics/http-waits/partitions/0")["leader"].as_u64().unwrap();
    let url = cluster.broker(leader).url("/v1/topics/http-waits/records?partition=0");
    let mut stream = EventStream::open(&url, None);
    begin(&producer, "http-waits", &["dropped"]);
    producer.abort_transaction(LIMIT).unwrap();
    begin(&producer, "http-waits", &["seen"]);
    producer.commit_transaction(LIMIT).unwrap();
    let event = stream.next().unwrap();
    let record: Value = serde_json::from_str(&event.data).unwrap();
    assert_eq!(record["value_text"], "seen", "{record}");

    let position = cluster.get("/v1/topics/http-waits/records?partition=0")["position"].clone();
    begin(&producer, "http-waits", &["later"]);
    std::thread::scope(|threads| {
        let waiting = threads.spawn(|| {
            let position = position.as_str().unwrap();
            let path = format!("/v1/topics/http-waits/records?partition=0&position={position}");
            cluster.get(&format!("{path}&wait_ms=30000"))
        });
        producer.commit_transaction(LIMIT).unwrap();
        assert_eq!(values(&waiting.join().unwrap()), ["later"]);
    });
}

#[test]
fn a_stream_says_where_it_is_behind_what_was_aborted_and_goes_on_there() {
    let (cluster, topic) = (Cluster::shared(), "http-passed");
    cluster.create_topic(topic, 1, 3);
    let producer = transactional(&cluster, topic);
    begin(&producer, topic, &["seen"]);
    producer.commit_transaction(LIMIT).unwrap();
    let leader = cluster.get(&format!("/v1/topics/{topic}/partitions/0"))["leader"].clone();
    let leader = cluster.broker(leader.as_u64().unwrap());
    let path = format!("/v1/topics/{topic}/records?partition=0");
    let mut stream = EventStream::open(&leader.url(&path), None);
    let seen = stream.next().unwrap();
    begin(&producer, topic, &["dropped", "dropped too"]);
    producer.abort_transaction(LIMIT).unwrap();
    // Everything up to here, as the position of a page says it that has passed over the same.
    let end = cluster.wait("it has ended", || {
        let path = format!("/v1/topics/{topic}/partitions/0");
        let state = cluster.get(&path);
        (state["high_watermark"] == 5).then_some(())?;
        Some(
            cluster.get(&format!("/v1/topics/{topic}/records?partition=0&offset=2"))["position"]
                .clone(),
        )
    });
    let passed = loop {
        let told = stream.next_with_id().unwrap();
        assert!(told.data.is_empty(), "{told:?}");
        if told.id == end.as_str().unwrap() {
            break told;
        }
    };
    assert_ne!(passed.id, seen.id);
    let mut resumed = EventStream::open(&leader.url(&path), Some(&passed.id));
    begin(&producer, topic, &["later"]);
    producer.commit_transaction(LIMIT).unwrap();
    for stream in [&mut stream, &mut resumed] {
        let event = stream.next().unwrap();
        let record: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(record["value_text"], "later", "{record}");
    }
}

#[test]
fn an_operator_sees_an_open_transaction_and_aborts_it() {
    let cluster = Cluster::shared();
    cluster.create_topic("operated", 1, 3);
    let producer = transactional(&cluster, "operated");
    let described = || cluster.get("/v1/transactions/operated");
    assert_eq!(described()["state"], "Empty");
    begin(&producer, "operated", &["never seen"]);
    let detail = described();
    assert_eq!(detail["state"], "Ongoing", "{detail}");
    assert_eq!(detail["partitions"][0]["topic"], "operated", "{detail}");
    let producer_id = detail["producer_id"].as_i64().unwrap();
    let rows = listed(&cluster, "operated");
    assert_eq!((rows.len(), &rows[0]["producer_id"]), (1, &producer_id.into()), "{rows:?}");
    for broker in cluster.brokers() {
        let path = format!("/v1/transactions?state=Ongoing&producer_id={producer_id}");
        let found = broker.get(&path).unwrap().ok();
        assert_eq!(found["transactions"][0]["transactional_id"], "operated", "{found}");
        assert_eq!(found["missing"], Value::Array(Vec::new()), "{found}");
    }
    let leader = cluster.get("/v1/topics/operated/partitions/0")["leader"].as_u64().unwrap();
    let metrics = cluster.broker(leader).get("/metrics").unwrap().text;
    let open = "quorate_partition_open_transactions{topic=\"operated\",partition=\"0\"} 1";
    assert!(metrics.lines().any(|line| line == open), "{metrics}");

    let told = cluster.cli(&["transaction", "list", "--state", "ongoing"], "").ok("list");
    assert!(told.contains("operated"), "{told}");
    let told = ["transaction", "list", "--topic", "operated", "--partition", "0"];
    assert!(cluster.cli(&told, "").ok("list").contains(&producer_id.to_string()));
    let told = cluster.cli(&["transaction", "describe", "operated"], "").ok("describe");
    assert!(told.contains("Ongoing"), "{told}");

    // Its coordinator will end it, so nobody ends it in one partition alone.
    let path = format!("/v1/topics/operated/partitions/0/transactions/{producer_id}/abort");
    for broker in cluster.brokers() {
        let refused = http::request("POST", &broker.url(&path), None).unwrap();
        assert_eq!(refused.problem(409), "transaction_coordinated");
    }
    cluster.cli(&["transaction", "abort", "operated"], "").ok("abort");
    cluster.wait("it is over", || {
        (described()["state"] == "CompleteAbort" && listed(&cluster, "operated").is_empty())
            .then_some(())
    });
    assert!(producer.commit_transaction(LIMIT).is_err(), "the producer is shut out");
    assert!(read(&cluster, "operated", "").is_empty());
}

#[test]
fn what_cannot_be_aborted_is_refused_with_a_stable_code() {
    let cluster = Cluster::shared();
    cluster.create_topic("refused-aborts", 1, 3);
    drop(transactional(&cluster, "refused-aborts"));
    for (path, status, code) in [
        ("/v1/transactions/no-such-id/abort", 404, "unknown_transactional_id"),
        ("/v1/transactions/refused-aborts/abort", 409, "no_open_transaction"),
        ("/v1/transactions/refused-aborts/abort?force=true", 400, "malformed_query"),
        ("/v1/topics/none/partitions/0/transactions/1/abort", 404, "unknown_topic"),
        ("/v1/topics/refused-aborts/partitions/7/transactions/1/abort", 404, "unknown_partition"),
        ("/v1/topics/refused-aborts/partitions/0/transactions/1/abort", 404, "no_open_transaction"),
        ("/v1/topics/refused-aborts/partitions/0/transactions/x/abort", 400, "malformed_path"),
    ] {
        for broker in cluster.brokers() {
            let answer = http::request("POST", &broker.url(path), None).unwrap();
            assert_eq!(answer.problem(status), code, "{path}: {answer:?}");
        }
    }
    let missing = cluster.request("GET", "/v1/transactions/no-such-id", None);
    assert_eq!(missing.problem(404), "unknown_transactional_id");
    let wrong = cluster.request("GET", "/v1/transactions?state=Odd", None);
    assert_eq!(wrong.problem(400), "malformed_query");
}

/// Both flows of our own client, and that nothing it committed is lost.
#[test]
fn transactions_are_measured_in_both_flows() {
    let cluster = Cluster::shared();
    cluster.create_topic("measured", 3, 3);
    let server = cluster.bootstrap();
    for flow in [&[][..], &["--classic"][..]] {
        let mut args = vec!["bench", "transactions", "--topic", "measured", "--format", "json"];
        args.extend(["--server", &server]);
        args.extend(["--partitions", "1,3", "--producers", "2", "--seconds", "1"]);
        args.extend(flow);
        let report: Value = serde_json::from_str(&cluster.cli(&args, "").ok("bench")).unwrap();
        let rows = report["measurements"].as_array().unwrap();
        for count in [1, 3] {
            let name = format!("{count} partitions: committed");
            let row = rows.iter().find(|row| row["name"] == name.as_str()).unwrap();
            assert!(row["value"].as_f64().unwrap() > 0.0, "{report:#}");
        }
    }
    let open = |partition: i32| {
        let path = format!("/v1/topics/measured/partitions/{partition}/transactions");
        cluster.get(&path)["transactions"].as_array().unwrap().len()
    };
    crate::support::wait::until("all markers are written", SOON, || {
        (0..3).all(|partition| open(partition) == 0).then_some(())
    });
}
