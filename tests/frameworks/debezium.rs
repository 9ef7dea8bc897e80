//! Debezium in Kafka Connect: every change of a table of PostgreSQL is in a topic exactly once and in the order of the
//! table's transactions, while a worker and brokers die.

mod postgres;

use postgres::{Accounts, Postgres, USER};
use serde_json::{Value, json};

use crate::client_matrix::record::Bytes;
use crate::frameworks::connect::source::{BOUNDARY, Feed, Source};
use crate::frameworks::connect::workers::Workers;
use crate::support::cluster::Cluster;

const TOPIC: &str = "bank.public.accounts";
/// What was in the table before Debezium came.
const ROWS: i64 = 300;

fn start(workers: &Workers, postgres: &Postgres) {
    let json = "org.apache.kafka.connect.json.JsonConverter";
    let mut settings = json!({
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "tasks.max": "1",
        "plugin.name": "pgoutput", "publication.autocreate.mode": "filtered",
        "database.hostname": "127.0.0.1", "database.port": postgres.port.to_string(),
        "database.user": USER, "database.password": "none", "database.dbname": "postgres",
        "topic.prefix": "bank", "table.include.list": "public.accounts",
        "snapshot.mode": "initial", "poll.interval.ms": "100",
        "key.converter": json, "key.converter.schemas.enable": "false",
        "value.converter": json, "value.converter.schemas.enable": "false" });
    BOUNDARY.iter().for_each(|(name, value)| settings[*name] = json!(value));
    workers.connector("bank", &settings);
}

fn parsed(bytes: &Bytes) -> Value {
    bytes.as_ref().map_or(Value::Null, |bytes| serde_json::from_slice(bytes).unwrap())
}

/// What a change says, without where it was found.
fn told(value: Value) -> Value {
    match value {
        Value::Null => Value::Null,
        value => {
            json!({ "op": value["op"], "before": value["before"], "after": value["after"] })
        }
    }
}

#[test]
fn every_change_of_a_table_is_in_a_topic_exactly_once_though_a_worker_and_brokers_die() {
    let cluster = Cluster::start("debezium", 3);
    cluster.create_topic(TOPIC, 1, 3);
    let postgres = Postgres::start();
    let mut accounts = Accounts::new(&postgres, ROWS);
    let mut workers = Workers::start("debezium", &cluster, None);
    start(&workers, &postgres);
    let source = Source { cluster: &cluster, connector: "bank", topic: TOPIC };
    workers.wait("all rows are read", |_| {
        (source.read("read_uncommitted").len() >= accounts.records()).then_some(())
    });
    accounts.grow();
    source.arrived(&workers, &mut accounts);

    let died = source.kill_worker(&mut workers, &mut accounts);
    workers.run(died);
    source.kill_brokers(&workers, &mut accounts);
    accounts.finish();
    let last = json!({ "id": 999_999 });
    source.stop(&workers, |record| parsed(&record.key) == last);

    let committed = source.read("read_committed");
    for (n, (is, should)) in committed.iter().zip(&accounts.changes).enumerate() {
        let is = (parsed(&is.key), told(parsed(&is.value)));
        assert_eq!(is, *should, "change {n}");
    }
    assert_eq!(committed.len(), accounts.changes.len());
    assert!(source.has_aborted());
}
