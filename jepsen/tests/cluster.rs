//! A cluster in the sandbox: real brokers that are killed, paused, cut off and healed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use quorate_jepsen::admin::wait;
use quorate_jepsen::net::HostId;
use quorate_jepsen::sandbox::{Cluster, DiskKind, Share, Shim, Spec, State, within};

fn spec(name: &str, disk: DiskKind) -> Spec {
    let binary = std::env::var_os("TEST_BROKER").expect("TEST_BROKER is the path of bin/quorate");
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("cluster-{name}"));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let shim = Shim::find(None).expect("build quorate-jepsen-shim first");
    Spec {
        binary: binary.into(),
        shim,
        dir,
        brokers: 3,
        spares: 1,
        client_groups: 2,
        disk,
        seed: 7,
        settings: Vec::new(),
        descriptors: None,
    }
}

fn between(one: HostId, others: &[HostId]) -> Vec<(HostId, HostId)> {
    others.iter().flat_map(|other| [(one, *other), (*other, one)]).collect()
}

#[test]
fn brokers_are_killed_paused_cut_off_and_without_power_and_are_whole_again() {
    if !within("brokers_are_killed_paused_cut_off_and_without_power_and_are_whole_again") {
        return;
    }
    let started = Instant::now();
    let lap = |what: &str| println!("{:6.2} {what}", started.elapsed().as_secs_f64());
    let mut cluster = Cluster::start(&spec("blows", DiskKind::IMAGE)).unwrap();
    lap("whole");
    assert!(cluster.brokers()[..3].iter().all(|broker| broker.shim.loaded()));
    cluster.admin().create_topic("t", 4, 3, &[]).unwrap();
    println!("{}", cluster.pause(2).unwrap());
    println!("{}", cluster.kill(3).unwrap());
    cluster.heal().unwrap();
    lap("healed");
    let links = between(1, &[2, 3]);
    let before = cluster.network().counters(&links);
    cluster.network().adjust(&links, |rule| rule.cut = true);
    let moved = wait(Duration::from_secs(20), || {
        let admin = cluster.admin();
        let others = quorate_jepsen::admin::Admin::new(admin.brokers()[1..].to_vec());
        let topic = others.topic("t").ok()?;
        topic.partitions.iter().all(|it| it.leader.is_some_and(|id| id != 1)).then_some(())
    });
    assert!(moved.is_some(), "the others lead");
    println!("{}", cluster.network().counters(&links).since(&before));
    cluster.heal().unwrap();
    lap("healed");
    println!("{:?}", cluster.cut_power(&[1, 2, 3]).unwrap());
    cluster.heal().unwrap();
    lap("healed");
    assert_eq!(cluster.admin().topic("t").unwrap().partitions.len(), 4);
    let added = cluster.add_broker().unwrap();
    assert_eq!((added, cluster.broker(4).unwrap().state()), ((4, true), State::Running));
    cluster.heal().unwrap();
    lap("healed");
    cluster.stop_all();
    lap("stopped");
    let findings = cluster.findings();
    assert!(findings.is_empty(), "{findings:#?}");
    let dir = cluster.spec().dir.clone();
    cluster.discard();
    lap("gone");
    std::fs::remove_dir_all(dir).unwrap();
}

/// The kernel's letter for what a broker's process does.
fn letter(cluster: &Cluster, id: u64) -> Option<char> {
    let pid = cluster.broker(id).unwrap().pid()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim().chars().next()
}

#[test]
fn a_starved_broker_is_stopped_again_and_again_in_all_its_lives() {
    if !within("a_starved_broker_is_stopped_again_and_again_in_all_its_lives") {
        return;
    }
    let mut cluster = Cluster::start(&spec("starved", DiskKind::Plain)).unwrap();
    let soon = Duration::from_secs(20);
    let ms = Duration::from_millis;
    cluster.starve(2, Share { run: ms(20), stop: ms(20) }).unwrap();
    let seen = |cluster: &Cluster, stopped: bool| {
        let seen = wait(soon, || ((letter(cluster, 2)? == 'T') == stopped).then_some(()));
        assert!(seen.is_some(), "never seen with stopped = {stopped}");
    };
    seen(&cluster, true);
    seen(&cluster, false);
    assert_eq!(cluster.broker(2).unwrap().state(), State::Running);
    // What another fault has paused is not let go on by this one.
    cluster.pause(2).unwrap();
    let awake = wait(ms(300), || (letter(&cluster, 2)? != 'T').then_some(()));
    assert!(awake.is_none(), "paused, it went on");
    cluster.resume(2).unwrap();
    seen(&cluster, false);
    cluster.kill(2).unwrap();
    cluster.start_broker(2).unwrap();
    seen(&cluster, true);
    assert!(cluster.broker(2).unwrap().starved() && cluster.wait_ready(2, soon));
    assert!(cluster.feed(2).unwrap() > 2);
    let stopped = wait(ms(300), || (letter(&cluster, 2)? == 'T').then_some(()));
    assert!(stopped.is_none(), "fed, it is stopped");
    cluster.heal().unwrap();
    let findings = cluster.findings();
    assert!(findings.is_empty(), "{findings:#?}");
    let dir = cluster.spec().dir.clone();
    cluster.discard();
    std::fs::remove_dir_all(dir).unwrap();
}
