//! The scenarios of streams by key.

use super::{IMAGE, PLAIN};
use crate::run::Demand::{Bit, Saw};
use crate::run::Sign::{Led, LedByAnother, SnapshotsInstalled};
use crate::scenario::adjust::contended;
use crate::scenario::{Scenario, compaction, row, streams};

pub static ALL: &[Scenario] = &[
    row(
        "streams-kill",
        "T26",
        "streams",
        24,
        PLAIN,
        streams::kills,
        "leaders and followers are killed while many write to one key, each upon the version it knows",
    )
    .needs(&[Bit("kill", 4), Saw(Led, 1), Saw(LedByAnother, 1)])
    .but(contended),
    row(
        "streams-partition",
        "T26",
        "streams",
        30,
        PLAIN,
        streams::partitions,
        "leaders are cut off, heard by nobody, and paused, and must not judge conditions by what they had",
    )
    .needs(&[Bit("partition", 2), Bit("pause", 1), Saw(Led, 1), Saw(LedByAnother, 1)])
    .but(contended),
    row(
        "streams-churn",
        "T26",
        "streams",
        40,
        IMAGE,
        streams::churn,
        "transfers, kills, cuts, pauses, replicas that move and power cuts, one after the other",
    )
    .needs(&[
        Bit("transfer", 1),
        Bit("kill", 1),
        Bit("membership", 1),
        Bit("partition", 1),
        Bit("pause", 1),
        Bit("power", 2),
    ])
    .but(contended),
    row(
        "streams-away",
        "T26",
        "streams-trimmed",
        34,
        PLAIN,
        compaction::away,
        "a replica is away until only a snapshot helps it, then it leads and has to know every version",
    )
    .needs(&[Bit("kill", 2), Saw(SnapshotsInstalled, 1)])
    .but(contended),
    row(
        "streams-turned-on",
        "T26",
        "streams-turned-on",
        26,
        PLAIN,
        streams::turned_on,
        "a topic that is written to gets its streams while leaders are killed and cut off",
    )
    .needs(&[Bit("kill", 2), Bit("partition", 1), Saw(LedByAnother, 1)])
    .but(contended),
];
