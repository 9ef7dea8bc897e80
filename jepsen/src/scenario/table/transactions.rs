//! The scenarios of transactions.

use super::PLAIN;
use crate::run::Demand::{Bit, Saw};
use crate::run::Sign::{Led, LedAndWritten, LedByAnother};
use crate::scenario::adjust::transactional;
use crate::scenario::{Scenario, compaction, row, transactions};

pub static ALL: &[Scenario] = &[
    row(
        "transactions-coordinator-falls",
        "T12",
        "transactions",
        36,
        PLAIN,
        transactions::coordinator_falls,
        "the coordinators of transactions are killed again and again while transactions end, twice and late",
    )
    .needs(&[Bit("kill", 5), Bit("partition", 1), Saw(Led, 1), Saw(LedByAnother, 1)])
    .but(transactional),
    row(
        "transactions-partition",
        "T12",
        "transactions",
        36,
        PLAIN,
        transactions::partitions,
        "coordinators and leaders are cut off, and what they answer is lost, so that ends are sent again",
    )
    .needs(&[Bit("partition", 4), Saw(LedAndWritten, 1), Saw(LedByAnother, 1)])
    .but(transactional),
    row(
        "transactions-zombies",
        "T13",
        "transactions",
        30,
        PLAIN,
        transactions::zombies,
        "instances whose ids were taken over go on writing while coordinators and leaders sleep",
    )
    .needs(&[Bit("pause", 4), Saw(Led, 1), Saw(LedByAnother, 1)])
    .but(transactional),
    row(
        "transactions-away",
        "T12",
        "transactions",
        34,
        PLAIN,
        transactions::away,
        "leaderships go from broker to broker while transactions are open, and to one that was away",
    )
    .needs(&[Bit("transfer", 6), Bit("kill", 1)])
    .but(transactional),
    row(
        "transactions-compaction",
        "T18",
        "transactions-compacted",
        34,
        PLAIN,
        compaction::churn,
        "topics are compacted with open and aborted transactions in them, on brokers that die and are cut off",
    )
    .needs(&[Bit("kill", 2), Bit("partition", 1), Bit("transfer", 1), Saw(LedByAnother, 1)])
    .but(transactional),
];
