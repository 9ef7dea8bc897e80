//! Where a write-ahead log may end: a broker starts with whatever a power loss can have left behind the last sync, and
//! refuses what only rot can have done to what comes before it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use quorate_jepsen::admin::wait;
use quorate_jepsen::sandbox::{Cluster, DiskKind, Process, Shim, Spec, State, within};

const SOON: Duration = Duration::from_secs(30);
/// Long enough to write something that is not synced yet.
const SLOW: Duration = Duration::from_millis(400);
/// Less could be the header of one record.
const UNSYNCED_MIN: u64 = 200;

fn alone() -> Spec {
    let binary = std::env::var_os("TEST_BROKER").expect("TEST_BROKER is the path of bin/quorate");
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("torn");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    Spec {
        binary: binary.into(),
        shim: Shim::find(None).expect("build quorate-jepsen-shim first"),
        dir,
        brokers: 1,
        spares: 0,
        client_groups: 1,
        disk: DiskKind::Plain,
        seed: 7,
        settings: Vec::new(),
        descriptors: None,
    }
}

/// Clients that write without end, whatever happens, so that there is always more to sync.
fn load(cluster: &Cluster) -> Vec<Process> {
    let produce = format!(
        "while :; do seq 1 300 | {} produce t --server {}; done",
        cluster.spec().binary.display(),
        cluster.addresses()[0].kafka
    );
    let client = |_| {
        let mut command = Command::new("sh");
        command.args(["-c", &produce]).stdout(Stdio::null()).stderr(Stdio::null());
        Process::new(cluster.client_host(0).spawn(&mut command).unwrap())
    };
    (0..4).map(client).collect()
}

/// The newest log, its length, and how much of that was synced.
fn newest(cluster: &Cluster) -> Option<(PathBuf, u64, u64)> {
    fn logs(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                logs(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "log") {
                found.push(path);
            }
        }
    }
    let broker = cluster.broker(1).unwrap();
    let mut found = Vec::new();
    logs(&broker.disk.data, &mut found);
    let newest = found.into_iter().max()?;
    let number = newest.file_stem()?.to_str()?.parse().ok()?;
    let synced = broker.shim.synced_length(number)?;
    let length = fs::metadata(&newest).ok()?.len();
    Some((newest, length, synced))
}

/// Kills the broker while its newest log has an unsynced end.
fn kill_with_a_tail(cluster: &mut Cluster) -> (PathBuf, u64, u64) {
    let tailed = |it: &(PathBuf, u64, u64)| it.2 > UNSYNCED_MIN && it.1 >= it.2 + UNSYNCED_MIN;
    let mut tries = 0;
    loop {
        cluster.broker(1).unwrap().shim.slow_sync(SLOW).unwrap();
        let found = wait(SOON, || newest(cluster).filter(tailed));
        found.expect("a log with an unsynced end");
        cluster.kill(1).unwrap();
        cluster.broker(1).unwrap().shim.slow_sync(Duration::ZERO).unwrap();
        // A sync may have come in between.
        if let Some(found) = newest(cluster).filter(tailed) {
            return found;
        }
        tries += 1;
        assert!(tries < 10, "every kill came just after a sync");
        start(cluster);
    }
}

fn start(cluster: &mut Cluster) {
    cluster.start_broker(1).unwrap();
    assert!(cluster.wait_ready(1, SOON), "{}", cluster.last_words(1));
}

#[test]
fn a_torn_end_is_accepted_and_a_log_that_ends_before_its_last_sync_is_refused() {
    let name = "a_torn_end_is_accepted_and_a_log_that_ends_before_its_last_sync_is_refused";
    if !within(name) {
        return;
    }
    let mut cluster = Cluster::start(&alone()).unwrap();
    cluster.admin().create_topic("t", 1, 1, &[]).unwrap();
    let load = load(&cluster);
    let log = |path: &Path| File::options().write(true).open(path).unwrap();

    let (newest, _, synced) = kill_with_a_tail(&mut cluster);
    log(&newest).set_len(synced).unwrap();
    let garbage: Vec<u8> = (0..5_000_u32).map(|at| (at * at % 251) as u8).collect();
    log(&newest).write_all_at(&garbage, synced).unwrap();
    start(&mut cluster);

    let (newest, length, synced) = kill_with_a_tail(&mut cluster);
    log(&newest).set_len(synced + (length - synced) / 2).unwrap();
    start(&mut cluster);

    let (newest, _, synced) = kill_with_a_tail(&mut cluster);
    let whole = fs::read(&newest).unwrap();
    cluster.may_end(1, "its log is too short", &[""]);
    for end in [synced / 2, synced - 1] {
        log(&newest).set_len(end).unwrap();
        cluster.start_broker(1).unwrap();
        assert!(!cluster.wait_ready(1, SOON), "{end} of {synced} synced bytes were enough");
        cluster.watch();
        assert_eq!(cluster.broker(1).unwrap().last_end(), Some("exit code 3"));
        assert!(cluster.last_words(1).contains("damaged"), "{}", cluster.last_words(1));
    }
    cluster.no_longer(1, "its log is too short");
    fs::write(&newest, whole).unwrap();
    start(&mut cluster);
    assert_eq!(cluster.broker(1).unwrap().state(), State::Running);

    drop(load);
    cluster.stop_all();
    let findings = cluster.findings();
    assert!(findings.is_empty(), "{findings:#?}");
    let dir = cluster.spec().dir.clone();
    cluster.discard();
    fs::remove_dir_all(dir).unwrap();
}
