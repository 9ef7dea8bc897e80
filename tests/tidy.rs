//! The rules of the house as tests: what a reviewer would say about every file, said here once.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SOURCES: [&str; 5] = ["src", "raft", "storage", "tests", "jepsen"];
const LINES_MAX: usize = 500;

/// Which words name a crate that only these folders may name.
const EDGES: [(&str, &[&str]); 10] = [
    ("rocksdb::", &["storage/"]),
    ("openraft::", &["raft/", "storage/"]),
    ("axum::", &["src/http"]),
    ("kafka_wire", &["src/kafka", "src/client", "src/record"]),
    ("kafka_wire_core", &["src/kafka", "src/client", "src/record"]),
    ("quorate_raft", &["src/", "raft/"]),
    ("quorate_storage", &["src/", "raft/", "storage/"]),
    ("rdkafka::", &["tests/"]),
    // The harness knows the broker as its users do.
    ("quorate::", &["src/", "tests/"]),
    ("quorate_jepsen", &["jepsen/"]),
];

fn files(ending: &str) -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    SOURCES.iter().for_each(|folder| walk(&Path::new(ROOT).join(folder), &mut found));
    let mut files: Vec<(String, String)> = found
        .into_iter()
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .map(|path| {
            let name = path.strip_prefix(ROOT).unwrap().display().to_string();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn complain(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

#[test]
fn files_are_short_begin_with_their_reason_and_leave_no_notes() {
    let mut broken = Vec::new();
    // Written in two parts, so that this file does not find itself.
    let notes = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["todo", "!("], ["unimplemented", "!("]];
    let notes: Vec<String> = notes.iter().map(|parts| parts.concat()).collect();
    let ignored = ["#[", "ignore"].concat();
    for (name, text) in files(".rs") {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            broken.push(format!("{name}: {lines} lines, at most {LINES_MAX}"));
        }
        // Unit tests say by their place what they are.
        let unit_tests = name.ends_with("/tests.rs") || name.contains("/tests/");
        if !unit_tests && !text.starts_with("//!") {
            broken.push(format!("{name}: no //! header"));
        }
        for (number, line) in text.lines().enumerate() {
            if notes.iter().chain([&ignored]).any(|note| line.contains(note.as_str())) {
                broken.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    complain("every file is short, says why it is, and is finished", &broken);
}

#[test]
fn no_file_is_named_for_leftovers_and_no_module_hides_in_mod_rs() {
    let bad = ["utils", "util", "common", "helpers", "misc", "mod"];
    let named = |name: &str| {
        let stem = Path::new(name).file_stem().unwrap().to_string_lossy().into_owned();
        bad.contains(&stem.as_str())
    };
    let broken: Vec<String> =
        files(".rs").into_iter().map(|(name, _)| name).filter(|name| named(name)).collect();
    complain("a file is named for its idea", &broken);
}

/// Whether a line has the word, and not as the beginning of a longer one: metrics begin like crates.
fn names(line: &str, word: &str) -> bool {
    let goes_on = |rest: &str| rest.starts_with(|next: char| next == '_' || next.is_alphanumeric());
    let whole = |rest: &str| !word.ends_with(char::is_alphanumeric) || !goes_on(rest);
    line.match_indices(word).any(|(at, _)| whole(&line[at + word.len()..]))
}

#[test]
fn every_crate_and_folder_names_only_what_lies_beneath_it() {
    let mut broken = Vec::new();
    for (name, text) in files(".rs") {
        if name.ends_with("tests/tidy.rs") {
            continue;
        }
        for (word, folders) in EDGES {
            let allowed = folders.iter().any(|folder| name.starts_with(folder));
            let code = |line: &&str| !line.trim_start().starts_with("//");
            if !allowed && text.lines().filter(code).any(|line| names(line, word)) {
                broken.push(format!("{name} names {word}, which belongs to {folders:?}"));
            }
        }
    }
    complain("Kafka and HTTP outside, Raft inside, RocksDB beneath", &broken);
}

/// A module and those it may name.
type Row = (&'static str, &'static [&'static str]);

/// Which modules of its crate a module may name. Each names only what has its own row above it, so
/// none can come round to itself.
const MODULES: [(&str, &[Row]); 4] = [
    (
        "src/",
        &[
            ("metadata", &[]),
            ("record", &[]),
            ("config", &["metadata"]),
            ("telemetry", &["config"]),
            ("wall_clock", &[]),
            ("replica", &["metadata"]),
            ("partition", &["metadata", "record", "replica", "wall_clock"]),
            ("controller", &["config", "metadata", "replica", "telemetry", "wall_clock"]),
            ("context", &["config", "controller", "metadata", "partition"]),
            ("http", &["config", "context", "controller", "metadata", "telemetry"]),
            (
                "kafka",
                &[
                    "config",
                    "context",
                    "controller",
                    "metadata",
                    "partition",
                    "record",
                    "telemetry",
                    "wall_clock",
                ],
            ),
            (
                "broker",
                &[
                    "config",
                    "context",
                    "controller",
                    "http",
                    "kafka",
                    "metadata",
                    "partition",
                    "replica",
                    "wall_clock",
                ],
            ),
            ("client", &["config", "record"]),
            ("terminal", &["client", "config"]),
            ("demo", &["config", "terminal"]),
            ("bench", &["client", "demo", "record", "telemetry", "terminal"]),
            (
                "cli",
                &["bench", "broker", "client", "config", "demo", "record", "telemetry", "terminal"],
            ),
        ],
    ),
    (
        "storage/src/",
        &[
            ("activity", &[]),
            ("age", &[]),
            ("counters", &[]),
            ("failpoint", &[]),
            ("fatal", &[]),
            ("fragments", &[]),
            ("generations", &[]),
            ("hold", &[]),
            ("keys", &[]),
            ("pace", &[]),
            ("runs", &[]),
            ("segments", &[]),
            ("space", &[]),
            ("tail", &[]),
            ("types", &[]),
            ("error", &["space"]),
            ("options", &["space"]),
            ("ballast", &["space"]),
            ("entry", &["keys"]),
            ("group", &["runs", "segments", "tail"]),
            ("cell", &["group"]),
            ("manifest", &["fragments"]),
            ("wal", &["fragments"]),
            ("inventory", &["failpoint", "keys", "manifest", "wal"]),
            ("synced", &["inventory", "wal"]),
            ("moves", &["group", "segments"]),
            ("queue", &["group", "moves", "runs"]),
            ("rocks", &["fatal", "hold", "keys"]),
            ("flow", &["rocks"]),
            ("recover", &["entry", "generations", "group", "keys", "rocks", "runs", "segments"]),
            ("retire", &[]),
            ("sync", &[]),
            ("watch", &[]),
            (
                "shared",
                &[
                    "activity",
                    "cell",
                    "counters",
                    "flow",
                    "generations",
                    "inventory",
                    "options",
                    "queue",
                    "retire",
                    "space",
                    "sync",
                    "synced",
                    "watch",
                ],
            ),
            ("corrupt", &["group", "queue", "shared"]),
            ("read", &["corrupt", "entry", "group", "keys", "rocks", "shared"]),
            ("measure", &["activity", "ballast", "shared", "space"]),
            (
                "rewrite",
                &[
                    "corrupt", "counters", "entry", "fatal", "group", "keys", "moves", "rocks",
                    "shared",
                ],
            ),
            (
                "retire_thread",
                &[
                    "age",
                    "counters",
                    "failpoint",
                    "fatal",
                    "keys",
                    "measure",
                    "pace",
                    "queue",
                    "retire",
                    "rewrite",
                    "rocks",
                    "shared",
                ],
            ),
            (
                "sync_thread",
                &["activity", "failpoint", "fatal", "rocks", "shared", "sync", "synced"],
            ),
            ("watch_thread", &["measure", "rocks", "shared"]),
            (
                "writer",
                &[
                    "activity",
                    "counters",
                    "entry",
                    "failpoint",
                    "fatal",
                    "group",
                    "keys",
                    "moves",
                    "queue",
                    "recover",
                    "rocks",
                    "runs",
                    "segments",
                    "shared",
                    "sync",
                    "synced",
                ],
            ),
            (
                "db",
                &[
                    "activity",
                    "ballast",
                    "cell",
                    "counters",
                    "failpoint",
                    "fatal",
                    "flow",
                    "inventory",
                    "keys",
                    "measure",
                    "queue",
                    "recover",
                    "retire",
                    "retire_thread",
                    "rocks",
                    "shared",
                    "space",
                    "sync",
                    "sync_thread",
                    "synced",
                    "wal",
                    "watch",
                    "watch_thread",
                    "writer",
                ],
            ),
            ("state", &["db", "group", "keys", "rocks"]),
            ("log", &["db", "entry", "group", "queue", "read", "state"]),
            ("simulation", &["group", "read", "sync"]),
        ],
    ),
    (
        "raft/src/",
        &[
            ("ids", &[]),
            ("error", &[]),
            ("options", &[]),
            ("status", &[]),
            ("condition", &[]),
            ("config", &[]),
            ("catch_up", &[]),
            ("failed_groups", &[]),
            ("platform", &[]),
            ("runtime", &[]),
            ("drain", &[]),
            ("suspects", &[]),
            ("machine", &["error"]),
            ("calls", &["error"]),
            ("stall", &["config"]),
            ("codec", &["error", "ids"]),
            ("types", &["codec", "error", "ids", "runtime"]),
            ("shared", &["codec", "options", "status", "types"]),
            ("checkpoint", &["codec", "error", "types"]),
            ("due_groups", &["checkpoint", "shared"]),
            ("failure", &["due_groups", "suspects"]),
            (
                "transport",
                &[
                    "catch_up",
                    "codec",
                    "condition",
                    "config",
                    "error",
                    "failure",
                    "platform",
                    "shared",
                    "types",
                ],
            ),
            ("store", &["codec", "error", "platform", "transport", "types"]),
            (
                "apply",
                &[
                    "checkpoint",
                    "due_groups",
                    "error",
                    "machine",
                    "platform",
                    "shared",
                    "store",
                    "types",
                ],
            ),
            ("promise", &["codec", "error", "store", "types"]),
            ("replica", &["apply", "failed_groups", "shared", "status", "suspects", "types"]),
            (
                "core",
                &[
                    "apply",
                    "calls",
                    "catch_up",
                    "condition",
                    "config",
                    "drain",
                    "due_groups",
                    "error",
                    "failed_groups",
                    "failure",
                    "options",
                    "platform",
                    "promise",
                    "replica",
                    "shared",
                    "stall",
                    "store",
                    "suspects",
                    "transport",
                ],
            ),
            ("progress", &["error", "replica", "types"]),
            ("views", &["codec", "core", "error", "types"]),
            ("transfer", &["core", "error", "progress", "replica", "transport", "types", "views"]),
            ("membership", &["core", "error", "progress", "replica", "transfer"]),
            ("propose", &["config", "core", "error", "machine", "replica", "types"]),
            (
                "group",
                &[
                    "core",
                    "error",
                    "machine",
                    "membership",
                    "propose",
                    "replica",
                    "status",
                    "transfer",
                ],
            ),
            (
                "elections",
                &[
                    "core",
                    "replica",
                    "shared",
                    "suspects",
                    "transfer",
                    "transport",
                    "types",
                    "views",
                ],
            ),
            ("hand_over", &["core", "transfer"]),
            ("disk_watch", &["core", "stall"]),
            ("maintenance", &["core", "replica", "shared", "transfer"]),
            (
                "server",
                &[
                    "calls",
                    "checkpoint",
                    "codec",
                    "core",
                    "error",
                    "platform",
                    "replica",
                    "transport",
                    "types",
                ],
            ),
            (
                "node",
                &[
                    "apply",
                    "calls",
                    "codec",
                    "condition",
                    "config",
                    "core",
                    "disk_watch",
                    "elections",
                    "error",
                    "group",
                    "hand_over",
                    "machine",
                    "maintenance",
                    "options",
                    "platform",
                    "promise",
                    "server",
                    "stall",
                    "status",
                    "store",
                    "transport",
                ],
            ),
        ],
    ),
    (
        "jepsen/src/",
        &[
            ("history", &[]),
            ("net", &[]),
            ("checker", &["history"]),
            ("summary", &["checker"]),
            ("environment", &["history"]),
            ("admin", &["environment"]),
            ("client", &["environment", "history"]),
            ("sandbox", &["admin", "checker", "environment", "net"]),
            ("fault", &["admin", "client", "net", "sandbox"]),
            ("report", &["checker", "fault", "history"]),
            ("workload", &["admin", "checker", "client", "environment", "history"]),
            (
                "run",
                &[
                    "admin",
                    "checker",
                    "client",
                    "environment",
                    "fault",
                    "history",
                    "net",
                    "report",
                    "sandbox",
                    "summary",
                    "workload",
                ],
            ),
            ("nemesis", &["fault", "run"]),
            (
                "scenario",
                &["admin", "client", "environment", "fault", "history", "net", "run", "sandbox"],
            ),
            (
                "cli",
                &[
                    "checker", "fault", "history", "nemesis", "run", "sandbox", "scenario",
                    "summary", "workload",
                ],
            ),
        ],
    ),
];

/// The modules of its own crate that a file's code names, its unit tests left out.
fn modules_named(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut named = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let names = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => rest.split(|next: char| next != '_' && !next.is_alphanumeric()).next().unwrap(),
        };
        let words = names.split(|next: char| next != '_' && !next.is_alphanumeric());
        named.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
    }
    named
}

#[test]
fn every_module_names_only_modules_below_it() {
    let mut broken = Vec::new();
    for (root, modules) in MODULES {
        for (at, (module, allowed)) in modules.iter().enumerate() {
            let below = |name: &&&str| !modules[..at].iter().any(|(module, _)| *module == **name);
            broken.extend(allowed.iter().filter(below).map(|name| format!("{module}: {name}")));
        }
        let known = |name: &str| modules.iter().find(|(module, _)| *module == name);
        for (file, text) in files(".rs") {
            let Some(path) = file.strip_prefix(root) else { continue };
            if path.ends_with("tests.rs") || path.contains("tests/") {
                continue;
            }
            let top = path.split(['/', '.']).next().unwrap_or_default();
            // The crate's own root and its programs name everything.
            let Some((_, allowed)) = known(top) else {
                let own = ["lib", "main", "mutant"].contains(&top);
                broken.extend((!own).then(|| format!("{file} has no row")));
                continue;
            };
            let others = modules_named(&text).into_iter().filter(|name| known(name).is_some());
            let others = others.filter(|name| name != top && !allowed.contains(&name.as_str()));
            broken.extend(others.map(|name| format!("{file} names {name}")));
        }
    }
    complain("modules name what lies below them", &broken);
}

#[test]
fn every_api_says_its_key_and_its_versions_as_the_table_has_them() {
    let code = fs::read_to_string(Path::new(ROOT).join("src/kafka/table.rs")).unwrap();
    let rows = code.split("\ntable! {").nth(1).unwrap().split("\n}").next().unwrap();
    let mut broken = Vec::new();
    for row in rows.lines().filter(|row| row.contains("..=")) {
        let mut parts = row.trim().split([' ', ',', ';']).filter(|part| !part.is_empty());
        let mut next = || parts.next().unwrap();
        let (name, key, versions, _, from, _, module) =
            (next(), next(), next(), next(), next(), next(), next());
        let newest = versions.split("..=").nth(1).unwrap();
        let file = format!("src/kafka/api/{module}.rs");
        let text = fs::read_to_string(Path::new(ROOT).join(&file)).unwrap();
        let head = format!("//! {name} (key {key}), versions {from}–{newest}");
        if !text.starts_with(&head) || !text.contains("//! | since version | what is new |") {
            broken.push(format!("{file} does not begin with {head:?} and a table of versions"));
        }
    }
    complain("every API's file says which versions there are and what each brought", &broken);
}

/// Words of a text that look like paths of this repository.
fn paths(text: &str) -> BTreeSet<String> {
    let tops = ["src/", "raft/", "storage/", "tests/", "jepsen/", ".ci/"];
    text.split(|c: char| c.is_whitespace() || "`()[],;|\"'{}".contains(c))
        .map(|word| word.trim_end_matches(['.', ':']))
        .filter(|word| tops.iter().any(|top| word.starts_with(top)))
        .filter(|word| !word.contains(['*', '<', '$']))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_path_named_in_the_documents_exists() {
    let mut broken = Vec::new();
    for document in ["README.md", "ARCHITECTURE.md", "jepsen/README.md"] {
        let text = fs::read_to_string(Path::new(ROOT).join(document)).unwrap_or_default();
        if text.is_empty() {
            broken.push(format!("{document} is missing"));
        }
        for path in paths(&text) {
            if !Path::new(ROOT).join(&path).exists() {
                broken.push(format!("{document} names {path}"));
            }
        }
    }
    complain("documents name what is there", &broken);
}

#[test]
fn the_readmes_table_of_apis_is_the_table_the_broker_dispatches_by() {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let code = fs::read_to_string(Path::new(ROOT).join("src/kafka/table.rs")).unwrap();
    // Rows look like `Produce 0, 0..=13, from 3, ProduceRequest, produce overlaps;`
    let rows = code.split("\ntable! {").nth(1).unwrap().split("\n}").next().unwrap();
    let row = |row: &str| {
        let mut parts = row.trim().split([' ', ',']).filter(|part| !part.is_empty());
        let (name, key, versions) = (parts.next()?, parts.next()?, parts.next()?);
        let (from, to) = versions.split_once("..=")?;
        Some(format!("| {name} | {key} | {from}-{to} |"))
    };
    let served: Vec<String> = rows.lines().filter_map(row).collect();
    let section = readme.split("\n## Kafka APIs\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let told: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert_eq!(told, served);
}

#[test]
fn every_api_has_a_test_that_names_it() {
    let code = fs::read_to_string(Path::new(ROOT).join("src/kafka/table.rs")).unwrap();
    let rows = code.split("\ntable! {").nth(1).unwrap().split("\n}").next().unwrap();
    let tests: String = files(".rs")
        .into_iter()
        .filter(|(name, _)| name.contains("tests"))
        .map(|(_, text)| text)
        .collect();
    let untested: Vec<String> = rows
        .lines()
        .filter(|row| row.contains("..="))
        .filter_map(|row| row.trim().split(' ').next())
        .filter(|name| !tests.contains(name))
        .map(str::to_owned)
        .collect();
    complain("every API is tested", &untested);
}
