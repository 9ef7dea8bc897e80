//! The Kafka interface: what producers, consumers and admin tools of the Kafka world talk to.
//!
//! A connection's bytes become frames, frames become typed requests by the one [`TABLE`] of APIs, and each
//! API is one file under `api`. Handlers know partitions, metadata and the controller; nothing else in the broker
//! knows the protocol, and nothing but this module names its crates.
//!
//! ```text
//!  listener ─▶ connection ─▶ frame ─▶ table ─▶ api/* ─▶ partition, controller, metadata
//!                  ▲                              │
//!                  └───── answers in order ◀──────┘
//! ```

mod answer;
mod api;
mod call;
mod codec;
mod config_resource;
mod connection;
mod description;
mod error;
mod frame;
mod groups;
mod keys;
mod listener;
mod memory;
mod pipeline;
mod route;
mod server;
mod sessions;
mod socket;
mod table;
mod transactions;

pub use codec::FrameError;
pub use description::Api;
pub use error::ErrorCode;
pub use frame::{Captured, decode_request, request_memory_max};
pub use listener::Listener;
pub use table::{Row, TABLE};
