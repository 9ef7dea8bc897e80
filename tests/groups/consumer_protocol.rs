//! Groups whose coordinator assigns (KIP-848), with stock clients that are told nothing but `group.protocol=consumer`.

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;

use super::*;

const CONSUMER: &str = "group.protocol=consumer";

/// A cluster whose members are heard often, so that a test need not wait long.
fn quick(name: &str) -> Cluster {
    with_session(name, "6000")
}

/// The same with another time after which a silent member is gone.
pub fn with_session(name: &str, session_ms: &str) -> Cluster {
    let settings = [
        ("QUORATE_GROUPS_CONSUMER_HEARTBEAT_INTERVAL_MS", "300"),
        ("QUORATE_GROUPS_CONSUMER_SESSION_TIMEOUT_MS", session_ms),
    ];
    Cluster::start_with(name, 3, &settings)
}

fn grow(cluster: &Cluster, topic: &str, partitions: usize) {
    let admin: AdminClient<DefaultClientContext> =
        clients::producer(&cluster.bootstrap()).create().unwrap();
    let asked = [NewPartitions::new(topic, partitions)];
    let grown = block_on(admin.create_partitions(&asked, &AdminOptions::new())).unwrap();
    assert!(grown[0].is_ok(), "{grown:?}");
}

fn has(count: usize) -> impl Fn(&Said) -> bool {
    move |said| said.partitions.len() == count
}

#[test]
fn librdkafka_shares_a_topic_that_the_coordinator_assigns() {
    share(Client::Python, "consumer-librdkafka", &[CONSUMER]);
}

#[test]
fn java_shares_a_topic_that_the_coordinator_assigns() {
    share(Client::Java, "consumer-java", &[CONSUMER, "group.remote.assignor=range"]);
}

#[test]
fn every_broker_and_the_command_line_tell_of_a_group_that_is_assigned() {
    let (cluster, name) = (Cluster::shared(), "consumer-told");
    topic(&cluster, name);
    write(&cluster, name, 0, 100);
    let member = Member::start(&cluster, Client::Java, (name, name), &[CONSUMER]);
    committed(&cluster, &[&member], 100);
    let stable = told(&cluster, name, "it has read all", |it| it["lag"] == 0);
    let words = ["state", "protocol", "protocol_type", "assignor"].map(|it| stable[it].clone());
    assert_eq!(words, ["Stable", "consumer", "consumer", "uniform"]);
    let reads: Vec<String> = (0..PARTITIONS).map(|n| format!("{name}-{n}")).collect();
    assert_eq!(stable["members"][0]["partitions"], serde_json::json!(reads));
    let line = cluster.cli(&["group", "describe", name], "").ok("describe");
    assert!(line.contains("Stable") && line.contains("uniform"), "{line}");
    let listed = cluster.cli(&["group", "list"], "").ok("list");
    let row = listed.lines().find(|it| it.starts_with(name)).expect("it is listed");
    assert_eq!(row.matches("consumer").count(), 3, "its name, protocol and type: {row}");
    member.stop();
}

/// Java looks for the group by the one API and then by the other.
#[test]
fn the_java_admin_client_sees_groups_of_both_protocols() {
    let (cluster, name) = (Cluster::shared(), "consumer-admin");
    topic(&cluster, name);
    let member = Member::start(&cluster, Client::Java, (name, name), &[CONSUMER]);
    member.wait(&cluster, "it has all", has(4));
    let seen = process::run(java(&["group", &cluster.bootstrap(), name]), LIMIT).ok("group");
    assert_eq!(
        seen.lines().collect::<Vec<_>>(),
        ["Consumer Stable uniform", "member epoch 1 target 4 assigned 4 upgraded true"]
    );
    member.stop();
}

#[test]
fn a_group_is_upgraded_and_downgraded_while_it_reads() {
    let (cluster, name) = (quick("consumer-upgrade"), "moved");
    topic(&cluster, name);
    write(&cluster, name, 0, 1000);
    let classic = ["partition.assignment.strategy=cooperative-sticky"];
    let old = Member::start(&cluster, Client::Python, (name, name), &classic);
    committed(&cluster, &[&old], 1000);
    let new = Member::start(&cluster, Client::Java, (name, name), &[CONSUMER]);
    new.wait(&cluster, "the new one has half", has(2));
    old.wait(&cluster, "the old one has half", has(2));
    let both = told(&cluster, name, "both read", |it| it["state"] == "Stable");
    assert_eq!(
        (&both["protocol"], both["members"].as_array().unwrap().len()),
        (&"consumer".into(), 2)
    );
    write(&cluster, name, 1000, 2000);
    committed(&cluster, &[&old, &new], 2000);
    // The upgrade ends.
    let old = old.stop();
    new.wait(&cluster, "the new one has all", has(4));
    write(&cluster, name, 2000, 3000);
    committed(&cluster, &[&new], 3000);
    // And is taken back.
    let back = Member::start(&cluster, Client::Python, (name, name), &classic);
    back.wait(&cluster, "an old one has half again", has(2));
    let new = new.stop();
    back.wait(&cluster, "the old one has all", has(4));
    write(&cluster, name, 3000, 4000);
    committed(&cluster, &[&back], 4000);
    let classic = told(&cluster, name, "it is classic again", |it| it["protocol"] == "classic");
    assert_eq!(classic["state"], "Stable", "{classic}");
    let all = [&old, &new, &back.stop()];
    all_read(&all, 4000);
    assert_eq!(read_again(&all), 0, "everybody committed before it gave its partitions up");
}

#[test]
fn topics_that_grow_or_come_are_read_without_a_word_from_the_members() {
    let (cluster, name) = (quick("consumer-grows"), "logs-1");
    topic(&cluster, name);
    let plain = Member::start(&cluster, Client::Python, (name, "plain"), &[CONSUMER]);
    let librdkafka = Member::start(&cluster, Client::Python, ("^logs-.*", "rd"), &[CONSUMER]);
    let java = Member::start(&cluster, Client::Java, ("^logs-.*", "java"), &[CONSUMER]);
    for member in [&plain, &librdkafka, &java] {
        member.wait(&cluster, "it has all", has(4));
    }
    grow(&cluster, name, 6);
    for member in [&plain, &librdkafka, &java] {
        member.wait(&cluster, "it has the new partitions", has(6));
    }
    cluster.create_topic("logs-2", 9, 3);
    cluster.create_topic("other-logs-3", 12, 3);
    for member in [&librdkafka, &java] {
        member.wait(&cluster, "it has the new topic", has(9));
    }
    assert_eq!(plain.said().partitions.len(), 6);
    let wrong = Member::start(&cluster, Client::Java, ("^logs-(", "wrong"), &[CONSUMER]);
    let said = wrong.wait(&cluster, "it is told", |said| !said.errors.is_empty());
    assert!(said.errors[0].contains("InvalidRegularExpression"), "{:?}", said.errors);
    [plain, librdkafka, java]
        .map(Member::stop)
        .iter()
        .for_each(|said| assert!(said.errors.is_empty()));
}

#[test]
fn a_coordinator_or_a_member_that_dies_costs_the_others_nothing() {
    let (cluster, name) = (with_session("consumer-dies", "15000"), "kept");
    topic(&cluster, name);
    let members = [Client::Python, Client::Java]
        .map(|client| Member::start(&cluster, client, (name, name), &[CONSUMER]));
    for member in &members {
        member.wait(&cluster, "it has half", has(2));
    }
    let before = members.each_ref().map(|member| member.said().revoked);
    for round in 0..3 {
        let broker = coordinator(&cluster, name);
        broker.kill9();
        write(&cluster, name, round * 400, round * 400 + 400);
        committed(&cluster, &members.each_ref(), round * 400 + 400);
        broker.start();
        cluster.wait_whole();
    }
    assert_eq!(members.each_ref().map(|member| member.said().revoked), before);
    let [dies, stays] = members;
    let dead = dies.kill9();
    write(&cluster, name, 1200, 2000);
    stays.wait(&cluster, "it has all", has(4));
    committed(&cluster, &[&stays], 2000);
    let stays = stays.stop();
    assert_eq!(read_again(&[&dead, &stays]), 0, "all was committed when it died");
    all_read(&[&dead, &stays], 2000);
}

#[test]
fn a_static_member_that_is_started_again_has_its_part_and_its_epoch() {
    // Long enough for whatever it takes to start again.
    let (cluster, name) = (with_session("consumer-static", "60000"), "static");
    topic(&cluster, name);
    let start = |instance: &str| {
        let settings = [CONSUMER, &format!("group.instance.id={instance}")];
        Member::start(&cluster, Client::Java, (name, name), &settings)
    };
    let (one, two) = (start("one"), start("two"));
    let before = one.wait(&cluster, "the first has half", has(2)).partitions;
    two.wait(&cluster, "the second has half", has(2));
    let revoked = two.said().revoked;
    one.stop();
    let again = start("one");
    let after = again.wait(&cluster, "it has its part again", has(2)).partitions;
    assert_eq!((before, two.said().revoked), (after, revoked));
    let _ = [again, two].map(Member::stop);
}
