//! `kafka-consumer-groups` of a group that is being read in, and the ways it sets where one reads on.

use std::process::Stdio;

use super::{row, says, tool, type_in};
use crate::support::clients;
use crate::support::cluster::Cluster;
use crate::support::process::Process;

const GROUPS: &str = "consumer.group.ConsumerGroupCommand";

#[test]
fn kafka_consumer_groups_tells_who_reads_and_leaves_them_alone() {
    let (cluster, topic, group) = (Cluster::shared(), "shell-read", "shell-reads");
    cluster.create_topic(topic, 2, 3);
    type_in(&cluster, topic, "a:1\nb:2\nc:3\nd:4\n");
    let mut member = clients::python(&["consume", &cluster.bootstrap(), topic, group]);
    member.stdin(Stdio::piped()).stdout(Stdio::null());
    let member = Process::spawn(member);
    let said = |args: &[&str]| says(&cluster, GROUPS, &[args, &["--group", group]].concat());
    let state = ["--describe", "--state", "--verbose"];
    cluster.wait("the group is stable", || {
        let said = tool(&cluster, GROUPS, &[&state[..], &["--group", group]].concat(), "");
        said.stdout.contains("Stable").then_some(())
    });
    let members = said(&["--describe", "--members", "--verbose"]);
    let shown = row(&members, &[group]);
    assert!(shown.contains(&"2".to_owned()), "both partitions are one member's: {members}");
    assert!(
        members.contains(&format!("{topic}(0,1)")) || members.contains(&format!("{topic}:0,1")),
        "{members}"
    );
    let offsets = said(&["--describe"]);
    for partition in ["0", "1"] {
        let of = row(&offsets, &[group, topic, partition]);
        assert!(of[6].starts_with("rdkafka-"), "its member: {offsets}");
        assert!(of[7].starts_with("/127.0.0.1"), "its host: {offsets}");
        assert_eq!(of[8], "rdkafka", "{offsets}");
    }
    let states = says(&cluster, GROUPS, &["--list", "--state", "Stable"]);
    assert_eq!(row(&states, &[group])[1], "Stable");
    let types = says(&cluster, GROUPS, &["--list", "--type", "classic"]);
    assert_eq!(row(&types, &[group])[1], "Classic");
    let reset =
        ["--reset-offsets", "--topic", topic, "--to-earliest", "--execute", "--group", group];
    let reset = tool(&cluster, GROUPS, &reset, "");
    let words = "can only be reset if the group 'shell-reads' is inactive";
    assert!((reset.stdout.clone() + &reset.stderr).contains(words), "{reset:?}");
    let gone = tool(&cluster, GROUPS, &["--delete", "--group", group], "");
    assert!((gone.stdout.clone() + &gone.stderr).contains("GroupNotEmptyException"), "{gone:?}");
    let all = says(&cluster, GROUPS, &["--describe", "--all-groups"]);
    row(&all, &[group, topic, "0"]);
    drop(member);
}

#[test]
fn kafka_consumer_groups_resets_by_every_measure() {
    let (cluster, topic, group) = (Cluster::shared(), "shell-reset", "shell-resets");
    cluster.create_topic(topic, 2, 3);
    type_in(&cluster, topic, "a:1\nb:2\nc:3\nd:4\ne:5\nf:6\n");
    let ends: Vec<String> = ["0", "1"]
        .iter()
        .map(|partition| {
            let args = ["--topic", topic, "--partitions", partition];
            let said = says(&cluster, "GetOffsetShell", &args);
            said.trim().rsplit(':').next().unwrap().to_owned()
        })
        .collect();
    let reset = |args: &[&str]| -> Vec<String> {
        let args = [&["--reset-offsets", "--group", group], args].concat();
        let said = says(&cluster, GROUPS, &args);
        let new = |partition: &str| row(&said, &[group, topic, partition])[3].clone();
        ["0", "1"].map(new).into()
    };
    // Of a group that is not there as well.
    assert_eq!(reset(&["--topic", topic, "--to-latest", "--execute"]), ends);
    assert_eq!(reset(&["--all-topics", "--to-earliest", "--dry-run"]), ["0", "0"]);
    assert_eq!(reset(&["--topic", topic, "--to-current", "--dry-run"]), ends);
    assert_eq!(reset(&["--topic", topic, "--by-duration", "PT1H", "--execute"]), ["0", "0"]);
    let late = ["--topic", topic, "--to-datetime", "2099-01-01T00:00:00.000", "--dry-run"];
    assert_eq!(reset(&late), ends);
    assert_eq!(reset(&["--topic", topic, "--to-offset", "1", "--execute"]), ["1", "1"]);
    assert_eq!(reset(&["--topic", topic, "--to-offset", "99", "--execute"]), ends, "no further");
    let export = ["--reset-offsets", "--group", group, "--topic", "shell-reset:0"];
    let export = [&export[..], &["--to-earliest", "--dry-run", "--export"]].concat();
    let export = says(&cluster, GROUPS, &export);
    assert_eq!(export.trim().trim_matches('"').replace("\",\"", ","), format!("{topic},0,0"));
    let file = cluster.dir.join("reset.csv");
    std::fs::write(&file, format!("{topic},0,1\n{topic},1,0\n")).unwrap();
    assert_eq!(reset(&["--from-file", file.to_str().unwrap(), "--execute"]), ["1", "0"]);
    let described = says(&cluster, GROUPS, &["--describe", "--group", group, "--offsets"]);
    assert_eq!(row(&described, &[group, topic, "0"])[3], "1");

    let deleted = ["--delete", "--group", "shell-no-group", "--group", group];
    let deleted = tool(&cluster, GROUPS, &deleted, "");
    assert!(
        deleted.stdout.contains("These consumer groups were deleted successfully"),
        "{deleted:?}"
    );
    assert!(deleted.stdout.contains("GroupIdNotFoundException"), "{deleted:?}");
    let missing = tool(&cluster, GROUPS, &["--describe", "--group", "shell-no-group"], "");
    assert!(
        (missing.stdout.clone() + &missing.stderr).contains("GroupIdNotFoundException"),
        "{missing:?}"
    );
}
