//! librdkafka's own suite, of the version whose source the `rdkafka-sys` crate carries. What it reads of that source is
//! the table of tests in `test.c`; `make test-librdkafka` has the suite built.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Run, list};
use crate::support::clients::installed;
use crate::support::process;

/// The protocol a broker of Kafka 4.1 speaks, by which tests choose what they try.
const KAFKA: &str = "4.1.0.0";

/// A test of the table: its name and the broker it wants, empty for an ordinary one.
struct Test {
    name: String,
    scenario: String,
}

pub fn rows() -> Vec<list::Row> {
    list::read(include_str!("librdkafka.list"))
}

pub fn names() -> BTreeSet<String> {
    tests().into_iter().map(|test| test.name).collect()
}

/// The version of the crate, as the lock file has it.
fn version() -> String {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"));
    let lock = lock.unwrap();
    let entry = lock.split("name = \"rdkafka-sys\"").nth(1).expect("rdkafka-sys is locked");
    entry.split('"').nth(1).unwrap().to_owned()
}

/// The crate's source where cargo unpacked it to compile it.
fn source() -> PathBuf {
    let home = || PathBuf::from(std::env::var("HOME").unwrap()).join(".cargo");
    let home = std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from);
    let registries = fs::read_dir(home.join("registry/src")).unwrap();
    let package = format!("rdkafka-sys-{}", version());
    let mut places = registries.map(|entry| entry.unwrap().path().join(&package));
    places.find(|place| place.exists()).unwrap_or_else(|| panic!("{package} is not unpacked"))
}

fn tests() -> Vec<Test> {
    let text = fs::read_to_string(source().join("librdkafka/tests/test.c")).unwrap();
    let (_, table) = text.split_once("struct test tests[] = {").expect("the table of tests");
    let (table, _) = table.split_once("{NULL}};").expect("the end of the table");
    let entry = |text: &str| {
        let name = text.split([',', ')']).next().unwrap().trim().to_owned();
        let scenario = text.split(".scenario = \"").nth(1).unwrap_or_default();
        let scenario = scenario.split(['"', ',']).next().unwrap_or_default();
        Test { name, scenario: scenario.replace("default", "") }
    };
    table.split("_TEST(").skip(1).map(entry).collect()
}

/// Tests of one number and scenario, which one process runs. Variants come after all others: one that ran beside the
/// test itself would see its topics.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    variant: String,
    number: String,
    scenario: String,
    part: String,
    alone: bool,
}

/// What the list allows, a process for each number and part.
pub fn runs(short_only: bool) -> Vec<Run> {
    let rows = rows();
    list::check(&rows, &names());
    let scenarios: BTreeMap<String, String> =
        tests().into_iter().map(|test| (test.name, test.scenario)).collect();
    let mut groups: BTreeMap<Group, Vec<String>> = BTreeMap::new();
    for row in rows {
        if row.short.is_none() || (short_only && row.short == Some(false)) {
            continue;
        }
        let parts = if row.parts.is_empty() { vec![String::new()] } else { row.parts };
        for part in parts {
            let number = row.name.split('_').next().unwrap().to_owned();
            let scenario = scenarios[&row.name].clone();
            let (variant, alone) = (row.variant.clone(), row.alone);
            let group = Group { number, scenario, variant, part, alone };
            groups.entry(group).or_default().push(row.name.clone());
        }
    }
    groups.into_iter().map(|(group, names)| run(group, names)).collect()
}

fn run(group: Group, names: Vec<String>) -> Run {
    let variant = if group.variant.is_empty() { "classic" } else { &group.variant };
    let title = [&names.join(" "), &group.part, &group.variant, &group.scenario];
    let title: Vec<&str> =
        title.into_iter().map(String::as_str).filter(|it| !it.is_empty()).collect();
    let title = title.join(" ");
    let (auto_create, alone) = (group.scenario != "noautocreate", group.alone);
    let protocol = variant.to_owned();
    let part = group.part.clone();
    let command = move |bootstrap: &str, place: &Path| command(&group, &protocol, bootstrap, place);
    let doubt = move |log: &str| doubt(&names, &part, log);
    Run { title, auto_create, alone, command: Box::new(command), doubt: Box::new(doubt) }
}

fn command(group: &Group, protocol: &str, bootstrap: &str, place: &Path) -> Command {
    let built = installed(&format!("librdkafka-{}", version()));
    let config = place.join("test.conf");
    fs::write(&config, format!("bootstrap.servers={bootstrap}\n")).unwrap();
    let scenario = if group.scenario.is_empty() { "default" } else { &group.scenario };
    // One test at a time, none that needs no broker, none that its authors know to fail.
    let mut command = process::command("./test-runner");
    command.args(["-p1", "-L", "-K", "-s", scenario, "-V", KAFKA]);
    command.current_dir(built.join("tests")).env("LD_LIBRARY_PATH", "../src:../src-cpp");
    command.env("RDKAFKA_TEST_CONF", config);
    command.env("TESTS", &group.number).env("TEST_CONSUMER_GROUP_PROTOCOL", protocol);
    if !group.part.is_empty() {
        command.env("SUBTESTS", &group.part);
    }
    // Some make topics with Kafka's own tools.
    command.env("KAFKA_PATH", built.join("kafka")).env("BROKERS", bootstrap);
    // It changes what is tried and how long for.
    command.env_remove("CI");
    command
}

/// A test that skipped itself, or of which a part ran that is not there, ends well.
fn doubt(names: &[String], part: &str, log: &str) -> Option<String> {
    for name in names {
        let state = state(log, name);
        if state != Some("PASSED") {
            return Some(format!("{name}: {}", state.unwrap_or("not in the summary")));
        }
    }
    let began = |line: &str| line.contains("[ ") && line.contains(part) && line.contains(": PASS");
    (!part.is_empty() && !log.lines().any(began)).then(|| format!("no part {part} passed"))
}

/// What the summary at the end says of a test: `| NAME | STATE | SECONDS |`, in colours.
fn state<'l>(log: &'l str, name: &str) -> Option<&'l str> {
    log.lines().find_map(|line| {
        let mut cells = line.strip_prefix('|')?.split('|');
        let named = cells.next()?.split_whitespace().next_back() == Some(name);
        cells.next().map(str::trim).filter(|_| named)
    })
}

#[test]
fn the_summary_tells_what_passed_from_what_left_itself_out() {
    let log = "|\u{1b}[32m <MAIN>     |     PASSED |   0.1s \u{1b}[0m|\n\
               |\u{1b}[36m 0045_a     |    SKIPPED |   0.0s \u{1b}[0m|\n\
               |\u{1b}[32m 0045_a_b   |     PASSED |   5.2s \u{1b}[0m|\n\
               [0045_a_b / 1s] [ do_test_x:12: PASS (1s) ]\n";
    let doubt = |name: &str, part: &str| doubt(&[name.to_owned()], part, log);
    assert_eq!(doubt("0045_a_b", ""), None);
    assert_eq!(doubt("0045_a_b", "test_x"), None);
    assert_eq!(doubt("0045_a_b", "test_y"), Some("no part test_y passed".into()));
    assert_eq!(doubt("0045_a", ""), Some("0045_a: SKIPPED".into()));
    assert_eq!(doubt("0046", ""), Some("0046: not in the summary".into()));
}
