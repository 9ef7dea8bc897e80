//! The broker: Kafka outside, Raft inside.
//!
//! Modules in reading order: what a broker is made of, how it is told what to be, what it knows of the
//! cluster, what a partition is, and the two interfaces (Kafka and HTTP) that clients see.

pub mod broker;
pub mod config;
pub mod context;
pub mod telemetry;

pub mod controller;
pub mod coordinator;
pub mod metadata;
pub mod partition;
mod percent;
pub mod record;
pub mod replica;
pub mod transaction;
pub mod wall_clock;

pub mod http;
pub mod kafka;

pub mod bench;
pub mod cli;
pub mod client;
pub mod demo;
pub mod terminal;
