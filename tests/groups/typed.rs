//! `quorate consume --group`: members as one types them, whose coordinator is killed, who are killed, and who are told to
//! stop, all of it while records are written.

use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::process::Signal;

use super::consumer_protocol::with_session;
use super::*;
use crate::support::cluster::quorate;
use crate::support::process::Process;
use crate::support::wire::Batch;

/// Records that are written at a time.
const SLICE: usize = 40;

/// A member that was typed at a prompt.
struct Typed {
    process: Process,
    said: Arc<Mutex<Said>>,
    hears: JoinHandle<()>,
}

impl Typed {
    fn start(cluster: &Cluster, name: &str) -> Typed {
        let mut command = quorate(&["consume", name, "--group", name, "--from", "beginning"]);
        command.args(["--format", "full", "--server", &cluster.bootstrap()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = Process::spawn(command);
        let mut lines = BufReader::new(process.stdout().unwrap());
        let said = Arc::new(Mutex::new(Said::default()));
        let into = Arc::clone(&said);
        let hears = thread::spawn(move || {
            let mut line = String::new();
            // Who is killed may have said half a line.
            while lines.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
                let columns: Vec<&str> = line.trim_end().split('\t').collect();
                let [partition, offset, _, _, value] = columns[..] else { panic!("{line:?}") };
                let place = (partition.parse().unwrap(), offset.parse().unwrap());
                let mut said = into.lock().unwrap();
                said.records.entry(place).or_insert_with(|| (value.to_owned(), 0)).1 += 1;
                drop(said);
                line.clear();
            }
        });
        Typed { process, said, hears }
    }

    fn count(&self) -> usize {
        self.said.lock().unwrap().records.len()
    }

    /// Everything that it printed until it ended.
    fn ended(self) -> Said {
        self.hears.join().unwrap();
        self.said.lock().unwrap().clone()
    }

    fn kill9(mut self) -> Said {
        self.process.kill9();
        self.ended()
    }

    /// Tells it to stop and waits until it has, with what is said to be a success.
    fn stop(mut self) -> Said {
        self.process.signal(Signal::TERM);
        let status = self.process.wait_exit("it ends when it is told to", SOON);
        assert!(status.success(), "{status}");
        self.ended()
    }
}

/// Two members, each with half of a topic.
fn two(cluster: &Cluster, name: &str) -> [Typed; 2] {
    topic(cluster, name);
    let members = [(); 2].map(|()| Typed::start(cluster, name));
    shared_by(cluster, name, 2);
    members
}

/// Waits until so many members have the same number of partitions each.
fn shared_by(cluster: &Cluster, group: &str, members: usize) {
    told(cluster, group, "all members have their share", |it| {
        let parts = it["members"].as_array().unwrap().iter();
        let parts: Vec<usize> =
            parts.map(|it| it["partitions"].as_array().unwrap().len()).collect();
        it["state"] == "Stable" && parts == vec![PARTITIONS as usize / members; members]
    });
}

/// Waits until all of `count` records are committed.
fn all_committed(cluster: &Cluster, group: &str, count: usize) {
    told(cluster, group, "all is committed", |it| {
        let offsets = it["offsets"].as_array().unwrap().iter();
        let sum: i64 = offsets.map(|it| it["offset"].as_i64().unwrap()).sum();
        sum == i64::try_from(count).unwrap()
    });
}

/// Does something while records are written from number `from` on; returns how many there are then.
fn while_written(cluster: &Cluster, topic: &str, from: usize, act: impl FnOnce()) -> usize {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let slices = (from..).step_by(SLICE);
            let written = slices.take_while(|_| !is_done.load(Ordering::Relaxed));
            written.map(|n| write(cluster, topic, n, n + SLICE)).count() * SLICE
        });
        let done = catch_unwind(AssertUnwindSafe(act));
        is_done.store(true, Ordering::Relaxed);
        let written = writer.join().unwrap();
        done.map_or_else(|failure| resume_unwind(failure), |()| from + written)
    })
}

/// Waits until the members have read so many more records than they have.
fn read_on(cluster: &Cluster, members: &[&Typed], more: usize) {
    let count = || members.iter().map(|it| it.count()).sum::<usize>();
    let until = count() + more;
    cluster.wait("they read on", || (count() >= until).then_some(()));
}

/// They keep their parts, so each record is read by one of them, and once.
#[test]
fn a_coordinator_that_dies_while_records_are_written_costs_the_typed_members_nothing() {
    // Whatever else the machine does, nobody is silent for so long.
    let (cluster, name) = (with_session("typed-coordinator", "60000"), "kept");
    let members = two(&cluster, name);
    let mut written = 0;
    for _ in 0..3 {
        let broker = coordinator(&cluster, name);
        written = while_written(&cluster, name, written, || {
            read_on(&cluster, &members.each_ref(), SLICE);
            broker.kill9();
            cluster.wait("another coordinates", || {
                (coordinator(&cluster, name).id != broker.id).then_some(())
            });
            read_on(&cluster, &members.each_ref(), 5 * SLICE);
        });
        all_committed(&cluster, name, written);
        broker.start();
        cluster.wait_whole();
    }
    shared_by(&cluster, name, 2);
    let said = members.map(Typed::stop);
    all_read(&said.each_ref(), written);
    assert_eq!(read_again(&said.each_ref()), 0);
    assert!(said.iter().all(|it| !it.records.is_empty()), "both have read");
}

#[test]
fn a_typed_member_that_is_killed_is_taken_over_from_where_it_committed() {
    let (cluster, name) = (with_session("typed-killed", "6000"), "taken-over");
    let [dies, stays] = two(&cluster, name);
    write(&cluster, name, 0, 400);
    all_committed(&cluster, name, 400);
    let mut dead = Said::default();
    let written = while_written(&cluster, name, 400, || {
        read_on(&cluster, &[&dies], SLICE);
        dead = dies.kill9();
        shared_by(&cluster, name, 1);
        read_on(&cluster, &[&stays], SLICE);
    });
    all_committed(&cluster, name, written);
    let stays = stays.stop();
    all_read(&[&dead, &stays], written);
    assert_eq!((read_again(&[&dead]), read_again(&[&stays])), (0, 0), "each read nothing twice");
    let again = stays.records.keys().filter(|place| dead.records.contains_key(place));
    let before: Vec<&(i32, i64)> = again.filter(|(_, offset)| *offset < 100).collect();
    assert_eq!(before, Vec::<&(i32, i64)>::new(), "was committed and is read again");
}

/// The session is ten times longer than anybody waits here, so nothing but its word tells that it is gone.
#[test]
fn a_typed_member_that_is_told_to_stop_commits_and_leaves_at_once() {
    let (cluster, name) = (with_session("typed-stopped", "600000"), "left");
    let [leaves, stays] = two(&cluster, name);
    let mut left = Said::default();
    let written = while_written(&cluster, name, 0, || {
        read_on(&cluster, &[&leaves], SLICE);
        left = leaves.stop();
        shared_by(&cluster, name, 1);
        read_on(&cluster, &[&stays], SLICE);
    });
    all_committed(&cluster, name, written);
    let stays = stays.stop();
    told(&cluster, name, "nobody is left", |it| it["state"] == "Empty");
    all_read(&[&left, &stays], written);
    assert_eq!(read_again(&[&left, &stays]), 0, "what it printed it has committed");
}

#[test]
fn a_typed_member_stops_after_so_many_records_and_the_next_goes_on_there() {
    let (cluster, name) = (Cluster::shared(), "typed-some");
    topic(&cluster, name);
    write(&cluster, name, 0, 100);
    let consume = |more: &[&str]| {
        let args = ["consume", name, "--group", name, "--from", "beginning"];
        cluster.cli(&[&args[..], more].concat(), "")
    };
    let [first, second] = ["30", "70"].map(|number| {
        let read = consume(&["-n", number]).ok("consume");
        read.lines().map(|line| line.parse().unwrap()).collect::<Vec<usize>>()
    });
    assert_eq!((first.len(), second.len()), (30, 70));
    let both: BTreeSet<usize> = first.into_iter().chain(second).collect();
    assert_eq!(both, (0..100).collect());
    for alone in [&["--partition", "1"][..], &["--exit"]] {
        let refused = consume(alone);
        assert_eq!(refused.code, Some(2), "{alone:?}: {}", refused.stderr);
        assert!(refused.stderr.contains("--group"), "{alone:?}: {}", refused.stderr);
    }
}

/// Nothing fails while the other partition is read, so nothing but the want of a leader has it look for one.
#[test]
fn a_partition_that_had_no_leader_is_read_on_when_it_has_one_again() {
    let (cluster, name) = (with_session("typed-leaderless", "60000"), "leaderless");
    let body = serde_json::json!({ "name": name, "replicas": [[1], [3]] }).to_string();
    cluster.request("POST", "/v1/topics", Some(&body)).ok();
    let reader = Typed::start(&cluster, name);
    let mut written = 0;
    let mut read = |partition: i32| {
        let mut wire = kafka::at_leader(&cluster, name, partition);
        let produced = kafka::produce(&mut wire, name, partition, &Batch::of(&["it"]).bytes());
        assert_eq!(produced.error, kafka::NONE);
        written += 1;
        cluster.wait("it is read", || (reader.count() == written).then_some(()));
    };
    read(0);
    read(1);
    let gone = cluster.broker(3);
    gone.kill9();
    cluster.wait("it has no leader", || {
        let has_none = |broker: &Broker| kafka::partition_at(broker, name, 1).is_none();
        cluster.running().all(has_none).then_some(())
    });
    (0..5).for_each(|_| read(0));
    gone.start();
    cluster.wait_whole();
    read(1);
    reader.stop();
}
