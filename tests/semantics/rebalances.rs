//! Generations of a classic group by hand: who is told what while several members join, ask for their parts and go.
//!
//! One broker, and groups that wait for nobody in particular: what comes when is then up to the requests.

use crate::support::cluster::Cluster;
use crate::support::kafka::{self, HEARTBEAT, NONE};
use crate::support::wire::{Decoder, Encoder, Wire};

/// The keys of OffsetCommit, JoinGroup, LeaveGroup and SyncGroup.
const OFFSET_COMMIT: i16 = 8;
const JOIN_GROUP: i16 = 11;
const LEAVE_GROUP: i16 = 13;
const SYNC_GROUP: i16 = 14;

const ILLEGAL_GENERATION: i16 = 22;
const INCONSISTENT_PROTOCOL: i16 = 23;
const UNKNOWN_MEMBER: i16 = 25;
const REBALANCING: i16 = 27;
const MEMBER_ID_REQUIRED: i16 = 79;
const FENCED_INSTANCE: i16 = 82;

/// A cluster whose coordinator is there.
fn cluster(name: &str) -> Cluster {
    let at_once = [("QUORATE_GROUPS_INITIAL_REBALANCE_DELAY_MS", "0")];
    let cluster = Cluster::start_with(name, 1, &at_once);
    kafka::at_coordinator(&cluster, "g");
    cluster
}

/// Who may become a member of the group `g`, on a connection of its own: a join waits for others.
struct Member {
    wire: Wire,
    id: String,
    instance: Option<&'static str>,
    kind: &'static str,
    /// Its protocols, each with what it says to it.
    protocols: Vec<(&'static str, &'static str)>,
}

/// What a join is answered.
#[derive(Debug, PartialEq)]
struct Joined {
    error: i16,
    generation: i32,
    protocol: Option<String>,
    leader: String,
    skip: bool,
    member: String,
    /// Members and what they say.
    members: Vec<(String, String)>,
}

impl Member {
    fn new(cluster: &Cluster, protocols: &[(&'static str, &'static str)]) -> Member {
        let wire = Wire::connect(cluster.broker(1).kafka);
        let protocols = protocols.to_vec();
        Member { wire, id: String::new(), instance: None, kind: "consumer", protocols }
    }

    /// Somebody with an id, which it got for asking.
    fn with_id(cluster: &Cluster, protocols: &[(&'static str, &'static str)]) -> Member {
        let mut member = Member::new(cluster, protocols);
        let told = member.join();
        assert_eq!((told.error, told.generation), (MEMBER_ID_REQUIRED, -1));
        member.id = told.member;
        member
    }

    fn instance(&self, body: Encoder) -> Encoder {
        match self.instance {
            Some(instance) => body.text(instance),
            None => body.zero(),
        }
    }

    /// JoinGroup version 9.
    fn send_join(&mut self) {
        let body = Encoder::default().text("g").i32(60_000).i32(60_000).text(&self.id);
        let body = self.instance(body).text(self.kind).count(self.protocols.len());
        let protocol = |body: Encoder, it: &(&str, &str)| body.text(it.0).text(it.1).zero();
        let body = self.protocols.iter().fold(body, protocol).zero();
        self.wire.send_flexible(JOIN_GROUP, 9, body);
    }

    fn joined(&mut self) -> Joined {
        let mut decoder = self.wire.receive_flexible();
        decoder.i32();
        let (error, generation, kind) = (decoder.i16(), decoder.i32(), decoder.text());
        assert_eq!(kind.is_some(), error == NONE);
        let (protocol, leader) = (decoder.text(), decoder.text().unwrap());
        let (skip, member) = (decoder.i8() != 0, decoder.text().unwrap());
        let members = decoder.rows(|row| {
            let id = row.text().unwrap();
            row.text();
            (id, row.text().unwrap())
        });
        decoder.tags();
        decoder.end();
        Joined { error, generation, protocol, leader, skip, member, members: members.unwrap() }
    }

    fn join(&mut self) -> Joined {
        self.send_join();
        self.joined()
    }

    /// SyncGroup version 5.
    fn send_sync(
        &mut self,
        generation: i32,
        (kind, protocol): (&str, &str),
        parts: &[(&str, &str)],
    ) {
        let body = Encoder::default().text("g").i32(generation).text(&self.id);
        let body = self.instance(body).text(kind).text(protocol).count(parts.len());
        let part = |body: Encoder, it: &(&str, &str)| body.text(it.0).text(it.1).zero();
        self.wire.send_flexible(SYNC_GROUP, 5, parts.iter().fold(body, part));
    }

    /// The error and the part, which is never null.
    fn synced(&mut self) -> (i16, String) {
        let mut decoder = self.wire.receive_flexible();
        decoder.i32();
        let (error, kind, _) = (decoder.i16(), decoder.text(), decoder.text());
        assert_eq!(kind.is_some(), error == NONE);
        (error, decoder.text().expect("a part"))
    }

    fn sync(&mut self, generation: i32, parts: &[(&str, &str)]) -> (i16, String) {
        self.send_sync(generation, ("consumer", "range"), parts);
        self.synced()
    }

    /// Heartbeat version 4.
    fn heartbeat(&mut self, generation: i32) -> i16 {
        let body = Encoder::default().text("g").i32(generation).text(&self.id);
        let mut decoder = self.wire.call_flexible(HEARTBEAT, 4, self.instance(body));
        decoder.i32();
        decoder.i16()
    }

    /// OffsetCommit version 8 of one partition.
    fn commit(&mut self, generation: i32) -> i16 {
        let body = Encoder::default().text("g").i32(generation).text(&self.id);
        let body = self.instance(body).count(1).text("t").count(1).i32(0).i64(7).i32(-1);
        let mut decoder = self.wire.call_flexible(OFFSET_COMMIT, 8, body.text("").zero().zero());
        decoder.i32();
        let error = |row: &mut Decoder| (row.i32(), row.i16()).1;
        let topic = |row: &mut Decoder| (row.text(), row.rows(error).unwrap()).1;
        decoder.rows(topic).unwrap().concat()[0]
    }

    /// LeaveGroup version 4 of who has this id and instance.
    fn have_leave(&mut self, id: &str, instance: Option<&str>) -> i16 {
        let body = Encoder::default().text("g").count(1).text(id);
        let body = instance.map_or(body.clone().zero(), |it| body.text(it)).zero();
        let mut decoder = self.wire.call_flexible(LEAVE_GROUP, 4, body);
        decoder.i32();
        assert_eq!(decoder.i16(), NONE, "of the request as a whole");
        let rows = decoder.rows(|row| (row.text(), row.text(), row.i16()).2);
        rows.unwrap()[0]
    }
}

/// Two members in the second generation, the first of which leads, before either asks for its part.
fn two(cluster: &Cluster) -> (Member, Member) {
    cluster.create_topic("t", 1, 1);
    let mut a = Member::with_id(cluster, &[("range", "a-range"), ("sticky", "a-sticky")]);
    let first = a.join();
    assert_eq!((first.error, first.generation, &first.leader), (NONE, 1, &a.id));
    assert_eq!(a.sync(1, &[(&a.id.clone(), "all")]), (NONE, "all".to_owned()));
    let mut b = Member::with_id(cluster, &[("range", "b-range")]);
    b.send_join();
    cluster.wait("a hears of it", || (a.heartbeat(1) == REBALANCING).then_some(()));
    assert_eq!(a.commit(1), NONE, "what it read it may still say");
    assert_eq!(a.sync(1, &[]).0, REBALANCING);
    let (leads, follows) = (a.join(), b.joined());
    let [one, other] = [&leads, &follows].map(|it| (it.error, it.generation, &it.leader));
    assert_eq!((one, other), ((NONE, 2, &a.id), (NONE, 2, &a.id)));
    assert_eq!(leads.protocol.as_deref(), Some("range"), "the one that both know");
    let mut said = leads.members;
    said.sort();
    let mut expected = vec![(a.id.clone(), "a-range".into()), (b.id.clone(), "b-range".into())];
    expected.sort();
    assert_eq!((said, follows.members), (expected, vec![]), "the leader is told what all say");
    (a, b)
}

#[test]
fn the_leader_is_told_of_all_and_whoever_it_does_not_name_has_an_empty_part() {
    let cluster = cluster("two-members");
    let (mut a, mut b) = two(&cluster);
    assert_eq!(b.heartbeat(2), NONE, "the parts are not told yet");
    assert_eq!(b.commit(2), REBALANCING, "it has none to speak of");
    assert_eq!((b.heartbeat(1), b.heartbeat(3)), (ILLEGAL_GENERATION, ILLEGAL_GENERATION));
    for said in [("connect", "range"), ("consumer", "sticky")] {
        b.send_sync(2, said, &[]);
        assert_eq!(b.synced().0, INCONSISTENT_PROTOCOL, "{said:?}");
    }
    // Its answer was lost: it is told the same again.
    let again = b.join();
    assert_eq!((again.error, again.generation, again.members), (NONE, 2, vec![]));
    b.send_sync(2, ("consumer", "range"), &[]);
    assert_eq!(a.sync(2, &[(&a.id.clone(), "all")]), (NONE, "all".to_owned()));
    assert_eq!(b.synced(), (NONE, String::new()));
    assert_eq!((a.commit(2), b.commit(2)), (NONE, NONE));
    assert_eq!(a.commit(1), ILLEGAL_GENERATION);
}

#[test]
fn a_follower_that_joins_again_for_nothing_disturbs_nobody_and_a_leader_has_all_join() {
    let cluster = cluster("join-again");
    let (mut a, mut b) = two(&cluster);
    assert_eq!(a.sync(2, &[]).0, NONE);
    assert_eq!(b.sync(2, &[]).0, NONE);
    assert_eq!(b.join().generation, 2);
    assert_eq!(a.heartbeat(2), NONE);
    a.send_join();
    cluster.wait("the other hears of it", || (b.heartbeat(2) == REBALANCING).then_some(()));
    assert_eq!((b.join().generation, a.joined().generation), (3, 3));
    // Whoever would have no protocol with the others does not become one of them.
    let mut strange = Member::new(&cluster, &[("roundrobin", "")]);
    assert_eq!(strange.join().error, INCONSISTENT_PROTOCOL);
    let mut strange = Member { kind: "connect", ..Member::new(&cluster, &[("range", "")]) };
    assert_eq!(strange.join().error, INCONSISTENT_PROTOCOL);
    assert_eq!(b.heartbeat(3), NONE);
    // One that leaves is not waited for.
    let gone = a.id.clone();
    assert_eq!(b.have_leave(&gone, None), NONE);
    assert_eq!((a.heartbeat(3), b.heartbeat(3)), (UNKNOWN_MEMBER, REBALANCING));
    let alone = b.join();
    assert_eq!((alone.generation, &alone.leader, alone.members.len()), (4, &b.id, 1));
}

#[test]
fn a_static_leader_that_is_started_again_has_its_part_and_need_not_assign_and_its_former_self_is_fenced()
 {
    let cluster = cluster("static");
    cluster.create_topic("t", 1, 1);
    let start = || Member { instance: Some("i"), ..Member::new(&cluster, &[("range", "")]) };
    let mut former = start();
    let joined = former.join();
    assert_eq!((joined.error, joined.generation, joined.skip), (NONE, 1, false), "needs no id");
    former.id = joined.member;
    assert_eq!(former.sync(1, &[(&former.id.clone(), "all")]), (NONE, "all".to_owned()));

    let mut again = start();
    let joined = again.join();
    again.id.clone_from(&joined.member);
    assert_ne!(again.id, former.id);
    assert_eq!((joined.error, joined.generation, joined.skip), (NONE, 1, true));
    let members = vec![(again.id.clone(), String::new())];
    assert_eq!((joined.leader, joined.members), (again.id.clone(), members));
    assert_eq!(again.sync(1, &[]), (NONE, "all".to_owned()));
    assert_eq!((again.heartbeat(1), again.commit(1)), (NONE, NONE));

    assert_eq!((former.heartbeat(1), former.commit(1)), (FENCED_INSTANCE, FENCED_INSTANCE));
    assert_eq!(former.sync(1, &[]).0, FENCED_INSTANCE);
    assert_eq!(former.join().error, FENCED_INSTANCE);
    let stale = former.id.clone();
    assert_eq!(again.have_leave(&stale, Some("i")), FENCED_INSTANCE);
    // An operator knows the instance alone.
    assert_eq!(again.have_leave("", Some("i")), NONE);
    assert_eq!(again.have_leave("", Some("i")), UNKNOWN_MEMBER);
    assert_eq!(again.heartbeat(1), UNKNOWN_MEMBER);
}

#[test]
fn many_who_join_at_once_are_members_of_one_generation() {
    let cluster = cluster("storm");
    let mut members: Vec<Member> =
        (0..25).map(|_| Member::with_id(&cluster, &[("range", "")])).collect();
    members.iter_mut().for_each(Member::send_join);
    let joined: Vec<Joined> = members.iter_mut().map(Member::joined).collect();
    assert!(joined.iter().all(|it| (it.error, it.generation) == (NONE, 1)), "{joined:?}");
    let told: Vec<usize> = joined.iter().map(|it| it.members.len()).filter(|it| *it > 0).collect();
    assert_eq!(told, [25], "one of them leads");
}
