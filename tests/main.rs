//! Black-box tests: real broker processes, real clients, real crashes. One file per capability,
//! one binary for all, because every further one would link librdkafka again.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on says why and ends"
)]

mod support;

mod acls;
mod addresses;
mod admin;
mod behaviours;
mod broker_removal;
mod catch_up;
mod cli;
mod client_matrix;
mod clocks;
mod compaction;
mod conditional;
mod configs;
mod damaged_files;
mod descriptors;
mod disks;
mod dynamic_configs;
mod event_sourcing;
mod examples;
mod far_behind;
mod fetch_sessions;
mod fetch_waits;
mod frameworks;
mod groups;
mod http_api;
mod identity;
mod levels;
mod limits;
mod links;
mod membership;
mod memory;
mod produce_fetch;
mod producers;
mod recovery;
mod retention;
mod semantics;
mod stopping;
mod streams;
mod suites;
mod tidy;
mod transaction_tools;
mod transactions;
mod without_majority;
