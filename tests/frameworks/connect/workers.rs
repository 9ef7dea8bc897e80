//! Kafka Connect as it is deployed: distributed workers, each a process, with plugins of their own in the folder that
//! `plugin.path` names, and everything asked for over its REST interface.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::clients::installed;
use crate::support::cluster::{Cluster, fresh_dir};
use crate::support::http::{self, Answer};
use crate::support::process::{self, Process};
use crate::support::{logs, ports, wait};

/// How long workers may take over a state: they start, rebalance and find a broker dead on two busy cores.
pub const LONG: Duration = Duration::from_secs(180);

/// Workers, and the consumers of sinks, are found dead after six seconds; a worker's tasks are given away a second later.
const SETTINGS: &str = "
group.id=connect
config.storage.topic=connect-configs
offset.storage.topic=connect-offsets
status.storage.topic=connect-status
config.storage.replication.factor=3
offset.storage.replication.factor=3
status.storage.replication.factor=3
offset.storage.partitions=5
status.storage.partitions=2
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
exactly.once.source.support=enabled
consumer.isolation.level=read_committed
consumer.session.timeout.ms=6000
consumer.heartbeat.interval.ms=1000
plugin.discovery=service_load
offset.flush.interval.ms=500
session.timeout.ms=6000
heartbeat.interval.ms=1000
scheduled.rebalance.max.delay.ms=1000
";

struct Worker {
    port: u16,
    log: PathBuf,
    settings: PathBuf,
    process: Option<Process>,
}

/// Where a connector's task runs, and how.
#[derive(Debug, PartialEq)]
pub struct TaskState {
    pub worker: usize,
    pub state: String,
}

pub struct Workers {
    /// The framework of which the jars are.
    framework: &'static str,
    workers: Vec<Worker>,
}

impl Workers {
    /// Two workers of one group; `plugins` are folders beside each other.
    pub fn start(framework: &'static str, cluster: &Cluster, plugins: Option<&Path>) -> Workers {
        let dir = fresh_dir(framework);
        let workers = (0..2).map(|n| {
            let port = ports::block(1);
            let settings = dir.join(format!("worker-{n}.properties"));
            let mut text = format!("bootstrap.servers={}\n", cluster.bootstrap());
            text += &format!("listeners=http://127.0.0.1:{port}\n");
            text += &plugins.map(|it| format!("plugin.path={}", it.display())).unwrap_or_default();
            fs::write(&settings, text + SETTINGS).unwrap();
            Worker { port, log: dir.join(format!("worker-{n}.log")), settings, process: None }
        });
        let mut workers = Workers { framework, workers: workers.collect() };
        (0..2).for_each(|n| workers.run(n));
        for n in 0..2 {
            workers.wait("a worker answers", |all| all.ask(n, "GET", "/connectors", None));
        }
        workers
    }

    /// Starts the process of a worker; does not wait until it answers.
    pub fn run(&mut self, n: usize) {
        let worker = &mut self.workers[n];
        let log = File::options().create(true).append(true).open(&worker.log).unwrap();
        let mut command = process::command("java");
        command.args(["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.arg("-Dlog4j2.level=INFO").arg("-cp");
        command.arg(installed(&format!("frameworks/{}", self.framework)).join("lib").join("*"));
        command.arg("org.apache.kafka.connect.cli.ConnectDistributed").arg(&worker.settings);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        worker.process = Some(Process::spawn(command));
    }

    pub fn kill9(&mut self, n: usize) {
        self.workers[n].process.take().expect("a running worker").kill9();
    }

    /// The process of a worker that runs.
    pub fn process(&self, n: usize) -> &Process {
        self.workers[n].process.as_ref().expect("a running worker")
    }

    fn ask(&self, n: usize, method: &str, path: &str, body: Option<&Value>) -> Option<Answer> {
        let url = format!("http://127.0.0.1:{}{path}", self.workers[n].port);
        let body = body.map(Value::to_string);
        let answer = http::request_within(LONG, method, &url, body.as_deref())?;
        // While the workers rebalance, or their leader is gone, they ask to be asked again.
        (!matches!(answer.status, 404 | 409 | 500 | 503)).then_some(answer)
    }

    /// Asks the first worker that runs.
    pub fn get(&self, path: &str) -> Option<Value> {
        let n = self.workers.iter().position(|worker| worker.process.is_some())?;
        Some(self.ask(n, "GET", path, None)?.ok())
    }

    /// Creates a connector with these settings.
    pub fn connector(&self, name: &str, settings: &Value) {
        let path = format!("/connectors/{name}/config");
        let put = |all: &Workers| Some(all.ask(0, "PUT", &path, Some(settings))?.ok());
        let made = self.wait("a connector is made", put);
        assert_eq!(made["name"], name);
    }

    /// Stops a connector, of which no task is left then.
    pub fn stop(&self, connector: &str) {
        let path = format!("/connectors/{connector}");
        self.wait("a connector is told to stop", |all| {
            Some(all.ask(0, "PUT", &format!("{path}/stop"), None)?.ok())
        });
        self.wait("a connector has stopped", |all| {
            let status = all.get(&format!("{path}/status"))?;
            (status["connector"]["state"] == "STOPPED" && all.tasks(connector)?.is_empty())
                .then_some(())
        });
    }

    /// The tasks of a connector in their order, as Connect's REST interface has them.
    pub fn tasks(&self, connector: &str) -> Option<Vec<TaskState>> {
        let status = self.get(&format!("/connectors/{connector}/status"))?;
        let task = |task: &Value| {
            let at = task["worker_id"].as_str()?;
            let worker = |it: &Worker| at == format!("127.0.0.1:{}", it.port);
            let state = task["state"].as_str()?.to_owned();
            assert_ne!(state, "FAILED", "{connector}: {task:#}\n{}", self.report());
            Some(TaskState { worker: self.workers.iter().position(worker)?, state })
        };
        status["tasks"].as_array()?.iter().map(task).collect()
    }

    /// Waits until so many tasks of a connector run, each at a living worker; gives their workers.
    pub fn running(&self, connector: &str, count: usize) -> Vec<usize> {
        self.wait(&format!("{count} tasks of {connector} run"), |all| {
            let tasks = all.tasks(connector)?;
            let well =
                |it: &TaskState| it.state == "RUNNING" && all.workers[it.worker].process.is_some();
            (tasks.len() == count && tasks.iter().all(well))
                .then(|| tasks.iter().map(|it| it.worker).collect())
        })
    }

    /// Waits for a state; if it does not come, the report has the ends of the workers' logs.
    pub fn wait<T>(&self, what: &str, mut state: impl FnMut(&Workers) -> Option<T>) -> T {
        wait::maybe(LONG, || state(self))
            .unwrap_or_else(|| panic!("not within {LONG:?}: {what}\n{}", self.report()))
    }

    pub fn report(&self) -> String {
        let tail =
            |it: &Worker| format!("===== {}\n{}\n", it.log.display(), logs::tail(&it.log, 60));
        self.workers.iter().map(tail).collect()
    }
}
