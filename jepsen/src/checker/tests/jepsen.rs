//! Jepsen's anomalies: what each name means, by example.

use super::{SubVia, WriteOrder, anomalies, history, model_only, named, verdict};
use crate::checker::Verdict;

const NONE: [&str; 0] = [];

#[test]
fn sends_and_polls_in_order_are_valid_both_ways() {
    let text = "0 = s1:1@0
        0 = s1:2@1
        1 = assign 1
        1 = p1:1@0
        0 = s1:3@3
        1 = p1:2@1,3@3";
    assert_eq!(anomalies(text), NONE, "offset 2 may be a marker");
    assert_eq!(named(text, SubVia::Assign, WriteOrder::On), NONE);
    assert_eq!(named(text, SubVia::Subscribe, WriteOrder::Both), NONE);
}

#[test]
fn a_history_without_dependencies_shows_nothing() {
    assert_eq!(anomalies("0 = assign 1"), ["empty-transaction-graph"]);
    assert_eq!(
        anomalies("0 > s1:1\n1 > p\n0 ok s1:1@0\n1 ok p"),
        ["empty-transaction-graph", "unseen"]
    );
}

#[test]
fn inconsistent_offsets_need_two_values_that_are_both_in_the_log() {
    let unproven = "0 ? s1:1@0 s2:1
        1 = s1:2@0
        2 = p1:2@0";
    assert_eq!(anomalies(unproven), NONE, "an indeterminate send may not have happened");
    let proven = format!("{unproven}\n3 = p2:1@5");
    // That value 1 was there is certain now, so it is lost as well.
    assert_eq!(anomalies(&proven)[0], "inconsistent-offsets");
    assert_eq!(
        anomalies("0 = s1:641@537\n1 = s1:645@537\n2 = p1:645@537"),
        ["inconsistent-offsets", "lost-write", "unseen"]
    );
}

#[test]
fn g1a_is_a_read_of_a_failed_write() {
    assert_eq!(anomalies("0 x s1:2 s2:3\n1 = p1:2@0"), ["G1a"]);
    assert_eq!(anomalies("0 ? s1:2 s2:3\n1 = p1:2@0"), NONE);
}

#[test]
fn a_lost_write_was_committed_and_read_past() {
    let text = "0 = s1:1@0
        0 = s1:2@1 s1:4@3
        1 ? s1:3
        0 = p1:3@2";
    let findings = model_only(&history(text), SubVia::Assign, WriteOrder::Off);
    let lost = super::finding(&findings, "lost-write").expect("values 1 and 2 are lost");
    assert_eq!(lost.count, 2, "4 is behind what was read");
    assert!(lost.ops.contains(&1) && lost.ops.contains(&7), "{lost:?}");
}

#[test]
fn a_write_overwritten_at_its_offset_is_lost_whatever_stands_for_the_offset() {
    let text = "0 = s1:1@0
        0 = s1:2@0 s1:3@2
        0 = p1:2@0,3@2";
    assert!(anomalies(text).contains(&"lost-write".to_owned()));
}

#[test]
fn a_transaction_proven_by_one_of_its_values_must_have_all() {
    let torn = "0 ? s1:1 s2:2@0
        1 ? s2:3
        3 = p2:3@1";
    assert_eq!(anomalies(torn), NONE);
    let proven = format!("{torn}\n2 = p1:1@0");
    assert_eq!(anomalies(&proven), ["lost-write"]);
}

const SKIPPING: &str = "3 ? s1:1 s1:2 s1:3 s1:4 s1:7
    0 = p1:1@1,2@2
    1 = p1:3@3
    ##between
    0 = p1:4@4
    ##again
    2 = s1:6@6
    0 = p1:7@7
    4 = p1:6@6";

fn skipping(between: &str, again: &str) -> Vec<String> {
    anomalies(&SKIPPING.replacen("##again", again, 1).replacen("##between", between, 1))
}

#[test]
fn a_process_may_skip_only_what_it_was_assigned_anew() {
    assert_eq!(skipping("", ""), ["int-send-skip", "poll-skip"]);
    let skips =
        |between: &str, again: &str| skipping(between, again).contains(&"poll-skip".to_owned());
    assert!(!skips("0 = subscribe 2", "0 ? assign 2"));
    assert!(skips("0 = subscribe 1 2", "0 = assign 1 2"), "the key is still assigned");
    assert!(skips("0 x assign 2", "0 > assign 2\n0 fail assign 2"), "it failed to let go");
    let subscribed = SKIPPING.replace("##again", "").replace("##between", "");
    let findings = model_only(&history(&subscribed), SubVia::Subscribe, WriteOrder::On);
    assert_eq!(verdict(&findings), Verdict::Valid, "a rebalance moves consumers");
}

const SIX: &str = "0 = s1:0@0 s1:1@1 s1:2@2 s1:3@3 s1:4@4 s1:5@5
    1 = p1:0@0\n";

#[test]
fn a_poll_that_did_not_succeed_is_rewound() {
    let good = format!("{SIX} 1 x p1:1@1,2@2\n 1 ? p1:1@1,2@2\n 1 = p1:1@1,2@2,3@3,4@4,5@5");
    assert_eq!(anomalies(&good), NONE);
    let ahead = format!("{SIX} 1 x p1:1@1,2@2\n 1 = p1:3@3\n 2 = p1:0@0,1@1,2@2,3@3,4@4,5@5");
    assert_eq!(anomalies(&ahead), ["poll-skip"]);
    let failed_skip = format!("{SIX} 1 ? p1:2@2\n 1 = p1:1@1,2@2,3@3,4@4,5@5");
    assert_eq!(anomalies(&failed_skip), ["poll-skip"], "an indeterminate poll is looked at too");
}

#[test]
fn a_process_must_not_go_back() {
    let back = format!("{SIX} 1 = p1:1@1,2@2,3@3,4@4,5@5\n 1 = p1:5@5");
    assert_eq!(anomalies(&back), ["nonmonotonic-poll"]);
    let anew = format!("{SIX} 1 = p1:1@1,2@2,3@3,4@4,5@5\n 1 = assign 2\n 1 = p1:5@5");
    assert_eq!(anomalies(&anew), NONE);
    let nothing = format!("{SIX} 1 = p1:\n 1 = p1:3@3,4@4,5@5\n 2 = p1:0@0,1@1,2@2");
    assert_eq!(anomalies(&nothing), NONE, "a read without values leaves nothing to compare with");
}

#[test]
fn within_an_operation_polls_neither_skip_nor_go_back() {
    let skip = format!("{SIX} 2 = p1:0@0,2@2\n 3 = p1:1@1,2@2,3@3,4@4,5@5");
    assert_eq!(anomalies(&skip), ["int-poll-skip"]);
    let back = format!("{SIX} 2 = p1:0@0,1@1 / p1:1@1\n 3 = p1:2@2,3@3,4@4,5@5");
    assert_eq!(anomalies(&back), ["int-nonmonotonic-poll"]);
    let failed = format!("{SIX} 2 x p1:1@1,0@0\n 3 = p1:1@1,2@2,3@3,4@4,5@5");
    assert_eq!(anomalies(&failed), ["int-nonmonotonic-poll"], "of whatever became of it");
    let excused = format!(
        "{SIX} 2 = p1:0@0,2@2 & :rebalance-log [{{:keys [1]}}]\n 3 = p1:1@1,2@2,3@3,4@4,5@5"
    );
    assert_eq!(anomalies(&excused), NONE);
}

#[test]
fn a_process_sends_in_order() {
    let reads = "9 = p1:2@0,1@1";
    let text = format!("0 = s1:1@1\n0 = s1:2@0\n{reads}");
    assert!(anomalies(&text).contains(&"nonmonotonic-send".to_owned()));
    let unknown = format!("0 ? s1:1\n0 ? s1:2\n{reads}");
    assert_eq!(anomalies(&unknown), ["nonmonotonic-send"], "polls show the order as well");
    let anew = format!("0 ? s1:1\n0 = subscribe 2\n0 ? s1:2\n{reads}");
    assert_eq!(anomalies(&anew), NONE);
    let failed = format!("0 ? s1:1\n0 ? s1:2\n{}", "9 = p1:1@0,2@1");
    assert_eq!(anomalies(&failed), NONE);
}

#[test]
fn within_an_operation_sends_may_be_apart_and_not_in_another_order() {
    assert_eq!(anomalies("0 = s1:1@0 s1:3@2\n1 = s1:2@1\n2 = p1:1@0,2@1,3@2"), ["int-send-skip"]);
    assert_eq!(anomalies("0 = s1:1@1 s1:2@0\n2 = p1:2@0,1@1"), ["int-nonmonotonic-send"]);
    let findings = model_only(
        &history("0 = s1:1@0 s1:3@2\n1 = s1:2@1\n2 = p1:1@0,2@1,3@2"),
        SubVia::Assign,
        WriteOrder::Both,
    );
    assert_eq!(verdict(&findings), Verdict::Valid, "transactions interleave");
}

#[test]
fn a_duplicate_is_at_two_offsets() {
    assert_eq!(anomalies("0 = s1:1@1\n1 ? s1:2\n2 = p1:2@2,1@3"), ["duplicate"]);
    let many: String =
        (0..10).map(|value| format!("0 = s1:{value}@0\n1 = p1:{value}@1\n1 = assign\n")).collect();
    let findings = model_only(&history(&many), SubVia::Assign, WriteOrder::Off);
    let count = |anomaly| super::finding(&findings, anomaly).map(|finding| finding.count);
    assert_eq!(count("duplicate"), Some(10), "whichever value stands for the offsets");
    assert_eq!(count("inconsistent-offsets"), Some(2));
    let failed = "0 = s1:0@1\n0 x s1:1@2\n1 x p1:0@11,1@12\n2 = p1:0@1";
    let findings = model_only(&history(failed), SubVia::Assign, WriteOrder::Off);
    let duplicate = super::finding(&findings, "duplicate").expect("a failed poll shows it");
    assert_eq!((duplicate.count, duplicate.cases[0].contains("value 0")), (1, true));
}

#[test]
fn a_phantom_was_read_and_never_sent() {
    assert_eq!(anomalies("0 = s1:1@0\n1 = p1:1@0,2@1"), ["phantom"]);
    assert_eq!(anomalies("0 > s1:1\n1 = p1:1@0"), ["empty-transaction-graph", "phantom"]);
}

#[test]
fn unseen_is_what_nobody_ever_read() {
    let text = "0 = s1:1@0 s1:2@1 s1:3@2
        0 = s2:1
        1 = p1:1@0
        1 x p1:2@1";
    let findings = model_only(&history(text), SubVia::Assign, WriteOrder::Off);
    let unseen = super::finding(&findings, "unseen").expect("three values");
    assert_eq!(unseen.count, 3, "a failed poll has not seen anything");
    assert_eq!(anomalies("0 ? s1:1\n0 x s1:2\n0 = s1:3@0\n1 = p1:3@0"), NONE);
}

#[test]
fn nobody_reads_what_it_has_not_committed() {
    assert_eq!(anomalies("0 = s1:1@0 p1:1@0\n1 = p1:1@0"), ["precommitted-read"]);
}

#[test]
fn g0_is_a_cycle_of_writes() {
    let text = "0 > s1:1 s2:1
        1 > s1:2 s2:2
        0 ok s1:1@0 s2:1@1
        1 ok s1:2@1 s2:2@0
        2 = p1:1@0,2@1 p2:2@0,1@1";
    assert_eq!(anomalies(text), NONE);
    assert_eq!(named(text, SubVia::Assign, WriteOrder::On), ["G0", "PL-1-cycle-exists"]);
    assert_eq!(
        verdict(&model_only(&history(text), SubVia::Assign, WriteOrder::Both)),
        Verdict::Valid
    );
}

#[test]
fn g1c_is_a_cycle_of_information() {
    let reads_only = "0 > s1:1 p
        1 > s2:2 p
        0 ok s1:1@0 p2:2@0
        1 ok s2:2@0 p1:1@0";
    assert_eq!(anomalies(reads_only), ["G1c", "PL-2-cycle-exists"]);
    let with_writes = "0 > s1:1 s2:3
        1 > p s2:2
        0 ok s1:1@0 s2:3@2
        1 ok p1:1@0 s2:2@1
        2 = p2:2@1,3@2";
    assert_eq!(anomalies(with_writes), NONE);
    assert_eq!(named(with_writes, SubVia::Assign, WriteOrder::On), ["G1c", "PL-2-cycle-exists"]);
}

#[test]
fn a_cycle_through_real_time_is_fatal_without_the_order_of_writes_only() {
    // Value 1 is read before its send begins.
    let text = "1 = p1:1@0\n0 = s1:1@0";
    assert_eq!(anomalies(text), ["G1c-realtime", "strong-PL-2-cycle-exists"]);
    let judged = |write_order| verdict(&model_only(&history(text), SubVia::Assign, write_order));
    assert_eq!(judged(WriteOrder::Off), Verdict::Invalid);
    assert_eq!(judged(WriteOrder::On), Verdict::Valid);
    assert_eq!(judged(WriteOrder::Both), Verdict::Invalid);
    // Acknowledged at offset 1, and then another process gets offset 0.
    let backwards = "0 = s1:1@1\n1 = s1:2@0\n2 = p1:2@0,1@1";
    assert_eq!(anomalies(backwards), NONE);
    assert_eq!(
        named(backwards, SubVia::Assign, WriteOrder::On),
        ["G0-realtime", "strong-PL-1-cycle-exists"]
    );
}

#[test]
fn a_cycle_is_told_edge_by_edge() {
    let text = "1 = p1:1@0\n0 = s1:1@0";
    let findings = model_only(&history(text), SubVia::Assign, WriteOrder::Off);
    let cycle = super::finding(&findings, "G1c-realtime").expect("a cycle");
    assert_eq!(
        cycle.cases,
        [
            "operation 1 succeeded before the beginning of operation 3, which wrote what was read by operation 1"
        ]
    );
    assert_eq!(cycle.ops, [1, 3]);
}
