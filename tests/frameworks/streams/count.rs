//! A word count: of every word one update for each time it was written, numbered without a gap or a repetition.

use std::collections::BTreeMap;

use super::app::{App, PARTITIONS, REPARTITION, text};
use crate::client_matrix::record::read_all;
use crate::support::cluster::Cluster;

const PART: usize = 3_000;
const WORDS: usize = 5;

/// Some words are written often and some seldom.
fn lines(part: usize) -> Vec<String> {
    let lines = (part * PART..(part + 1) * PART).map(|n| {
        let words = (0..WORDS).map(|word| format!("word-{}", (n * n + word * 31) % 211));
        words.collect::<Vec<_>>().join(" ")
    });
    lines.collect()
}

/// How often each word is there in so many parts.
fn model(parts: usize) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    for line in (0..parts).flat_map(lines) {
        line.split(' ').for_each(|word| *counts.entry(word.to_owned()).or_default() += 1);
    }
    counts
}

fn write(app: &App<'_>, part: usize) {
    let lines = lines(part);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    app.write("lines", lines.iter().map(|line| (now.as_millis() as i64, line.as_str())));
}

/// Every update of every word in its order.
fn judge(written: &[Vec<(i64, String, Vec<u8>)>], parts: usize) {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for (at, word, count) in written.iter().flatten() {
        let so_far = counts.entry(word.clone()).or_default();
        *so_far += 1;
        assert_eq!(number(count), *so_far, "{word} at {at}");
    }
    assert_eq!(counts, model(parts));
}

fn number(bytes: &[u8]) -> i64 {
    i64::from_be_bytes(bytes.try_into().unwrap())
}

/// What an instance without a store would restore.
fn changelog(cluster: &Cluster) -> (usize, BTreeMap<String, i64>) {
    let (mut records, mut counts) = (0, BTreeMap::new());
    for index in 0..PARTITIONS as i32 {
        let (bootstrap, topic) = (cluster.bootstrap(), "count-counts-changelog");
        for (_, record) in read_all(&bootstrap, topic, index, "read_committed") {
            records += 1;
            counts.insert(text(record.key), number(&record.value.unwrap()));
        }
    }
    (records, counts)
}

#[test]
fn words_are_counted_once_while_brokers_and_instances_die() {
    let cluster = Cluster::start("streams-count", 3);
    ["lines", "counts"].iter().for_each(|topic| cluster.create_topic(topic, PARTITIONS, 3));
    let app = App { cluster: &cluster, id: "count", topology: "count", output: "counts" };
    let (mut first, mut second) = (app.start("first", &[]), app.start("second", &[]));
    // Two tasks that split lines and two that count.
    app.share(&mut [&mut first, &mut second], (4, 2));
    let updates = |parts: usize| parts * PART * WORDS;

    write(&app, 0);
    write(&app, 1);
    app.reaches(updates(1) / 3);
    let dead = app.is_amid(updates(2));
    dead.kill9();
    app.reaches(updates(2));
    dead.start();
    cluster.wait_whole();

    write(&app, 2);
    write(&app, 3);
    app.reaches(updates(2) + updates(1) / 3);
    app.is_amid(updates(4));
    first.kill9();
    app.reaches(updates(4));
    compact(&cluster, 4);

    // What it counts further it has from the changelog, of which little is left.
    let mut first = app.start("first", &[]);
    app.share(&mut [&mut first, &mut second], (4, 2));
    second.kill9();
    write(&app, 4);
    let written = app.finishes(updates(5));
    judge(&written, 5);
    assert_eq!(changelog(&cluster).1, model(5));
    app.purges("count-words-repartition", updates(5));
    first.stop();
    app.has_configs("count-counts-changelog", &[("cleanup.policy", "compact")]);
    app.has_configs("count-words-repartition", &REPARTITION);
}

/// Has all replicas leave out of the changelog what is superseded.
fn compact(cluster: &Cluster, parts: usize) {
    cluster.wait("the changelog is compacted", || {
        cluster.request("POST", "/v1/topics/count-counts-changelog/compaction", None).ok();
        let (records, counts) = changelog(cluster);
        (counts == model(parts) && records < parts * PART * WORDS / 2).then_some(())
    });
}
