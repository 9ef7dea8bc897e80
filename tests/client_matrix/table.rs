//! The table of clients: which versions, and what they do not offer.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Client, Program};

const PARTS: [&str; 13] = [
    "admin",
    "records",
    "codecs",
    "idempotent",
    "auto-create",
    "seek by time",
    "rebalance",
    "dead member",
    "static member",
    "consumer protocol",
    "transactions",
    "read committed",
    "exactly once",
];

const CLIENTS: [Client; 11] = [
    Client {
        id: "java_4",
        name: "Java kafka-clients 4",
        version: "4.3.1",
        pin: Some(("java/pom.xml", "<version>4.3.1</version>")),
        program: Program::Java("java"),
        lacks: &[],
    },
    Client {
        id: "librdkafka",
        name: "confluent-kafka (librdkafka)",
        version: "2.12.2",
        pin: Some(("requirements.txt", "confluent-kafka==2.12.2")),
        program: Program::Python("python", "librdkafka.py"),
        lacks: &[],
    },
    Client {
        id: "franz_go",
        name: "franz-go",
        version: "1.22.3",
        pin: Some(("go/go.mod", "github.com/twmb/franz-go v1.22.3")),
        program: Program::Go("franz-go"),
        lacks: &[("transaction offsets", "it sends those of who reads in the group")],
    },
    Client {
        id: "java_3",
        name: "Java kafka-clients 3",
        version: "3.9.2",
        pin: Some(("java-3/pom.xml", "<version>3.9.2</version>")),
        program: Program::Java("java-3"),
        lacks: &[],
    },
    Client {
        id: "rdkafka",
        name: "rdkafka (librdkafka in Rust)",
        version: "0.39",
        pin: Some(("../../Cargo.toml", "rdkafka = { version = \"0.39\"")),
        program: Program::Rust("rdkafka-client"),
        lacks: &[],
    },
    Client {
        id: "sarama",
        name: "sarama",
        version: "1.61.1",
        pin: Some(("go/go.mod", "github.com/IBM/sarama v1.61.1")),
        program: Program::Go("sarama"),
        lacks: &[("consumer protocol", NOT_YET)],
    },
    Client {
        id: "kafkajs",
        name: "kafkajs",
        version: "2.2.4",
        pin: Some(("node/package.json", "\"kafkajs\": \"2.2.4\"")),
        program: Program::Node("kafkajs.js"),
        lacks: &[
            ("static member", "it sends no instance id"),
            ("consumer protocol", NOT_YET),
            ("null header", "it takes a header for text or bytes"),
            ("header order", "headers are an object, in which one name stands once"),
        ],
    },
    Client {
        id: "platformatic",
        name: "@platformatic/kafka",
        version: "2.12.1",
        pin: Some(("node/package.json", "\"@platformatic/kafka\": \"2.12.1\"")),
        program: Program::Node("platformatic.js"),
        lacks: &[
            ("read committed", "it knows one aborted transaction of a producer in a fetch"),
            ("exactly once", "it waits for ever to send offsets when a broker is gone"),
            ("transaction offsets", "it sends those of who reads in the group"),
        ],
    },
    Client {
        id: "kafka_python",
        name: "kafka-python",
        version: "3.0.12",
        pin: Some(("more.txt", "kafka-python==3.0.12")),
        program: Program::Python("more", "kafka_python.py"),
        lacks: &[
            ("consumer protocol", NOT_YET),
            ("null header", "it takes a header for bytes"),
            ("exactly once", "it waits for ever for a coordinator that is gone"),
            ("nothing at all", "it wants a key where the value is null"),
        ],
    },
    Client {
        id: "aiokafka",
        name: "aiokafka",
        version: "0.14.0",
        pin: Some(("more.txt", "aiokafka==0.14.0")),
        program: Program::Python("more", "aio_kafka.py"),
        lacks: &[
            ("consumer protocol", NOT_YET),
            ("nothing at all", "it wants a key where the value is null"),
            ("step delete group", "its admin client deletes no groups"),
            ("step delete group again", "its admin client deletes no groups"),
        ],
    },
    Client {
        id: "kcat",
        name: "kcat (librdkafka 2.0)",
        version: "Debian's",
        pin: None,
        program: Program::Python("python", "kcat.py"),
        lacks: &[
            ("admin", "it reads and writes only"),
            ("consumer protocol", "Debian's librdkafka is older than it"),
            ("transactions", "it has one of one topic, from its start to its end"),
            ("exactly once", "it reads or it writes"),
            ("timestamps", "it sends no time of its own"),
            ("nothing at all", "it skips a message without a byte"),
        ],
    },
];

/// How gaps begin that are narrower than a part.
const NARROW: [&str; 7] = [
    "codec ",
    "step ",
    "null header",
    "header order",
    "timestamps",
    "nothing at all",
    "transaction offsets",
];

/// Why a client has no consumer protocol (KIP-848).
const NOT_YET: &str = "it has the classic protocol only";

pub fn client(id: &str) -> &'static Client {
    CLIENTS.iter().find(|client| client.id == id).expect("a client of the table")
}

/// The table as the document has it.
fn rows() -> String {
    let head = format!("| client | version | {} |\n", PARTS.join(" | "));
    let rule = format!("|{}\n", "---|".repeat(PARTS.len() + 2));
    let row = |client: &Client| {
        let cell = |part: &&str| if client.lacks(part) { "–" } else { "yes" };
        let cells: Vec<&str> = PARTS.iter().map(cell).collect();
        format!("| {} | {} | {} |\n", client.name, client.version, cells.join(" | "))
    };
    let reasons = CLIENTS.iter().flat_map(|client| {
        client.lacks.iter().map(|(what, why)| format!("- {}, {what}: {why}\n", client.name))
    });
    let reasons: String = reasons.collect();
    let rows: String = CLIENTS.iter().map(row).collect();
    format!("{head}{rule}{rows}\nWhat is missing, and why:\n\n{reasons}")
}

#[test]
fn the_document_has_the_table_that_the_tests_go_by() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let document = fs::read_to_string(folder.join("README.md")).unwrap();
    let rows = rows();
    assert!(document.contains(&rows), "tests/clients/README.md has to have this table:\n{rows}");
}

#[test]
fn every_version_is_the_one_that_is_installed_and_every_gap_is_named_as_the_tests_name_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let mut ids = BTreeSet::new();
    for client in &CLIENTS {
        if let Some((file, says)) = client.pin {
            let text = fs::read_to_string(folder.join(file)).unwrap();
            assert!(text.contains(says), "{file} does not say {says:?}");
            assert!(says.contains(client.version), "{says:?} is not {}", client.version);
        }
        assert!(ids.insert(client.id), "{} is there twice", client.id);
        for (what, why) in client.lacks {
            let narrow = NARROW.iter().any(|it| what.starts_with(it));
            assert!(narrow || PARTS.contains(what), "{}: {what:?} is no capability", client.id);
            assert!(!why.is_empty(), "{}: {what} without a reason", client.id);
        }
    }
}
