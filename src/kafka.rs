//! The Kafka face: what producers, consumers and admin tools of the Kafka world talk to.
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

mod api;
mod connection;
mod error;
mod face;
mod frame;
mod listener;
mod pipeline;
mod route;
mod sessions;
mod socket;
mod table;

pub use error::ErrorCode;
pub use frame::{Captured, FrameError, decode_request, request_memory_max};
pub use listener::Listener;
pub use table::{Api, TABLE};
