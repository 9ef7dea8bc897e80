//! A broker that dies at any step of a compaction, also by a loss of power: nothing is missing, its mark is no further than
//! its records, no file is left that nobody names, and it compacts on.
//!
//! It is the broker with defects, of which none is on: what its storage has more are the points to die at.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::table::{Table, now_ms};
use super::{OFTEN, compacted_upto, create, metric};
use crate::support::cluster::{Broker, Cluster, with_defects};
use crate::support::http;
use crate::support::kafka::at_leader;

const TOPIC: &str = "crash";
/// More than fit into the memory for keys at once, so that each compaction takes two passes.
const KEYS: u32 = 60_000;
/// Chunks of half a megabyte, so that there are about ten, and the least memory for keys.
const SMALL: [(&str, &str); 2] = [
    ("QUORATE_STORAGE_GENERATION_BYTES", "1048576"),
    ("QUORATE_COMPACTION_KEY_MEMORY_BYTES", "1048576"),
];
/// What a compaction does with files, in its order, and which time it dies there. Each chunk of it comes by all of these; the
/// last two are where RocksDB is about to unlink what was dropped.
const POINTS: [(&str, u64); 14] = [
    ("chunk.finish", 3),
    ("chunk.written", 1),
    ("chunk.written", 6),
    ("chunk.taken", 1),
    ("chunk.taken", 7),
    ("chunks.before", 4),
    ("chunks.after", 1),
    ("chunks.after", 6),
    ("chunk.drop.before", 1),
    ("chunk.drop.before", 5),
    ("chunk.drop.after", 1),
    ("chunk.drop.after", 4),
    ("inventory.before", 5),
    ("inventory.after", 6),
];
/// Where a chunk's file is there, taken by the store, and no row names it.
const LEAVES_A_FILE: [&str; 3] = ["chunk.taken", "chunks.before", "chunk.drop.before"];
const DROPPED: &str = "dropping a chunk that belongs to no group";

/// A broker with a table of which half is compacted, and its directory as that was, to begin from again.
struct Scene {
    cluster: Cluster,
    kept: PathBuf,
    table: Table,
    /// How far it was compacted.
    mark: i64,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let cluster = Cluster::start_with(name, 1, &[OFTEN, SMALL].concat());
        let compact = json!({ "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "1" });
        create(&cluster, TOPIC, &[1], &compact);
        let mut table = Table::new(TOPIC, 60);
        table.write(&cluster, now_ms(), 0..KEYS, |_| false);
        let mark = table.end();
        ask(cluster.broker(1));
        compacted_upto(&cluster, cluster.broker(1), TOPIC, mark);
        table.write(&cluster, now_ms(), (0..KEYS).filter(|key| key % 3 > 0), |key| key % 9 == 4);
        cluster.broker(1).stop();
        let kept = cluster.dir.join("kept");
        copy(&cluster.broker(1).data, &kept);
        Scene { cluster, kept, table, mark }
    }

    fn broker(&self) -> &Broker {
        self.cluster.broker(1)
    }

    /// Starts the broker; gives where in its log that begins.
    fn start(&self, env: &[(&str, &str)]) -> usize {
        let from = self.broker().log_text().len();
        self.broker().start_as(&with_defects(), env);
        self.cluster.wait_whole();
        at_leader(&self.cluster, TOPIC, 0);
        from
    }

    /// How many files the broker has found, since then, that nobody names.
    fn found(&self, from: usize) -> usize {
        self.broker().log_text()[from..].matches(DROPPED).count()
    }

    /// Compacts until the broker dies at the point; gives how many bytes of its log a loss of power took.
    fn die_at(&self, point: &str, power: bool) -> usize {
        let (broker, synced) = (self.broker(), self.cluster.dir.join("synced"));
        fs::remove_dir_all(&broker.data).unwrap();
        copy(&self.kept, &broker.data);
        drop(fs::remove_file(&synced));
        let synced_wal = synced.to_str().unwrap();
        self.start(&[("QUORATE_FAILPOINT", point), ("QUORATE_SYNCED_WAL", synced_wal)]);
        ask(broker);
        assert_eq!(broker.exit_code(), None, "it dies by a signal, at {point}");
        if power { take_back(broker, &synced) } else { 0 }
    }

    /// What is left after that, before it goes on and when it has.
    fn judge(&self, name: &str, power: bool) {
        let (broker, table) = (self.broker(), &self.table);
        let from = self.start(&[("QUORATE_COMPACTION_ENABLED", "false")]);
        let mark = metric(broker, "compaction_compacted_offset", TOPIC).unwrap() as i64;
        assert!((self.mark..=table.end()).contains(&mark), "compacted to {mark}");
        table.assert_kept(&self.cluster, 0, mark);
        assert_eq!(unfinished(broker), 0, "chunks that were being written");
        let leaves_a_file = LEAVES_A_FILE.contains(&name) && !power;
        assert!(!leaves_a_file || self.found(from) > 0, "it died with a file more than it names");
        broker.stop();

        self.start(&[]);
        ask(broker);
        compacted_upto(&self.cluster, broker, TOPIC, table.end());
        table.assert_compacted(&self.cluster, 0);
        assert_eq!(metric(broker, "compaction_failures_total", TOPIC), Some(0.0));
        broker.stop();
        let from = self.start(&[]);
        let mark = metric(broker, "compaction_compacted_offset", TOPIC);
        assert_eq!((self.found(from), mark), (0, Some(table.end() as f64)));
        assert_eq!(unfinished(broker), 0);
        broker.stop();
    }
}

/// Has the broker decide, and waits for no answer: it may die before it gives one.
fn ask(broker: &Broker) {
    drop(http::request("POST", &broker.url(&format!("/v1/topics/{TOPIC}/compaction")), None));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn files(broker: &Broker, extension: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(broker.data.join("db")).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|it| it == extension)).collect();
    files.sort();
    files
}

fn unfinished(broker: &Broker) -> usize {
    files(broker, "chunk").len()
}

/// Takes back what the last sync did not cover of the newest write-ahead log; older ones were synced as a whole. Gives how
/// many bytes that were. The image has of each log its name and a line end, its length in eight bytes, and what it held.
fn take_back(broker: &Broker, synced: &Path) -> usize {
    let newest = files(broker, "log").pop().expect("a write-ahead log");
    let (image, mut covered) = (fs::read(synced).unwrap(), &[][..]);
    let mut rest = image.as_slice();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (length, behind) = rest[end + 1..].split_at(8);
        let length = u64::from_be_bytes(length.try_into().unwrap()) as usize;
        if newest.file_name().unwrap().as_encoded_bytes() == &rest[..end] {
            covered = &behind[..length];
        }
        rest = &behind[length..];
    }
    let written = fs::read(&newest).unwrap();
    fs::write(&newest, covered).unwrap();
    let changed = written.iter().zip(covered).filter(|(now, then)| now != then).count();
    changed + written.len().saturating_sub(covered.len())
}

fn die_everywhere(name: &str, power: bool) -> usize {
    let scene = Scene::new(name);
    let mut lost = 0;
    for (point, nth) in POINTS {
        lost += scene.die_at(&format!("{point}:{nth}"), power);
        scene.judge(point, power);
    }
    lost
}

#[test]
fn a_broker_that_dies_at_any_step_of_a_compaction_goes_on_with_it_and_has_lost_nothing() {
    die_everywhere("compaction-dies", false);
}

#[test]
fn a_loss_of_power_at_any_step_of_a_compaction_takes_nothing_with_it() {
    let lost = die_everywhere("compaction-power", true);
    assert!(lost > 0, "none took anything back, so nothing was tested");
}
