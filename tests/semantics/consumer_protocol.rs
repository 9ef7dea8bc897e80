//! The consumer protocol by hand (KIP-848): what a member is answered that says what ordinary clients rarely say.

use crate::support::cluster::Cluster;
use crate::support::kafka;
use crate::support::wire::{Encoder, Wire};

/// The keys of ConsumerGroupHeartbeat, ConsumerGroupDescribe, OffsetCommit and OffsetFetch.
const HEARTBEAT: i16 = 68;
const DESCRIBE: i16 = 69;
const OFFSET_COMMIT: i16 = 8;
const OFFSET_FETCH: i16 = 9;

const UNKNOWN_MEMBER: i16 = 25;
const INVALID_REQUEST: i16 = 42;
const GROUP_ID_NOT_FOUND: i16 = 69;
const FENCED_INSTANCE: i16 = 82;
const FENCED_MEMBER_EPOCH: i16 = 110;
const UNRELEASED_INSTANCE: i16 = 111;
const UNSUPPORTED_ASSIGNOR: i16 = 112;
const STALE_MEMBER_EPOCH: i16 = 113;
const INVALID_REGEX: i16 = 128;

/// A heartbeat of a member that joins, as most do.
#[derive(Clone)]
struct Beat<'a> {
    group: &'a str,
    member: &'a str,
    epoch: i32,
    instance: Option<&'a str>,
    rack: Option<&'a str>,
    rebalance_ms: i32,
    topics: Option<&'a [&'a str]>,
    regex: Option<&'a str>,
    assignor: Option<&'a str>,
    owned: Option<&'a [i32]>,
    topic_id: [u8; 16],
}

/// What it is answered: the error, its id, its epoch and what it is to read.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    error: i16,
    member: Option<String>,
    epoch: i32,
    parts: Option<Vec<i32>>,
}

fn joins<'a>(group: &'a str, member: &'a str, topics: &'a [&'a str]) -> Beat<'a> {
    Beat {
        group,
        member,
        epoch: 0,
        instance: None,
        rack: None,
        rebalance_ms: 60_000,
        topics: Some(topics),
        regex: None,
        assignor: None,
        owned: Some(&[]),
        topic_id: [0; 16],
    }
}

/// It goes on and says nothing new.
fn goes_on<'a>(group: &'a str, member: &'a str, epoch: i32) -> Beat<'a> {
    Beat { epoch, rebalance_ms: -1, topics: None, owned: None, ..joins(group, member, &[]) }
}

fn send(wire: &mut Wire, version: i16, beat: &Beat<'_>) -> Heard {
    let optional = |body: Encoder, it: Option<&str>| match it {
        Some(it) => body.text(it),
        None => body.zero(),
    };
    let body = Encoder::default().text(beat.group).text(beat.member).i32(beat.epoch);
    let body = optional(optional(body, beat.instance), beat.rack).i32(beat.rebalance_ms);
    let body = match beat.topics {
        Some(topics) => topics.iter().fold(body.count(topics.len()), |body, it| body.text(it)),
        None => body.zero(),
    };
    let body = if version >= 1 { optional(body, beat.regex) } else { body };
    let body = optional(body, beat.assignor);
    let body = match beat.owned {
        None => body.zero(),
        Some([]) => body.count(0),
        Some(owned) => {
            let body = body.count(1).id(beat.topic_id).count(owned.len());
            owned.iter().fold(body, |body, it| body.i32(*it)).zero()
        }
    };
    let mut decoder = wire.call_flexible(HEARTBEAT, version, body);
    decoder.i32();
    let error = decoder.i16();
    assert_eq!(decoder.text().is_none(), error == kafka::NONE, "an error says why");
    let (member, epoch) = (decoder.text(), decoder.i32());
    assert_eq!(decoder.i32() > 0, error == kafka::NONE, "how soon it is to be heard again");
    let parts = (decoder.i8() >= 0).then(|| {
        let parts = decoder.rows(|decoder| (decoder.id(), decoder.numbers()).1).unwrap();
        decoder.tags();
        parts.concat()
    });
    decoder.tags();
    decoder.end();
    Heard { error, member, epoch, parts }
}

fn topic_id(cluster: &Cluster, topic: &str) -> [u8; 16] {
    let told = cluster.request("GET", &format!("/v1/topics/{topic}"), None).ok();
    uuid::Uuid::parse_str(told["id"].as_str().unwrap()).unwrap().into_bytes()
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let cluster = Cluster::shared();
    let group = "consumer-nonsense";
    let wire = &mut kafka::at_coordinator(&cluster, group);
    let good = || joins(group, "m", &["t"]);
    let cases = [
        ("no group", INVALID_REQUEST, Beat { group: "", ..good() }),
        ("a blank group", INVALID_REQUEST, Beat { group: " ", ..good() }),
        ("no member id", INVALID_REQUEST, Beat { member: "", ..good() }),
        ("no instance id", INVALID_REQUEST, Beat { instance: Some(""), ..good() }),
        ("no rack", INVALID_REQUEST, Beat { rack: Some(""), ..good() }),
        ("no rebalance timeout", INVALID_REQUEST, Beat { rebalance_ms: -1, ..good() }),
        ("no topics", INVALID_REQUEST, Beat { topics: None, ..good() }),
        ("nothing said of what it has", INVALID_REQUEST, Beat { owned: None, ..good() }),
        ("it has something already", INVALID_REQUEST, Beat { owned: Some(&[1]), ..good() }),
        ("a strange epoch", INVALID_REQUEST, Beat { epoch: -3, ..good() }),
        ("it leaves as nobody in particular", INVALID_REQUEST, Beat { epoch: -2, ..good() }),
        ("an assignor", UNSUPPORTED_ASSIGNOR, Beat { assignor: Some("sticky"), ..good() }),
        ("an expression", INVALID_REGEX, Beat { regex: Some("("), ..good() }),
        ("it was never there", UNKNOWN_MEMBER, goes_on(group, "m", 1)),
        ("and leaves", UNKNOWN_MEMBER, goes_on(group, "m", -1)),
    ];
    for (what, error, beat) in cases {
        let heard = send(wire, 1, &beat);
        assert_eq!((heard.error, heard.parts), (error, None), "{what}");
    }
    assert_eq!(describe(wire, group), (GROUP_ID_NOT_FOUND, String::new(), 0, vec![]));
}

#[test]
fn version_0_gives_a_member_its_id() {
    let cluster = Cluster::shared();
    cluster.create_topic("consumer-v0", 2, 3);
    let (group, topics) = ("consumer-v0", ["consumer-v0"]);
    let wire = &mut kafka::at_coordinator(&cluster, group);
    let heard = send(wire, 0, &joins(group, "", &topics));
    let member = heard.member.expect("an id");
    assert_eq!((heard.error, heard.epoch, heard.parts), (0, 1, Some(vec![0, 1])));
    let again = send(wire, 0, &goes_on(group, &member, 1));
    assert_eq!(again, Heard { error: 0, member: Some(member.clone()), epoch: 1, parts: None });
    assert_eq!(send(wire, 0, &goes_on(group, &member, -1)).epoch, -1);
    assert_eq!(send(wire, 0, &goes_on(group, &member, 1)).error, UNKNOWN_MEMBER);
}

#[test]
fn epochs_and_instances_keep_members_apart() {
    let cluster = Cluster::shared();
    cluster.create_topic("consumer-epochs", 4, 3);
    let (group, topics) = ("consumer-epochs", ["consumer-epochs"]);
    let wire = &mut kafka::at_coordinator(&cluster, group);
    let instance = |beat| Beat { instance: Some("i"), ..beat };
    let id = topic_id(&cluster, "consumer-epochs");
    assert_eq!(send(wire, 1, &instance(joins(group, "a", &topics))).parts, Some(vec![0, 1, 2, 3]));
    assert_eq!(send(wire, 1, &goes_on(group, "a", 2)).error, FENCED_MEMBER_EPOCH);
    assert_eq!(send(wire, 1, &instance(joins(group, "b", &topics))).error, UNRELEASED_INSTANCE);
    assert_eq!(send(wire, 1, &instance(goes_on(group, "b", 1))).error, FENCED_INSTANCE);
    // A second one, for whom the first has to give half back, which it says that it has.
    assert_eq!(send(wire, 1, &joins(group, "c", &topics)).parts, Some(vec![]));
    let has =
        |epoch, owned| Beat { owned: Some(owned), topic_id: id, ..goes_on(group, "a", epoch) };
    let told = send(wire, 1, &has(1, &[0, 1, 2, 3]));
    assert_eq!((told.epoch, told.parts), (1, Some(vec![0, 1])));
    let given_back = send(wire, 1, &has(1, &[0, 1]));
    assert_eq!((given_back.epoch, given_back.parts), (2, None));
    assert_eq!(send(wire, 1, &goes_on(group, "c", 2)).parts, Some(vec![2, 3]));
    let members = vec![("a".to_owned(), 2, vec![0, 1], 1), ("c".to_owned(), 2, vec![2, 3], 1)];
    assert_eq!(describe(wire, group), (0, "Stable".to_owned(), 2, members));
    // The answer that told the second epoch may have been lost.
    assert_eq!(send(wire, 1, &has(1, &[0, 1])).error, 0);
    assert_eq!(send(wire, 1, &goes_on(group, "a", 1)).error, FENCED_MEMBER_EPOCH);
}

#[test]
fn offsets_are_committed_and_fetched_in_the_members_epoch() {
    let cluster = Cluster::shared();
    cluster.create_topic("consumer-offsets", 1, 3);
    let (group, topics) = ("consumer-offsets", ["consumer-offsets"]);
    let wire = &mut kafka::at_coordinator(&cluster, group);
    // OffsetCommit version 9 of one partition.
    let commit = |wire: &mut Wire, member: &str, epoch: i32| {
        let body = Encoder::default().text(group).i32(epoch).text(member).zero().count(1);
        let body = body.text(topics[0]).count(1).i32(0).i64(7).i32(-1).text("m").zero().zero();
        let mut decoder = wire.call_flexible(OFFSET_COMMIT, 9, body);
        decoder.i32();
        let topics = decoder.rows(|decoder| {
            decoder.text();
            decoder.rows(|decoder| (decoder.i32(), decoder.i16()).1).unwrap()
        });
        topics.unwrap().concat().remove(0)
    };
    // OffsetFetch version 9 of the same: its error, and the offset.
    let fetch = |wire: &mut Wire, member: Option<&str>, epoch: i32| {
        let body = Encoder::default().count(1).text(group);
        let body = member.map_or(body.clone().zero(), |it| body.text(it)).i32(epoch).zero().zero();
        let mut decoder = wire.call_flexible(OFFSET_FETCH, 9, body.i8(0));
        decoder.i32();
        let groups = decoder.rows(|decoder| {
            decoder.text();
            let topics = decoder.rows(|decoder| {
                decoder.text();
                let row = decoder.rows(|decoder| {
                    let offset = (decoder.i32(), decoder.i64()).1;
                    decoder.i32();
                    decoder.text();
                    decoder.i16();
                    offset
                });
                row.unwrap()
            });
            (decoder.i16(), topics.unwrap().concat())
        });
        groups.unwrap().remove(0)
    };
    assert_eq!(send(wire, 1, &joins(group, "a", &topics)).epoch, 1);
    assert_eq!(commit(wire, "a", 0), STALE_MEMBER_EPOCH);
    assert_eq!(commit(wire, "a", 2), STALE_MEMBER_EPOCH);
    assert_eq!(commit(wire, "b", 1), UNKNOWN_MEMBER);
    assert_eq!(commit(wire, "", -1), UNKNOWN_MEMBER, "whoever is none may not while there are");
    assert_eq!(commit(wire, "a", 1), 0);
    assert_eq!(fetch(wire, Some("a"), 1), (0, vec![7]));
    assert_eq!(fetch(wire, Some("a"), 2), (STALE_MEMBER_EPOCH, vec![]));
    assert_eq!(fetch(wire, Some("b"), 1), (UNKNOWN_MEMBER, vec![]));
    assert_eq!(fetch(wire, None, -1), (0, vec![7]), "tools ask without being one");
}

/// Its id, epoch, partitions and type.
type DescribedMember = (String, i32, Vec<i32>, i8);

/// ConsumerGroupDescribe version 1: the error, the state, the epoch, and of each member its id, epoch, partitions and type.
fn describe(wire: &mut Wire, group: &str) -> (i16, String, i32, Vec<DescribedMember>) {
    let body = Encoder::default().count(1).text(group).i8(0);
    let mut decoder = wire.call_flexible(DESCRIBE, 1, body);
    decoder.i32();
    let rows = decoder.rows(|decoder| {
        let error = decoder.i16();
        assert_eq!(decoder.text().is_none(), error == kafka::NONE, "an error says why");
        assert_eq!(decoder.text().as_deref(), Some(group));
        let (state, epoch) = (decoder.text().unwrap(), decoder.i32());
        decoder.i32();
        decoder.text();
        let members = decoder.rows(|decoder| {
            let id = decoder.text().unwrap();
            decoder.text();
            decoder.text();
            let epoch = decoder.i32();
            decoder.text();
            decoder.text();
            decoder.texts();
            decoder.text();
            let [parts, _] = [(); 2].map(|()| {
                let parts = decoder.rows(|decoder| {
                    decoder.id();
                    decoder.text();
                    decoder.numbers()
                });
                decoder.tags();
                parts.unwrap().concat()
            });
            (id, epoch, parts, decoder.i8())
        });
        decoder.i32();
        (error, state, epoch, members.unwrap())
    });
    rows.unwrap().remove(0)
}
