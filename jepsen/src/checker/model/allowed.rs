//! Which anomalies a log may show and still be what it promises to be.

use crate::checker::SubVia;

/// Jepsen's names, and when they are no errors.
pub fn allowed(anomaly: &str, sub_via: SubVia, write_order: bool) -> bool {
    match anomaly {
        // Transactions interleave in a partition, and writes are never isolated from each other.
        "int-send-skip" | "G0" | "G0-process" | "G0-realtime" => true,
        "PL-1-cycle-exists" | "strong-PL-1-cycle-exists" => true,
        // A rebalance between two polls moves a consumer.
        "poll-skip" | "nonmonotonic-poll" => sub_via == SubVia::Subscribe,
        // As writes are not isolated, one of two may be seen before the other is overtaken.
        "G1c" | "G1c-process" | "G1c-realtime" => write_order,
        "PL-2-cycle-exists" | "strong-PL-2-cycle-exists" => write_order,
        _ => false,
    }
}
