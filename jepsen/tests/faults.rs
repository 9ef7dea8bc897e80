//! Every class of fault, once or more, on a cluster of real brokers under load: each begins, proves that it bit, ends,
//! and leaves a cluster that becomes whole again.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails; what the faults did is worth reading then"
)]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use quorate_jepsen::fault::{self, Outcome};
use quorate_jepsen::sandbox::{Cluster, DiskKind, Process, Shim, Spec, within};
use rand::SeedableRng;
use rand::rngs::StdRng;

fn spec(name: &str) -> Spec {
    let binary = std::env::var_os("TEST_BROKER").expect("TEST_BROKER is the path of bin/quorate");
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{name}"));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    Spec {
        binary: binary.into(),
        shim: Shim::find(None).expect("build quorate-jepsen-shim first"),
        dir,
        brokers: 3,
        spares: 4,
        client_groups: 2,
        disk: DiskKind::IMAGE,
        seed: 7,
        settings: Vec::new(),
        descriptors: None,
    }
}

/// A client that writes without end, whatever happens.
fn load(cluster: &Cluster) -> Process {
    let servers: Vec<String> = cluster.addresses().iter().map(|it| it.kafka.to_string()).collect();
    let produce = format!(
        "while :; do seq 1 300 | {} produce t0 --server {}; done",
        cluster.spec().binary.display(),
        servers.join(",")
    );
    let mut command = Command::new("sh");
    command.args(["-c", &produce]).stdout(Stdio::null()).stderr(Stdio::null());
    Process::new(cluster.client_host(1).spawn(&mut command).unwrap())
}

/// Begins and ends a fault, with some time in between; whether it bit.
fn strike(cluster: &mut Cluster, name: &str, seed: u64, between: Duration) -> bool {
    let mut fault = fault::find(name).unwrap().make();
    let mut random = StdRng::seed_from_u64(seed);
    let started = Instant::now();
    let begun = fault.begin(cluster, &mut random).unwrap();
    println!("  {name} {seed} begins: {} [{:.1?}]", begun.words(), started.elapsed());
    if matches!(begun, Outcome::Skipped { .. }) {
        return false;
    }
    std::thread::sleep(between);
    let started = Instant::now();
    let ended = fault.end(cluster).unwrap();
    println!("  {name} {seed} ends: {} [{:.1?}]", ended.words(), started.elapsed());
    matches!((begun, ended), (Outcome::Installed { .. }, Outcome::Installed { .. }))
}

#[test]
fn every_fault_bites_and_the_cluster_is_whole_afterwards() {
    if !within("every_fault_bites_and_the_cluster_is_whole_afterwards") {
        return;
    }
    let mut cluster = Cluster::start(&spec("all")).unwrap();
    let admin = cluster.admin();
    for topic in 0..3 {
        admin.create_topic(&format!("t{topic}"), 2, 3, &[]).unwrap();
    }
    let _load = load(&cluster);
    let only = std::env::var("FAULTS_ONLY").unwrap_or_default();
    let rounds: u64 = std::env::var("FAULTS_ROUNDS").map_or(1, |it| it.parse().unwrap());
    let mut dull = Vec::new();
    for row in fault::all()
        .iter()
        .filter(|row| only.is_empty() || only.split(",").any(|it| it == row.name))
    {
        let mut bit = false;
        // A fault may find nothing to do with one seed; not with all.
        for seed in 0..10.max(rounds) {
            if bit && seed >= rounds {
                break;
            }
            bit |= strike(&mut cluster, row.name, seed, Duration::from_millis(1_200));
            let started = Instant::now();
            cluster.heal().unwrap();
            println!("  healed in {:.1?}", started.elapsed());
        }
        if !bit {
            dull.push(row.name);
        }
        let findings = cluster.findings();
        assert!(findings.is_empty(), "after {}: {findings:#?}", row.name);
    }
    assert!(dull.is_empty(), "never bit: {dull:?}");
    let dir = cluster.spec().dir.clone();
    cluster.discard();
    std::fs::remove_dir_all(dir).unwrap();
}
