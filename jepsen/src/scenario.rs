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
mod restart;
mod rot;
mod snapshot;
mod transfer;

use std::time::Duration;

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
    /// What differs from [`Plan::new`].
    adjust: fn(&mut Plan),
}

/// Every scenario, in the order of the traps.
pub fn all() -> &'static [Scenario] {
    ALL
}

const PLAIN: DiskKind = DiskKind::Plain;
const IMAGE: DiskKind = DiskKind::IMAGE;

static ALL: &[Scenario] = &[
    row(
        "kill-leader",
        "T1",
        "idempotent",
        25,
        PLAIN,
        kill::leader,
        "kill -9 of the leader while producers retry",
    ),
    row(
        "answers-lost",
        "T1",
        "idempotent",
        20,
        PLAIN,
        partition::answers_lost,
        "requests arrive, answers do not, and everything is sent again",
    ),
    row(
        "power-cut",
        "T2",
        "queue",
        25,
        IMAGE,
        power::leader_then_all,
        "the leader loses its power, then all brokers do",
    ),
    row(
        "power-cut-slow-leader",
        "T2",
        "queue",
        20,
        IMAGE,
        power::slow_leader,
        "all lose their power while the leader's disk lags",
    ),
    row(
        "part-kill",
        "T3",
        "queue",
        30,
        IMAGE,
        power::part_kill,
        "a majority writes without a broker, one of it loses its power and meets that broker",
    ),
    row(
        "pause-kill",
        "T3",
        "queue",
        30,
        IMAGE,
        power::pause_kill,
        "the same with an old leader that was only paused",
    ),
    row(
        "isolate-leader-list-offsets",
        "T4",
        "list-offsets",
        25,
        PLAIN,
        partition::leader_with_clients,
        "an old leader with clients of its own must not answer from the past",
    ),
    row(
        "isolate-leader",
        "T4",
        "queue",
        25,
        PLAIN,
        partition::leader_with_clients,
        "an old leader with clients of its own must not acknowledge",
    ),
    row(
        "partition-shapes",
        "T4",
        "queue",
        35,
        PLAIN,
        partition::shapes,
        "one-way cuts, a bridge, overlapping majorities",
    ),
    row(
        "pause-leader",
        "T5",
        "queue",
        25,
        PLAIN,
        pause::leader,
        "a leader sleeps through an election and wakes",
    ),
    row(
        "pause-leader-list-offsets",
        "T5",
        "list-offsets",
        25,
        PLAIN,
        pause::leader,
        "a leader sleeps through an election and is asked for the end of the log",
    ),
    row(
        "ping-pong",
        "T6",
        "idempotent",
        20,
        PLAIN,
        transfer::ping_pong,
        "leadership goes from broker to broker under load",
    ),
    Scenario {
        adjust: with_a_spare,
        ..row(
            "membership",
            "T7",
            "queue",
            35,
            PLAIN,
            membership::shrink_grow_replace,
            "3 to 1 to 3 replicas, the leader's own replaced, with a cut and a kill",
        )
    },
    row(
        "snapshot-while-changing",
        "T8",
        "retention",
        30,
        PLAIN,
        snapshot::while_changing,
        "a replica that fell behind the log's start is caught up while the voters change",
    ),
    row(
        "bit-rot",
        "T9",
        "queue",
        40,
        IMAGE,
        rot::every_class,
        "flipped bits, cut and stale blocks in every class of file of one broker",
    ),
    row(
        "disk-full",
        "T10",
        "queue",
        25,
        IMAGE,
        disk::full,
        "no byte is left: no acknowledgement, and the broker ends",
    ),
    row(
        "sync-fails",
        "T10",
        "queue",
        25,
        PLAIN,
        disk::sync_fails,
        "EIO from fsync: the broker ends and never tries again",
    ),
    row(
        "clock-jumps",
        "T11",
        "queue",
        25,
        PLAIN,
        clock::jumps,
        "wall clocks jump by minutes and strobe",
    ),
    row(
        "clock-jumps-list-offsets",
        "T11",
        "list-offsets",
        25,
        PLAIN,
        clock::jumps,
        "the same, read for staleness",
    ),
    row(
        "rolling-restart",
        "T15",
        "idempotent",
        30,
        PLAIN,
        restart::rolling,
        "every broker in turn is stopped and started, twice",
    ),
    row(
        "restart-storm",
        "T16",
        "queue",
        30,
        PLAIN,
        restart::storm,
        "all brokers are killed at once, again and again",
    ),
    Scenario {
        adjust: alone,
        ..row(
            "restart-single",
            "T16",
            "queue",
            20,
            PLAIN,
            restart::storm,
            "a cluster of one broker is killed again and again",
        )
    },
    row(
        "retention-races",
        "T17",
        "retention",
        30,
        PLAIN,
        kill::leader,
        "records are deleted while they are fetched and leaders are killed",
    ),
    row(
        "slow-follower",
        "T19",
        "queue",
        20,
        PLAIN,
        disk::slow_follower,
        "one disk takes a second per sync and holds nobody up",
    ),
    row(
        "slow-leader",
        "T19",
        "queue",
        20,
        PLAIN,
        disk::slow_leader,
        "the leader's own disk is the slow one",
    ),
    Scenario {
        adjust: many_partitions,
        ..row(
            "many-partitions",
            "T20",
            "queue",
            30,
            PLAIN,
            many::mass_leader_change,
            "a hundred partitions lose their leader at once, again and again",
        )
    },
    row(
        "admin-churn",
        "",
        "admin",
        25,
        PLAIN,
        kill::controller,
        "topics come, grow and go while the controller is killed and cut off",
    ),
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
    Scenario { name, trap, about, workload, seconds, disk, script, adjust: as_it_is }
}

fn as_it_is(_: &mut Plan) {}

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
    pub fn plan(&self, seed: u64) -> Plan {
        let mut plan = Plan::new(self.name, self.workload, self.script);
        plan.seed = seed;
        plan.time = Duration::from_secs(self.seconds);
        plan.disk = self.disk;
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
