//! The rules of the house as tests: what a reviewer would say about every file, said here once.

mod modules;

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
