//! The wire between nodes.
//!
//! Every node dials every peer once and sends its own requests over that connection; answers come
//! back on it. All groups share it, so nothing a single group or a slow peer does may block the
//! others: appends are limited by credits in bytes before they are read, everything else by
//! counts, and the receiving side never waits for a group before it reads the next frame.
//!
//! Reading order: `frame` (bytes on the socket), `wire` (values in a frame), `message` (what can be
//! said), `hello` (who may speak), `link` (a connection as its dialler uses it), `peer` (dialling
//! and the failure detector), `credits`, `append`, `heartbeat`, `network` (what the consensus core sees), and
//! `server`, `serve_append`, `serve_request`, `receive` (the other side).

pub(crate) mod append;
pub(crate) mod credits;
pub(crate) mod frame;
pub(crate) mod heartbeat;
pub(crate) mod hello;
pub(crate) mod link;
pub(crate) mod message;
pub(crate) mod network;
pub(crate) mod peer;
mod places;
pub(crate) mod receive;
pub(crate) mod serve_append;
pub(crate) mod serve_request;
pub(crate) mod server;
pub(crate) mod staging;
pub(crate) mod wire;

#[cfg(test)]
#[cfg(not(feature = "simulation"))]
mod tests;
