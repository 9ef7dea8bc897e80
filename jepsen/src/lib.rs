//! A black-box tester for Quorate: brokers as real processes in a sandbox of their own, faults, recorded histories,
//! and checkers that decide whether what clients saw can be explained by the promises.
//!
//! It imports nothing of the broker. What it knows is the binary, Kafka's wire protocol and the HTTP API, so that a
//! misunderstanding inside the broker cannot repeat itself here.
//!
//! Reading order: `history` (what is recorded), `checker` (what is wrong), `workload` (who makes histories),
//! `sandbox` and `fault` (what goes wrong on purpose), `run` (one run from start to verdict).

pub mod admin;
pub mod checker;
pub mod cli;
pub mod client;
pub mod environment;
pub mod fault;
pub mod history;
pub mod nemesis;
pub mod net;
pub mod report;
pub mod run;
pub mod sandbox;
pub mod scenario;
pub mod summary;
pub mod workload;
