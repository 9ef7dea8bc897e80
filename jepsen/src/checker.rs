//! What the checkers find, and what it amounts to.

use serde::Serialize;

/// The outcome of a run. Whatever is not proven valid fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Valid,
    /// Nothing is known to be wrong, and too little was seen to say that all is well.
    Unknown,
    Invalid,
}

impl Verdict {
    /// The exit code of the command that reached it.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Valid => 0,
            Verdict::Invalid => 1,
            Verdict::Unknown => 2,
        }
    }
}

/// Something a checker has to say about a history.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Jepsen's name of the anomaly, such as `lost-write`, or ours, such as `replicas-differ`.
    pub anomaly: String,
    /// What it does to the verdict; `Valid` is only information.
    pub verdict: Verdict,
    /// How often it was seen.
    pub count: u64,
    /// The first few cases in words: keys, offsets, values.
    pub cases: Vec<String>,
    /// Indexes of the operations that show it, a few.
    pub ops: Vec<u64>,
}
