//! Every workload against real brokers on this machine, without faults: what it records has to be enough to judge,
//! and valid.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use quorate_jepsen::admin::{Admin, wait};
use quorate_jepsen::checker::{Finding, Verdict};
use quorate_jepsen::environment::{Address, Env, Phase, Settings, Worker};
use quorate_jepsen::history::{Body, Kind, Op, Recorder};
use quorate_jepsen::workload::{self, replicas};
use rand::SeedableRng;
use rand::rngs::StdRng;

const SOON: Duration = Duration::from_secs(60);

/// Brokers as processes of this test, gone when it ends.
struct Brokers {
    dir: tempfile::TempDir,
    settings: Vec<String>,
    addresses: Vec<Address>,
    peers: Vec<SocketAddr>,
    processes: Vec<Option<Child>>,
}

fn binary() -> PathBuf {
    let path = std::env::var_os("TEST_BROKER").map(PathBuf::from).expect(
        "TEST_BROKER=PATH names the broker to test, as in \
         TEST_BROKER=$PWD/target/release/quorate cargo test -p quorate-jepsen",
    );
    assert!(path.is_file(), "TEST_BROKER: there is no file {}", path.display());
    path
}

/// Addresses that were free a moment ago.
fn free<const N: usize>() -> [SocketAddr; N] {
    let listeners: [_; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

impl Brokers {
    fn start(count: u64) -> Brokers {
        Brokers::start_with(count, &[])
    }

    fn start_with(count: u64, settings: &[(&str, &str)]) -> Brokers {
        let mut brokers = Brokers {
            dir: tempfile::tempdir().unwrap(),
            settings: settings.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            addresses: Vec::new(),
            peers: Vec::new(),
            processes: Vec::new(),
        };
        for (place, id) in (1..=count).enumerate() {
            let [kafka, http, peer] = free();
            brokers.addresses.push(Address { id, kafka, http });
            brokers.peers.push(peer);
            brokers.processes.push(None);
            brokers.spawn(place);
        }
        brokers.wait_healthy();
        brokers
    }

    /// Starts a broker that does not run, and waits until it serves.
    fn spawn(&mut self, place: usize) {
        let Address { id, kafka, http } = self.addresses[place];
        let path = self.dir.path().join(format!("{id}.log"));
        let log = File::options().create(true).append(true).open(path).unwrap();
        let mut command = Command::new(binary());
        command.args(["serve", "--node-id", &id.to_string()]);
        command.arg("--data-dir").arg(self.dir.path().join(id.to_string()));
        for (flag, address) in [("--kafka", kafka), ("--http", http), ("--peer", self.peers[place])]
        {
            command.args([flag, &address.to_string()]);
        }
        if place > 0 {
            command.args(["--join", &self.peers[0].to_string()]);
        }
        command.args(self.settings.iter().flat_map(|setting| ["--set", setting]));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.processes[place] = Some(command.spawn().unwrap());
        let admin = Admin::new(vec![self.addresses[place]]);
        wait(SOON, || admin.ready(&self.addresses[place]).then_some(())).expect("a ready broker");
    }

    fn wait_healthy(&self) {
        let admin = Admin::new(self.addresses.clone());
        wait(SOON, || admin.unhealthy().is_empty().then_some(())).expect("a healthy cluster");
    }

    fn kill9(&mut self, place: usize) {
        let mut process = self.processes[place].take().expect("a running broker");
        process.kill().unwrap();
        process.wait().unwrap();
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// What a run left behind.
struct Run {
    ops: Vec<Op>,
    findings: Vec<Finding>,
}

/// Kinds of operations and how many have to succeed.
type Wanted<'a> = [(&'a str, usize)];

/// Runs a workload until so much has succeeded, then final reads and its checks.
fn run(name: &str, brokers: &mut Brokers, wanted: &Wanted<'_>) -> Run {
    run_with(name, brokers, |_, env| succeed(env, wanted))
}

/// Waits until so many operations have succeeded from now on.
fn succeed(env: &Env, wanted: &Wanted<'_>) {
    let before = env.recorder.ops();
    let more = |ops: &[Op]| {
        let gained = |f: &str| count(ops, f, Kind::Ok) - count(&before, f, Kind::Ok);
        wanted.iter().all(|(f, least)| gained(f) >= *least).then_some(())
    };
    wait(SOON, || more(&env.recorder.ops())).expect("enough operations that succeed");
}

/// Runs a workload while `meanwhile` does, then final reads and its checks.
fn run_with(name: &str, brokers: &mut Brokers, meanwhile: impl FnOnce(&mut Brokers, &Env)) -> Run {
    let workload = workload::find(name).expect("a workload of that name");
    let settings = Settings {
        seed: 1,
        workers: 4,
        rate: 200.0,
        replication: u32::try_from(brokers.addresses.len()).unwrap(),
        partitions: 2,
        request_timeout: Duration::from_secs(3),
        final_time: SOON,
    };
    let recorder = Recorder::create(&brokers.dir.path().join(format!("{name}.edn"))).unwrap();
    let env = Env::new(settings, recorder, brokers.addresses.clone());
    workload.prepare(&env).unwrap();
    let (workload, env) = (&workload, &env);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..env.settings.workers)
            .map(|number| scope.spawn(move || workload.work(&mut worker(env, number))))
            .collect();
        let ends = Ends(env);
        meanwhile(brokers, env);
        let short = || short_of(&workload.check(&env.recorder.ops()));
        wait(SOON, || short().is_empty().then_some(())).unwrap_or_else(|| panic!("{}", short()));
        drop(ends);
        for worker in workers {
            worker.join().unwrap().unwrap();
        }
        env.enter(Phase::Over);
    });
    let missing = replicas::compare(env, &workload.partitions(), SOON).unwrap();
    let ops = env.recorder.ops();
    let mut findings = workload.check(&ops);
    findings.extend(missing);
    Run { ops, findings }
}

/// Sends the workers of a run to its final phase, also when the test has failed by then: it waits for them.
struct Ends<'a>(&'a Env);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.enter(Phase::Final);
    }
}

/// What a history of streams lacks of that which its checks need at least and only chance brings, like appends to a stream
/// that was just closed. (What others need is counted here, or shows in the final reads only.)
fn short_of(findings: &[Finding]) -> String {
    let is_short =
        |it: &&Finding| it.anomaly == "streams-coverage" && it.verdict == Verdict::Unknown;
    findings.iter().filter(is_short).map(Finding::to_text).collect()
}

fn worker(env: &Arc<Env>, number: usize) -> Worker {
    let random = StdRng::seed_from_u64(number as u64);
    Worker { env: Arc::clone(env), number, group: 0, random, started: Instant::now() }
}

fn count(ops: &[Op], f: &str, kind: Kind) -> usize {
    let named = |op: &&Op| match &op.body {
        Body::Send(_) => f == "send",
        Body::Poll(_) => f == "poll",
        Body::Txn(_) => f == "txn",
        Body::Other(name, _) => f == name,
        _ => false,
    };
    ops.iter().filter(named).filter(|op| op.kind == kind).count()
}

impl Run {
    /// How often each error was seen.
    fn errors(&self) -> BTreeMap<String, usize> {
        let mut errors = BTreeMap::new();
        for error in self.ops.iter().filter_map(|op| op.extra.get("error")) {
            *errors.entry(error.to_string()).or_default() += 1;
        }
        errors
    }

    /// Fails if anything was found wrong.
    fn assert_valid(&self) {
        let wrong = self.findings.iter().filter(|finding| finding.verdict != Verdict::Valid);
        let wrong: Vec<String> = wrong.map(Finding::to_text).collect();
        assert!(wrong.is_empty(), "{}\nerrors: {:#?}", wrong.join("\n"), self.errors());
    }
}

#[test]
fn queue_on_one_broker() {
    run("queue", &mut Brokers::start(1), &[("send", 200), ("poll", 100)]).assert_valid();
}

#[test]
fn queue_on_three_brokers() {
    let run = run("queue", &mut Brokers::start(3), &[("send", 200), ("poll", 100)]);
    run.assert_valid();
    let extra = |name: &str| run.ops.iter().filter(|op| op.extra.contains_key(name)).count();
    assert!(extra("fetched") >= 50, "polls tell of high watermarks");
    assert_eq!(extra("corrupt"), 0, "what was read is what was written");
    let replicas = count(&run.ops, "replica", Kind::Info);
    assert!(replicas >= 30, "all replicas of ten keys are read: {replicas}");
}

#[test]
fn queue_with_a_broker_that_dies() {
    survives("queue");
}

#[test]
fn idempotent_producers_with_a_broker_that_dies() {
    let run = survives("idempotent");
    assert!(count(&run.ops, "batches", Kind::Ok) >= 6, "the batches of all keys are noted");
    let unsure =
        run.ops.iter().filter(|op| matches!(op.body, Body::Send(_)) && op.kind == Kind::Info);
    assert_eq!(unsure.count(), 0, "all was sent again until it was acknowledged");
}

/// Kills a broker under load and starts it again.
fn survives(name: &str) -> Run {
    let run = run_with(name, &mut Brokers::start(3), |brokers, env| {
        succeed(env, &[("send", 50), ("poll", 10)]);
        brokers.kill9(1);
        succeed(env, &[("send", 50), ("poll", 10)]);
        brokers.spawn(1);
        brokers.wait_healthy();
        succeed(env, &[("send", 50), ("poll", 10)]);
    });
    run.assert_valid();
    run
}

#[test]
fn list_offsets() {
    run("list-offsets", &mut Brokers::start(3), &[("send", 200), ("list-offsets", 200)])
        .assert_valid();
}

#[test]
fn admin() {
    let wanted = [
        ("send", 50),
        ("list-topics", 10),
        ("create-topic", 8),
        ("delete-topic", 3),
        ("grow-topic", 2),
        ("send-doomed", 50),
    ];
    run("admin", &mut Brokers::start(3), &wanted).assert_valid();
}

#[test]
fn retention() {
    let settings = workload::find("retention").expect("that workload").broker_settings();
    let mut brokers = Brokers::start_with(3, settings);
    let run =
        run("retention", &mut brokers, &[("send", 400), ("poll", 200), ("delete-records", 15)]);
    run.assert_valid();
    let overtaken = |error: &String| error.contains("OffsetOutOfRange");
    assert!(run.errors().keys().any(overtaken), "some consumers began below the log start");
}

#[test]
fn compaction() {
    let settings = workload::find("compaction").expect("that workload").broker_settings();
    let mut brokers = Brokers::start_with(3, settings);
    let run = run("compaction", &mut brokers, &[("send", 400), ("poll", 400)]);
    run.assert_valid();
    assert!(run.findings.iter().any(|it| it.anomaly == "compacted"), "records are gone");
}

/// What has to succeed of a workload with streams.
const STREAMS: &Wanted<'_> =
    &[("stream-append", 300), ("stream-again", 4), ("stream-version", 20), ("stream-read", 20)];

#[test]
fn streams() {
    run("streams", &mut Brokers::start(3), STREAMS).assert_valid();
}

#[test]
fn streams_whose_old_records_are_removed() {
    let settings = workload::find("streams-trimmed").expect("that workload").broker_settings();
    let mut brokers = Brokers::start_with(3, settings);
    let wanted = [STREAMS, &[("delete-records", 5)]].concat();
    run("streams-trimmed", &mut brokers, &wanted).assert_valid();
}

/// What has to succeed of a workload with transactions.
const TRANSACTIONS: &Wanted<'_> = &[("txn", 150), ("poll", 60), ("fetch-group-offsets", 5)];

#[test]
fn transactions() {
    run("transactions", &mut Brokers::start(3), TRANSACTIONS).assert_valid();
}

#[test]
fn transactions_in_compacted_topics() {
    let name = "transactions-compacted";
    let settings = workload::find(name).expect("that workload").broker_settings();
    let mut brokers = Brokers::start_with(3, settings);
    run(name, &mut brokers, TRANSACTIONS).assert_valid();
}

#[test]
fn streams_that_are_turned_on() {
    let run = run_with("streams-turned-on", &mut Brokers::start(3), |_, env| {
        succeed(env, &[("streams-on", 1)]);
        succeed(env, STREAMS);
    });
    run.assert_valid();
}
