//! The store as its callers see it, on a real disk, with crashes of real processes.

mod basics;
mod chunks;
mod crash;
mod failures;
mod inventory;
mod kill;
mod model;
mod opening;
mod power;
mod reopen;
mod space;
mod stall;
mod support;
mod workload;
