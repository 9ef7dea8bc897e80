//! A positive control: on disks that lie about syncs no broker can keep its promises, so the tester has to say so.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use quorate_jepsen::admin::wait;
use quorate_jepsen::checker::{self, Verdict};
use quorate_jepsen::environment::{Env, Phase, Settings, Worker};
use quorate_jepsen::history::{Body, Kind, Op, Recorder};
use quorate_jepsen::sandbox::{Cluster, DiskKind, Shim, Spec, within};
use quorate_jepsen::workload;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Two of three disks lie. What they write while the third broker is away is acknowledged and nowhere.
const LIARS: [u64; 2] = [1, 2];
const AWAY: u64 = 3;
const WORKERS: usize = 4;
/// Sends that are acknowledged and lost.
const LOST: usize = 150;
/// Until clients have succeeded as often as asked for.
const SOON: Duration = Duration::from_secs(30);
/// How long final reads may take. They may wait for offsets that are gone, so that they need not succeed.
const FINAL: Duration = Duration::from_secs(6);

fn cluster() -> Cluster {
    let binary = std::env::var_os("TEST_BROKER").expect("TEST_BROKER is the path of bin/quorate");
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("lies");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let spec = Spec {
        binary: binary.into(),
        shim: Shim::find(None).expect("build quorate-jepsen-shim first"),
        dir,
        brokers: 3,
        spares: 0,
        client_groups: 1,
        disk: DiskKind::IMAGE,
        seed: 7,
        settings: Vec::new(),
        descriptors: None,
    };
    Cluster::start(&spec).unwrap()
}

fn sends(ops: &[Op]) -> usize {
    ops.iter().filter(|op| op.kind == Kind::Ok && matches!(op.body, Body::Send(_))).count()
}

/// Waits until clients have sent so many more times.
fn await_sends(env: &Env, more: usize, limit: Duration) -> Option<()> {
    let before = sends(&env.recorder.ops());
    wait(limit, || (sends(&env.recorder.ops()) >= before + more).then_some(()))
}

/// Acknowledged writes of two liars lose their power; then all three go on.
fn lie(cluster: &mut Cluster, env: &Env) {
    await_sends(env, 50, SOON).expect("clients write");
    for id in LIARS {
        cluster.broker(id).unwrap().shim.lie(true).unwrap();
    }
    cluster.kill(AWAY).unwrap();
    await_sends(env, LOST, SOON).expect("clients write what is nowhere");
    for id in LIARS {
        assert!(cluster.broker(id).unwrap().shim.hits().syncs_lied > 0, "broker {id} told no lie");
    }
    cluster.cut_power(&LIARS).unwrap();
    for id in LIARS {
        cluster.broker(id).unwrap().shim.lie(false).unwrap();
        cluster.restore_power(id).unwrap();
        cluster.start_broker(id).unwrap();
    }
    cluster.start_broker(AWAY).unwrap();
    // Reads have to come past what is lost. Brokers that refuse to start, or to agree, are found out without.
    await_sends(env, 2 * LOST, SOON / 3);
}

#[test]
fn lying_disks_of_a_majority_are_found_out() {
    if !within("lying_disks_of_a_majority_are_found_out") {
        return;
    }
    let mut cluster = cluster();
    let settings = Settings {
        seed: 7,
        workers: WORKERS,
        rate: 200.0,
        replication: 3,
        partitions: 2,
        request_timeout: Duration::from_secs(2),
        final_time: FINAL,
    };
    let dir = cluster.spec().dir.clone();
    let recorder = Recorder::create(&dir.join("history.edn")).unwrap();
    let env = Env::new(settings, recorder, cluster.addresses());
    let workload = Arc::new(workload::find("queue").unwrap());
    cluster.client_host(0).run(|| workload.prepare(&env)).unwrap().unwrap();
    let start = |number: usize| {
        let (host, workload) = (cluster.client_host(0), Arc::clone(&workload));
        let random = StdRng::seed_from_u64(number as u64);
        let (env, started) = (Arc::clone(&env), Instant::now());
        let mut worker = Worker { env, number, group: 0, random, started };
        thread::spawn(move || {
            host.enter().unwrap();
            workload.work(&mut worker).unwrap();
        })
    };
    let workers: Vec<_> = (0..WORKERS).map(start).collect();
    lie(&mut cluster, &env);
    env.enter(Phase::Final);
    wait(FINAL, || workers.iter().all(thread::JoinHandle::is_finished).then_some(()));
    env.enter(Phase::Over);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    cluster.watch();
    let mut findings = cluster.findings();
    findings.extend(workload.check(&env.recorder.ops()));
    assert_eq!(checker::verdict(&findings), Verdict::Invalid, "{findings:#?}");
    let told = |name: &str| findings.iter().any(|finding| finding.anomaly == name);
    let loss = ["lost-write", "inconsistent-offsets", "final-reads-incomplete", "broker-ended"];
    assert!(loss.into_iter().any(told), "{findings:#?}");
    cluster.discard();
    std::fs::remove_dir_all(dir).unwrap();
}
