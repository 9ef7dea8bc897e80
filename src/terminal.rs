//! What the commands share: how they reach brokers, what they print, and how they fail.

mod admin;
mod failure;
mod health;
mod output;
mod servers;

pub(crate) use admin::Admin;
pub use failure::Failure;
pub(crate) use health::wait_until_healthy;
pub(crate) use output::{Format, Table, line, note, print_json, printable};
pub(crate) use servers::{HttpServers, KafkaServers};
