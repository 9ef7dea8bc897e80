//! Calls between nodes, and from those who are not members yet.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use quorate_raft::{CallError, CallHandler, Caller, Node};

use super::cluster::{CLUSTER, Cluster, until};

const WAIT: Duration = Duration::from_secs(10);

struct Echo;

impl CallHandler for Echo {
    fn call(
        &self,
        from: Caller,
        method: u16,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        async move {
            match method {
                1 => Ok([format!("{from:?} ").as_bytes(), &body].concat().into()),
                2 => Err(CallError::Refused("not today".into())),
                3 => std::future::pending().await,
                _ => Err(CallError::Failed("no such method".into())),
            }
        }
        .boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_carry_the_caller_and_errors_keep_their_meaning() {
    let cluster = Cluster::start(2).await;
    let node = Arc::clone(&cluster.node(1).node);
    assert!(matches!(node.call(2, 1, Bytes::new(), WAIT).await, Err(CallError::Busy)));
    cluster.node(2).node.serve_calls(Arc::new(Echo));
    let answer = node.call(2, 1, Bytes::from_static(b"hi"), WAIT).await.unwrap();
    assert_eq!(&answer[..], b"Member(1) hi");
    let large = Bytes::from(vec![7; 3 << 20]);
    assert_eq!(node.call(2, 1, large, WAIT).await.unwrap().len(), (3 << 20) + 10);
    let refused = node.call(2, 2, Bytes::new(), WAIT).await;
    assert_eq!(refused, Err(CallError::Refused("not today".into())));
    let failed = node.call(2, 9, Bytes::new(), WAIT).await;
    assert_eq!(failed, Err(CallError::Failed("no such method".into())));
    let slow = node.call(2, 3, Bytes::new(), Duration::from_millis(50)).await;
    assert_eq!(slow, Err(CallError::Timeout));
    let unknown = node.call(9, 1, Bytes::new(), WAIT).await;
    assert!(matches!(unknown, Err(CallError::Unreachable(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_may_call_and_is_known_as_one() {
    let cluster = Cluster::start(1).await;
    cluster.node(1).node.serve_calls(Arc::new(Echo));
    let address = cluster.homes[&1].address.unwrap().to_string();
    for cluster in [None, Some(CLUSTER)] {
        let answer =
            Node::call_address(cluster, &address, 1, Bytes::from_static(b"let me in"), WAIT).await;
        assert_eq!(&answer.unwrap()[..], b"Guest let me in");
    }
    let wrong = Node::call_address(Some(77), &address, 1, Bytes::new(), WAIT).await;
    assert!(matches!(wrong, Err(CallError::Refused(reason)) if reason.contains("cluster")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_directory_is_refused_and_told_why() {
    let mut cluster = Cluster::start(2).await;
    let node = Arc::clone(&cluster.node(1).node);
    until("they know each other", || node.alive(2)).await;
    cluster.kill(2);
    // An operator's record that says otherwise, before node 2 is back: a connection made under the right one would stay.
    cluster.homes.get_mut(&2).unwrap().directory = 4711;
    cluster.node(1).in_runtime(|node| {
        node.set_peer(2, &cluster.homes[&2].address.unwrap().to_string(), 4711);
    });
    cluster.start_node(2).await;
    let second = Arc::clone(&cluster.node(2).node);
    until("node 2 learns why it is refused", || {
        second.peer_problem(1).is_some_and(|problem| problem.contains("data directory"))
    })
    .await;
    until("node 1 knows why it does not talk to node 2", || {
        node.peer_problem(2).is_some_and(|problem| problem.contains("data directory"))
    })
    .await;
    assert!(!node.alive(2));
}
