//! A cluster of real broker processes: started, killed, paused, wiped and read like an operator
//! would, through its command line, its ports, its data directory and its log.

use std::fs::{self, File};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::Signal;

use super::disk::Disk;
use super::http::{self, Answer};
use super::process::{self, Output, Process};
use super::{clock, logs, ports, wait};

pub const BINARY: &str = env!("CARGO_BIN_EXE_quorate");

/// The broker with defects, for what no release has: it stands in for the next one, and can be made to die anywhere.
pub fn with_defects() -> PathBuf {
    let path = PathBuf::from(BINARY).with_file_name("quorate-mutant");
    assert!(path.exists(), "{} is missing; `make test` builds it", path.display());
    path
}

/// How long a state may take before a test gives up; far above what a broker should need, because
/// two tests share two cores.
pub const SOON: Duration = Duration::from_secs(60);

/// How long a broker may take for a line of the report on a failure.
const REPORT: Duration = Duration::from_secs(5);

/// One broker of a test cluster, running or not.
pub struct Broker {
    pub id: u64,
    pub kafka: u16,
    pub http: u16,
    pub peer: u16,
    pub data: PathBuf,
    pub log: PathBuf,
    pub join: Vec<u16>,
    env: Vec<(String, String)>,
    /// How many files the process may have open, as `prlimit --nofile=` takes it.
    nofile: Option<String>,
    process: Mutex<Option<Process>>,
    seen: AtomicUsize,
}

impl Broker {
    /// A broker with free ports under `dir`; `join` names the peer ports of members.
    pub fn new(dir: &Path, id: u64, join: &[u16], settings: &[(&str, &str)]) -> Broker {
        let first = ports::block(3);
        let (kafka, http, peer) = (first, first + 1, first + 2);
        let data = dir.join(format!("broker-{id}"));
        let log = dir.join(format!("broker-{id}.log"));
        let env = settings.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let (process, seen) = (Mutex::new(None), AtomicUsize::new(0));
        let join = join.to_vec();
        Broker { id, kafka, http, peer, data, log, join, env, nofile: None, process, seen }
    }

    /// Has it listen elsewhere from its next start on.
    pub fn take_ports(&mut self) {
        let first = ports::block(3);
        (self.kafka, self.http, self.peer) = (first, first + 1, first + 2);
    }

    /// The flags of `quorate serve`, all that an operator may want to choose.
    fn args(&self) -> Vec<String> {
        let local = |port: &u16| format!("127.0.0.1:{port}");
        let mut args: Vec<String> = vec!["serve".into()];
        let mut flag = |name: &str, value: String| args.extend([name.to_owned(), value]);
        flag("--data-dir", self.data.display().to_string());
        flag("--node-id", self.id.to_string());
        flag("--kafka", local(&self.kafka));
        flag("--http", local(&self.http));
        flag("--peer", local(&self.peer));
        if !self.join.is_empty() {
            flag("--join", self.join.iter().map(local).collect::<Vec<_>>().join(","));
        }
        args
    }

    /// Starts the process; does not wait until it serves.
    pub fn start(&self) {
        self.start_as(Path::new(BINARY), &[]);
    }

    /// The same of another build of the broker, with more environment variables.
    pub fn start_as(&self, binary: &Path, env: &[(&str, &str)]) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = match &self.nofile {
            Some(limits) => {
                let mut command = process::command("prlimit");
                command.arg(format!("--nofile={limits}")).arg(binary);
                command
            }
            None => process::command(binary),
        };
        // So that replicas are compared within a test: that two differ is an error in the log, which no test allows.
        command.env("QUORATE_RAFT_COMPARE_MS", "500");
        // Records of long ago, of which tests have many, stay unless the test is about that.
        command.env("QUORATE_TOPICS_RETENTION_CHECK_MS", "3600000");
        command.args(self.args()).envs(self.env.iter().cloned()).stdin(Stdio::null());
        command.envs(env.iter().copied());
        if self.env.iter().any(|(name, _)| name == clock::PRELOAD) {
            let file = clock::file(self);
            if !file.exists() {
                clock::set(self, Duration::ZERO, false);
            }
            command.env(clock::AHEAD, file);
        }
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let mut process = self.process();
        assert!(process.is_none(), "broker {} runs already", self.id);
        *process = Some(Process::spawn(command));
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn running(&self) -> bool {
        self.process().is_some()
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill9(&self) {
        self.process().take().expect("a running broker").kill9();
    }

    /// Asks the broker to stop, as an operator does, and checks that it did so cleanly.
    pub fn stop(&self) {
        let mut process = self.process().take().expect("a running broker");
        process.signal(Signal::TERM);
        let status = process.wait_exit("a stopped broker has ended", SOON);
        assert_eq!(status.code(), Some(0), "broker {} on SIGTERM", self.id);
    }

    /// Waits until the process ends by itself; gives its exit code.
    pub fn exit_code(&self) -> Option<i32> {
        let mut process = self.process().take().expect("a running broker");
        process.wait_exit("the broker ends by itself", SOON).code()
    }

    /// Stops the process where it is; it does nothing more when this returns.
    pub fn pause(&self) {
        self.process().as_ref().expect("a running broker").pause();
    }

    pub fn unpause(&self) {
        self.process().as_ref().expect("a running broker").signal(Signal::CONT);
    }

    /// Removes everything the broker knows.
    pub fn wipe(&self) {
        assert!(!self.running(), "broker {} runs", self.id);
        fs::remove_dir_all(&self.data).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.process().as_ref().expect("a running broker").pid()
    }

    pub fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    pub fn get(&self, path: &str) -> Option<Answer> {
        http::request("GET", &self.url(path), None)
    }

    /// What the broker says of itself. One that a test paused says nothing, and is not asked again.
    fn account(&self) -> String {
        let mut text = String::new();
        for path in ["/readyz", "/v1/cluster", "/v1/raft/groups"] {
            let Some(answer) = http::request_within(REPORT, "GET", &self.url(path), None) else {
                return text + &format!("{path}: no answer within {REPORT:?}\n");
            };
            text += &format!("{path}: {:.3000}\n", answer.text);
        }
        text
    }

    pub fn ready(&self) -> bool {
        self.get("/readyz").is_some_and(|answer| answer.status == 200)
    }

    pub fn kafka_address(&self) -> String {
        format!("127.0.0.1:{}", self.kafka)
    }

    fn ended(&self) -> bool {
        self.process().as_mut().is_some_and(|process| process.ended().is_some())
    }

    fn unexpected(&self, allowed: &[String]) -> Vec<String> {
        let text = self.log_text();
        let from = self.seen.swap(text.len(), Ordering::Relaxed);
        let lines = logs::unexpected(text.get(from..).unwrap_or(&text), allowed);
        lines.into_iter().map(|line| format!("broker {}: {line}", self.id)).collect()
    }
}

/// Brokers that are one cluster. Dropping it checks the logs and ends the processes.
pub struct Cluster {
    pub dir: PathBuf,
    brokers: Vec<Broker>,
    allowed: Mutex<Vec<String>>,
    settings: Vec<(String, String)>,
    disks: Vec<Disk>,
}

impl Cluster {
    pub fn start(name: &str, brokers: u64) -> Cluster {
        Cluster::start_with(name, brokers, &[])
    }

    /// Forms a cluster; `settings` are environment variables, as `QUORATE_TOPICS_RETENTION_MS`.
    pub fn start_with(name: &str, brokers: u64, settings: &[(&str, &str)]) -> Cluster {
        Cluster::joined(fresh_dir(name), brokers, settings, Vec::new(), None)
    }

    /// The same with a limit of open files: `soft:hard`, or `soft:` to leave the hard one.
    pub fn start_limited(
        name: &str,
        brokers: u64,
        settings: &[(&str, &str)],
        nofile: Option<&str>,
    ) -> Cluster {
        Cluster::joined(fresh_dir(name), brokers, settings, Vec::new(), nofile)
    }

    /// Forms a cluster in which each broker has a disk of `bytes` for itself. Takes root.
    pub fn start_on_disks(
        name: &str,
        brokers: u64,
        bytes: u64,
        settings: &[(&str, &str)],
    ) -> Cluster {
        let dir = fresh_dir(name);
        let disk = |id| Disk::new(&dir.join(format!("broker-{id}")), bytes);
        let disks = (1..=brokers).map(disk).collect();
        Cluster::joined(dir, brokers, settings, disks, None)
    }

    fn joined(
        dir: PathBuf,
        brokers: u64,
        settings: &[(&str, &str)],
        disks: Vec<Disk>,
        nofile: Option<&str>,
    ) -> Cluster {
        let first = Broker::new(&dir, 1, &[], settings);
        let join = [first.peer];
        let rest = (2..=brokers).map(|id| Broker::new(&dir, id, &join, settings));
        let limited = |broker| Broker { nofile: nofile.map(str::to_owned), ..broker };
        let brokers: Vec<Broker> = std::iter::once(first).chain(rest).map(limited).collect();
        Cluster::form(dir, brokers, settings, disks)
    }

    pub(super) fn form(
        dir: PathBuf,
        brokers: Vec<Broker>,
        settings: &[(&str, &str)],
        disks: Vec<Disk>,
    ) -> Cluster {
        let settings = settings.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        let settings = settings.collect();
        let cluster = Cluster { dir, brokers, allowed: Mutex::default(), settings, disks };
        cluster.broker(1).start();
        cluster.wait("the first broker is ready", || cluster.broker(1).ready().then_some(()));
        cluster.brokers[1..].iter().for_each(Broker::start);
        cluster.wait_whole();
        cluster
    }

    /// The cluster of three that tests share which leave brokers, settings and other topics alone.
    pub fn shared() -> Shared {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        Shared(SHARED.get_or_init(|| Cluster::start("shared", 3)))
    }

    pub fn brokers(&self) -> &[Broker] {
        &self.brokers
    }

    /// The disks of the brokers, in their order, if they have their own.
    pub fn disks(&self) -> &[Disk] {
        &self.disks
    }

    pub fn brokers_mut(&mut self) -> impl Iterator<Item = &mut Broker> {
        self.brokers.iter_mut()
    }

    pub fn broker(&self, id: u64) -> &Broker {
        self.brokers.iter().find(|broker| broker.id == id).expect("a broker of this cluster")
    }

    pub fn running(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.iter().filter(|broker| broker.running())
    }

    /// One more broker that joins through every member; not started.
    pub fn add(&mut self, id: u64) -> &Broker {
        let join: Vec<u16> = self.brokers.iter().map(|broker| broker.peer).collect();
        let settings: Vec<(&str, &str)> =
            self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        self.brokers.push(Broker::new(&self.dir, id, &join, &settings));
        self.broker(id)
    }

    /// Kafka addresses of all brokers, running or not, as a client is given them.
    pub fn bootstrap(&self) -> String {
        let all: Vec<String> = self.brokers.iter().map(Broker::kafka_address).collect();
        all.join(",")
    }

    /// Announces a part of a WARN or ERROR line that this test provokes.
    pub fn allow(&self, part: &str) {
        self.allowed.lock().unwrap().push(part.to_owned());
    }

    /// Asks any running broker.
    pub fn request(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let broker = self.running().next().expect("a running broker");
        let answer = http::request(method, &broker.url(path), body);
        answer.unwrap_or_else(|| panic!("no answer to {method} {path}\n{}", self.report()))
    }

    pub fn get(&self, path: &str) -> serde_json::Value {
        self.request("GET", path, None).ok()
    }

    pub fn create_topic(&self, name: &str, partitions: u32, replicas: u32) {
        let body = serde_json::json!({
            "name": name, "partitions": partitions, "replication_factor": replicas });
        self.request("POST", "/v1/topics", Some(&body.to_string())).ok();
    }

    /// Runs our own command line against a running broker: `--http` or `--server` is added.
    pub fn cli(&self, args: &[&str], input: &str) -> Output {
        let broker = self.running().next().expect("a running broker");
        let records = ["produce", "consume"].contains(&args[0]);
        let port = if records { broker.kafka } else { broker.http };
        let flag = if records { "--server" } else { "--http" };
        let mut command = quorate(args);
        command.args([flag, &format!("127.0.0.1:{port}")]);
        process::run_with(command, input, SOON)
    }

    /// Waits for a state; on failure the report has what every broker says and logged.
    pub fn wait<T>(&self, what: &str, state: impl FnMut() -> Option<T>) -> T {
        self.wait_for(what, SOON, state)
    }

    pub fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        mut state: impl FnMut() -> Option<T>,
    ) -> T {
        let value = wait::maybe(limit, || {
            let dead = self.brokers.iter().find(|broker| broker.ended());
            assert!(dead.is_none(), "broker {} ended by itself", dead.map_or(0, |b| b.id));
            state()
        });
        value.unwrap_or_else(|| panic!("not within {limit:?}: {what}"))
    }

    /// Every running broker is ready and every broker that runs is known as alive by all.
    pub fn wait_whole(&self) {
        self.wait("all brokers are ready and know each other", || {
            let ids: Vec<u64> = self.running().map(|broker| broker.id).collect();
            self.running().all(|broker| broker.ready() && alive(broker) == ids).then_some(())
        });
    }

    /// What every broker says of itself and the end of its log.
    pub fn report(&self) -> String {
        let mut text = String::new();
        for broker in &self.brokers {
            let state = if broker.running() { "running" } else { "not running" };
            text += &format!("\n===== broker {} ({state}) {}\n", broker.id, broker.log.display());
            if broker.running() {
                text += &broker.account();
            }
            text += &logs::tail(&broker.log, 40);
        }
        text
    }

    fn gate(&self) {
        let allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<String> =
            self.brokers.iter().flat_map(|broker| broker.unexpected(&allowed)).collect();
        drop(allowed);
        if std::thread::panicking() {
            eprintln!("{}\nunexpected in the logs: {lines:#?}", self.report());
        } else {
            assert!(lines.is_empty(), "unexpected in the logs:\n{}", lines.join("\n"));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.gate()));
        // What waits for a frozen disk cannot be killed.
        self.disks.iter().for_each(Disk::thaw_if_frozen);
        self.brokers.iter().for_each(|broker| drop(broker.process().take()));
        self.disks.clear();
        match checked {
            Ok(()) if !failed => drop(fs::remove_dir_all(&self.dir)),
            Err(reason) if !failed => std::panic::resume_unwind(reason),
            _ => (), // the directory stays for the one who looks into the failure
        }
    }
}

/// One test's use of the shared cluster; dropping it checks the logs.
pub struct Shared(&'static Cluster);

impl Deref for Shared {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.0.gate();
    }
}

fn alive(broker: &Broker) -> Vec<u64> {
    let Some(answer) = broker.get("/v1/brokers").filter(|answer| answer.status == 200) else {
        return Vec::new();
    };
    let body = answer.json();
    let list = body.as_array().or_else(|| body["brokers"].as_array()).cloned().unwrap_or_default();
    let unfenced = list.iter().filter(|broker| broker["fenced"] == false);
    let mut ids: Vec<u64> = unfenced.filter_map(|broker| broker["id"].as_u64()).collect();
    ids.sort_unstable();
    ids
}

/// An empty directory on the disk of the build, which a run that was killed may leave behind; the
/// next run removes it.
pub fn fresh_dir(name: &str) -> PathBuf {
    static SWEPT: OnceLock<()> = OnceLock::new();
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clusters");
    SWEPT.get_or_init(|| {
        for run in fs::read_dir(&root).into_iter().flatten().flatten() {
            let pid = run.file_name().to_string_lossy().into_owned();
            if !Path::new("/proc").join(&pid).exists() {
                let _ = fs::remove_dir_all(run.path());
            }
        }
    });
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = root.join(std::process::id().to_string()).join(format!("{count}-{name}"));
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// The broker's own command line, outside any cluster.
pub fn quorate(args: &[&str]) -> Command {
    let mut command = process::command(BINARY);
    command.args(args);
    command
}
