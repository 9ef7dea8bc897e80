//! The scenarios, one row each: what clients do, for how long, what goes wrong, and what must have been seen at least.

pub(super) mod streams;
pub(super) mod transactions;

use super::adjust::{
    alone, alone_and_retention_looks_often, ends_soon, few_descriptors, four_brokers,
    many_partitions, retention_looks_often, ten_of_thirty, with_a_spare, with_spares,
};
use super::{
    Scenario, address, clock, compaction, coordinator, descriptors, disk, full, hang, kill, link,
    many, membership, partition, pause, power, reset, restart, rot, row, snapshot, starve,
    transfer,
};
use crate::run::Demand::{self, Bit, Either, Saw};
use crate::run::Sign::{
    AnsweredMeanwhile, DeletedWithoutRoom, Deletions, FreshlyServed, IdleConnections, Led,
    LedAndWritten, LedByAnother, RefusedForRoom, RestartsOfEach, SnapshotsInstalled, UnsyncedLost,
};
use crate::sandbox::DiskKind;

const PLAIN: DiskKind = DiskKind::Plain;
const IMAGE: DiskKind = DiskKind::IMAGE;

/// An old leader that clients wrote to is cut off with some of them, and a new one goes on.
const OLD_LEADER: &[Demand] =
    &[Bit("partition", 1), Saw(LedAndWritten, 1), Saw(LedByAnother, 1), Saw(AnsweredMeanwhile, 1)];

pub(super) static ALL: &[Scenario] = &[
    row(
        "kill-leader",
        "T1",
        "idempotent",
        20,
        PLAIN,
        kill::leader,
        "kill -9 of the leader while producers retry",
    )
    .needs(&[Bit("kill", 3), Saw(Led, 1), Saw(LedByAnother, 1)]),
    row(
        "answers-lost",
        "T1",
        "idempotent",
        16,
        PLAIN,
        partition::answers_lost,
        "requests arrive, answers do not, and everything is sent again",
    )
    .needs(&[Bit("partition", 5), Saw(LedAndWritten, 1)]),
    row(
        "resets",
        "T1",
        "idempotent",
        30,
        PLAIN,
        reset::storm,
        "connections are reset again and again while they answer, between brokers, by a cut that rejects",
    )
    .needs(&[Bit("reset", 4)]),
    row(
        "power-cut",
        "T2",
        "queue",
        25,
        IMAGE,
        power::leader_then_all,
        "the leader loses its power, then all brokers do",
    )
    .needs(&[Bit("power", 2), Saw(Led, 1)]),
    row(
        "power-cut-slow-leader",
        "T2",
        "queue",
        20,
        IMAGE,
        power::slow_leader,
        "all lose their power while the leader's disk lags",
    )
    .needs(&[Bit("power", 1), Saw(Led, 1), Saw(UnsyncedLost, 1)]),
    row(
        "part-kill",
        "T3",
        "queue",
        34,
        IMAGE,
        power::part_kill,
        "a majority writes without a broker, one of it loses its power and meets that broker",
    )
    .needs(&[Bit("partition", 2), Bit("power", 1), Either(Led, UnsyncedLost)]),
    row(
        "pause-kill",
        "T3",
        "queue",
        34,
        IMAGE,
        power::pause_kill,
        "the same with an old leader that was only paused",
    )
    .needs(&[Bit("pause", 2), Bit("power", 1), Either(Led, UnsyncedLost)]),
    row(
        "isolate-leader-list-offsets",
        "T4",
        "list-offsets",
        22,
        PLAIN,
        partition::leader_with_clients,
        "an old leader with clients of its own must not answer from the past",
    )
    .needs(OLD_LEADER),
    row(
        "isolate-leader",
        "T4",
        "queue",
        22,
        PLAIN,
        partition::leader_with_clients,
        "an old leader with clients of its own must not acknowledge",
    )
    .needs(OLD_LEADER),
    row(
        "partition-shapes",
        "T4",
        "queue",
        30,
        PLAIN,
        partition::shapes,
        "one-way cuts, a bridge, overlapping majorities",
    )
    .needs(&[Bit("partition", 4), Saw(LedAndWritten, 1), Saw(LedByAnother, 1)]),
    row(
        "pause-leader",
        "T5",
        "queue",
        20,
        PLAIN,
        pause::leader,
        "a leader sleeps through an election and wakes",
    )
    .needs(&[Bit("pause", 2), Saw(Led, 1), Saw(LedByAnother, 1)]),
    row(
        "pause-leader-list-offsets",
        "T5",
        "list-offsets",
        20,
        PLAIN,
        pause::leader,
        "a leader sleeps through an election and is asked for the end of the log",
    )
    .needs(&[Bit("pause", 2), Saw(Led, 1), Saw(LedByAnother, 1)]),
    row(
        "ping-pong",
        "T6",
        "idempotent",
        16,
        PLAIN,
        transfer::ping_pong,
        "leadership goes from broker to broker under load",
    )
    .needs(&[Bit("transfer", 10)]),
    row(
        "membership",
        "T7",
        "queue",
        30,
        PLAIN,
        membership::shrink_grow_replace,
        "3 to 1 to 3 replicas, the leader's own replaced, with a cut and a kill",
    )
    .needs(&[Bit("membership", 5), Bit("partition", 1), Bit("kill", 1)])
    .but(with_a_spare),
    row(
        "coordinator-falls",
        "T14",
        "groups",
        36,
        PLAIN,
        coordinator::falls,
        "the coordinator of a consumer group is killed, cut off and paused in turn",
    )
    .needs(&[Bit("kill", 2), Bit("partition", 1), Bit("pause", 1)]),
    row(
        "assigning-coordinator-falls",
        "T14",
        "consumer-groups",
        36,
        PLAIN,
        coordinator::falls,
        "the coordinator that assigns a group's partitions is killed, cut off and paused in turn",
    )
    .needs(&[Bit("kill", 2), Bit("partition", 1), Bit("pause", 1)]),
    row(
        "group-soak",
        "T14",
        "groups",
        40,
        PLAIN,
        coordinator::soak,
        "ten members share thirty partitions while coordinators and leaders are killed in turn",
    )
    .needs(&[Bit("kill", 4), Saw(Led, 20), Saw(LedByAnother, 20)])
    .but(ten_of_thirty),
    row(
        "assigning-group-soak",
        "T14",
        "consumer-groups",
        40,
        PLAIN,
        coordinator::soak,
        "the same, where the coordinator assigns",
    )
    .needs(&[Bit("kill", 4), Saw(Led, 20), Saw(LedByAnother, 20)])
    .but(ten_of_thirty),
    row(
        "replicas-come-back",
        "T24",
        "queue",
        60,
        PLAIN,
        membership::away_and_back,
        "replicas leave and come back, then all brokers are killed and read of it again",
    )
    .needs(&[Bit("membership", 4), Bit("kill", 2)]),
    row(
        "snapshot-while-changing",
        "T8",
        "retention",
        30,
        PLAIN,
        snapshot::while_changing,
        "a replica that fell behind the log's start is caught up while the voters change",
    )
    .needs(&[Bit("membership", 2), Bit("kill", 1), Saw(SnapshotsInstalled, 1)]),
    row(
        "bit-rot",
        "T9",
        "queue",
        30,
        IMAGE,
        rot::every_class,
        "flipped bits, cut and stale blocks in every class of file of one broker",
    )
    .needs(&[Bit("bitrot", 20)])
    .but(with_spares),
    row(
        "bit-rot-single",
        "T9",
        "queue",
        30,
        IMAGE,
        rot::the_only_log,
        "flipped bits and wrong blocks in the write-ahead log of a cluster of one broker",
    )
    .needs(&[Bit("bitrot", 3)])
    .but(alone),
    row(
        "disk-full",
        "T10",
        "queue",
        20,
        IMAGE,
        disk::full,
        "no byte is left: no acknowledgement, and the broker ends",
    )
    .needs(&[Bit("disk-full", 1), Saw(Led, 1)]),
    row(
        "sync-fails",
        "T10",
        "queue",
        20,
        PLAIN,
        disk::sync_fails,
        "EIO from fsync: the broker ends and never tries again",
    )
    .needs(&[Bit("io-error", 1), Saw(Led, 1)]),
    row(
        "disks-full",
        "T10",
        "retention",
        30,
        IMAGE,
        full::all,
        "all disks are nearly full, then full: records are refused, and nothing is lost",
    )
    .needs(&[Bit("disk-full", 2), Saw(RefusedForRoom, 10), Saw(DeletedWithoutRoom, 1)]),
    row(
        "sync-hangs",
        "T10",
        "queue",
        50,
        PLAIN,
        hang::leader_then_majority,
        "a sync does not end for a minute: others lead, and the broker ends; then a majority's hang",
    )
    .needs(&[Bit("sync-hang", 2), Saw(Led, 1), Saw(LedByAnother, 1)])
    .but(ends_soon),
    row(
        "clock-jumps",
        "T11",
        "queue",
        20,
        PLAIN,
        clock::jumps,
        "wall clocks jump by minutes and strobe",
    )
    .needs(&[Bit("clock", 1), Bit("kill", 1)]),
    row(
        "clock-jumps-list-offsets",
        "T11",
        "list-offsets",
        20,
        PLAIN,
        clock::jumps,
        "the same, read for staleness",
    )
    .needs(&[Bit("clock", 1), Bit("kill", 1)]),
    row(
        "clock-days",
        "T11",
        "idempotent",
        40,
        PLAIN,
        clock::days,
        "the leader's clock is days ahead, then days behind: nothing is removed, nothing forgotten",
    )
    .needs(&[Bit("clock", 2), Bit("kill", 1), Saw(Led, 2), Saw(LedByAnother, 1)])
    .but(retention_looks_often),
    row(
        "clock-days-single",
        "T11",
        "idempotent",
        25,
        PLAIN,
        clock::days,
        "the same with one broker, which has nobody to compare its clock with",
    )
    .needs(&[Bit("clock", 2), Bit("kill", 1), Saw(Led, 2)])
    .but(alone_and_retention_looks_often),
    row(
        "rolling-restart",
        "T15",
        "idempotent",
        25,
        PLAIN,
        restart::rolling,
        "every broker in turn is stopped and started, twice",
    )
    .needs(&[Bit("restart", 3), Saw(RestartsOfEach, 1)]),
    row(
        "restart-storm",
        "T16",
        "queue",
        30,
        PLAIN,
        restart::storm,
        "all brokers are killed at once, again and again",
    )
    .needs(&[Bit("kill", 5), Saw(RestartsOfEach, 3)]),
    row(
        "restart-single",
        "T16",
        "queue",
        30,
        PLAIN,
        restart::storm,
        "a cluster of one broker is killed again and again",
    )
    .needs(&[Bit("kill", 5), Saw(RestartsOfEach, 3)])
    .but(alone),
    row(
        "retention-races",
        "T17",
        "retention",
        25,
        PLAIN,
        kill::leader,
        "records are deleted while they are fetched and leaders are killed",
    )
    .needs(&[Bit("kill", 2), Saw(LedByAnother, 1), Saw(Deletions, 10)]),
    row(
        "slow-follower",
        "T19",
        "queue",
        15,
        PLAIN,
        disk::slow_follower,
        "one disk takes a second per sync and holds nobody up",
    )
    .needs(&[Bit("slow-disk", 1)]),
    row(
        "slow-leader",
        "T19",
        "queue",
        15,
        PLAIN,
        disk::slow_leader,
        "the leader's own disk is the slow one",
    )
    .needs(&[Bit("slow-disk", 1), Saw(Led, 1)]),
    row(
        "starved",
        "T19",
        "queue",
        30,
        PLAIN,
        starve::in_turn,
        "the leader, a follower, then all get only a share of the processor",
    )
    .needs(&[Bit("starve", 4)]),
    row(
        "many-partitions",
        "T20",
        "queue",
        25,
        PLAIN,
        many::mass_leader_change,
        "a hundred partitions lose their leader at once, again and again",
    )
    .needs(&[Bit("kill", 1), Bit("pause", 1), Saw(Led, 30), Saw(LedByAnother, 30)])
    .but(many_partitions),
    row(
        "few-descriptors",
        "T21",
        "retention",
        25,
        PLAIN,
        descriptors::taken,
        "strangers hold more connections to each broker than it may have open",
    )
    .needs(&[Bit("idle", 1), Bit("kill", 1), Saw(IdleConnections, 500)])
    .but(few_descriptors),
    row(
        "addresses-change",
        "T22",
        "queue",
        40,
        PLAIN,
        address::all_and_each,
        "brokers come back at other addresses, all at once, each alone, and at each other's",
    )
    .needs(&[Bit("address", 5)]),
    row(
        "one-link",
        "T23",
        "queue",
        40,
        PLAIN,
        link::to_each,
        "one link is cut, between who leads the metadata and each other broker, with fresh clients",
    )
    .needs(&[Bit("partition", 3), Saw(Led, 3), Saw(FreshlyServed, 6)])
    .but(four_brokers),
    row(
        "compaction-churn",
        "T25",
        "compaction",
        30,
        PLAIN,
        compaction::churn,
        "brokers are killed, cut off and made leaders while they compact what clients read from the beginning",
    )
    .needs(&[Bit("kill", 2), Bit("partition", 1), Bit("transfer", 1), Saw(LedByAnother, 1)]),
    row(
        "compaction-away",
        "T25",
        "compaction",
        34,
        PLAIN,
        compaction::away,
        "a replica is away while the others compact and forget what it needs, then it leads",
    )
    .needs(&[Bit("kill", 2), Saw(SnapshotsInstalled, 1)]),
    row(
        "admin-churn",
        "",
        "admin",
        22,
        PLAIN,
        kill::controller,
        "topics come, grow and go while the controller is killed and cut off",
    )
    .needs(&[Bit("kill", 1), Bit("partition", 1)]),
    row(
        "config-churn",
        "",
        "configs",
        24,
        PLAIN,
        kill::controller,
        "configs of topics are changed while the controller is killed and cut off",
    )
    .needs(&[Bit("kill", 1), Bit("partition", 1)]),
];
