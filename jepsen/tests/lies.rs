//! A positive control: on disks that lie about syncs no broker can keep its promises, so the tester has to say so.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::PathBuf;
use std::time::Duration;

use quorate_jepsen::checker::Verdict;
use quorate_jepsen::run::{self, Plan, Stage, Tools};
use quorate_jepsen::sandbox::{DiskKind, Shim, within};

/// Two of three disks lie. What they write while the third broker is away is acknowledged and nowhere.
const LIARS: [u64; 2] = [1, 2];
const AWAY: u64 = 3;

fn lying(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    stage.rest(1.0);
    stage.begin("lying-sync", "brokers 1 and 2", |cluster| {
        LIARS.iter().try_for_each(|id| cluster.broker(*id)?.shim.lie(true))?;
        cluster.kill(AWAY)
    })?;
    stage.rest(2.0);
    stage.end("lying-sync", "the power is cut", |cluster| {
        let lied: u64 =
            LIARS.map(|id| cluster.broker(id).unwrap().shim.hits().syncs_lied).iter().sum();
        cluster.cut_power(&LIARS)?;
        for id in LIARS {
            cluster.broker(id)?.shim.lie(false)?;
            cluster.restore_power(id)?;
            cluster.start_broker(id)?;
        }
        cluster.start_broker(AWAY)?;
        anyhow::ensure!(lied > 0, "nothing was synced meanwhile");
        Ok(format!("{lied} syncs did nothing"))
    })
}

#[test]
fn lying_disks_of_a_majority_are_found_out() {
    if !within("lying_disks_of_a_majority_are_found_out") {
        return;
    }
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("lies");
    let _ = std::fs::remove_dir_all(&out);
    std::fs::create_dir_all(&out).unwrap();
    let binary = std::env::var_os("TEST_BROKER").expect("TEST_BROKER is the path of bin/quorate");
    let shim = Shim::find(None).expect("build quorate-jepsen-shim first");
    let tools = Tools { binary: binary.into(), shim, out: out.clone() };
    let mut plan = Plan::new("lies", "queue", lying);
    // Time enough to write as much again, so that final reads do not wait for offsets that are gone.
    plan.time = Duration::from_secs(12);
    plan.disk = DiskKind::IMAGE;
    let done = run::run(&plan, &tools).unwrap();
    let anomalies = done.anomalies();
    assert_eq!((done.verdict, done.faults), (Verdict::Invalid, 1), "{anomalies:?}");
    let told = ["lost-write", "broker-ended"];
    assert!(anomalies.iter().any(|anomaly| told.contains(anomaly)), "{anomalies:?}");
    std::fs::remove_dir_all(out).unwrap();
}
