//! Named scenarios: each is a trap that some replicated log has fallen into, set up on purpose.
//!
//! Random schedules find what nobody thought of; these make sure that what somebody thought of is met in every run of
//! the suite. T-numbers name the traps in the table of jepsen/README.md. A defect that a seed found stays here as
//! a scenario of its own.

mod clock;
mod disk;
mod kill;
mod many;
mod membership;
mod partition;
mod pause;
mod power;
mod reset;
mod restart;
mod rot;
mod snapshot;
mod starve;
mod transfer;

use std::time::Duration;

use crate::run::Demand::{self, Bit, Either, Saw};
use crate::run::Sign::{
    AnsweredMeanwhile, Deletions, Led, LedAndWritten, LedByAnother, RestartsOfEach,
    SnapshotsInstalled, UnsyncedLost,
};
use crate::run::{Plan, Script};
use crate::sandbox::DiskKind;

/// See the module.
pub struct Scenario {
    pub name: &'static str,
    /// The trap, or none for a defect of our own.
    pub trap: &'static str,
    pub about: &'static str,
    workload: &'static str,
    seconds: u64,
    disk: DiskKind,
    script: Script,
    demands: &'static [Demand],
    /// What differs from [`Plan::new`].
    adjust: fn(&mut Plan),
}

/// Every scenario, in the order of the traps.
pub fn all() -> &'static [Scenario] {
    ALL
}

const PLAIN: DiskKind = DiskKind::Plain;
const IMAGE: DiskKind = DiskKind::IMAGE;

/// An old leader that clients wrote to is cut off with some of them, and a new one goes on.
const OLD_LEADER: &[Demand] =
    &[Bit("partition", 1), Saw(LedAndWritten, 1), Saw(LedByAnother, 1), Saw(AnsweredMeanwhile, 1)];

static ALL: &[Scenario] = &[
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
    .needs(&[Bit("bitrot", 20)]),
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
        "admin-churn",
        "",
        "admin",
        22,
        PLAIN,
        kill::controller,
        "topics come, grow and go while the controller is killed and cut off",
    )
    .needs(&[Bit("kill", 1), Bit("partition", 1)]),
];

const fn row(
    name: &'static str,
    trap: &'static str,
    workload: &'static str,
    seconds: u64,
    disk: DiskKind,
    script: Script,
    about: &'static str,
) -> Scenario {
    let (demands, adjust): (&[Demand], fn(&mut Plan)) = (&[], |_| ());
    Scenario { name, trap, about, workload, seconds, disk, script, demands, adjust }
}

fn alone(plan: &mut Plan) {
    (plan.brokers, plan.replication) = (1, 1);
}

fn many_partitions(plan: &mut Plan) {
    plan.partitions = 100;
}

fn with_a_spare(plan: &mut Plan) {
    plan.spares = 1;
}

/// The scenario of a name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    all().iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    /// What must have happened at least, or the verdict is unknown.
    const fn needs(mut self, demands: &'static [Demand]) -> Scenario {
        self.demands = demands;
        self
    }

    const fn but(mut self, adjust: fn(&mut Plan)) -> Scenario {
        self.adjust = adjust;
        self
    }

    pub fn plan(&self, seed: u64) -> Plan {
        let mut plan = Plan::new(self.name, self.workload, self.script);
        plan.seed = seed;
        plan.time = Duration::from_secs(self.seconds);
        plan.disk = self.disk;
        plan.demands = self.demands;
        plan.replay = format!("quorate-jepsen scenario {} --seed {seed}", self.name);
        (self.adjust)(&mut plan);
        plan
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::workload;

    #[test]
    fn names_are_unique_and_workloads_exist() {
        let all = all();
        let names: BTreeSet<&str> = all.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), all.len());
        for scenario in all {
            assert!(workload::find(scenario.workload).is_some(), "{}", scenario.name);
            assert!(!scenario.demands.is_empty(), "{} demands nothing", scenario.name);
        }
    }

    #[test]
    fn every_trap_that_needs_neither_groups_nor_transactions_is_set() {
        let traps: BTreeSet<&str> = all().iter().map(|scenario| scenario.trap).collect();
        for trap in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 16, 17, 19, 20] {
            assert!(traps.contains(format!("T{trap}").as_str()), "T{trap}");
        }
    }
}
