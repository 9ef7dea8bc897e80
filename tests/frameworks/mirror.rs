//! MirrorMaker 2 between Apache Kafka and Quorate, both ways at once, as people move from one to the other: topics,
//! settings, records exactly once, and the offsets of groups, while a broker of Quorate and the mirror itself die.

mod apache;
mod flow;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use apache::Apache;
use flow::Flow;

use crate::support::cluster::{Cluster, fresh_dir};
use crate::support::process::Process;
use crate::support::{kafka, logs, ports, wait};

/// How long Kafka and the mirror may take over a state; the mirror's groups alone wait ten seconds for one that died.
const LONG: Duration = Duration::from_secs(180);

/// Looks for what is new every second. It writes exactly once at both ends, which takes its REST interface.
const SETTINGS: &str = "
clusters=kafka,quorate
kafka->quorate.enabled=true
kafka->quorate.topics=orders
quorate->kafka.enabled=true
quorate->kafka.topics=payments
groups=readers
sync.group.offsets.enabled=true
refresh.topics.interval.seconds=1
refresh.groups.interval.seconds=1
sync.topic.configs.interval.seconds=1
emit.checkpoints.interval.seconds=1
sync.group.offsets.interval.seconds=1
emit.heartbeats.interval.seconds=1
offset.lag.max=0
tasks.max=2
kafka.exactly.once.source.support=enabled
quorate.exactly.once.source.support=enabled
dedicated.mode.enable.internal.rest=true
kafka.consumer.isolation.level=read_committed
quorate.consumer.isolation.level=read_committed
kafka.config.storage.replication.factor=1
kafka.offset.storage.replication.factor=1
kafka.status.storage.replication.factor=1
quorate.config.storage.replication.factor=3
quorate.offset.storage.replication.factor=3
quorate.status.storage.replication.factor=3
kafka.offset.storage.partitions=5
quorate.offset.storage.partitions=5
quorate->kafka.replication.factor=1
quorate->kafka.checkpoints.topic.replication.factor=1
quorate->kafka.heartbeats.topic.replication.factor=1
quorate->kafka.offset-syncs.topic.replication.factor=3
kafka->quorate.replication.factor=3
kafka->quorate.checkpoints.topic.replication.factor=3
kafka->quorate.heartbeats.topic.replication.factor=3
kafka->quorate.offset-syncs.topic.replication.factor=1
";

struct Mirror {
    settings: PathBuf,
    log: PathBuf,
    process: Process,
}

fn run(settings: &Path, log: &Path) -> Process {
    let mut command = apache::java("org.apache.kafka.connect.mirror.MirrorMaker");
    command.arg(settings);
    apache::logged(command, log)
}

impl Mirror {
    fn start(dir: &Path, kafka: &str, quorate: &str) -> Mirror {
        let (settings, log) = (dir.join("mirror.properties"), dir.join("mirror.log"));
        let clusters =
            format!("kafka.bootstrap.servers={kafka}\nquorate.bootstrap.servers={quorate}\n");
        let listener = format!("listeners=http://127.0.0.1:{}\n", ports::block(1));
        fs::write(&settings, clusters + &listener + SETTINGS).unwrap();
        let process = run(&settings, &log);
        Mirror { settings, log, process }
    }

    /// `kill -9`, and another in its place.
    fn replace(&mut self) {
        self.process.kill9();
        self.process = run(&self.settings, &self.log);
    }

    fn wait<T>(&self, what: &str, state: impl FnMut() -> Option<T>) -> T {
        wait::maybe(LONG, state).unwrap_or_else(|| {
            panic!("not within {LONG:?}: {what}\n{}", logs::tail(&self.log, 80));
        })
    }

    /// Waits until it is so of both ways.
    fn both(&self, what: &str, flows: &[Flow; 2], state: impl Fn(&Flow) -> bool) {
        self.wait(what, || flows.iter().all(&state).then_some(()));
    }
}

#[test]
fn topics_settings_and_groups_are_mirrored_both_ways_though_a_broker_and_the_mirror_die() {
    let cluster = Cluster::start("mirror", 3);
    let dir = fresh_dir("mirror");
    let apache = Apache::start(&dir);
    let (kafka, quorate) = (apache.bootstrap(), cluster.bootstrap());
    let mut flows = [
        Flow::new(("kafka", kafka.clone()), quorate.clone(), "orders", 1),
        Flow::new(("quorate", quorate.clone()), kafka.clone(), "payments", 3),
    ];
    flows.iter_mut().for_each(|flow| flow.write(400));
    let mut mirror = Mirror::start(&dir, &kafka, &quorate);
    mirror.both("the topics are made", &flows, Flow::is_made);
    mirror.both("they have their settings", &flows, |flow| flow.has_settings(false));
    mirror.both("the first records are mirrored", &flows, Flow::has_arrived);
    mirror.wait("neither end has ACLs to mirror", || {
        let told = fs::read_to_string(&mirror.log).unwrap();
        (told.matches("No ACL authorizer is configured").count() == 2).then_some(())
    });

    let leader = kafka::leader(&cluster, &flows[0].mirrored, 0).leader as u64;
    cluster.broker(leader).kill9();
    flows.iter_mut().for_each(|flow| flow.write(400));
    mirror.both("records are mirrored without a broker", &flows, Flow::has_arrived);
    cluster.broker(leader).start();
    cluster.wait_whole();

    flows.iter_mut().for_each(|flow| flow.write(1000));
    mirror.replace();
    flows.iter_mut().for_each(Flow::change);
    mirror.both("the new partitions are made", &flows, Flow::is_made);
    mirror.both("the setting is changed", &flows, |flow| flow.has_settings(true));
    flows.iter_mut().for_each(|flow| flow.write(300));
    mirror.both("records are mirrored by another mirror", &flows, Flow::has_arrived);
    flows.iter().for_each(Flow::judge);

    // Half of what is there is read at the source: nothing that is not may be passed over at the target.
    flows.iter().for_each(|flow| flow.commit(|count| count / 2));
    mirror.both("the group's offsets are mirrored", &flows, |flow| flow.left().is_some());
    for flow in &flows {
        let unread = flow.counts().into_iter().map(|count| count - count / 2);
        let left = flow.left().unwrap();
        eprintln!("{}: {left:?} are left to read for the group", flow.mirrored);
        assert!(left.iter().zip(unread).all(|(left, unread)| *left >= unread), "{left:?}");
    }
    // Of many records at once the mirror tells the first ten offsets, and the last one only when more come.
    flows.iter_mut().for_each(|flow| flow.write(3));
    mirror.both("a few more are mirrored", &flows, Flow::has_arrived);
    flows.iter().for_each(|flow| flow.commit(|count| count));
    let nothing = |left: Vec<usize>| left.iter().all(|it| *it == 0);
    mirror.both("the group has read all", &flows, |flow| flow.left().is_some_and(nothing));

    let read = flows.each_ref().map(Flow::counts);
    flows.iter_mut().for_each(|flow| flow.write(90));
    mirror.both("the last records are mirrored", &flows, Flow::has_arrived);
    flows.iter().zip(&read).for_each(|(flow, read)| flow.goes_on(read));
    flows.iter().for_each(Flow::judge);
}
