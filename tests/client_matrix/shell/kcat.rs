//! kcat, as one types it: lists, asks, writes, reads in a group, and tells it all in JSON.

use serde_json::Value;

use super::LIMIT;
use crate::support::cluster::Cluster;
use crate::support::process;

/// What it says, when it has to do it.
fn kcat(cluster: &Cluster, args: &[&str], input: &str) -> String {
    let mut command = process::command("kcat");
    command.args(["-b", &cluster.bootstrap(), "-q"]).args(args);
    process::run_with(command, input, LIMIT).ok(&format!("kcat {args:?}"))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn kcat_lists_brokers_topics_and_leaders() {
    let (cluster, topic) = (Cluster::shared(), "shell-kcat-listed");
    cluster.create_topic(topic, 2, 3);
    let said = kcat(&cluster, &["-L", "-t", topic], "");
    assert!(said.contains(" 3 brokers:\n"), "{said}");
    for broker in cluster.brokers() {
        let line = format!("  broker {} at 127.0.0.1:{}", broker.id, broker.kafka);
        assert!(said.contains(&line), "{said}");
    }
    assert!(said.contains(&format!("  topic \"{topic}\" with 2 partitions:\n")), "{said}");
    let told = json(&kcat(&cluster, &["-L", "-J", "-t", topic], ""));
    let partitions = told["topics"][0]["partitions"].as_array().unwrap();
    let asked = cluster.get(&format!("/v1/topics/{topic}"));
    for (partition, asked) in partitions.iter().zip(asked["partitions"].as_array().unwrap()) {
        let ids: Vec<&Value> =
            partition["replicas"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
        let replicas: Vec<&Value> = asked["replicas"].as_array().unwrap().iter().collect();
        assert_eq!((&partition["partition"], ids), (&asked["partition"], replicas));
        assert_eq!(partition["isrs"].as_array().unwrap().len(), 3);
        assert!((1..=3).contains(&partition["leader"].as_i64().unwrap()));
    }
    let all = kcat(&cluster, &["-L"], "");
    assert!(all.contains(&format!("topic \"{topic}\"")), "{all}");
}

#[test]
fn kcat_writes_asks_for_offsets_and_reads_by_offset_and_time() {
    let (cluster, topic) = (Cluster::shared(), "shell-kcat");
    cluster.create_topic(topic, 1, 3);
    let write = ["-P", "-t", topic, "-p", "0", "-K", ":", "-H", "from=kcat", "-H", "bare"];
    kcat(&cluster, &[&write[..], &["-z", "lz4"]].concat(), "a:one\nb:two\n");
    kcat(&cluster, &["-P", "-t", topic, "-p", "0", "-K", ":", "-Z"], "c:\n");
    let read = |args: &[&str]| kcat(&cluster, &[&["-C", "-t", topic, "-e"], args].concat(), "");
    assert_eq!(
        read(&["-o", "beginning", "-f", "%o %k %s %h\\n"]),
        "0 a one from=kcat,bare=NULL\n1 b two from=kcat,bare=NULL\n2 c  \n"
    );
    assert_eq!(read(&["-o", "-1", "-f", "%o %S\\n"]), "2 -1\n");
    assert_eq!(read(&["-o", "1", "-c", "1"]), "two\n");
    let records: Vec<Value> = read(&["-o", "beginning", "-J"]).lines().map(json).collect();
    let of = |n: usize, name: &str| records[n][name].clone();
    assert_eq!((of(0, "topic"), of(0, "partition")), (topic.into(), 0.into()));
    assert_eq!(
        (of(1, "key"), of(1, "payload"), of(2, "payload")),
        ("b".into(), "two".into(), Value::Null)
    );
    assert_eq!(of(0, "headers"), serde_json::json!(["from", "kcat", "bare", null]));
    assert_eq!(of(0, "tstype"), "create");

    let times: Vec<i64> = records.iter().map(|it| it["ts"].as_i64().unwrap()).collect();
    let offset = |time: i64| {
        let place = format!("{topic}:0:{time}");
        let said = kcat(&cluster, &["-Q", "-t", &place], "");
        said.trim().strip_prefix(&format!("{topic} [0] offset ")).unwrap().parse::<i64>().unwrap()
    };
    assert_eq!((offset(-2), offset(-1), offset(times[2] + 1)), (0, 3, -1));
    assert_eq!(offset(times[2]), times.iter().position(|it| *it == times[2]).unwrap() as i64);
    let told = json(&kcat(&cluster, &["-Q", "-J", "-t", &format!("{topic}:0:-1")], ""));
    assert_eq!(told[topic]["0"]["offset"], 3);
    let since = read(&["-o", &format!("s@{}", times[1]), "-f", "%s\\n"]);
    assert!(since.ends_with("two\n\n"), "{since}");
}

#[test]
fn kcat_reads_in_a_group_and_goes_on_where_it_was() {
    let (cluster, group) = (Cluster::shared(), "shell-kcat-group");
    for topic in ["shell-kcat-g1", "shell-kcat-g2"] {
        cluster.create_topic(topic, 2, 3);
        let lines: String = (0..10).map(|n| format!("{topic} {n}\n")).collect();
        kcat(&cluster, &["-P", "-t", topic], &lines);
    }
    let read = |count: &str| -> Vec<String> {
        let args = ["-X", "auto.offset.reset=earliest", "-c", count, "-G", group];
        let args = [&args[..], &["shell-kcat-g1", "shell-kcat-g2"]].concat();
        kcat(&cluster, &args, "").lines().map(str::to_owned).collect()
    };
    let mut all = read("20");
    all.sort();
    let name = |n: u32| (0..10).map(move |it| format!("shell-kcat-g{n} {it}"));
    assert_eq!(all, (1..3).flat_map(name).collect::<Vec<_>>());
    kcat(&cluster, &["-P", "-t", "shell-kcat-g1"], "one more\n");
    assert_eq!(read("1"), ["one more"]);
}

#[test]
fn kcat_writes_in_a_transaction() {
    let (cluster, topic) = (Cluster::shared(), "shell-kcat-transaction");
    cluster.create_topic(topic, 1, 3);
    let write = ["-P", "-t", topic, "-X", "transactional.id=shell-kcat"];
    kcat(&cluster, &write, "one\ntwo\n");
    let read = ["-C", "-t", topic, "-e", "-o", "beginning", "-X", "isolation.level=read_committed"];
    assert_eq!(kcat(&cluster, &read, ""), "one\ntwo\n");
}
