//! The wire between nodes.
//!
//! Every node dials every peer once and sends its own requests over that connection; answers come
//! back on it. All groups share it, so nothing a single group or a slow peer does may block the
//! others: appends are limited by credits in bytes before they are read, everything else by
//! counts, and the receiving side never waits for a group before it reads the next frame.
//!
//! Here is the side that dials: `frame` (bytes on the socket), `message` (what can be said), `hello` (who may speak),
//! `link` (a connection as its dialler uses it), `peer` and `peers` (dialling and the failure detector), `credits`,
//! `append`, `heartbeat`, and `network` (what the consensus core sees). The other side is `server.rs`.

pub(crate) mod append;
pub(crate) mod credits;
pub(crate) mod frame;
pub(crate) mod heartbeat;
pub(crate) mod hello;
pub(crate) mod link;
pub(crate) mod message;
pub(crate) mod network;
pub(crate) mod peer;
pub(crate) mod peers;

#[cfg(test)]
#[cfg(not(feature = "simulation"))]
mod tests;
