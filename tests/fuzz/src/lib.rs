//! Coverage-guided fuzzing of the two decoders that meet a stranger's bytes: requests and record batches.
//!
//! libFuzzer changes inputs and keeps those that reach something new; `requests.rs` and `batches.rs` say what must
//! hold for every input beyond "no panic", `memory.rs` counts what they take, `seeds.rs` is where it begins.
//! Sanitizers need a nightly compiler; coverage does not: `instrument` beside this crate hands rustc the flags.
//!
//! Not seen by libFuzzer: zstd, which is C and bounded by its window, and what lies beneath the decoders.

pub mod batches;
mod memory;
pub mod requests;
pub mod seeds;
