//! Consumer groups with stock clients: shared partitions, resumed reading, static members, and coordinators that die.

mod consumer_protocol;
mod expiry;
mod tools;
mod typed;

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use crate::support::clients::{self, Client, java, python};
use crate::support::cluster::{Broker, Cluster, SOON};
use crate::support::http::Answer;
use crate::support::kafka;
use crate::support::members::{Member, Said};
use crate::support::process;

const PARTITIONS: i32 = 4;
const LIMIT: Duration = Duration::from_secs(120);

/// Makes a topic of four partitions.
pub fn topic(cluster: &Cluster, name: &str) {
    cluster.create_topic(name, PARTITIONS.unsigned_abs(), 3);
}

/// Writes records `from..to`, number `n` to partition `n % 4`.
pub fn write(cluster: &Cluster, topic: &str, from: usize, to: usize) {
    let producer: BaseProducer = clients::producer(&cluster.bootstrap()).create().unwrap();
    for n in from..to {
        let partition = i32::try_from(n).unwrap() % PARTITIONS;
        let value = n.to_string();
        let record = BaseRecord::<(), str>::to(topic).partition(partition).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
}

/// Every record `0..count` was read by one of them, and none of them was told otherwise.
pub fn all_read(said: &[&Said], count: usize) {
    let values = said.iter().flat_map(|it| it.records.values());
    let read: BTreeSet<usize> = values.map(|(value, _)| value.parse().unwrap()).collect();
    let missing: Vec<usize> = (0..count).filter(|n| !read.contains(n)).collect();
    assert_eq!(missing, Vec::<usize>::new(), "were skipped");
    let errors: Vec<&String> = said.iter().flat_map(|it| &it.errors).collect();
    assert_eq!(errors, Vec::<&String>::new());
}

/// How often records were read, of those that were read more than once.
pub fn read_again(said: &[&Said]) -> usize {
    let mut seen = BTreeSet::new();
    let places = said.iter().flat_map(|it| it.records.iter());
    places.filter(|(place, (_, times))| !seen.insert(**place) || *times > 1).count()
}

/// Everything that was written so far is committed by somebody.
fn committed(cluster: &Cluster, members: &[&Member], count: usize) {
    cluster.wait("all is committed", || {
        let mut last = [0; PARTITIONS as usize];
        for said in members.iter().map(|it| it.said()) {
            for (partition, offset) in &said.committed {
                let place = &mut last[usize::try_from(*partition).unwrap()];
                *place = (*place).max(*offset);
            }
        }
        (last.iter().sum::<i64>() == i64::try_from(count).unwrap()).then_some(())
    });
}

fn share(client: Client, name: &str, settings: &[&str]) {
    let cluster = Cluster::shared();
    topic(&cluster, name);
    write(&cluster, name, 0, 1000);
    let first = Member::start(&cluster, client, (name, name), settings);
    first.wait(&cluster, "it has all partitions", |said| said.partitions.len() == 4);
    committed(&cluster, &[&first], 1000);
    let second = Member::start(&cluster, client, (name, name), settings);
    let half = |said: &Said| said.partitions.len() == 2;
    second.wait(&cluster, "the second has half", half);
    let shared = first.wait(&cluster, "the first has half", half);
    assert!(shared.partitions.is_disjoint(&second.said().partitions));
    write(&cluster, name, 1000, 2000);
    committed(&cluster, &[&first, &second], 2000);
    let first = first.stop();
    second.wait(&cluster, "the second has all", |said| said.partitions.len() == 4);
    write(&cluster, name, 2000, 3000);
    committed(&cluster, &[&second], 3000);
    let second = second.stop();
    // Whoever comes later goes on where they were.
    write(&cluster, name, 3000, 3100);
    let third = Member::start(&cluster, client, (name, name), settings);
    third.wait(&cluster, "it reads on", |said| said.records.len() == 100);
    let third = third.stop();
    let all = [&first, &second, &third];
    all_read(&all, 3100);
    assert_eq!(read_again(&all), 0, "everybody committed before it gave its partitions up");
}

#[test]
fn librdkafka_shares_a_topic_and_goes_on_where_the_group_was() {
    share(Client::Python, "group-librdkafka", &[]);
}

#[test]
fn librdkafka_shares_a_topic_cooperatively() {
    let settings = ["partition.assignment.strategy=cooperative-sticky"];
    share(Client::Python, "group-librdkafka-cooperative", &settings);
}

#[test]
fn java_shares_a_topic_and_goes_on_where_the_group_was() {
    share(Client::Java, "group-java", &[]);
}

#[test]
fn java_shares_a_topic_cooperatively() {
    let cooperative = "partition.assignment.strategy=\
                       org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
    share(Client::Java, "group-java-cooperative", &[cooperative]);
}

#[test]
fn clients_of_two_kinds_share_a_group() {
    let (cluster, name) = (Cluster::shared(), "group-mixed");
    topic(&cluster, name);
    write(&cluster, name, 0, 1000);
    let java = Member::start(&cluster, Client::Java, (name, name), &[]);
    let python = Member::start(&cluster, Client::Python, (name, name), &[]);
    for member in [&java, &python] {
        member.wait(&cluster, "it has half", |said| said.partitions.len() == 2);
    }
    committed(&cluster, &[&java, &python], 1000);
    all_read(&[&java.stop(), &python.stop()], 1000);
}

fn coordinator<'c>(cluster: &'c Cluster, group: &str) -> &'c Broker {
    let id = cluster.wait("somebody coordinates the group", || {
        let broker = cluster.running().next().unwrap();
        let (error, id) = kafka::coordinator(broker, group);
        (error == kafka::NONE).then_some(id)
    });
    cluster.broker(u64::try_from(id).unwrap())
}

/// What the group is, who is in it and how far it has read is known to whoever coordinates next, so nobody joins again.
#[test]
fn a_coordinator_that_dies_costs_nobody_its_place() {
    let (cluster, name) = (Cluster::start("coordinator-dies", 3), "kept");
    topic(&cluster, name);
    // Whatever else the machine does, nobody is silent for so long.
    let patient = ["session.timeout.ms=30000"];
    let members = [(); 2].map(|()| Member::start(&cluster, Client::Python, (name, name), &patient));
    for member in &members {
        member.wait(&cluster, "it has half", |said| said.partitions.len() == 2);
    }
    let before = members.each_ref().map(Member::said);
    for round in 0..3 {
        let broker = coordinator(&cluster, name);
        broker.kill9();
        write(&cluster, name, round * 400, round * 400 + 400);
        committed(&cluster, &members.each_ref(), round * 400 + 400);
        broker.start();
        cluster.wait_whole();
    }
    // Before they leave, for the first that does takes the other's part from it.
    for (before, member) in before.iter().zip(&members) {
        assert_eq!(before.revoked, member.said().revoked);
    }
    let after = members.map(Member::stop);
    let errors = after.each_ref().map(|said| said.errors.len());
    all_read(&after.each_ref(), 1200);
    assert_eq!((read_again(&after.each_ref()), errors), (0, [0, 0]));
}

#[test]
fn a_member_that_dies_loses_its_part_to_the_others_and_nothing_is_skipped() {
    let (cluster, name) = (Cluster::shared(), "group-dies");
    topic(&cluster, name);
    let members = [(); 2].map(|()| Member::start(&cluster, Client::Python, (name, name), &[]));
    for member in &members {
        member.wait(&cluster, "it has half", |said| said.partitions.len() == 2);
    }
    let [dies, stays] = members;
    let dead = dies.kill9();
    write(&cluster, name, 0, 1000);
    stays.wait(&cluster, "it has all", |said| said.partitions.len() == 4);
    committed(&cluster, &[&stays], 1000);
    all_read(&[&dead, &stays.stop()], 1000);
}

#[test]
fn a_static_member_that_is_started_again_has_its_part_and_nobody_rebalances() {
    let (cluster, name) = (Cluster::shared(), "group-static");
    topic(&cluster, name);
    let start = |instance: &str| {
        let settings = [&format!("group.instance.id={instance}")[..], "session.timeout.ms=30000"];
        Member::start(&cluster, Client::Python, (name, name), &settings)
    };
    let (one, two) = (start("one"), start("two"));
    let half = |said: &Said| said.partitions.len() == 2;
    let before = one.wait(&cluster, "the first has half", half);
    two.wait(&cluster, "the second has half", half);
    let revoked = two.said().revoked;
    one.kill9();
    write(&cluster, name, 0, 1000);
    let again = start("one");
    let after = again.wait(&cluster, "it has its part again", half);
    assert_eq!(after.partitions, before.partitions);
    committed(&cluster, &[&again, &two], 1000);
    assert_eq!(two.said().revoked, revoked, "nobody noticed");
    // Of two with one name the later is the one.
    let twin = start("one");
    twin.wait(&cluster, "the later has the part", half);
    let fenced = again.wait(&cluster, "the former is told", |said| !said.errors.is_empty());
    assert!(fenced.errors[0].contains("nstance"), "{:?}", fenced.errors);
    again.kill9();
    two.stop();
    twin.stop();
}

#[test]
fn the_python_admin_client_sees_and_changes_groups() {
    let cluster = Cluster::shared();
    let command = python(&["groups", &cluster.bootstrap(), "admin-groups", "admin-python"]);
    let seen: Value = serde_json::from_str(&process::run(command, LIMIT).ok("groups")).unwrap();
    let offsets = serde_json::json!([[7, "note"], [8, null]]);
    assert_eq!((&seen["alter"], &seen["offsets"]), (&offsets, &offsets), "{seen}");
    assert_eq!(seen["list"], serde_json::json!([["admin-python", "EMPTY"]]));
    assert_eq!(seen["describe"], serde_json::json!(["EMPTY", 0, ""]));
    assert_eq!(seen["living"], serde_json::json!(["STABLE", 1, "range"]));
    assert_eq!(seen["delete living"], "NON_EMPTY_GROUP");
    assert_eq!(seen["alter living"], serde_json::json!(["UNKNOWN_MEMBER_ID", "UNKNOWN_MEMBER_ID"]));
    assert_eq!(
        (&seen["delete"], &seen["delete again"]),
        (&"None".into(), &"GROUP_ID_NOT_FOUND".into())
    );
    assert_eq!(seen["list deleted"], serde_json::json!([]));
    assert_eq!(seen["offsets deleted"], serde_json::json!([]));
}

#[test]
fn the_java_admin_client_sees_and_changes_groups() {
    let cluster = Cluster::shared();
    let command = java(&["groups", &cluster.bootstrap(), "admin-groups-java", "admin-java"]);
    let seen = process::run(command, LIMIT).ok("groups");
    let expected = [
        "alter null",
        "offsets {admin-groups-java-0=OffsetAndMetadata{offset=7, leaderEpoch=1, metadata='note'}}",
        "list [Empty Classic ]",
        "describe Empty  []",
        "delete offsets null",
        "no offsets {}",
        "living Stable range [one /127.0.0.1 2]",
        "delete living GroupNotEmptyException",
        "delete read GroupSubscribedToTopicException",
        "alter living UnknownMemberIdException",
        "still there Stable range [one /127.0.0.1 2]",
        "remove null",
        "empty Empty  []",
        "delete null",
        "delete again GroupIdNotFoundException",
        "list deleted []",
    ];
    assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
}

/// The group as every running broker tells it, once all tell the same that is as it should be.
fn told(cluster: &Cluster, group: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    cluster.wait(what, || {
        let paths = |broker: &Broker| broker.get(&format!("/v1/groups/{group}"));
        let answers: Vec<_> = cluster.running().map(paths).collect::<Option<_>>()?;
        let told = answers.iter().filter(|answer| answer.status == 200).map(Answer::json);
        let told: Vec<Value> = told.filter(&is).collect();
        (told.len() == answers.len() && told.iter().all(|it| *it == told[0]))
            .then(|| told[0].clone())
    })
}

#[test]
fn every_broker_and_the_command_line_tell_members_offsets_and_lag() {
    let (cluster, name) = (Cluster::shared(), "group-told");
    topic(&cluster, name);
    write(&cluster, name, 0, 100);
    // Its name needs escaping, and its partitions are led by three brokers.
    let (group, escaped) = ("told/of it", "told%2Fof%20it");
    let unknown = cluster.request("GET", "/v1/groups/nobody%2Fhere", None);
    assert_eq!(unknown.problem(404), "unknown_consumer_group");
    let member = Member::start(&cluster, Client::Python, (name, group), &[]);
    committed(&cluster, &[&member], 100);
    let stable = told(&cluster, escaped, "it has read all", |it| it["lag"] == 0);
    assert_eq!((&stable["group"], &stable["state"]), (&group.into(), &"Stable".into()));
    assert_eq!(
        (&stable["protocol_type"], &stable["assignor"]),
        (&"consumer".into(), &"range".into())
    );
    let reads: Vec<String> = (0..PARTITIONS).map(|n| format!("{name}-{n}")).collect();
    assert_eq!(stable["members"][0]["partitions"], serde_json::json!(reads));
    let offsets = stable["offsets"].as_array().unwrap();
    let offsets: BTreeSet<i64> = offsets.iter().map(|it| it["offset"].as_i64().unwrap()).collect();
    assert_eq!(offsets, BTreeSet::from([25]), "{stable}");
    member.stop();
    write(&cluster, name, 100, 140);
    let behind = told(&cluster, escaped, "it is behind", |it| it["lag"] == 40);
    assert_eq!((&behind["state"], &behind["members"]), (&"Empty".into(), &serde_json::json!([])));

    let line = cluster.cli(&["group", "describe", group], "").ok("describe");
    assert!(line.contains("Empty") && line.contains("lag 40"), "{line}");
    let coordinator = behind["coordinator"].as_u64().unwrap();
    for broker in cluster.running() {
        let listed = broker.get("/v1/groups").unwrap().ok();
        assert_eq!(listed["unreachable"], serde_json::json!([]));
        let listed = listed["groups"].as_array().unwrap();
        let of_it = listed.iter().find(|it| it["group"] == group).expect("it is listed");
        assert_eq!(of_it["coordinator"], coordinator);
    }
    let listed = cluster.cli(&["group", "list"], "").ok("list");
    assert!(listed.lines().any(|it| it.contains(group) && it.contains("consumer")), "{listed}");
    let none = cluster.cli(&["group", "describe", "nobody"], "");
    assert!(none.code == Some(1) && none.stderr.contains("no consumer group"), "{}", none.stderr);
}

#[test]
fn a_topic_that_is_made_anew_has_no_offsets_and_what_is_reserved_is_no_topic() {
    let (cluster, name) = (Cluster::shared(), "group-anew");
    topic(&cluster, name);
    write(&cluster, name, 0, 100);
    let member = Member::start(&cluster, Client::Python, (name, name), &[]);
    committed(&cluster, &[&member], 100);
    member.stop();
    cluster.request("DELETE", &format!("/v1/topics/{name}"), None).ok();
    topic(&cluster, name);
    write(&cluster, name, 0, 40);
    let member = Member::start(&cluster, Client::Python, (name, name), &[]);
    committed(&cluster, &[&member], 40);
    all_read(&[&member.stop()], 40);
    for reserved in ["__consumer_offsets", "__transaction_state"] {
        let body =
            serde_json::json!({ "name": reserved, "partitions": 1, "replication_factor": 3 });
        let answer = cluster.request("POST", "/v1/topics", Some(&body.to_string()));
        assert_eq!(answer.problem(422), "invalid_name");
    }
}
