//! Streams on the command line.

use serde_json::Value;

use super::create;
use crate::support::cluster::Cluster;

#[test]
fn streams_are_appended_to_and_read_on_the_command_line() {
    let cluster = Cluster::shared();
    create(&cluster, "typed-streams", 2);
    let append = |args: &[&str], input: &str| {
        cluster.cli(&[&["stream", "append", "typed-streams", "order 1"], args].concat(), input)
    };
    let made =
        append(&["{\"n\": 1.10}", "text", "--expect", "none", "--tag", "a"], "").ok("append");
    assert!(made.starts_with("version 2 (offset 0 of partition "), "{made}");
    append(&["--expect", "2", "--idempotency-key", "one"], "3\n4\n").ok("lines");
    append(&["--expect", "2", "--idempotency-key", "one"], "3\n4\n").ok("the same again");
    for expected in ["none", "3"] {
        let conflict = append(&["5", "--expect", expected], "");
        assert_eq!(conflict.code, Some(4), "{}", conflict.stderr);
        assert!(conflict.stderr.contains("version 4"), "{}", conflict.stderr);
    }
    append(&["5", "--expect", "exists"], "").ok("exists");
    assert_eq!(append(&["5", "--expect", "soon"], "").code, Some(2));
    assert_eq!(append(&[], "").code, Some(2), "nothing to append");
    let read = |args: &[&str]| {
        cluster.cli(&[&["stream", "read", "typed-streams", "order 1"], args].concat(), "")
    };
    assert_eq!(read(&[]).ok("read"), "{\"n\": 1.10}\ntext\n3\n4\n5\n");
    assert_eq!(read(&["--from", "2", "--to", "3"]).ok("part"), "text\n3\n");
    assert_eq!(read(&["--backward", "--limit", "2"]).ok("backward"), "5\n4\n");
    let json = read(&["--limit", "1", "--format", "json"]).ok("json");
    let event: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&event["version"], &event["tags"][0]), (&1.into(), &"a".into()));
    let none = cluster.cli(&["stream", "read", "typed-streams", "none"], "");
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("no stream none"), "{}", none.stderr);
    let none = cluster.cli(&["stream", "append", "no-such-topic", "k", "v"], "");
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("no topic no-such-topic"), "{}", none.stderr);
}
