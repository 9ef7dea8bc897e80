//! What happened, as clients saw it: a list of operations in the format of `jepsen.tests.kafka`.
//!
//! Jepsen's own checker can read these files, so that every verdict of ours can be contested.

mod edn;
mod op;
mod parse;
mod reader;
mod recorder;

pub use edn::{Value as Edn, int, keyword, map, text};
pub use op::{Body, Kind, Mop, Op, Process, Sent};
pub use parse::{read, read_file};
pub use reader::ReadError;
pub use recorder::{Pending, Recorder};
