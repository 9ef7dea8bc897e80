//! What people build upon Kafka's clients, run as they run it: the framework's own artefacts as processes, on three
//! brokers of which one is killed in the middle, and what it wrote compared record by record with what it should have
//! written. What each proves stands in `tests/frameworks/README.md`. `make test-frameworks` installs and runs them.

mod connect;
mod debezium;
mod flink;
mod mirror;
mod registry;
mod spark;
mod storm;
mod streams;

use std::process::Command;

use crate::support::clients::installed;
use crate::support::java;

/// A class of `tests/frameworks/<framework>`, with the jars of its `pom.xml` and these options of the Java machine.
fn program(framework: &str, class: &str, options: &[&str]) -> Command {
    let folder = format!("tests/frameworks/{framework}");
    java::program(&installed(&format!("frameworks/{framework}")), &folder, class, options)
}
