//! Every client is held to the same statements: one table of clients, one list of what each must do. How their
//! programs are spoken to, and the table as one reads it, are in `tests/clients/README.md`.

mod admin;
mod exactly_once;
mod groups;
pub mod record;
mod records;
mod shell;
mod table;
mod transactions;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::asked::Asked;
use crate::support::clients::{installed, java_program};
use crate::support::cluster::{BINARY, Cluster};
use crate::support::members::Member;
use crate::support::process::{self, Output};

/// How long a client may take for one command.
const LIMIT: Duration = Duration::from_secs(120);

/// The exit code of a program for what its client does not offer.
const NOT_OFFERED: i32 = 3;

pub struct Client {
    /// The module of its tests.
    id: &'static str,
    name: &'static str,
    version: &'static str,
    /// Where that version is chosen, below `tests/clients`, and how it says so; unless Debian chooses.
    pin: Option<(&'static str, &'static str)>,
    program: Program,
    /// What it does not offer, and why: a capability, a codec or a step of administration.
    lacks: &'static [(&'static str, &'static str)],
}

/// What its program is written in, and which of that language it is.
#[derive(Clone, Copy)]
enum Program {
    Java(&'static str),
    Python(&'static str, &'static str),
    Go(&'static str),
    Node(&'static str),
    Rust(&'static str),
}

/// A test of each capability for each client. The everyday ones are installed by `make clients`, the others by
/// `make more-clients`.
macro_rules! tests {
    ($module:ident: $($client:ident)+) => {
        mod $module { $(tests!(@ $client);)+ }
    };
    (@ $client:ident) => {
        mod $client {
            tests!(# $client: admin::admin records::records records::codecs records::idempotent records::auto_create
                records::seek_by_time groups::rebalance groups::dead_member groups::static_member
                groups::consumer_protocol transactions::transactions transactions::read_committed
                exactly_once::exactly_once);
        }
    };
    (# $client:ident: $($file:ident::$capability:ident)+) => {
        $(#[test]
        fn $capability() {
            let client = crate::client_matrix::table::client(stringify!($client));
            crate::client_matrix::$file::$capability(client);
        })+
    };
}

tests!(everyday: java_4 librdkafka franz_go);
tests!(more: java_3 rdkafka sarama kafkajs platformatic kafka_python aiokafka kcat);

/// What the Java client says of transactions has a file of its own.
fn java_class(command: &str) -> &'static str {
    if ["transact", "process"].contains(&command) { "Transactions" } else { "Matrix" }
}

impl Client {
    fn lacks(&self, what: &str) -> bool {
        self.lacks.iter().any(|(lacking, _)| *lacking == what)
    }

    /// What it does not offer, its program refuses, so that the table says no more and no less than is so.
    fn refuses(&self, what: &str, args: &[&str]) -> bool {
        if self.lacks(what) {
            let said = process::run(self.command(args), LIMIT);
            assert_eq!(said.code, Some(NOT_OFFERED), "{} has {what}\n{}", self.name, said.stderr);
        }
        self.lacks(what)
    }

    /// Its program with these arguments.
    fn command(&self, args: &[&str]) -> Command {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let mut command = match self.program {
            Program::Java(jars) => return java_program(jars, java_class(args[0]), args),
            Program::Python(home, script) => {
                let mut command = process::command(installed(home).join("bin/python"));
                command.arg(sources.join("python").join(script));
                command
            }
            Program::Go(name) => process::command(installed("go").join(name)),
            Program::Node(script) => {
                let mut command = process::command(installed("node/node"));
                command.arg(installed("node").join(script));
                command
            }
            Program::Rust(name) => {
                let built = Path::new(BINARY).with_file_name("examples").join(name);
                assert!(
                    built.exists(),
                    "{} is missing: cargo build --release --example {name}",
                    built.display()
                );
                process::command(built)
            }
        };
        command.args(args);
        command
    }

    /// Its program, which is spoken to line by line.
    fn asked(&self, args: &[&str]) -> Asked {
        Asked::start(self.name, self.command(args))
    }

    fn run(&self, args: &[&str], input: &str) -> Output {
        process::run_with(self.command(args), input, LIMIT)
    }

    /// A member of a group; the settings have the names that Kafka's own client has for them.
    fn member(&self, cluster: &Cluster, name: &str, settings: &[&str]) -> Member {
        let bootstrap = cluster.bootstrap();
        Member::run(self.command(&[&["consume", &bootstrap, name, name], settings].concat()))
    }

    /// A name for topics and groups of one test.
    fn topic(&self, test: &str) -> String {
        format!("matrix-{}-{test}", self.id.replace('_', "-"))
    }
}
