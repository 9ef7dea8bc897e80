//! Broken on purpose: one named defect at a time, to see whether the tests of the whole would notice.
//!
//! A harness that never failed proves nothing. With the feature `mutants` the variable `MUTANT` switches one
//! of [`NAMES`] on, and the harness has to find it. No release can contain them: the feature compiles only with debug
//! assertions, which the release profile does not have; `make mutants` turns them on for our crates alone.

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!("the feature `mutants` breaks the broker on purpose; `make mutants` builds it");

/// Every defect, with what it breaks.
pub const NAMES: [(&str, &str); 42] = [
    ("ack-before-fsync", "a write is reported durable without a sync"),
    ("ack-before-commit", "a produce is acknowledged without a majority if that takes too long"),
    ("vote-not-persisted", "a vote is answered without being stored"),
    ("neighbour-answered", "a batch is answered with what came of another one of its entry"),
    ("dedup-off", "a repeated batch of an idempotent producer is appended again"),
    ("clock-expiry", "idempotent producers are forgotten by their leader's wall clock"),
    ("clock-trusted", "records are deleted by whatever the leader's wall clock says"),
    ("room-unminded", "records are taken however little room the disk has"),
    ("hang-unnoticed", "a disk that hangs is waited for"),
    ("deleted-by-old-image", "a replica is deleted by whatever image is at hand after a start"),
    ("connections-unbounded", "clients may take file descriptors that storage needs"),
    ("addresses-remembered", "brokers look for each other only where they were"),
    ("fetch-past-high-watermark", "a fetch returns entries that are not committed"),
    ("apply-twice-after-restart", "a restart applies the entry of its checkpoint once more"),
    ("truncate-on-checksum-error", "a damaged write-ahead log is cut where the damage begins"),
    ("stale-list-offsets", "a leader answers ListOffsets without asking its majority"),
    ("leader-restore", "a restarted leader resumes its term"),
    ("decided-on-any-image", "a change of metadata is applied whichever image it was decided on"),
    ("level-gate-skipped", "a release uses what it has new before the level is finalized"),
    ("record-left-out", "a replica that fell behind is not given every record"),
    ("rules-by-release", "partitions count by the rules of their release, whatever their log says"),
    ("machine-differs", "the replicas of one broker leave out some entries when they apply them"),
    ("metadata-before-commit", "a change of metadata is answered before it is committed"),
    ("config-half-applied", "of several configs that are changed together one is left out"),
    ("commit-before-durable", "what a coordinator decides is answered before it is committed"),
    (
        "commit-applied-late",
        "an offset that was committed before is applied once more, out of order",
    ),
    ("members-never-expire", "a member of a consumer group that is silent is taken for alive"),
    ("newest-compacted-away", "compaction drops the newest value of some keys"),
    ("tombstone-dropped-early", "compaction drops tombstones as soon as it passes them"),
    ("compacted-offsets-renumbered", "what compaction leaves of a batch gets other offsets"),
    (
        "condition-judged-before-log",
        "conditions of an append are judged before it is in the log only",
    ),
    (
        "retry-answered-as-conflict",
        "conditions are judged before it is seen that a batch is a retry",
    ),
    (
        "version-lost-at-snapshot",
        "a replica that fell behind is not told where the records of streams are",
    ),
    ("refused-batch-takes-sequence", "a batch that is refused uses up its producer's sequence"),
    ("closed-stream-takes-more", "what is appended to a closed stream is taken"),
    ("live-record-skipped", "a listener is not sent what came while it waited"),
    ("given-before-free", "a partition is given to a member before another has given it back"),
    ("marker-before-prepare", "markers are written before it is committed how a transaction ends"),
    ("lso-one-too-far", "the first record of an open transaction is served as committed"),
    ("old-epoch-let-in", "a batch of an instance that was replaced is taken"),
    ("aborted-rows-forgotten", "a partition does not keep which transactions were aborted"),
    ("pending-offset-visible", "offsets of a transaction are visible before it is committed"),
];

/// The variable that makes this build stand in for the release after this one.
#[cfg(feature = "mutants")]
const RELEASE: &str = "RELEASE";

/// Whether this process stands in for the next release, for tests of a cluster of two; a constant `false` without the
/// feature. What the next release does otherwise is found where this is asked.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub fn next_release() -> bool {
    false
}

/// Whether this process stands in for the next release.
///
/// # Panics
/// If the variable says anything else than `next`.
#[cfg(feature = "mutants")]
pub fn next_release() -> bool {
    use std::sync::LazyLock;

    static NEXT: LazyLock<bool> = LazyLock::new(|| {
        let wanted = std::env::var(RELEASE).ok().filter(|release| !release.is_empty());
        assert!(wanted.as_deref().is_none_or(|it| it == "next"), "{RELEASE} is next or not set");
        wanted.is_some()
    });
    *NEXT
}

/// Whether this defect is wanted; a constant `false` without the feature.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub fn on(_name: &'static str) -> bool {
    false
}

/// Whether this defect is wanted.
///
/// # Panics
/// If the variable names a defect that does not exist.
#[cfg(feature = "mutants")]
pub fn on(name: &'static str) -> bool {
    use std::sync::LazyLock;

    static WANTED: LazyLock<Option<String>> = LazyLock::new(|| {
        let wanted = std::env::var("MUTANT").ok().filter(|name| !name.is_empty())?;
        let known = NAMES.iter().any(|(name, _)| *name == wanted);
        assert!(known, "no such mutant: {wanted}; there are {NAMES:?}");
        Some(wanted)
    });
    debug_assert!(NAMES.iter().any(|(known, _)| *known == name), "not in the table: {name}");
    WANTED.as_deref() == Some(name)
}
