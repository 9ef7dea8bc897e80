//! One run from start to verdict: a cluster in a sandbox, a workload, faults, healing, final reads, judgement.
//!
//! What the run keeps is a directory: the history, the brokers' logs, the report. A run that could not be carried
//! out has the verdict unknown, never valid.

mod coverage;
mod evidence;
mod plan;
mod progress;
mod stage;
mod strike;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::checker::{self, Finding, Verdict};
use crate::environment::{Env, Phase, Settings, Worker};
use crate::history::{Edn, Kind, Recorder};
use crate::report::{self, Report};
use crate::sandbox::{Cluster, Host, Spec};
use crate::summary::Summary;
use crate::workload::{self, Workload};

pub use coverage::Demand;
pub use evidence::Sign;
pub use plan::{Plan, Script, Tools};
pub use progress::say;
pub use stage::{Stage, Used, between};
pub use strike::{Struck, resting};

/// A request without an answer for this long is indeterminate.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// How long replicas may take to agree and to be read.
const REPLICAS: Duration = Duration::from_secs(60);
/// How long final reads may take, and workers after that to notice that it is over.
const FINAL: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(20);

/// What a run came to.
pub struct Done {
    pub verdict: Verdict,
    pub findings: Vec<Finding>,
    /// Completed operations.
    pub operations: usize,
    /// Faults that bit.
    pub faults: usize,
    pub took: Duration,
    pub dir: PathBuf,
}

impl Done {
    fn write_summary(&self, plan: &Plan) -> anyhow::Result<()> {
        let summary = Summary {
            name: plan.name.clone(),
            seed: plan.seed,
            verdict: self.verdict,
            operations: self.operations,
            faults: self.faults,
            seconds: self.took.as_secs_f64(),
            anomalies: self.anomalies().into_iter().map(str::to_owned).collect(),
        };
        let path = self.dir.join(Summary::FILE);
        Ok(std::fs::write(path, serde_json::to_string_pretty(&summary)?)?)
    }

    /// Names of what was found wrong, in order of their weight.
    pub fn anomalies(&self) -> Vec<&str> {
        let wrong = self.findings.iter().filter(|finding| finding.verdict != Verdict::Valid);
        wrong.map(|finding| finding.anomaly.as_str()).collect()
    }
}

/// Carries a plan out. The process has to be inside a sandbox.
pub fn run(plan: &Plan, tools: &Tools) -> anyhow::Result<Done> {
    let started = Instant::now();
    let dir = fresh_dir(&tools.out, plan)?;
    let workload = workload::find(&plan.workload)
        .with_context(|| format!("there is no workload {:?}", plan.workload))?;
    say(format!("{}: seed {}, data in {}", plan.name, plan.seed, dir.display()));
    let mut cluster = Cluster::start(&spec(plan, &workload, tools, &dir))?;
    let recorder = Recorder::create(&dir.join("history.edn"))?;
    let env = Env::new(settings(plan), recorder, cluster.addresses());
    cluster.client_host(0).run(|| workload.prepare(&env))??;
    say(format!("{} brokers, {} clients, {} s", plan.brokers, plan.workers, plan.time.as_secs()));
    let workload = Arc::new(workload);
    let workers = start_workers(plan, &cluster, &env, &workload)?;
    let began = Instant::now();
    let mut stage = Stage::new(&mut cluster, &env, plan);
    let scripted = (plan.script)(&mut stage);
    let (faults, mut evidence) = stage.finish();
    let main = began.elapsed();
    let mut findings: Vec<Finding> =
        tester_failed("the script of faults", scripted).into_iter().collect();
    say("healing".to_owned());
    findings.extend(tester_failed("healing", cluster.heal()));
    *env.brokers.write() = cluster.addresses();
    env.recorder.nemesis("healed", Edn::Nil)?;
    env.enter(Phase::Final);
    findings.extend(finish_workers(&env, workers));
    let compared = workload::replicas::compare(&env, &workload.partitions(), REPLICAS);
    findings.extend(compared.unwrap_or_else(|error| {
        tester_failed("comparing replicas", Err(error)).into_iter().collect()
    }));
    evidence.ask(&cluster);
    cluster.stop_all();
    findings.extend(cluster.findings());
    say("checking".to_owned());
    let history = env.recorder.ops();
    findings.extend(workload.check(&history));
    evidence.read(&history, &workload.partitions());
    findings.extend(coverage::check(plan, main, &history, &faults, &evidence));
    let verdict = checker::verdict(&findings);
    let report = Report::new(plan, verdict, &findings, &faults, &cluster.logs());
    report::write(&dir, &report, &history)?;
    if verdict == Verdict::Valid {
        // Hundreds of megabytes that nobody will look at.
        cluster.discard();
    }
    let done = Done {
        verdict,
        operations: history.iter().filter(|op| op.kind != Kind::Invoke).count(),
        faults: faults.iter().filter(|fault| fault.bit()).count(),
        took: started.elapsed(),
        findings,
        dir,
    };
    done.write_summary(plan)?;
    Ok(done)
}

/// A directory that no earlier run has left anything in.
fn fresh_dir(out: &Path, plan: &Plan) -> anyhow::Result<PathBuf> {
    let dir = out.join(format!("{}-{}", plan.name, plan.seed));
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}

fn spec(plan: &Plan, workload: &Workload, tools: &Tools, dir: &Path) -> Spec {
    // Replicas that hold different states are found within a run.
    let needed = [("raft.compare_ms", "1000")].iter().chain(workload.broker_settings());
    let needed = needed.map(|&(key, value)| (key.to_owned(), value.to_owned()));
    Spec {
        binary: tools.binary.clone(),
        shim: tools.shim.clone(),
        dir: dir.to_owned(),
        brokers: plan.brokers,
        spares: plan.spares,
        client_groups: plan.client_groups,
        disk: plan.disk,
        seed: plan.seed,
        settings: plan.settings.iter().cloned().chain(needed).collect(),
        descriptors: plan.descriptors,
    }
}

fn settings(plan: &Plan) -> Settings {
    Settings {
        seed: plan.seed,
        workers: plan.workers,
        rate: plan.rate,
        replication: plan.replication,
        partitions: plan.partitions,
        request_timeout: REQUEST_TIMEOUT,
        final_time: FINAL,
    }
}

type Running = JoinHandle<anyhow::Result<()>>;

fn start_workers(
    plan: &Plan,
    cluster: &Cluster,
    env: &Arc<Env>,
    workload: &Arc<Workload>,
) -> anyhow::Result<Vec<Running>> {
    let start = |number: usize| {
        let group = number % plan.client_groups;
        let (host, workload) = (cluster.client_host(group), Arc::clone(workload));
        let worker = Worker {
            env: Arc::clone(env),
            number,
            group,
            random: StdRng::seed_from_u64(plan.seed ^ (number as u64 + 1) << 32),
            started: Instant::now(),
        };
        let thread = std::thread::Builder::new().name(format!("worker-{number}"));
        Ok(thread.spawn(move || work(&host, &workload, worker))?)
    };
    (0..plan.workers).map(start).collect()
}

fn work(host: &Host, workload: &Workload, mut worker: Worker) -> anyhow::Result<()> {
    host.enter()?;
    workload.work(&mut worker)
}

/// Waits for the final reads; workers that are not through when their time is over are told so.
fn finish_workers(env: &Env, workers: Vec<Running>) -> Vec<Finding> {
    say("final reads".to_owned());
    let deadline = Instant::now() + FINAL;
    while workers.iter().any(|worker| !worker.is_finished()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    env.enter(Phase::Over);
    let deadline = Instant::now() + GRACE;
    let mut findings = Vec::new();
    for worker in workers {
        while !worker.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let ended = if worker.is_finished() {
            worker.join().unwrap_or_else(|_| Err(anyhow!("it panicked")))
        } else {
            Err(anyhow!("it hangs"))
        };
        findings.extend(tester_failed("a worker", ended));
    }
    findings
}

/// An error of the tester proves nothing about the broker, so the verdict cannot be valid.
fn tester_failed(what: &str, outcome: anyhow::Result<()>) -> Option<Finding> {
    let error = outcome.err()?;
    let case = format!("{what}: {error:#}");
    Some(Finding::new("tester-failed", Verdict::Unknown, vec![case]))
}
