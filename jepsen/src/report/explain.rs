//! What each anomaly means, in a sentence for whoever meets it the first time.

/// One row for each name that checkers give.
const SENTENCES: &[(&str, &str)] = &[
    (
        "inconsistent-offsets",
        "One offset of a partition holds different values for different clients.",
    ),
    ("duplicate", "A value that was sent once is at several offsets."),
    ("lost-write", "A committed value was never read, though somebody read past its place."),
    ("unseen", "Acknowledged values were never read by anybody, final reads included."),
    ("G1a", "A value was read whose send is known to have failed."),
    ("phantom", "A value was read that nobody ever sent."),
    ("precommitted-read", "An operation read what it had not committed yet."),
    ("int-poll-skip", "Within one operation, a poll left values out that are in the log."),
    ("int-nonmonotonic-poll", "Within one operation, a poll went back or repeated a value."),
    ("poll-skip", "From one poll to its next, a consumer left out values that are in the log."),
    ("nonmonotonic-poll", "From one poll to its next, a consumer went back or read a value again."),
    ("int-send-skip", "Sends of one operation landed apart; transactions do that."),
    ("int-nonmonotonic-send", "Sends of one operation landed in another order."),
    ("nonmonotonic-send", "A producer's later value landed before its earlier one."),
    ("G0", "Operations wrote to several partitions in contradicting orders; a log allows it."),
    ("G0-realtime", "The order of writes contradicts real time."),
    ("G1c", "Information flowed in a circle: no order of the operations explains it."),
    ("G1c-realtime", "Information flowed backwards in real time."),
    (
        "empty-transaction-graph",
        "No operation has to do with any other: the history shows nothing.",
    ),
    (
        "realtime-order",
        "A value landed before one that was already in the log when it began to be sent.",
    ),
    ("read-before-send", "A value was read before anybody began to send it."),
    (
        "offset-gap",
        "A consumer went from one record to the next over an offset that holds nothing.",
    ),
    ("high-watermark-regressed", "A leader's high watermark went back."),
    ("removed-unasked", "Records are gone though nobody removes any in this run."),
    ("log-start-regressed", "The first offset of a partition went back."),
    ("leader-epoch-regressed", "A broker led in an earlier epoch than it had led in before."),
    ("two-leaders", "Two brokers answered as leaders of the same epoch."),
    ("read-past-high-watermark", "A broker served records that it did not hold for committed."),
    ("log-start-past-high-watermark", "A broker claims that the log begins behind its end."),
    ("corrupt", "A record came back with other bytes than were sent."),
    ("replicas-differ", "After healing, replicas of a partition hold different bytes."),
    ("not-converged", "After healing, the replicas of a partition did not come to agree in time."),
    (
        "producer-sequence",
        "An idempotent producer's records have a gap, a repetition or a fenced epoch.",
    ),
    (
        "list-offsets-not-linearizable",
        "Answers about a partition's end contradict the sends to it.",
    ),
    ("list-offsets-not-searched", "Too many concurrent operations to decide in time."),
    ("acks-not-resumed", "All faults had ended, and for too long no send was acknowledged."),
    ("broker-ended", "A broker ended though nobody had ended it."),
    ("final-reads-incomplete", "After healing, not everything could be read in time."),
    ("error-logged", "A broker logged an error that no fault explains."),
    ("replicas-read", "How much of the cluster was compared after healing."),
    ("replicas-unread", "Some replicas could not be compared after healing."),
    ("batches-unread", "Some logs could not be read at the end, so their sequences are not known."),
    ("sequence-refused", "A producer that had done nothing wrong was refused for good."),
    ("lost-above-log-start", "A record is gone though it was not deleted."),
    (
        "skipped-above-log-start",
        "A consumer went over records of which the same answer says that they are not removed.",
    ),
    (
        "repeat-stored-again",
        "A batch that was acknowledged was sent again, and acknowledged at another offset.",
    ),
    ("read-below-log-start", "A record was served that had been deleted before."),
    ("log-start-lost", "A deletion that was acknowledged is undone."),
    (
        "topics-not-linearizable",
        "What was asked about topics and what brokers list contradict each other.",
    ),
    ("topics-differ", "Brokers list different topics in the end."),
    ("topics-unread", "No broker could be asked for its topics in the end."),
    ("topic-id-reused", "Two topics have the same id."),
    ("topic-from-nowhere", "A topic exists that nobody asked for."),
    ("not-served", "A cut link kept clients from partitions that had a majority without it."),
    ("not-taken-over", "A broker's disk hung, and for too long nobody else led what it had led."),
    ("lives-with-hung-disk", "A broker whose disk hangs neither works nor ends."),
    (
        "ended-with-a-majority",
        "The disks of a majority hung, and brokers ended that nobody can go on without.",
    ),
    ("not-found-again", "Brokers that came back at other addresses did not find each other."),
    ("health-not-told", "A health check was not answered in time."),
    ("taken-without-room", "Disks were nearly full, and records were taken as if they were not."),
    ("room-not-noticed", "There was room again on full disks, and nothing was acknowledged."),
    ("coverage", "Too little succeeded to say that all is well."),
    ("indeterminate", "How many sends nobody knows the outcome of."),
    ("malformed-history", "The history itself is wrong, which is the tester's fault."),
    ("too-little-done", "So few operations succeeded that their history shows nothing."),
    ("no-fault-bit", "No fault is known to have taken effect, so nothing was tested."),
    (
        "trap-not-sprung",
        "What this scenario is about did not happen, so its verdict means nothing.",
    ),
    ("evidence", "What shows that this run met what it is about."),
    ("tester-failed", "The tester could not do what it had to."),
];

/// Empty if the name is none of a checker's.
pub fn sentence(anomaly: &str) -> &'static str {
    if anomaly.ends_with("-cycle-exists") {
        return "Dependencies form a cycle; the cycle's own kind says how bad that is.";
    }
    let row = SENTENCES.iter().find(|(name, _)| *name == anomaly);
    row.map_or("", |(_, sentence)| sentence)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_has_one_sentence() {
        let names: BTreeSet<&str> = SENTENCES.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), SENTENCES.len());
        assert_eq!(sentence("no such anomaly"), "");
        assert_ne!(sentence("strong-PL-2-cycle-exists"), "");
    }
}
