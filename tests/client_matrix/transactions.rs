//! Transactions: what is committed is read, byte for byte, and what is aborted is not.

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::groups::committed;
use super::record::{Record, end, read_all, stored_lines};
use super::records::{awkward, compressible};
use super::{Client, NOT_OFFERED};
use crate::support::asked::Asked;
use crate::support::clients;
use crate::support::cluster::{Cluster, SOON};

/// What is in partition 0 of a topic: each record with its offset, and whether it is committed.
struct Log {
    topic: String,
    records: Vec<(i64, Record, bool)>,
    end: i64,
}

impl Log {
    fn new(cluster: &Cluster, topic: String) -> Log {
        cluster.create_topic(&topic, 1, 3);
        Log { topic, records: Vec::new(), end: 0 }
    }

    /// Records that were written there, of a transaction or of a part of one.
    fn add(&mut self, records: &[Record], commit: bool) {
        for record in records {
            self.records.push((self.end, record.clone(), commit));
            self.end += 1;
        }
    }

    /// A transaction that has records there ends: its marker takes an offset.
    fn mark(&mut self) {
        self.end += 1;
    }

    /// What a reader of that isolation level is to see.
    fn visible(&self, isolation: &str) -> Vec<(i64, Record)> {
        let all = isolation == "read_uncommitted";
        let seen = self.records.iter().filter(|(_, _, committed)| all || *committed);
        seen.map(|(offset, record, _)| (*offset, record.clone())).collect()
    }

    /// Waits until no transaction is open there, and reads it with the client of this process.
    fn judge(&self, cluster: &Cluster) {
        let bootstrap = cluster.bootstrap();
        cluster.wait(&format!("all transactions in {} have ended", self.topic), || {
            (end(&bootstrap, &self.topic, 0, "read_committed") == self.end).then_some(())
        });
        for isolation in ["read_committed", "read_uncommitted"] {
            let read = read_all(&bootstrap, &self.topic, 0, isolation);
            assert_eq!(read, self.visible(isolation), "{} by {isolation}", self.topic);
        }
    }
}

/// Has the program write records to partition 0 in its transaction.
fn send(program: &mut Asked, topic: &str, records: &[Record]) {
    for record in records {
        program.ask(&format!("send\t{topic}\t{}", record.line()), "ok");
    }
}

/// One transaction: records to two topics, and an offset of the group if that is wanted.
fn transact(program: &mut Asked, logs: [&mut Log; 2], parts: [&[Record]; 2], offset: Option<i64>) {
    program.ask("begin", "ok");
    let topic = logs[0].topic.clone();
    for (log, records) in logs.into_iter().zip(parts) {
        send(program, &log.topic, records);
    }
    program.ask("flush", "ok");
    if let Some(offset) = offset {
        program.ask(&format!("offset\t{topic}\t{offset}"), "ok");
    }
}

/// The transaction has ended so.
fn ended(logs: [&mut Log; 2], parts: [&[Record]; 2], commit: bool) {
    for (log, records) in logs.into_iter().zip(parts) {
        log.add(records, commit);
        if !records.is_empty() {
            log.mark();
        }
    }
}

/// Of what it writes in transactions to two topics, another reads exactly what it commits; an offset of a group comes
/// with it; and who takes its transactional id over fences it off.
pub fn transactions(client: &Client) {
    let (cluster, group) = (Cluster::shared(), client.topic("transacts"));
    let bootstrap = cluster.bootstrap();
    let args = ["transact", &bootstrap, &group, &group];
    if client.refuses("transactions", &args) {
        return;
    }
    let mut one = Log::new(&cluster, client.topic("transacts"));
    let mut two = Log::new(&cluster, client.topic("transacts-too"));
    let offsets = !client.lacks("transaction offsets");
    if !offsets {
        let said = client.run(&args, &format!("begin\noffset\t{}\t1\n", one.topic));
        assert_eq!(said.code, Some(NOT_OFFERED), "{}", said.stderr);
    }
    let offset = |offset| Some(offset).filter(|_| offsets);
    let (all, some) = (awkward(client), compressible("none"));

    let mut first = client.asked(&args);
    assert_eq!(first.hear(), "ready");
    transact(&mut first, [&mut one, &mut two], [&all, &some], offset(5));
    let open = read_all(&bootstrap, &one.topic, 0, "read_committed");
    assert_eq!(open, [], "what is not committed yet");
    first.ask("commit", "ok");
    ended([&mut one, &mut two], [&all, &some], true);
    if offsets {
        committed(&cluster, &group, 5);
    }
    // Two that are aborted behind each other, and one of which a topic has nothing.
    for parts in [[&some[..9], &some[..2]], [&some[9..20], &[]]] {
        transact(&mut first, [&mut one, &mut two], parts, offset(7));
        first.ask("abort", "ok");
        ended([&mut one, &mut two], parts, false);
    }
    first.ask("begin", "ok");
    first.ask("commit", "ok");
    let parts = [&some[3..8], &some[8..9]];
    transact(&mut first, [&mut one, &mut two], parts, None);
    first.ask("commit", "ok");
    ended([&mut one, &mut two], parts, true);

    let fenced = [&some[..3], &some[3..6]];
    transact(&mut first, [&mut one, &mut two], fenced, None);
    let mut second = client.asked(&args);
    assert_eq!(second.hear(), "ready");
    ended([&mut one, &mut two], fenced, false);
    let parts = [&some[6..7], &some[7..9]];
    transact(&mut second, [&mut one, &mut two], parts, None);
    second.ask("commit", "ok");
    ended([&mut one, &mut two], parts, true);
    first.ask("commit", "fenced");
    one.judge(&cluster);
    two.judge(&cluster);
    if offsets {
        committed(&cluster, &group, 5);
    }
    first.stop();
    second.stop();
}

/// A transactional producer of this process.
fn producer(cluster: &Cluster, id: &str) -> BaseProducer {
    let mut config = clients::producer(&cluster.bootstrap());
    config.set("transactional.id", id).set("message.timeout.ms", "60000");
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(SOON).unwrap();
    producer
}

/// Writes records to partition 0 in the open transaction.
fn write(producer: &BaseProducer, log: &mut Log, records: &[Record], commit: bool) {
    for record in records {
        let mut next = BaseRecord::<[u8], [u8]>::to(&log.topic).partition(0);
        next = next.timestamp(record.timestamp).headers(record.rdkafka_headers());
        (next.key, next.payload) = (record.key.as_deref(), record.value.as_deref());
        producer.send(next).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
    log.add(records, commit);
}

/// Of what others write in transactions it reads exactly what is committed, or all if it is told to.
pub fn read_committed(client: &Client) {
    let (cluster, topic) = (Cluster::shared(), client.topic("isolated"));
    let args = ["fetch", &cluster.bootstrap(), &topic, "1", "isolation.level=read_committed"];
    if client.refuses("read committed", &args) {
        return;
    }
    let mut log = Log::new(&cluster, topic);
    let (all, some) = (awkward(client), compressible("none"));
    let [one, two] = ["one", "two"].map(|it| producer(&cluster, &client.topic(it)));
    // Two transactions whose records lie between each other, of which the one that began first is aborted.
    one.begin_transaction().unwrap();
    two.begin_transaction().unwrap();
    write(&one, &mut log, &some[..5], false);
    write(&two, &mut log, &all, true);
    write(&one, &mut log, &some[5..7], false);
    one.abort_transaction(SOON).unwrap();
    log.mark();
    cluster.wait("the first has ended", || {
        (end(&cluster.bootstrap(), &log.topic, 0, "read_uncommitted") == log.end).then_some(())
    });
    write(&two, &mut log, &some[7..9], true);
    two.commit_transaction(SOON).unwrap();
    log.mark();
    // One producer aborts twice, commits, and aborts again.
    for (n, commit) in [false, false, true, false].into_iter().enumerate() {
        one.begin_transaction().unwrap();
        write(&one, &mut log, &some[n..n + 3], commit);
        if commit {
            one.commit_transaction(SOON).unwrap();
        } else {
            one.abort_transaction(SOON).unwrap();
        }
        log.mark();
    }
    // What is in no transaction is committed as well.
    super::record::write(&cluster.bootstrap(), &log.topic, "none", &some[20..22]);
    log.add(&some[20..22], true);
    log.judge(&cluster);
    for isolation in ["read_committed", "read_uncommitted"] {
        let visible = log.visible(isolation);
        let (count, level) = (visible.len().to_string(), format!("isolation.level={isolation}"));
        let said = client.run(&["fetch", &cluster.bootstrap(), &log.topic, &count, &level], "");
        let what = format!("{} reads {} by {isolation}", client.name, log.topic);
        stored_lines(&said.ok(&what), &visible, &what);
    }
}
