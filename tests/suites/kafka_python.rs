//! kafka-python's integration tests, of the version that the Python clients have; `make test-kafka-python` has them
//! unpacked. `service.py` stands where its own starts a Kafka: what is not in the archive is not needed, as brokers run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Run, list};
use crate::support::clients::installed;
use crate::support::process;

/// The release its clients are told they speak to: they then take that release's versions and ask for none.
const KAFKA: &str = "4.1.0";

pub fn rows() -> Vec<list::Row> {
    list::read(include_str!("kafka_python.list"))
}

/// What the list allows, a process for each test and all its parameters.
pub fn runs() -> Vec<Run> {
    let rows = rows();
    list::check(&rows, &names());
    rows.into_iter().filter(|row| row.short.is_some()).map(run).collect()
}

fn run(row: list::Row) -> Run {
    let (name, alone) = (row.name, row.alone);
    let title = name.clone();
    let command = move |bootstrap: &str, place: &Path| {
        let broker = bootstrap.split(',').next().unwrap();
        let mut command = pytest(&[&id(&name), "-v"]);
        command.env("KAFKA_URI", format!("kafka://{broker}"));
        // Where it would look for what it starts.
        command.env("KAFKA_ROOT", place);
        command
    };
    Run { title, auto_create: true, alone, command: Box::new(command), doubt: Box::new(doubt) }
}

fn built() -> PathBuf {
    let packages = include_str!("../clients/more.txt").lines();
    let version = packages.filter_map(|line| line.strip_prefix("kafka-python==")).next();
    installed(&format!("kafka-python-{}", version.expect("a version of kafka-python")))
}

fn pytest(args: &[&str]) -> Command {
    let built = built();
    let mut command = process::command(built.join("python/bin/python"));
    command.args(["-m", "pytest", "-p", "no:cacheprovider"]).args(args).current_dir(built);
    command.env("KAFKA_VERSION", KAFKA).env_remove("KAFKA_URI").env_remove("ZOOKEEPER_URI");
    command
}

/// What pytest finds there, without the parameters: `admin::test_x` is of `test/integration/test_admin_integration.py`.
fn names() -> BTreeSet<String> {
    let collected =
        process::run(pytest(&["test/integration", "--collect-only", "-q"]), super::LIMIT);
    let text = collected.ok("listing kafka-python's tests");
    text.lines().filter_map(named).collect()
}

fn named(id: &str) -> Option<String> {
    let (file, test) =
        id.strip_prefix("test/integration/test_")?.split_once("_integration.py::")?;
    Some(format!("{file}::{}", test.split('[').next().unwrap()))
}

fn id(name: &str) -> String {
    let (file, test) = name.split_once("::").unwrap();
    format!("test/integration/test_{file}_integration.py::{test}")
}

/// A test that skipped itself ends well.
fn doubt(log: &str) -> Option<String> {
    let last = log.lines().rfind(|line| line.starts_with("===")).unwrap_or("no summary");
    let well = last.contains(" passed") && !last.contains(" skipped") && !last.contains(" x");
    (!well).then(|| last.to_owned())
}

#[test]
fn what_pytest_says_tells_what_passed_from_what_left_itself_out() {
    assert_eq!(doubt("x\n==== 2 passed, 1 warning in 0.10s ====\n"), None);
    for wrong in [
        "==== 1 skipped in 0.10s ====",
        "=== 1 passed, 1 skipped in 1s ===",
        "=== 1 xfailed in 1s ===",
    ] {
        assert!(doubt(wrong).is_some(), "{wrong}");
    }
    let name = "ssl::TestSSLConnection::test_ssl_handshake";
    assert_eq!(named(&id(name)).as_deref(), Some(name));
    assert_eq!(
        named(&format!("{}[None]", id("producer::test_a"))).as_deref(),
        Some("producer::test_a")
    );
    assert_eq!(named("4 tests collected in 0.36s"), None);
}
