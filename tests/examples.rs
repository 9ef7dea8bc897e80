//! The examples: what each page shows is typed in its folder and has to print what the page says. Those that take clients
//! of `make more-clients` are run by `make test-clients`.

use std::fs;
use std::path::Path;

use crate::support::cluster::{BINARY, Cluster};
use crate::support::pages::examples;

/// What a page says to do first, with the broker of these tests.
fn before() -> String {
    let broker = Path::new(BINARY).parent().unwrap().display();
    format!("PATH={broker}:$PATH; . ../env\n")
}

fn run(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples").join(name);
    let page = fs::read_to_string(folder.join("README.md")).unwrap();
    let examples = examples(&page);
    assert!(!examples.is_empty(), "{name} shows nothing");
    let cluster = Cluster::start(&format!("example-{name}"), 3);
    examples.iter().for_each(|example| example.run(&cluster, &folder, &before()));
}

macro_rules! tests {
    ($($name:ident)+) => { $(#[test] fn $name() { crate::examples::run(stringify!($name)); })+ };
}

tests!(messaging metrics logs processing);

mod more {
    tests!(activity decoupling);
}

#[test]
fn every_example_is_listed_and_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples");
    let list = fs::read_to_string(folder.join("README.md")).unwrap();
    let code = include_str!("examples.rs");
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            assert!(list.contains(&format!("({name}/README.md)")), "{name} is not listed");
            assert!(code.contains(&name), "{name} is not run");
        }
    }
}
