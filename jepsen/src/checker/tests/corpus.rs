//! Histories whose verdict is known: `corpus/NAME.edn`, and in `corpus/verdicts.toml` what Jepsen's own checker says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::{SubVia, Verdict, WriteOrder, model_only, verdict};
use crate::history;

/// What is known of a history, for one way to judge it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    /// Name of the file without `.edn`.
    history: String,
    /// `assign` or `subscribe`.
    sub_via: String,
    /// Whether the order of writes counts as a dependency.
    ww_deps: bool,
    valid: bool,
    /// Every name, also of those that are allowed. For a value nobody sent it is `phantom` alone, as Jepsen's checker
    /// names nothing else then.
    anomalies: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verdicts {
    known: Vec<Known>,
}

#[test]
fn the_corpus_is_judged_as_jepsen_judges_it() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let text = std::fs::read_to_string(directory.join("verdicts.toml")).expect("verdicts.toml");
    let verdicts: Verdicts = toml::from_str(&text).expect("verdicts.toml");
    let mut histories = BTreeMap::new();
    for known in &verdicts.known {
        let path = directory.join(format!("{}.edn", known.history));
        let ops = histories
            .entry(&known.history)
            .or_insert_with(|| history::read_file(&path).expect("a history"));
        let sub_via = match known.sub_via.as_str() {
            "assign" => SubVia::Assign,
            "subscribe" => SubVia::Subscribe,
            other => panic!("{other} is no way to get partitions"),
        };
        let order = if known.ww_deps { WriteOrder::On } else { WriteOrder::Off };
        let findings = model_only(ops, sub_via, order);
        let mut names: BTreeSet<String> =
            findings.iter().map(|finding| finding.anomaly.clone()).collect();
        if names.contains("phantom") {
            names = BTreeSet::from(["phantom".to_owned()]);
        }
        let how = format!("{} by {} with ww-deps {}", known.history, known.sub_via, known.ww_deps);
        assert_eq!(names, known.anomalies, "{how}");
        assert_eq!(verdict(&findings) == Verdict::Valid, known.valid, "{how}");
    }
    let files = std::fs::read_dir(&directory).expect("the corpus");
    let files: Vec<String> = files
        .filter_map(|file| file.ok()?.file_name().into_string().ok())
        .filter_map(|name| Some(name.strip_suffix(".edn")?.to_owned()))
        .collect();
    for file in &files {
        assert!(histories.contains_key(file), "nothing is known of {file}.edn");
    }
    assert!(!files.is_empty(), "the corpus is empty");
}
