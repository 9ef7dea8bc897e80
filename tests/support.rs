//! What the tests stand on: real processes, free ports, waiting with a deadline, a gate on the
//! logs, the clients, and a pen for raw frames. Nothing here knows the broker's code.

pub mod appender;
pub mod asked;
pub mod clients;
pub mod clock;
pub mod cluster;
pub mod disk;
pub mod http;
pub mod java;
pub mod kafka;
pub mod links;
pub mod load;
pub mod logs;
pub mod members;
pub mod pages;
pub mod ports;
pub mod process;
pub mod records;
pub mod transactions;
pub mod usage;
pub mod wait;
pub mod wire;
