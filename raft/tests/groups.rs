//! Groups on several nodes, with real sockets, real storage and a runtime per node, so that a node
//! can be killed without being asked.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod groups {
    mod calls;
    pub mod cluster;
    mod contact;
    mod contract;
    mod corrupt;
    mod divergence;
    mod failover;
    mod keyed;
    mod ledger;
    mod membership;
    mod panics;
    mod replication;
    mod restore;
    mod snapshots;
    mod tallies;
    mod tally;
}
