//! What a node does with peers that are broken or hostile: it says why, hangs up, and goes on.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_storage::{Db, GroupId, Options};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::hello::{Hello, HelloError, Versions, introduce};
use super::{frame, message};
use crate::codec::Put;
use crate::config::{FailureConfig, NodeConfig, TransportLimits};
use crate::error::DecodeError;
use crate::machine::{Committed, Effects, Machine};
use crate::node::Node;
use crate::propose::Outcome;
use crate::types::{AppendRequest, Data, Entry, Vote, log_id};

const CLUSTER: u128 = 5;
const PATIENCE: Duration = Duration::from_secs(10);

/// Counts what it is given.
struct Counter(u64);

impl Machine for Counter {
    type Reply = u64;

    fn apply(&mut self, entry: Committed<'_>, _: &mut Effects) -> u64 {
        self.0 += u64::from(entry.payload.is_some());
        self.0
    }
    fn encode(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        bytes.try_into().map(|b| Self(u64::from_be_bytes(b))).map_err(|_| DecodeError("?".into()))
    }
    fn needed_from(&self) -> u64 {
        0
    }
}

struct Victim {
    node: Arc<Node>,
    db: Arc<Db>,
    group: crate::Group<Counter>,
    _dir: TempDir,
}

/// A node with one group of its own that knows a peer number 2.
async fn victim() -> Victim {
    let dir = TempDir::new().unwrap();
    let db = Db::open(dir.path(), Options::default()).unwrap();
    let config = NodeConfig {
        node_id: 1,
        cluster_id: CLUSTER,
        directory_id: 11,
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        advertised: String::new(),
        stall: crate::config::StallConfig::default(),
        failure: FailureConfig::default(),
        limits: TransportLimits { frame_bytes: 1 << 20, ..TransportLimits::default() },
    };
    let node = Node::start(config, Arc::clone(&db)).await.unwrap();
    // Nobody listens there: the peer only ever comes to us.
    node.set_peer(2, "127.0.0.1:1", 22);
    let group = node.open(GroupId(1), Counter(0), vec![1]).await.unwrap();
    group.initialize(BTreeSet::from([1])).await.unwrap();
    Victim { node, db, group, _dir: dir }
}

fn peer() -> Hello {
    Hello {
        versions: Versions::spoken(),
        cluster: CLUSTER,
        node: 2,
        directory: 22,
        incarnation: 1,
        to: 1,
        address: String::new(),
    }
}

impl Victim {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.node.listen_address()).await.unwrap()
    }

    async fn connect_as(&self, hello: Hello) -> Result<TcpStream, HelloError> {
        let mut stream = self.connect().await;
        introduce(&mut stream, &hello).await.map(|_| stream)
    }

    /// Sends bytes as the known peer and waits until the node hangs up.
    async fn is_cut_off_by(&self, bytes: &[u8]) {
        let mut stream = self.connect_as(peer()).await.unwrap();
        // The node may hang up while this is still being written.
        drop(stream.write_all(bytes).await);
        let mut rest = Vec::new();
        let end = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "the connection is still open");
    }

    /// The node works as before.
    async fn end(self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let pending = loop {
            match self.group.propose(Bytes::from_static(b"fine"), None).await {
                Ok(pending) => break pending,
                Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
            }
            tokio::task::yield_now().await;
        };
        assert!(matches!(pending.await, Outcome::Applied { .. }));
        self.node.shutdown().await;
        self.db.close();
    }
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut head = frame::start(kind);
    head.extend_from_slice(body);
    frame::finish(head, Vec::new()).to_bytes()
}

#[tokio::test]
async fn strangers_are_refused_with_a_reason_each() {
    let victim = victim().await;
    let cases = [
        (Hello { cluster: 6, ..peer() }, "cluster"),
        (Hello { node: 3, ..peer() }, "not a member"),
        (Hello { directory: 23, ..peer() }, "data directory"),
        (Hello { to: 4, ..peer() }, "this is node 1"),
        (Hello { node: 1, ..peer() }, "itself"),
        (Hello { node: 0, cluster: 9, ..peer() }, "cluster"),
    ];
    for (hello, expected) in cases {
        match victim.connect_as(hello.clone()).await {
            Err(HelloError::Refused(reason)) => assert!(reason.contains(expected), "{reason}"),
            other => panic!("{hello:?} was not refused but {other:?}"),
        }
    }
    victim.node.remove_peer(2);
    assert!(matches!(victim.connect_as(peer()).await, Err(HelloError::Refused(_))));
    victim.end().await;
}

/// Answers whoever dials as `hello` would and tells which addresses diallers said.
async fn answers_as(hello: Hello) -> (SocketAddr, tokio::sync::mpsc::Receiver<Hello>) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (told, dialled) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let Ok(Ok(theirs)) = super::hello::listen(&mut stream).await else { continue };
            super::hello::welcome(&mut stream, &hello).await.unwrap();
            told.send(theirs).await.unwrap();
            // The connection stays: its end would be one more reason to dial.
            tokio::spawn(async move {
                let mut rest = Vec::new();
                drop(stream.read_to_end(&mut rest).await);
            });
        }
    });
    (address, dialled)
}

#[tokio::test]
async fn a_peer_is_found_where_it_says_and_only_if_it_is_itself_there() {
    let victim = victim().await;
    let says =
        |directory: u128, at: SocketAddr| Hello { directory, address: at.to_string(), ..peer() };
    // Whoever has another directory is not listened to.
    let right = Hello { to: 0, ..peer() };
    let (nowhere, mut lured) = answers_as(right.clone()).await;
    let refused = victim.connect_as(says(23, nowhere)).await;
    assert!(matches!(refused, Err(HelloError::Refused(_))));
    victim.node.hear_peer(2, &nowhere.to_string(), 23);
    // What is heard of the right one is looked at, and left if somebody else is there.
    let (elsewhere, mut dialled) = answers_as(Hello { directory: 99, ..right.clone() }).await;
    victim.node.hear_peer(2, &elsewhere.to_string(), 22);
    let theirs = timeout(PATIENCE, dialled.recv()).await.unwrap().unwrap();
    assert_eq!((theirs.node, theirs.to), (1, 2));
    assert!(!victim.node.alive(2));
    assert!(lured.try_recv().is_err(), "a stranger's word was taken");
    // The peer itself says where it is.
    let (home, mut dialled) = answers_as(right).await;
    let _says = victim.connect_as(says(22, home)).await.unwrap();
    timeout(PATIENCE, dialled.recv()).await.unwrap().unwrap();
    let mut verdicts = victim.node.liveness();
    let alive = verdicts.wait_for(|nodes| nodes.get(&2) == Some(&true));
    timeout(PATIENCE, alive).await.unwrap().unwrap();
    assert_eq!(victim.node.reached_peers(), [(2, home.to_string(), 22)]);
    // Once it lives there, others' words move it no more.
    victim.node.hear_peer(2, &elsewhere.to_string(), 22);
    assert!(victim.node.alive(2));
    victim.end().await;
}

#[tokio::test]
async fn who_is_at_an_address_is_learned_by_going_there() {
    let victim = victim().await;
    let (home, _dialled) = answers_as(Hello { to: 0, ..peer() }).await;
    assert_eq!(victim.node.meet(&home.to_string()).await, Ok(2));
    let mut verdicts = victim.node.liveness();
    let alive = verdicts.wait_for(|nodes| nodes.get(&2) == Some(&true));
    timeout(PATIENCE, alive).await.unwrap().unwrap();
    let (stranger, _dialled) = answers_as(Hello { node: 9, to: 0, ..peer() }).await;
    let met = victim.node.meet(&stranger.to_string()).await;
    assert!(matches!(met, Err(crate::CallError::Refused(_))), "{met:?}");
    victim.end().await;
}

#[tokio::test]
async fn a_peer_that_is_removed_loses_the_connection_it_has() {
    let victim = victim().await;
    let mut removed = victim.connect_as(peer()).await.unwrap();
    victim.node.remove_peer(2);
    let mut rest = Vec::new();
    let end = timeout(PATIENCE, removed.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "the connection is still open");
    let mut verdicts = victim.node.liveness();
    let none = timeout(PATIENCE, verdicts.wait_for(|nodes| nodes.is_empty())).await;
    assert!(none.is_ok(), "there is nobody to have a verdict on");
    drop(none);
    assert!(!victim.node.turned_away());
    victim.end().await;
}

#[tokio::test]
async fn who_speaks_no_common_version_is_told_which_ones_are_spoken() {
    let victim = victim().await;
    let spoken = Versions::spoken();
    let later = Versions { lowest: spoken.highest + 1, highest: spoken.highest + 2 };
    match victim.connect_as(Hello { versions: later, ..peer() }).await {
        Err(HelloError::Refused(reason)) => {
            let here = format!("{} to {} here", spoken.lowest, spoken.highest);
            let there = format!("{} to {} there", later.lowest, later.highest);
            assert!(reason.contains(&here) && reason.contains(&there), "{reason}");
        }
        other => panic!("not refused but {other:?}"),
    }
    // A release that speaks ours as well is let in.
    let both = Versions { lowest: spoken.lowest, ..later };
    victim.connect_as(Hello { versions: both, ..peer() }).await.unwrap();
    victim.end().await;
}

#[tokio::test]
async fn a_later_release_may_say_more_in_its_handshake() {
    let victim = victim().await;
    let mut hello = super::hello::encode(message::HELLO, &peer()).to_bytes()[10..].to_vec();
    hello.extend_from_slice(b"what this release does not know");
    let mut stream = victim.connect().await;
    stream.write_all(&framed(message::HELLO, &hello)).await.unwrap();
    let answer = timeout(PATIENCE, frame::read(&mut stream, 1024)).await.unwrap().unwrap();
    assert_eq!(answer.map(|(kind, _)| kind), Some(message::WELCOME));
    victim.end().await;
}

#[tokio::test]
async fn another_form_of_frames_is_told_which_one_is_spoken() {
    let victim = victim().await;
    let mut hello = framed(message::HELLO, &[0; 50]);
    hello[8] = frame::VERSION + 1;
    let crc = crc32c::crc32c(&hello[8..]).to_be_bytes();
    hello[4..8].copy_from_slice(&crc);
    let mut stream = victim.connect().await;
    stream.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("version"), "{text}");
    victim.end().await;
}

#[tokio::test]
async fn garbage_before_the_handshake_ends_the_connection() {
    let victim = victim().await;
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        &[0xff; 64],
        &[0; 64],
        &framed(message::PING, &[0; 8]),
        &framed(message::HELLO, b"short"),
    ] {
        let mut stream = victim.connect().await;
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("hung up").ok();
    }
    victim.end().await;
}

#[tokio::test]
async fn hostile_frames_of_a_member_end_its_connection_only() {
    let victim = victim().await;
    let mut absurd_count = Vec::new();
    absurd_count.extend_from_slice(&[0; 16]);
    absurd_count.extend_from_slice(&[0; 17]);
    absurd_count.extend_from_slice(&[0, 0]);
    absurd_count.extend_from_slice(&u32::MAX.to_be_bytes());
    let mut oversized = vec![0x7f, 0xff, 0xff, 0xff];
    oversized.extend_from_slice(&[0; 100]);
    let mut wrong_sum = framed(message::PING, &[0; 8]);
    wrong_sum[10] ^= 1;
    for bytes in [
        framed(99, b"what is this"),
        framed(message::PING, b"x"),
        framed(message::APPEND, b"x"),
        framed(message::APPEND, &absurd_count),
        framed(message::HEARTBEATS, &[0xff; 12]),
        framed(message::REQUEST, b""),
        framed(message::APPEND_END, b"1"),
        framed(message::REPLY, &[0; 16]),
        oversized,
        wrong_sum,
    ] {
        victim.is_cut_off_by(&bytes).await;
    }
    victim.end().await;
}

#[tokio::test]
async fn every_truncation_and_every_flipped_byte_of_an_append_is_survived() {
    let victim = victim().await;
    let entry = |index| Entry {
        log_id: log_id(quorate_storage::EntryId { term: 9, index }),
        payload: openraft::EntryPayload::Normal(Data(Bytes::from_static(b"payload"))),
    };
    let request = AppendRequest {
        vote: Vote::new_committed(9, 2),
        prev_log_id: None,
        entries: vec![entry(0), entry(1)],
        leader_commit: None,
    };
    let good = message::append(1, 77, request).to_bytes();
    let body = &good[10..];
    for cut in 0..body.len() {
        assert!(message::read_append(Bytes::copy_from_slice(&body[..cut])).is_err(), "cut {cut}");
    }
    for at in 0..body.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bad = body.to_vec();
            bad[at] ^= flip;
            // Some of these are other valid requests; none may panic or allocate absurdly.
            drop(message::read_append(bad.into()));
        }
    }
    victim.end().await;
}

#[tokio::test]
async fn a_group_that_is_not_here_is_answered_and_not_created() {
    let victim = victim().await;
    let mut stream = victim.connect_as(peer()).await.unwrap();
    let request = AppendRequest {
        vote: Vote::new_committed(9, 2),
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    };
    stream.write_all(&message::append(1, 77, request.clone()).to_bytes()).await.unwrap();
    let (kind, body) = read_one(&mut stream).await;
    assert_eq!(kind, message::APPENDED);
    let (id, result) = message::read_appended(body).unwrap();
    assert_eq!((id, result.unwrap_err().failure), (1, message::Failure::NoGroup));

    let vote = openraft::raft::VoteRequest::new(Vote::new(9, 2), None);
    let body = vec![message::vote_request(&vote)];
    let ask = message::request(5, message::request::VOTE, 77, body).to_bytes();
    stream.write_all(&ask).await.unwrap();
    let (id, answer) = message::read_reply(read_one(&mut stream).await.1).unwrap();
    assert_eq!((id, answer.unwrap_err().failure), (5, message::Failure::NoGroup));

    let beats = message::heartbeats(6, &[(77, request.clone()), (78, request)]).to_bytes();
    stream.write_all(&beats).await.unwrap();
    let mut slots = BTreeSet::new();
    while slots.len() < 2 {
        let (_, replies) = message::read_heartbeat_replies(read_one(&mut stream).await.1).unwrap();
        slots.extend(replies.into_iter().map(|(slot, answer)| {
            assert_eq!(answer.unwrap_err().failure, message::Failure::NoGroup);
            slot
        }));
    }
    assert!(victim.node.status(GroupId(77)).is_none());
    victim.end().await;
}

async fn read_one(stream: &mut TcpStream) -> (u8, Bytes) {
    timeout(PATIENCE, frame::read(stream, 1 << 20)).await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn a_snapshot_that_claims_too_much_or_means_nothing_is_refused() {
    let victim = victim().await;
    let mut stream = victim.connect_as(peer()).await.unwrap();
    let piece = |total: u64, offset: u64, data: &[u8]| {
        let mut head = bytes::BytesMut::new();
        head.vote(&Vote::new_committed(9, 2));
        let last = log_id(quorate_storage::EntryId { term: 9, index: 50 });
        head.opt_log_id(Some(&last));
        head.u64(total);
        head.u64(offset);
        head.u32(data.len() as u32);
        head.extend_from_slice(data);
        head.u8(0);
        head.freeze()
    };
    for body in [
        piece(u64::MAX, 0, b""),
        piece(10, u64::MAX, b"xx"),
        piece(10, 9, b"xx"),
        piece(0, 0, b""),
        piece(4, 0, b"\x01bad"),
        Bytes::from_static(b"?"),
    ] {
        let ask = message::request(5, message::request::SNAPSHOT, 1, vec![body]).to_bytes();
        stream.write_all(&ask).await.unwrap();
        let (_, answer) = message::read_reply(read_one(&mut stream).await.1).unwrap();
        assert_eq!(answer.unwrap_err().failure, message::Failure::Refused);
    }
    victim.end().await;
}
