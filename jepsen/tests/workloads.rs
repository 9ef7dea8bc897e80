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
use quorate_jepsen::checker::Finding;
use quorate_jepsen::history::{Body, Kind, Op, Recorder};
use quorate_jepsen::workload::{self, Address, Env, Phase, Settings, Worker, replicas};
use rand::SeedableRng;
use rand::rngs::StdRng;

const SOON: Duration = Duration::from_secs(60);

/// Brokers as processes of this test, gone when it ends.
struct Brokers {
    dir: tempfile::TempDir,
    addresses: Vec<Address>,
    processes: Vec<Child>,
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
        let dir = tempfile::tempdir().unwrap();
        let mut brokers = Brokers { dir, addresses: Vec::new(), processes: Vec::new() };
        let mut join = None;
        for id in 1..=count {
            let [kafka, http, peer] = free();
            brokers.spawn(Address { id, kafka, http }, peer, join, settings);
            brokers.addresses.push(Address { id, kafka, http });
            join = join.or(Some(peer));
            let admin = Admin::new(vec![brokers.addresses[brokers.addresses.len() - 1]]);
            wait(SOON, || admin.ready(&admin.brokers()[0]).then_some(())).expect("a ready broker");
        }
        let admin = Admin::new(brokers.addresses.clone());
        wait(SOON, || admin.unhealthy().is_empty().then_some(())).expect("a healthy cluster");
        brokers
    }

    fn spawn(
        &mut self,
        address: Address,
        peer: SocketAddr,
        join: Option<SocketAddr>,
        settings: &[(&str, &str)],
    ) {
        let Address { id, kafka, http } = address;
        let log = File::create(self.dir.path().join(format!("{id}.log"))).unwrap();
        let mut command = Command::new(binary());
        command.args(["serve", "--node-id", &id.to_string()]);
        command.arg("--data-dir").arg(self.dir.path().join(id.to_string()));
        for (flag, address) in [("--kafka", kafka), ("--http", http), ("--peer", peer)] {
            command.args([flag, &address.to_string()]);
        }
        if let Some(join) = join {
            command.args(["--join", &join.to_string()]);
        }
        for (name, value) in settings {
            command.args(["--set", &format!("{name}={value}")]);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.processes.push(command.spawn().unwrap());
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        for process in &mut self.processes {
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

/// Runs a workload for so long, then final reads and its checks.
fn run(name: &str, brokers: &Brokers, time: Duration) -> Run {
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
    let (workload, env) = (&*workload, &env);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..env.settings.workers)
            .map(|number| scope.spawn(move || workload.work(&mut worker(env, number))))
            .collect();
        thread::sleep(time);
        env.enter(Phase::Final);
        for worker in workers {
            worker.join().unwrap().unwrap();
        }
        env.enter(Phase::Over);
    });
    let missing = replicas::compare(env, &workload.partitions(), SOON).unwrap();
    let ops = env.recorder.ops();
    let mut findings = workload.check(env, &ops);
    findings.extend(missing);
    Run { ops, findings }
}

fn worker(env: &Arc<Env>, number: usize) -> Worker {
    let random = StdRng::seed_from_u64(number as u64);
    Worker { env: Arc::clone(env), number, group: 0, random, started: Instant::now() }
}

impl Run {
    fn count(&self, f: &str, kind: Kind) -> usize {
        let named = |op: &&Op| match &op.body {
            Body::Send(_) => f == "send",
            Body::Poll(_) => f == "poll",
            Body::Assign(_) => f == "assign",
            Body::Crash => f == "crash",
            Body::Other(name, _) => f == name,
            _ => false,
        };
        self.ops.iter().filter(named).filter(|op| op.kind == kind).count()
    }

    /// How often each error was seen.
    fn errors(&self) -> BTreeMap<String, usize> {
        let mut errors = BTreeMap::new();
        for error in self.ops.iter().filter_map(|op| op.extra.get("error")) {
            *errors.entry(error.to_string()).or_default() += 1;
        }
        errors
    }

    /// Fails unless so many operations succeeded and nothing was found wrong.
    fn assert_valid(&self, wanted: &[(&str, usize)]) {
        let bad: Vec<String> = self
            .findings
            .iter()
            .filter(|finding| finding.verdict != quorate_jepsen::checker::Verdict::Valid)
            .map(|finding| format!("{finding:#?}"))
            .collect();
        assert!(bad.is_empty(), "{}", bad.join("\n"));
        for (f, least) in wanted {
            let (ok, begun) = (self.count(f, Kind::Ok), self.count(f, Kind::Invoke));
            let enough = ok >= *least && ok * 10 >= begun * 9;
            assert!(enough, "{ok} of {begun} {f} operations are ok: {:#?}", self.errors());
        }
    }
}

#[test]
fn idempotent() {
    let brokers = Brokers::start(3);
    let run = run("idempotent", &brokers, Duration::from_secs(4));
    run.assert_valid(&[("send", 100), ("poll", 50), ("batches", 6)]);
}

#[test]
fn list_offsets() {
    let run = run("list-offsets", &Brokers::start(3), Duration::from_secs(4));
    run.assert_valid(&[("send", 100)]);
    let asked = run.count("list-offsets", Kind::Ok);
    assert!(asked >= 100, "{asked} answers: {:#?}", run.errors());
}

#[test]
fn queue_on_one_broker() {
    let run = run("queue", &Brokers::start(1), Duration::from_secs(4));
    run.assert_valid(&[("send", 100), ("poll", 100), ("assign", 4)]);
}

#[test]
fn queue_on_three_brokers() {
    let run = run("queue", &Brokers::start(3), Duration::from_secs(4));
    run.assert_valid(&[("send", 100), ("poll", 100), ("assign", 4)]);
    let extra = |name: &str| run.ops.iter().filter(|op| op.extra.contains_key(name)).count();
    assert!(extra("fetched") >= 50, "polls tell of high watermarks");
    assert_eq!(extra("corrupt"), 0, "what was read is what was written");
    let replicas =
        run.ops.iter().filter(|op| matches!(&op.body, Body::Other(f, _) if f == "replica"));
    assert!(replicas.count() >= 30, "all replicas of ten keys were read");
}

#[test]
fn admin() {
    let run = run("admin", &Brokers::start(3), Duration::from_secs(6));
    run.assert_valid(&[("send", 50), ("list-topics", 10)]);
    for (f, least) in [("create-topic", 5), ("delete-topic", 2), ("grow-topic", 1)] {
        let done = run.count(f, Kind::Ok);
        assert!(done >= least, "{done} {f} are done: {:#?}", run.errors());
    }
}

#[test]
fn retention() {
    let settings = workload::find("retention").unwrap().broker_settings();
    let run = run("retention", &Brokers::start_with(3, settings), Duration::from_secs(8));
    run.assert_valid(&[("send", 200), ("poll", 100)]);
    let deleted = run.count("delete-records", Kind::Ok);
    assert!(deleted >= 10, "{deleted} removals: {:#?}", run.errors());
}
