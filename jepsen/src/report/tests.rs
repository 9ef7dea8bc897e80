//! The page has what a person looks for, and nothing that a broker could put into it.

use std::collections::BTreeMap;

use super::*;
use crate::fault::Outcome;
use crate::history::{Body, Edn, Kind, Mop, Process, Sent};

/// Ten seconds: a send a second that takes a tenth of it, the last one indeterminate.
fn history() -> Vec<Op> {
    let mut ops = Vec::new();
    for second in 0..10u64 {
        let value = i64::try_from(second).unwrap();
        let kind = if second == 9 { Kind::Info } else { Kind::Ok };
        for (kind, after, sent) in
            [(Kind::Invoke, 0, Sent::Plain), (kind, 100_000_000, Sent::At(value))]
        {
            ops.push(Op {
                index: ops.len() as u64,
                time: second * 1_000_000_000 + after,
                process: Process::Client(1),
                kind,
                body: Body::Send(vec![Mop::Send { key: 3, value, sent }]),
                extra: BTreeMap::from([("error".to_owned(), Edn::String("<script>".to_owned()))]),
            });
        }
    }
    ops
}

fn report(dir: &Path) -> Report {
    #[derive(Serialize)]
    struct Plan {
        name: &'static str,
        workload: &'static str,
        seed: u64,
        replay: &'static str,
    }
    let plan = Plan { name: "storm", workload: "queue", seed: 99, replay: "run --seed 99" };
    let finding = Finding {
        anomaly: "lost-write".to_owned(),
        verdict: Verdict::Invalid,
        count: 3,
        cases: vec!["key 3 value 4 <gone>".to_owned()],
        ops: vec![9, 12_345],
    };
    let fault = FaultRecord {
        name: "kill".to_owned(),
        begin_ns: 2_000_000_000,
        end_ns: None,
        begin: Outcome::Installed {
            what: "broker 2 & its <log>".to_owned(),
            proof: "gone".to_owned(),
        },
        end: None,
    };
    Report::new(&plan, Verdict::Invalid, &[finding], &[fault], &[dir.join("broker-1.log")])
}

#[test]
fn a_page_and_a_result_are_left() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &report(dir.path()), &history()).unwrap();
    let page = std::fs::read_to_string(dir.path().join("report.html")).unwrap();
    for expected in [
        "<span class=\"badge invalid\">invalid</span> storm",
        "run --seed 99",
        "key 3 value 4 &lt;gone&gt;",
        "broker 2 &amp; its &lt;log&gt;",
        ":send [[:send 3 [4 4]]] :error &quot;&lt;script&gt;&quot;",
        "href=\"broker-1.log\"",
        "A committed value was never read",
    ] {
        assert!(page.contains(expected), "{expected} is missing");
    }
    assert!(!page.contains("<script"), "clients' words are text");
    let result = std::fs::read_to_string(dir.path().join("result.json")).unwrap();
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result["verdict"], "invalid");
    assert_eq!(result["seed"], 99);
    assert_eq!(result["totals"]["by_kind"]["send"]["ok"], 9);
    assert_eq!(result["faults"][0]["begin"]["proof"], "gone");
}

#[test]
fn both_halves_of_an_operation_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &report(dir.path()), &history()).unwrap();
    let page = std::fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(page.contains(":send [[:send 3 4]]"), "the invocation of operation 9");
}

#[test]
fn numbers_over_time() {
    let series = Series::of(&history());
    assert_eq!((series.buckets.len(), series.width), (10, 1_000_000_000));
    assert_eq!((series.buckets[0].sent, series.buckets[9].info), (1, 1));
    assert_eq!(series.buckets[0].p50, Some(100.0));
    assert_eq!(series.buckets[9].p50, None);
    let empty = Series::of(&[]);
    assert_eq!((empty.buckets.len(), empty.totals.operations), (1, 0));
}

#[test]
fn a_run_of_hours_has_a_picture_as_well() {
    let mut long = history();
    for op in &mut long {
        op.time *= 5_000;
    }
    let series = Series::of(&long);
    assert!(series.buckets.len() <= 601, "{}", series.buckets.len());
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &report(dir.path()), &[]).unwrap();
}
