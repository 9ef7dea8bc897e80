//! Test suites that come with clients, run as their authors wrote them against a cluster of three. A list beside this
//! file says of every test of a suite whether it is run, and if not, why; it only grows. `make test-librdkafka`,
//! `make test-franz-go` and `make test-kafka-python` run what their lists allow, and nothing where a test is not listed;
//! `make test-librdkafka-short` runs what of the first takes seconds. `make test-log-compaction` runs the one test that
//! Kafka has of compaction against running brokers.

mod franz_go;
mod kafka_python;
mod librdkafka;
mod list;
mod log_compaction;

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::cluster::{Cluster, fresh_dir};
use crate::support::process::Process;
use crate::support::{logs, wait};

/// How long one process of a suite may take; the longest needs three minutes on an idle machine.
const LIMIT: Duration = Duration::from_secs(900);

/// How many run at a time: nearly all of them wait nearly always.
const AT_A_TIME: usize = 3;

/// What suites expect of brokers. New members of a group wait for each other half a second: tests that subscribe twice
/// count on one rebalance for both.
const SETTINGS: [(&str, &str); 4] = [
    ("QUORATE_TOPICS_PARTITIONS", "4"),
    ("QUORATE_GROUPS_INITIAL_REBALANCE_DELAY_MS", "500"),
    ("QUORATE_GROUPS_SESSION_TIMEOUT_MIN_MS", "100"),
    // Hundreds of topics stay until the end, and comparing their replicas is not what this is about.
    ("QUORATE_RAFT_COMPARE_MS", "10000"),
];

/// Makes the command for these bootstrap servers; what it writes besides its log goes to that directory.
pub type MakeCommand = Box<dyn Fn(&str, &Path) -> Command + Send + Sync>;

/// Says by its log what is wrong although it ended well.
pub type Doubt = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// One process that runs a test, or a part of one.
pub struct Run {
    pub title: String,
    /// Whether asking for a topic makes it.
    pub auto_create: bool,
    /// Whether nothing else of the suite runs at that time.
    pub alone: bool,
    pub command: MakeCommand,
    pub doubt: Doubt,
}

#[test]
fn every_test_of_librdkafkas_suite_is_listed_once() {
    list::check(&librdkafka::rows(), &librdkafka::names());
}

#[test]
fn the_readme_counts_what_the_lists_say() {
    let readme = include_str!("clients/README.md");
    let suites = [
        ("librdkafka", librdkafka::rows()),
        ("franz-go", franz_go::rows()),
        ("kafka-python", kafka_python::rows()),
    ];
    for (suite, rows) in suites {
        let row = format!("| `make test-{suite}` | {} |", list::counts(&rows));
        assert!(readme.contains(&row), "the README has no row {row}");
    }
}

/// Left out of `make test` for the time they take and for what has to be built before.
mod short {
    #[test]
    fn librdkafka() {
        super::run_all("librdkafka", super::librdkafka::runs(true));
    }
}

mod long {
    #[test]
    fn librdkafka() {
        super::run_all("librdkafka", super::librdkafka::runs(false));
    }

    #[test]
    fn franz_go() {
        super::run_all("franz-go", super::franz_go::runs());
    }

    #[test]
    fn kafka_python() {
        super::run_all("kafka-python", super::kafka_python::runs());
    }

    #[test]
    fn log_compaction() {
        super::log_compaction::run();
    }
}

/// Runs all, says how each went, and fails if one failed. `SUITE_TESTS` names those to run, by parts of their titles.
fn run_all(suite: &str, mut runs: Vec<Run>) {
    let wanted = std::env::var("SUITE_TESTS").unwrap_or_default();
    let wanted: Vec<&str> = wanted.split([' ', ',']).filter(|part| !part.is_empty()).collect();
    runs.retain(|run| wanted.is_empty() || wanted.iter().any(|part| run.title.contains(part)));
    assert!(!runs.is_empty(), "no run of {suite} has {wanted:?} in its title");
    let (count, started) = (runs.len(), Instant::now());
    let place = fresh_dir(suite);
    let mut clusters = BTreeMap::new();
    for run in &runs {
        clusters.entry(run.auto_create).or_insert_with(|| cluster(suite, run.auto_create));
    }
    let (alone, others): (Vec<Run>, Vec<Run>) = runs.into_iter().partition(|run| run.alone);
    let mut failed = run_at_a_time(AT_A_TIME, others, &clusters, &place);
    failed.extend(run_at_a_time(1, alone, &clusters, &place));
    let seconds = started.elapsed().as_secs();
    eprintln!("{suite}: {} passed, {} failed, {seconds} s", count - failed.len(), failed.len());
    assert!(
        failed.is_empty(),
        "failed: {failed:?}\nTheir logs are in {}. One by itself: make test-{suite} TESTS={}",
        place.display(),
        failed[0].split_whitespace().next().unwrap_or_default(),
    );
}

/// The titles of those that failed.
fn run_at_a_time(
    limit: usize,
    runs: Vec<Run>,
    clusters: &BTreeMap<bool, Cluster>,
    place: &Path,
) -> Vec<String> {
    let queue = Mutex::new(VecDeque::from(runs));
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..limit {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(run) = next else { break };
                    if !went_well(&run, &clusters[&run.auto_create], place) {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(run.title);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}

fn cluster(suite: &str, auto_create: bool) -> Cluster {
    let auto_create = auto_create.to_string();
    let settings: Vec<(&str, &str)> =
        SETTINGS.into_iter().chain([("QUORATE_TOPICS_AUTO_CREATE", &*auto_create)]).collect();
    Cluster::start_with(suite, 3, &settings)
}

fn went_well(run: &Run, cluster: &Cluster, place: &Path) -> bool {
    let title = &run.title;
    let place = place.join(title.replace(|c: char| !c.is_alphanumeric() && c != '_', "-"));
    fs::create_dir_all(&place).unwrap();
    let log = place.join("log");
    let started = Instant::now();
    let wrong = wrong(run, cluster, &place, &log);
    let seconds = started.elapsed().as_secs_f32();
    match &wrong {
        None => eprintln!("ok     {title} ({seconds:.1} s)"),
        Some(wrong) => {
            eprintln!("FAILED {title} ({seconds:.1} s): {wrong}\n{}", logs::tail(&log, 30));
        }
    }
    wrong.is_none()
}

fn wrong(run: &Run, cluster: &Cluster, place: &Path, log: &PathBuf) -> Option<String> {
    let mut command = (run.command)(&cluster.bootstrap(), place);
    let out = File::create(log).unwrap();
    command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
    let mut process = Process::spawn(command);
    let Some(status) = wait::maybe(LIMIT, || process.ended()) else {
        return Some(format!("still running after {LIMIT:?}"));
    };
    if !status.success() {
        return Some(status.to_string());
    }
    let text = String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned();
    (run.doubt)(&text)
}
