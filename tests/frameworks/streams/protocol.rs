//! The rebalance protocol of Streams (KIP-1071), which is not offered: an application that asks for it is told so.

use super::app::{App, state};
use crate::support::cluster::Cluster;

#[test]
fn an_application_that_wants_the_streams_protocol_ends_with_the_reason() {
    let cluster = Cluster::shared();
    let app =
        App { cluster: &cluster, id: "streams-protocol", topology: "count", output: "counts" };
    let mut instance = app.start("only", &["group.protocol=streams"]);
    let reason = cluster.wait("it has failed", || {
        let said = state(&mut instance);
        said.strip_prefix("FAILED ").map(str::to_owned)
    });
    assert!(reason.contains("does not support the STREAMS group protocol"), "{reason}");
    instance.stop();
}
