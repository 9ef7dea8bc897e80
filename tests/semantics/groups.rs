//! Consumer groups by hand: what each request is answered that ordinary clients rarely send.

use crate::support::cluster::Cluster;
use crate::support::kafka::{self, HEARTBEAT, NOT_COORDINATOR};
use crate::support::wire::{Decoder, Encoder, Wire};

/// The keys of JoinGroup, SyncGroup, LeaveGroup, OffsetCommit, OffsetFetch, OffsetDelete, ListGroups,
/// DescribeGroups, DeleteGroups and FindCoordinator.
const JOIN_GROUP: i16 = 11;
const SYNC_GROUP: i16 = 14;
const LEAVE_GROUP: i16 = 13;
const OFFSET_COMMIT: i16 = 8;
const OFFSET_FETCH: i16 = 9;
const OFFSET_DELETE: i16 = 47;
const LIST_GROUPS: i16 = 16;
const DESCRIBE_GROUPS: i16 = 15;
const DELETE_GROUPS: i16 = 42;
const FIND_COORDINATOR: i16 = 10;

const OFFSET_METADATA_TOO_LARGE: i16 = 12;
const ILLEGAL_GENERATION: i16 = 22;
const INCONSISTENT_PROTOCOL: i16 = 23;
const INVALID_GROUP: i16 = 24;
const UNKNOWN_MEMBER: i16 = 25;
const INVALID_SESSION_TIMEOUT: i16 = 26;
const NON_EMPTY: i16 = 68;
const NOT_FOUND: i16 = 69;
const MEMBER_ID_REQUIRED: i16 = 79;
const SUBSCRIBED: i16 = 86;

/// JoinGroup version 4: (error, generation, member id).
fn join(
    wire: &mut Wire,
    group: &str,
    member: &str,
    session_ms: i32,
    names: &[&str],
) -> (i16, i32, String) {
    let subscription =
        [0, 0, 0, 0, 0, 1, 0, 8, b'g', b'-', b't', b'o', b'p', b'i', b'c', b's', 0, 0, 0, 0];
    let head = Encoder::default().string(group).i32(session_ms).i32(10_000).string(member);
    let count = i32::try_from(names.len()).unwrap();
    let body = names.iter().fold(head.string("consumer").i32(count), |body, name| {
        body.string(name).bytes(&subscription)
    });
    let mut decoder = wire.call(JOIN_GROUP, 4, &body);
    decoder.i32();
    let (error, generation) = (decoder.i16(), decoder.i32());
    assert!(decoder.string().is_some(), "the protocol is nullable from version 7 on only");
    decoder.string();
    (error, generation, decoder.string().unwrap())
}

/// SyncGroup version 1 of a lone leader: its error and part.
fn sync(wire: &mut Wire, group: &str, generation: i32, member: &str) -> (i16, Vec<u8>) {
    let body = Encoder::default().string(group).i32(generation).string(member).i32(1);
    let mut decoder = wire.call(SYNC_GROUP, 1, &body.string(member).bytes(b"all"));
    decoder.i32();
    (decoder.i16(), decoder.bytes().unwrap())
}

/// Heartbeat version 1.
fn heartbeat(wire: &mut Wire, group: &str, generation: i32, member: &str) -> i16 {
    let body = Encoder::default().string(group).i32(generation).string(member);
    let mut decoder = wire.call(HEARTBEAT, 1, &body);
    decoder.i32();
    decoder.i16()
}

/// OffsetCommit version 2 of one partition.
fn commit(
    wire: &mut Wire,
    (group, generation, member): (&str, i32, &str),
    topic: &str,
    metadata: &str,
) -> i16 {
    let body = Encoder::default().string(group).i32(generation).string(member).i64(-1).i32(1);
    let body = body.string(topic).i32(1).i32(0).i64(7).string(metadata);
    let mut decoder = wire.call(OFFSET_COMMIT, 2, &body);
    rows(&mut decoder).remove(0).1
}

/// The rows of an answer that has an error for each partition.
fn rows(decoder: &mut Decoder) -> Vec<(i32, i16)> {
    let topics = decoder.list(|decoder| {
        decoder.string();
        decoder.list(|decoder| (decoder.i32(), decoder.i16()))
    });
    topics.into_iter().flatten().collect()
}

/// OffsetFetch version 2: the error of the whole, and (partition, offset, metadata, error) of each.
fn fetch(wire: &mut Wire, group: &str, topic: Option<&str>) -> (i16, Vec<(i32, i64, String, i16)>) {
    let body = Encoder::default().string(group);
    let body = match topic {
        Some(topic) => body.i32(1).string(topic).i32(1).i32(0),
        None => body.i32(-1),
    };
    let mut decoder = wire.call(OFFSET_FETCH, 2, &body);
    let topics = decoder.list(|decoder| {
        decoder.string();
        decoder.list(|decoder| {
            (decoder.i32(), decoder.i64(), decoder.string().unwrap(), decoder.i16())
        })
    });
    (decoder.i16(), topics.into_iter().flatten().collect())
}

/// DeleteGroups version 1.
fn delete(wire: &mut Wire, group: &str) -> i16 {
    let mut decoder = wire.call(DELETE_GROUPS, 1, &Encoder::default().i32(1).string(group));
    decoder.i32();
    decoder.list(|decoder| (decoder.string(), decoder.i16())).remove(0).1
}

/// DescribeGroups version 1 of a group that is named twice: (error, state) of each answer.
fn describe(wire: &mut Wire, group: &str) -> Vec<(i16, String)> {
    let body = Encoder::default().i32(2).string(group).string(group);
    let mut decoder = wire.call(DESCRIBE_GROUPS, 1, &body);
    decoder.i32();
    decoder.list(|decoder| {
        let error = decoder.i16();
        decoder.string();
        let state = decoder.string().unwrap();
        (0..2).for_each(|_| drop(decoder.string()));
        decoder.list(|decoder| {
            (0..3).for_each(|_| drop(decoder.string()));
            (0..2).for_each(|_| drop(decoder.bytes()));
        });
        (error, state)
    })
}

/// OffsetDelete version 0 of one partition: its error, or that of the whole.
fn forget(wire: &mut Wire, group: &str, topic: &str) -> i16 {
    let body = Encoder::default().string(group).i32(1).string(topic).i32(1).i32(0);
    let mut decoder = wire.call(OFFSET_DELETE, 0, &body);
    let error = decoder.i16();
    decoder.i32();
    if error == 0 { rows(&mut decoder).remove(0).1 } else { error }
}

#[test]
fn a_join_is_refused_for_what_is_wrong_with_it_and_given_an_id_first() {
    let cluster = Cluster::shared();
    let wire = &mut kafka::at_coordinator(&cluster, "g-joins");
    let ranges = ["range"];
    assert_eq!(join(wire, "", "", 10_000, &ranges).0, INVALID_GROUP);
    for session_ms in [5_999, 1_800_001, -1] {
        assert_eq!(join(wire, "g-joins", "", session_ms, &ranges).0, INVALID_SESSION_TIMEOUT);
    }
    assert_eq!(join(wire, "g-joins", "nobody", 10_000, &ranges).0, UNKNOWN_MEMBER);
    assert_eq!(join(wire, "g-joins", "", 10_000, &[]).0, INCONSISTENT_PROTOCOL);
    let (error, generation, member) = join(wire, "g-joins", "", 6_000, &ranges);
    assert_eq!((error, generation), (MEMBER_ID_REQUIRED, -1));
    let (error, generation, joined) = join(wire, "g-joins", &member, 6_000, &ranges);
    assert_eq!((error, generation, &joined), (0, 1, &member));
    assert_eq!(sync(wire, "g-joins", 9, &member).0, ILLEGAL_GENERATION);
    assert_eq!(sync(wire, "g-joins", 1, &member), (0, b"all".to_vec()));
    assert_eq!(heartbeat(wire, "g-joins", 1, &member), 0);
    assert_eq!(heartbeat(wire, "g-joins", 2, &member), ILLEGAL_GENERATION);
    assert_eq!(heartbeat(wire, "g-joins", 1, "nobody"), UNKNOWN_MEMBER);
    assert_eq!(heartbeat(wire, "g-nowhere", 1, &member), {
        // It is answered by whoever coordinates that group, which may be another broker.
        let home = kafka::coordinator(cluster.broker(1), "g-nowhere").1;
        let here = kafka::coordinator(cluster.broker(1), "g-joins").1;
        if home == here { UNKNOWN_MEMBER } else { NOT_COORDINATOR }
    });
}

#[test]
fn offsets_are_committed_fetched_and_deleted_with_the_errors_of_kafka() {
    let cluster = Cluster::shared();
    cluster.create_topic("g-topic", 1, 3);
    let wire = &mut kafka::at_coordinator(&cluster, "g-offsets");
    let (nobody, unknown) = (("g-offsets", -1, ""), (kafka::NONE, vec![(0, -1, String::new(), 0)]));
    assert_eq!(fetch(wire, "g-offsets", Some("g-topic")), unknown, "nothing was committed");
    assert_eq!(fetch(wire, "g-offsets", Some("no-such-topic")), unknown);
    assert_eq!(fetch(wire, "g-offsets", None), (kafka::NONE, vec![]));
    assert_eq!(forget(wire, "g-offsets", "g-topic"), NOT_FOUND);
    assert_eq!(commit(wire, ("g-offsets", 1, "m"), "g-topic", ""), ILLEGAL_GENERATION);
    assert_eq!(commit(wire, nobody, "no-such-topic", ""), kafka::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(commit(wire, nobody, "g-topic", &"m".repeat(4097)), OFFSET_METADATA_TOO_LARGE);
    assert_eq!(commit(wire, nobody, "g-topic", &"m".repeat(4096)), 0);
    let expected = vec![(0, 7, "m".repeat(4096), 0)];
    assert_eq!(fetch(wire, "g-offsets", Some("g-topic")), (kafka::NONE, expected.clone()));
    assert_eq!(fetch(wire, "g-offsets", None), (kafka::NONE, expected));
    assert_eq!(forget(wire, "g-offsets", "no-such-topic"), kafka::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(forget(wire, "g-offsets", "g-topic"), 0);
    assert_eq!(fetch(wire, "g-offsets", None), (kafka::NONE, vec![]));
    // Of a group with members only members may.
    let member = join(wire, "g-offsets", "", 10_000, &["range"]).2;
    let (_, generation, _) = join(wire, "g-offsets", &member, 10_000, &["range"]);
    sync(wire, "g-offsets", generation, &member);
    assert_eq!(commit(wire, nobody, "g-topic", ""), UNKNOWN_MEMBER);
    assert_eq!(commit(wire, ("g-offsets", generation, &member), "g-topic", ""), 0);
    assert_eq!(forget(wire, "g-offsets", "g-topic"), 0, "it subscribes to another");
    cluster.create_topic("g-topics", 1, 3);
    assert_eq!(commit(wire, ("g-offsets", generation, &member), "g-topics", ""), 0);
    assert_eq!(forget(wire, "g-offsets", "g-topics"), SUBSCRIBED);
    assert_eq!(delete(wire, "g-offsets"), NON_EMPTY);
}

#[test]
fn groups_are_listed_described_left_and_deleted() {
    let cluster = Cluster::shared();
    let wire = &mut kafka::at_coordinator(&cluster, "g-life");
    assert_eq!(describe(wire, "g-life"), [(0, "Dead".to_owned())], "each once");
    assert_eq!(delete(wire, "g-life"), NOT_FOUND);
    let member = join(wire, "g-life", "", 10_000, &["range"]).2;
    let (_, generation, _) = join(wire, "g-life", &member, 10_000, &["range"]);
    assert_eq!(describe(wire, "g-life"), [(0, "CompletingRebalance".to_owned())]);
    sync(wire, "g-life", generation, &member);
    assert_eq!(describe(wire, "g-life"), [(0, "Stable".to_owned())]);
    let listed = |wire: &mut Wire, state: &str| {
        let mut decoder =
            wire.call_flexible(LIST_GROUPS, 4, Encoder::default().count(1).text(state).zero());
        decoder.i32();
        assert_eq!(decoder.i16(), 0);
        let groups =
            decoder.rows(|decoder| (decoder.text().unwrap(), decoder.text(), decoder.text()));
        groups.unwrap().iter().any(|(group, ..)| group == "g-life")
    };
    assert!(listed(wire, "stable") && !listed(wire, "Empty"), "whatever the case");
    // LeaveGroup version 1, and 3 of a group that is not there.
    let leave = Encoder::default().string("g-life").string(&member);
    let mut decoder = wire.call(LEAVE_GROUP, 1, &leave);
    decoder.i32();
    assert_eq!(decoder.i16(), 0);
    assert_eq!(wire.call(LEAVE_GROUP, 1, &leave).end_with_error(), UNKNOWN_MEMBER);
    assert_eq!(describe(wire, "g-life"), [(0, "Empty".to_owned())]);
    assert_eq!(delete(wire, "g-life"), 0);
    assert_eq!(describe(wire, "g-life"), [(0, "Dead".to_owned())]);
}

impl Decoder {
    /// The error behind the throttle time.
    fn end_with_error(mut self) -> i16 {
        self.i32();
        self.i16()
    }
}

#[test]
fn who_does_not_coordinate_a_group_says_so_to_every_request() {
    let cluster = Cluster::shared();
    cluster.create_topic("g-elsewhere", 1, 3);
    let home = cluster.wait("somebody coordinates the group", || {
        let (error, id) = kafka::coordinator(cluster.broker(1), "g-elsewhere");
        (error == kafka::NONE).then_some(id)
    });
    for broker in cluster.brokers().iter().filter(|broker| broker.id != home as u64) {
        let (wire, group) = (&mut Wire::connect(broker.kafka), "g-elsewhere");
        assert_eq!(kafka::coordinator(broker, group), (kafka::NONE, home), "all name the same");
        let (error, _, member) = join(wire, group, "m", 10_000, &["range"]);
        assert_eq!((error, member.as_str()), (NOT_COORDINATOR, "m"));
        assert_eq!(sync(wire, group, 1, "m"), (NOT_COORDINATOR, Vec::new()));
        assert_eq!(heartbeat(wire, group, 1, "m"), NOT_COORDINATOR);
        let leave = Encoder::default().string(group).string("m");
        assert_eq!(wire.call(LEAVE_GROUP, 1, &leave).end_with_error(), NOT_COORDINATOR);
        assert_eq!(commit(wire, (group, -1, ""), group, ""), NOT_COORDINATOR);
        assert_eq!(fetch(wire, group, Some(group)), (NOT_COORDINATOR, vec![]));
        assert_eq!(fetch(wire, group, None), (NOT_COORDINATOR, vec![]));
        assert_eq!(describe(wire, group), [(NOT_COORDINATOR, String::new())]);
        assert_eq!(delete(wire, group), NOT_COORDINATOR);
        assert_eq!(forget(wire, group, group), NOT_COORDINATOR);
    }
}

/// A client that is told which release it speaks to asks in that release's version, and not what is served.
#[test]
fn a_client_of_a_given_release_finds_its_coordinator() {
    let cluster = Cluster::shared();
    let group = "g-release";
    kafka::at_coordinator(&cluster, group);
    let (_, id) = kafka::coordinator(cluster.broker(1), group);
    let wire = &mut Wire::connect(cluster.broker(1).kafka);
    let mut ask = |kind: i8, key: &str| {
        let body = Encoder::default().i8(kind).count(1).text(key);
        let mut decoder = wire.call_flexible(FIND_COORDINATOR, 6, body);
        decoder.i32();
        let rows = decoder.rows(|decoder| {
            let (key, id) = (decoder.text().unwrap(), decoder.i32());
            decoder.text();
            decoder.i32();
            let error = decoder.i16();
            decoder.text();
            (key, id, error)
        });
        rows.unwrap().remove(0)
    };
    assert_eq!(ask(0, group), (group.to_owned(), id, kafka::NONE));
    // A share group's coordinator, which that version adds.
    assert_eq!(ask(2, "s:AAAAAAAAAAAAAAAAAAAAAA:0").2, kafka::INVALID_REQUEST);
}

/// Strangers may commit what they like; what is added up of it ends no broker.
#[test]
fn an_offset_that_cannot_be_is_told_with_all_its_lag() {
    let cluster = Cluster::shared();
    cluster.create_topic("g-absurd", 2, 3);
    let group = "g-absurd";
    let mut wire = kafka::at_coordinator(&cluster, group);
    let body = Encoder::default().string(group).i32(-1).string("").i64(-1).i32(1).string(group);
    let body = body.i32(2).i32(0).i64(i64::MIN).string("").i32(1).i64(i64::MIN).string("");
    let mut decoder = wire.call(OFFSET_COMMIT, 2, &body);
    assert_eq!(rows(&mut decoder), [(0, 0), (1, 0)]);
    for broker in cluster.running() {
        let told = broker.get(&format!("/v1/groups/{group}")).unwrap().ok();
        assert_eq!((&told["lag"], told["offsets"].as_array().unwrap().len()), (&0.into(), 2));
    }
}
