//! What only our checkers look for: each promise broken, and nearly broken.

use std::time::Duration;

use super::{Finding, Options, Verdict, finding, history, queue, verdict};
use crate::checker::{Coverage, list_offsets};

fn judge(text: &str) -> Vec<Finding> {
    queue(&history(text), &Options::default())
}

/// The anomalies that make a history invalid.
fn wrong(text: &str) -> Vec<String> {
    judged(text, true)
}

fn judged(text: &str, dense: bool) -> Vec<String> {
    let findings = queue(&history(text), &Options { dense, ..Options::default() }).into_iter();
    findings
        .filter(|finding| finding.verdict == Verdict::Invalid)
        .map(|finding| finding.anomaly)
        .collect()
}

const NONE: [&str; 0] = [];

#[test]
fn what_is_sent_later_goes_behind() {
    let read = "2 = p1:2@0,1@1";
    assert_eq!(wrong(&format!("0 = s1:1@1\n1 = s1:2@0\n{read}")), ["realtime-order"]);
    let concurrent = format!("0 > s1:1\n1 > s1:2\n0 ok s1:1@1\n1 ok s1:2@0\n{read}");
    assert_eq!(wrong(&concurrent), NONE);
    let indeterminate = format!("0 = s1:1@1\n1 ? s1:2\n{read}");
    assert_eq!(wrong(&indeterminate), ["realtime-order"], "the poll shows where it went");
    let polled = "0 ? s1:1\n1 = p1:1@1\n0 ? s1:2\n2 = p1:2@0,1@1";
    assert!(wrong(polled).contains(&"realtime-order".to_owned()), "a poll shows what is there");
}

#[test]
fn nothing_is_read_before_it_is_sent() {
    let text = "1 = p1:1@0\n0 = s1:1@0";
    assert!(wrong(text).contains(&"read-before-send".to_owned()));
    assert_eq!(wrong("0 > s1:1\n1 = p1:1@0\n0 ok s1:1@0"), NONE);
}

#[test]
fn offsets_have_no_holes() {
    assert_eq!(wrong("0 = s1:1@0\n0 = s1:2@2\n1 = p1:1@0,2@2"), ["offset-gap"]);
    assert_eq!(wrong("0 = s1:1@0\n0 = s1:2@2\n1 = p1:1@0\n1 = p1:2@2"), ["offset-gap"]);
    let transactional = Options { dense: false, ..Options::default() };
    let findings = queue(&history("0 = s1:1@0\n0 = s1:2@2\n1 = p1:1@0,2@2"), &transactional);
    assert_eq!(verdict(&findings), Verdict::Valid);
}

/// A poll of key 1 by one process, and what the broker said.
fn fetched(process: u64, broker: u64, epoch: u64, high: u64, start: u64, next: u64) -> String {
    format!(
        "{process} = p & :fetched [{{:key 1 :broker {broker} :epoch {epoch} :high-watermark {high} \
         :log-start {start} :next {next}}}]\n"
    )
}

fn answers(lines: &[String]) -> Vec<String> {
    judged(&format!("0 = s2:1@0\n1 = p2:1@0\n{}", lines.concat()), false)
}

#[test]
fn a_leader_serves_below_its_high_watermark_and_takes_nothing_back() {
    assert_eq!(answers(&[fetched(0, 1, 1, 5, 0, 5), fetched(1, 1, 1, 6, 1, 5)]), NONE);
    assert_eq!(answers(&[fetched(0, 1, 1, 5, 0, 6)]), ["read-past-high-watermark"]);
    assert_eq!(answers(&[fetched(0, 1, 1, 5, 6, 0)]), ["log-start-past-high-watermark"]);
    let stable = |told: [String; 2], stable: [u64; 2]| {
        let with = |(told, stable): (String, u64)| {
            told.replace(" :next", &format!(" :stable {stable} :committed 1 :next"))
        };
        told.into_iter().zip(stable).map(with).collect::<Vec<_>>()
    };
    let both = || [fetched(0, 1, 1, 5, 0, 3), fetched(1, 1, 1, 6, 1, 3)];
    assert_eq!(answers(&stable(both(), [3, 4])), NONE);
    assert_eq!(answers(&stable(both(), [4, 3])), ["stable-offset-regressed"]);
    assert_eq!(answers(&stable(both(), [2, 4])), ["read-past-stable"]);
    assert_eq!(answers(&stable(both(), [3, 7])), ["stable-past-high-watermark"]);
    let regressed = [fetched(0, 1, 1, 5, 0, 0), fetched(1, 1, 1, 4, 0, 0)];
    assert_eq!(answers(&regressed), ["high-watermark-regressed"]);
    let restored = [fetched(0, 1, 1, 5, 3, 0), fetched(1, 1, 1, 5, 2, 0)];
    assert_eq!(answers(&restored), ["log-start-regressed"]);
}

#[test]
fn where_nobody_deletes_every_log_begins_at_the_beginning() {
    let said = |start: u64| format!("0 = s2:1@0\n1 = p2:1@0\n{}", fetched(0, 1, 1, 5, start, 5));
    assert_eq!(wrong(&said(0)), NONE);
    assert_eq!(wrong(&said(1)), ["removed-unasked"]);
}

#[test]
fn answers_under_way_at_the_same_time_have_no_order() {
    let said = |high: u64| fetched(0, 1, 1, high, 0, 0);
    let (first, second) = (said(5), said(4));
    let first = first.replacen("0 = p", "0 ok p", 1);
    let second = second.replacen("0 = p", "1 ok p", 1);
    let begin = "0 > p\n1 > p\n".to_owned();
    assert_eq!(answers(&[begin, first, second]), NONE);
}

#[test]
fn a_new_leader_has_all_that_an_old_one_served() {
    let behind = [fetched(0, 1, 1, 5, 0, 0), fetched(1, 2, 2, 4, 0, 0)];
    assert_eq!(answers(&behind), ["high-watermark-regressed"]);
    let served_later = [fetched(1, 2, 2, 4, 0, 0), fetched(0, 1, 1, 5, 0, 0)];
    assert_eq!(answers(&served_later), ["high-watermark-regressed"], "in whatever order");
    let old_and_ignorant = [fetched(1, 2, 2, 5, 0, 0), fetched(0, 1, 1, 4, 0, 0)];
    assert_eq!(answers(&old_and_ignorant), NONE);
}

#[test]
fn an_epoch_has_one_leader_and_a_broker_only_later_epochs() {
    assert_eq!(answers(&[fetched(0, 1, 1, 5, 0, 0), fetched(0, 2, 1, 5, 0, 0)]), ["two-leaders"]);
    let back = [fetched(0, 1, 3, 5, 0, 0), fetched(0, 1, 2, 5, 0, 0)];
    assert_eq!(answers(&back), ["leader-epoch-regressed"]);
}

const SENT: &str = "0 = s1:1@0\n1 = p1:1@0\n";

#[test]
fn bytes_come_back_as_they_were_sent() {
    let text = format!("{SENT}1 = p & :corrupt [[1 0 \"checksum\"]]");
    let findings = judge(&text);
    let corrupt = finding(&findings, "corrupt").expect("a finding");
    assert!(corrupt.cases[0].contains("checksum"), "{corrupt:?}");
    assert_eq!(wrong(&format!("{SENT}1 = p & :corrupt []")), NONE);
}

/// A replica of key 1 that was read: the first offset it has, the one behind its last, and its batches.
fn replica(broker: u64, start: u64, end: u64, batches: &str) -> String {
    format!(
        "n replica & {{:key 1 :broker {broker} :log-start {start} :end {end} :batches [{batches}]}}\n"
    )
}

fn replicas(read: &[String]) -> Vec<String> {
    wrong(&format!("{SENT}{}", read.concat()))
}

#[test]
fn replicas_are_equal() {
    const BOTH: &str = "[0 3 -7] [3 2 9]";
    assert_eq!(replicas(&[replica(1, 0, 5, BOTH), replica(2, 0, 5, BOTH)]), NONE);
    for (what, other) in [
        ("it is shorter", replica(2, 0, 3, "[0 3 -7]")),
        ("it lacks what it says it has", replica(2, 0, 5, "[0 3 -7]")),
        ("a batch is another", replica(2, 0, 5, "[0 3 -7] [3 2 8]")),
        ("batches are cut otherwise", replica(2, 0, 5, "[0 3 -7] [3 1 9] [4 1 9]")),
    ] {
        assert_eq!(replicas(&[replica(1, 0, 5, BOTH), other]), ["replicas-differ"], "{what}");
    }
}

#[test]
fn a_replica_that_is_read_later_may_have_removed_more() {
    let all = replica(1, 0, 5, "[0 3 -7] [3 2 9]");
    assert_eq!(replicas(&[all.clone(), replica(2, 3, 5, "[3 2 9]")]), NONE);
    let within = [all.clone(), replica(2, 4, 5, "[3 2 9]")];
    assert_eq!(replicas(&within), NONE, "a log may begin within a batch");
    let differs = [all.clone(), replica(2, 3, 5, "[3 2 8]")];
    assert_eq!(replicas(&differs), ["replicas-differ"], "in what both have");
    let third = [all.clone(), replica(2, 3, 5, "[3 2 9]"), replica(3, 3, 5, "[3 2 8]")];
    assert_eq!(replicas(&third), ["replicas-differ"]);
    let undone = [replica(2, 3, 5, "[3 2 9]"), all];
    assert_eq!(replicas(&undone), ["replicas-differ"], "nothing that was removed comes back");
}

fn sequences(batches: &str) -> Vec<String> {
    wrong(&format!("{SENT}n batches & {{:key 1 :batches [{batches}]}}"))
}

#[test]
fn sequences_of_a_producer_follow_each_other() {
    assert_eq!(sequences("[0 7 0 0 2] [2 -1 -1 -1 1] [3 7 0 2 1] [4 8 0 0 1] [5 7 1 0 1]"), NONE);
    assert_eq!(sequences("[0 7 0 0 1] [1 7 0 2 1]"), ["producer-sequence"], "1 is missing");
    assert_eq!(sequences("[0 7 0 0 1] [1 7 0 0 1]"), ["producer-sequence"], "written twice");
    assert_eq!(sequences("[0 7 1 0 1] [1 7 0 0 1]"), ["producer-sequence"], "a fenced epoch");
    assert_eq!(sequences("[0 7 0 5 1]"), ["producer-sequence"], "its beginning is missing");
    assert_eq!(sequences("[9 7 0 5 1] [10 7 0 6 1]"), NONE, "its beginning was deleted");
    assert_eq!(sequences("[9 7 0 2147483647 1] [10 7 0 0 1]"), NONE, "31 bits");
    assert_eq!(sequences("[0 7 0]"), ["producer-sequence"]);
}

const FAULT: &str = "0 = s1:1@0\n1 = p1:1@0\nn start-kill\nat 10\nn stop-kill\n";

#[test]
fn acknowledgements_resume_after_the_last_fault() {
    let late = format!("{FAULT}at 11\n0 ? s1:2\nat 32\n2 ? s1:3\n");
    assert_eq!(wrong(&late), ["acks-not-resumed"]);
    assert_eq!(wrong(&format!("{FAULT}at 11\n0 ? s1:2\nat 15\n2 = s1:3@1\n1 = p1:3@1")), NONE);
    let another = format!("{FAULT}at 11\n0 ? s1:2\nat 20\nn start-pause\nat 40\n2 ? s1:3\n");
    assert_eq!(wrong(&another), NONE, "the next fault began before the bound");
    let rested = format!("{FAULT}at 50\n0 ? s1:2\nat 60\n2 = s1:3@1\n1 = p1:3@1");
    assert_eq!(wrong(&rested), NONE, "nobody had tried");
}

#[test]
fn too_little_is_unknown() {
    let text = format!("{FAULT}0 = s1:2@1\n1 = p1:2@1");
    let judge = |coverage| {
        let findings = queue(&history(&text), &Options { coverage, ..Options::default() });
        verdict(&findings)
    };
    assert_eq!(judge(Coverage { ok_sends: 2, ok_polls: 2, ..Coverage::default() }), Verdict::Valid);
    assert_eq!(judge(Coverage { ok_sends: 3, ..Coverage::default() }), Verdict::Unknown);
    assert_eq!(judge(Coverage { ok_sends_afterwards: 1, ..Coverage::default() }), Verdict::Valid);
    assert_eq!(
        judge(Coverage { ok_sends_during_faults: 1, ..Coverage::default() }),
        Verdict::Unknown
    );
    assert_eq!(verdict(&queue(&[], &Options::default())), Verdict::Unknown, "nothing happened");
    let unclear = "0 ? s1:1\n2 ? s1:2\n3 = s1:3@0\n4 = p1:3@0";
    let findings = queue(&history(unclear), &Options::default());
    assert_eq!(verdict(&findings), Verdict::Unknown, "two of three sends are indeterminate");
}

#[test]
fn a_process_that_never_ended_may_have_done_it() {
    assert_eq!(wrong("0 > s1:1\n1 = p1:1@0"), NONE);
    let twice = judge("0 > s1:1\n0 > s1:2\n1 = p1:1@0");
    assert!(finding(&twice, "malformed-history").is_some());
}

fn ends(text: &str) -> Verdict {
    verdict(&list_offsets(&history(text), Duration::from_secs(10)))
}

#[test]
fn ends_of_partitions_are_linearizable() {
    assert_eq!(ends("0 = list-offsets 1 0\n0 = s1:1@0\n1 = list-offsets 1 1"), Verdict::Valid);
    assert_eq!(ends("0 = s1:1@0\n1 = list-offsets 1 0"), Verdict::Invalid, "stale");
    assert_eq!(ends("0 = list-offsets 1 1\n0 = s1:1@0"), Verdict::Invalid, "from the future");
    let concurrent = "0 > s1:1\n1 = list-offsets 1 1\n0 ok s1:1@0";
    assert_eq!(ends(concurrent), Verdict::Valid);
    let back = "0 > s1:1\n1 = list-offsets 1 1\n1 = list-offsets 1 0\n0 ok s1:1@0";
    assert_eq!(ends(back), Verdict::Invalid, "it was 1 already");
    assert_eq!(
        ends("0 x s1:1\n1 = list-offsets 1 1"),
        Verdict::Invalid,
        "a failed send adds nothing"
    );
    assert_eq!(ends("1 x list-offsets 1 7\n1 ? list-offsets 1 7"), Verdict::Valid);
}

#[test]
fn an_indeterminate_send_may_count_from_any_later_time_on() {
    let text = "0 ? s1:1\n1 = list-offsets 1 0\n1 = list-offsets 1 1\n1 = list-offsets 1 1";
    assert_eq!(ends(text), Verdict::Valid);
    assert_eq!(ends(&format!("{text}\n1 = list-offsets 1 0")), Verdict::Invalid);
    let placed = "0 ? s1:1\n2 = s1:2@0\n1 = list-offsets 1 2\n3 = p1:2@0,1@1";
    assert_eq!(ends(placed), Verdict::Valid);
    let never = "0 ? s1:1\n2 = s1:2@0\n1 = list-offsets 1 3";
    assert_eq!(ends(never), Verdict::Invalid);
}

#[test]
fn a_contradiction_is_told() {
    let findings =
        list_offsets(&history("0 = s1:1@0\n1 = list-offsets 1 0"), Duration::from_secs(10));
    assert_eq!(findings[0].cases, ["key 1: end 0 was answered when it was at least 1"]);
    assert_eq!(findings[0].ops, [1, 3]);
}

#[test]
fn a_search_that_takes_too_long_is_unknown() {
    let sends: String = (0..40).map(|value| format!("{value} ? s1:{value}\n")).collect();
    let limit = Duration::from_millis(100);
    // An end of 20, and then a send lands at offset 10.
    let subtle = format!("{sends}98 = list-offsets 1 20\n99 = s1:99@10");
    let findings = list_offsets(&history(&subtle), limit);
    assert_eq!(findings[0].anomaly, "list-offsets-not-searched");
    assert_eq!(verdict(&findings), Verdict::Unknown);
    // What can be seen without a search is not lost with it.
    let plain = format!("{sends}98 = list-offsets 1 20\n98 = list-offsets 1 19");
    assert_eq!(verdict(&list_offsets(&history(&plain), limit)), Verdict::Invalid);
}
