//! A schema registry that keeps its schemas in Kafka (Apicurio Registry), spoken to as Confluent's is, by Confluent's
//! own serializers: while brokers and the registry are killed no schema is lost or gets another id, and every record is
//! read with the schema it was written with.

use std::collections::BTreeMap;
use std::fs::File;

use serde_json::{Value, json};

use crate::support::asked::Asked;
use crate::support::clients::installed;
use crate::support::cluster::{Broker, Cluster, SOON};
use crate::support::http::{Answer, request_with};
use crate::support::kafka::leader;
use crate::support::process::{self, Process};
use crate::support::{ports, wait};

/// Where the registry keeps what it is told.
const JOURNAL: &str = "kafkasql-journal";
const TOPIC: &str = "payments";
const SUBJECT: &str = "payments-value";
/// Payments of one version of their schema.
const PART: i64 = 40;
const SUBJECTS: usize = 4;

/// The id and the schema, as it was sent, of every version of every subject.
type Schemas = BTreeMap<(String, u64), (u64, String)>;

struct Registry {
    process: Process,
    root: String,
}

impl Registry {
    /// Starts one that knows nothing but the cluster; waits until it has read its journal.
    fn start(cluster: &Cluster) -> Registry {
        let port = ports::block(1);
        let home = installed("frameworks/registry/server");
        let log = cluster.dir.join(format!("registry-{port}.log"));
        let mut command = process::command("java");
        command.args(["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-jar"]);
        command.arg(home.join("apicurio-registry-app-3.0.9-runner.jar"));
        command.env("QUARKUS_HTTP_HOST", "127.0.0.1").env("QUARKUS_HTTP_PORT", port.to_string());
        command.env("APICURIO_STORAGE_KIND", "kafkasql");
        command.env("APICURIO_KAFKASQL_BOOTSTRAP_SERVERS", cluster.bootstrap());
        command.stdout(File::create(&log).unwrap());
        let process = Process::spawn(command);
        let mut registry = Registry { process, root: format!("http://127.0.0.1:{port}") };
        wait::until(&format!("the registry is ready: {}", log.display()), 3 * SOON, || {
            assert_eq!(registry.process.ended(), None, "see {}", log.display());
            let said = registry.send("GET", "/health/ready", "");
            said.filter(|it| it.status == 200).map(|_| ())
        });
        registry
    }

    /// Where it takes what Confluent's registry takes.
    fn url(&self) -> String {
        format!("{}/apis/ccompat/v7", self.root)
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Option<Answer> {
        let headers = [("content-type", "application/vnd.schemaregistry.v1+json")];
        request_with(SOON, method, &format!("{}{path}", self.root), &headers, body.as_bytes())
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.send("GET", &format!("/apis/ccompat/v7{path}"), "");
        answer.unwrap_or_else(|| panic!("no answer to {path}")).ok()
    }

    fn post(&self, subject: &str, schema: &str) -> Option<Answer> {
        let path = format!("/apis/ccompat/v7/subjects/{subject}/versions");
        self.send("POST", &path, &json!({ "schema": schema }).to_string())
    }

    /// Registers a schema; gives its id. What fails for want of a broker is sent again.
    fn register(&self, subject: &str, schema: &str) -> u64 {
        wait::until(&format!("{schema} is registered"), 2 * SOON, || {
            let answer = self.post(subject, schema)?;
            assert!(answer.status == 200 || answer.status >= 500, "{answer:?}");
            (answer.status == 200).then(|| answer.json()["id"].as_u64().unwrap())
        })
    }

    /// A schema that readers of the last one cannot be upgraded to is refused.
    fn refuses(&self, subject: &str) {
        let wrong = json!({ "name": "missing", "type": "long" });
        let answer =
            self.post(subject, &record("Payment", &[wrong]).to_string()).expect("an answer");
        assert_eq!((answer.status, &answer.json()["error_code"]), (409, &409.into()), "{answer:?}");
    }

    /// All that it has.
    fn schemas(&self) -> Schemas {
        let mut schemas = Schemas::new();
        for subject in self.get("/subjects").as_array().unwrap() {
            let subject = subject.as_str().unwrap();
            for version in self.get(&format!("/subjects/{subject}/versions")).as_array().unwrap() {
                let it = self.get(&format!("/subjects/{subject}/versions/{version}"));
                let id = it["id"].as_u64().unwrap();
                assert_eq!(self.get(&format!("/schemas/ids/{id}"))["schema"], it["schema"]);
                let schema = it["schema"].as_str().unwrap().to_owned();
                let key = (subject.to_owned(), version.as_u64().unwrap());
                schemas.insert(key, (id, schema));
            }
        }
        schemas
    }
}

fn record(name: &str, fields: &[Value]) -> Value {
    json!({ "type": "record", "name": name, "fields": fields })
}

/// What `payments.py` writes with: every version has one field more, with a default.
fn payment(version: u64) -> Value {
    let long = |name| json!({ "name": name, "type": "long" });
    let note =
        |n| json!({ "name": format!("note{n}"), "type": "string", "default": format!("none{n}") });
    let fields: Vec<Value> =
        ["id", "amount"].map(long).into_iter().chain((2..=version).map(note)).collect();
    record("Payment", &fields)
}

/// Registers the next version of each subject, the same for nobody else.
fn next_versions(registry: &Registry, schemas: &mut Schemas) {
    for n in 0..SUBJECTS {
        let subject = format!("subject-{n}");
        let version = schemas.keys().filter(|(it, _)| *it == subject).count() as u64 + 1;
        let field = |n| json!({ "name": format!("{subject}-{n}").replace('-', "_"), "type": "long", "default": n });
        let fields: Vec<Value> = (1..=version).map(field).collect();
        let schema = record("Row", &fields).to_string();
        let id = registry.register(&subject, &schema);
        assert!(schemas.values().all(|(other, _)| *other != id), "id {id} is taken: {schemas:?}");
        schemas.insert((subject, version), (id, schema));
    }
}

/// Writes payments with the next version of their schema, which the serializer registers.
fn write(registry: &Registry, client: &mut Asked, schemas: &mut Schemas) {
    let version = schemas.keys().filter(|(it, _)| *it == SUBJECT).count() as i64 + 1;
    let (first, last) = ((version - 1) * PART + 1, version * PART);
    client.ask(&format!("write {version} {first} {last}"), &format!("wrote {PART}"));
    let it = registry.get(&format!("/subjects/{SUBJECT}/versions/{version}"));
    let (id, version) = (it["id"].as_u64().unwrap(), version as u64);
    let schema = it["schema"].as_str().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Value>(&schema).unwrap(), payment(version));
    schemas.insert((SUBJECT.into(), version), (id, schema));
}

/// Reads all payments with one version of the schema, and compares each, and the schema it says it was written with.
fn read(client: &mut Asked, schemas: &Schemas, version: i64, versions: i64) {
    client.say(&format!("read {version} {}", versions * PART));
    for number in 1..=versions * PART {
        let by = (number - 1) / PART + 1;
        let mut expected = json!({ "id": number, "amount": number * 100 });
        for n in 2..=version {
            let note = if n <= by { format!("{number} of {n}") } else { format!("none{n}") };
            expected[format!("note{n}")] = note.into();
        }
        let said = client.hear();
        let (id, payment) = said.split_once(' ').unwrap();
        let payment: Value = serde_json::from_str(payment).unwrap();
        let (written, _) = &schemas[&(SUBJECT.to_owned(), by as u64)];
        assert_eq!((id, payment), (written.to_string().as_str(), expected));
    }
    assert_eq!(client.hear(), "read");
}

/// The program with Confluent's serializers, which knows that registry.
fn client(cluster: &Cluster, registry: &Registry) -> Asked {
    let script = format!("{}/tests/frameworks/registry/payments.py", env!("CARGO_MANIFEST_DIR"));
    let mut command = process::command(installed("frameworks/registry/bin/python"));
    command.args(["-W", "ignore", &script, &cluster.bootstrap(), &registry.url(), TOPIC]);
    Asked::start("payments.py", command)
}

/// Kills the broker that leads the journal.
fn kill_leader(cluster: &Cluster) -> u64 {
    let dead = leader(cluster, JOURNAL, 0).leader as u64;
    cluster.broker(dead).kill9();
    dead
}

fn start_again(cluster: &Cluster, dead: u64) {
    cluster.broker(dead).start();
    cluster.wait_whole();
}

#[test]
fn schemas_and_their_ids_stay_while_brokers_and_the_registry_are_killed() {
    let cluster = Cluster::start("registry", 3);
    cluster.create_topic(TOPIC, 1, 3);
    let mut registry = Registry::start(&cluster);
    let backward = r#"{"compatibility": "BACKWARD"}"#;
    registry.send("PUT", "/apis/ccompat/v7/config", backward).unwrap().ok();
    let mut schemas = Schemas::new();
    let mut python = client(&cluster, &registry);
    write(&registry, &mut python, &mut schemas);
    next_versions(&registry, &mut schemas);
    registry.refuses(SUBJECT);

    let dead = kill_leader(&cluster);
    next_versions(&registry, &mut schemas);
    write(&registry, &mut python, &mut schemas);
    registry.refuses(SUBJECT);
    start_again(&cluster, dead);
    next_versions(&registry, &mut schemas);
    assert_eq!(registry.schemas(), schemas, "a broker died and came back");
    python.stop();

    // Another has nothing but the journal to know it from, of which the leader dies beforehand.
    registry.process.kill9();
    let dead = kill_leader(&cluster);
    let mut registry = Registry::start(&cluster);
    assert_eq!(registry.schemas(), schemas, "the registry was started anew");
    for ((subject, version), (id, schema)) in &schemas {
        assert_eq!(
            registry.register(subject, schema),
            *id,
            "{subject} {version}, registered again"
        );
    }
    registry.refuses(SUBJECT);
    start_again(&cluster, dead);
    next_versions(&registry, &mut schemas);
    let mut python = client(&cluster, &registry);
    write(&registry, &mut python, &mut schemas);
    python.stop();

    registry.process.kill9();
    cluster.brokers().iter().for_each(Broker::kill9);
    cluster.brokers().iter().for_each(Broker::start);
    cluster.wait_whole();
    let registry = Registry::start(&cluster);
    assert_eq!(registry.schemas(), schemas, "all brokers were killed");
    assert_eq!(registry.get("/config")["compatibilityLevel"], "BACKWARD");
    let mut python = client(&cluster, &registry);
    (1..=3).for_each(|version| read(&mut python, &schemas, version, 3));
    python.stop();
}
