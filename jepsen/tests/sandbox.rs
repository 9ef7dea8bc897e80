//! The sandbox does what it says: it leaves nothing behind, its network counts what it does to packets, its power
//! cuts lose what was not synced and nothing else, and the shim's faults reach a process.
//!
//! Each test runs itself again in a sandbox of its own, which takes root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use quorate_jepsen::admin::wait;
use quorate_jepsen::net::{Counters, Rule};
use quorate_jepsen::sandbox::{self, Disk, DiskKind, Hosts, Shim, within};
use rustix::process::{Pid, Signal, kill_process};

const SOON: Duration = Duration::from_secs(20);

/// A directory that the test removes; on the build's disk, which is no tmpfs.
fn directory(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sandbox-{name}"));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// Two hosts with a line between them: numbers 1 and 2.
fn two_hosts() -> Hosts {
    Hosts::create(&[("one", 1), ("two", 2)], 7).unwrap()
}

/// Sends bytes to a listener in host `to` and gets them back, from host `from`; how long that took.
fn echo(hosts: &Hosts, bytes: usize) -> std::io::Result<Duration> {
    let listener = hosts.host(2).run(|| TcpListener::bind("10.77.0.2:0")).unwrap()?;
    let address: SocketAddr = listener.local_addr()?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            let mut buffer = vec![0; bytes];
            if stream.read_exact(&mut buffer).is_ok() {
                let _ = stream.write_all(&buffer);
            }
        });
        let talk = || {
            let started = Instant::now();
            let mut stream = TcpStream::connect_timeout(&address, SOON)?;
            stream.set_read_timeout(Some(SOON))?;
            stream.write_all(&vec![7; bytes])?;
            let mut buffer = vec![0; bytes];
            stream.read_exact(&mut buffer)?;
            Ok(started.elapsed())
        };
        hosts.host(1).run(talk).unwrap()
    })
}

/// Network namespaces of all processes, and files behind all loop devices.
fn traces() -> (Vec<String>, Vec<String>) {
    let links = |path: &str| {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let read = entries.filter_map(|entry| fs::read_link(entry.path().join(path)).ok());
        read.map(|link| link.display().to_string()).collect()
    };
    let loops = fs::read_dir("/sys/block").unwrap().flatten();
    let files = loops.filter_map(|it| fs::read_to_string(it.path().join("loop/backing_file")).ok());
    (links("ns/net"), files.collect())
}

/// A process whose parent is this one.
fn child_of(parent: u32) -> Option<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        // The parent is the second field behind the name in brackets.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        fields.split_whitespace().nth(1) == Some(&parent.to_string())
    })
}

/// What the sandbox of the next test is: it says where it is, and waits to be killed.
#[test]
fn a_sandbox_that_waits() {
    let Ok(dir) = std::env::var("SANDBOX_TEST_DIR") else { return };
    if !within("a_sandbox_that_waits") {
        return;
    }
    let hosts = two_hosts();
    let disk = Disk::create(Path::new(&dir), "disk", DiskKind::Image { bytes: 64 << 20 }).unwrap();
    let mut sleeper = hosts.host(1).spawn(Command::new("sleep").arg("1000")).unwrap();
    let net = fs::read_link(format!("/proc/{}/ns/net", sleeper.id())).unwrap();
    println!("\nup {}", net.display());
    sleeper.wait().unwrap();
    drop(disk);
}

#[test]
fn a_killed_sandbox_leaves_no_process_mount_loop_device_or_network() {
    let dir = directory("killed");
    let mut outer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_sandbox_that_waits", "--nocapture"])
        .env("SANDBOX_TEST_DIR", &dir)
        .stdout(Stdio::piped())
        // That its sandbox is killed is what it complains about.
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(outer.stdout.take().unwrap()).lines();
    let up = lines.map_while(Result::ok).find_map(|it| it.strip_prefix("up ").map(str::to_owned));
    let net = up.expect("the sandbox comes up (as root)");
    let image = dir.join("disk.img").display().to_string();
    let seen = || {
        let (networks, files) = traces();
        // The kernel names files as they are outside of a changed root.
        (networks.contains(&net), files.iter().any(|file| file.trim().ends_with(&image)))
    };
    assert_eq!(seen(), (true, true), "the host's process and the loop device are there");
    let unshare = child_of(outer.id()).expect("unshare runs");
    let unshare = Pid::from_raw(i32::try_from(unshare).unwrap()).unwrap();
    kill_process(unshare, Signal::KILL).unwrap();
    let gone = wait(SOON, || (seen() == (false, false)).then_some(()));
    assert!(gone.is_some(), "left behind: {:?} (network, loop device)", seen());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(dir.to_str().unwrap()), "a mount is left: {mounts}");
    outer.wait().unwrap();
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn the_network_counts_what_its_faults_do() {
    if !within("the_network_counts_what_its_faults_do") {
        return;
    }
    let hosts = two_hosts();
    let network = hosts.network();
    let (there, back) = ([(1, 2)], [(2, 1)]);
    let both = [(1, 2), (2, 1)];
    let during = |rule: Rule, pairs: &[(u8, u8)], bytes: usize| -> (Counters, Duration) {
        let before = network.counters(pairs);
        network.change(pairs.iter().map(|pair| (*pair, rule.clone())));
        let took = echo(&hosts, bytes).unwrap();
        network.heal();
        (network.counters(pairs).since(&before), took)
    };
    let ms = Duration::from_millis;
    let (clean, _) = during(Rule::default(), &both, 1 << 20);
    assert_eq!(clean.harm(), 0, "{clean}");
    assert!(clean.bytes > 2 << 20);
    let (late, took) = during(Rule { delay: ms(50), ..Rule::default() }, &both, 10);
    // The connection costs one round trip and the echo another.
    assert!(late.delayed > 3 && took >= ms(200) && took < ms(1_000), "{late}, {took:?}");
    let (one_way, took) = during(Rule { delay: ms(50), ..Rule::default() }, &there, 10);
    assert!(one_way.delayed > 0 && took >= ms(100) && took < ms(190), "{one_way}, {took:?}");
    let harsh = Rule {
        loss: 0.1,
        duplicate: 0.1,
        corrupt: 0.05,
        reorder: 0.1,
        reorder_by: ms(2),
        ..Rule::default()
    };
    let (harm, _) = during(harsh, &both, 1 << 20);
    assert!(
        harm.lost > 0 && harm.duplicated > 0 && harm.corrupted > 0 && harm.reordered > 0,
        "{harm}"
    );
    let (slow, took) = during(Rule { rate: Some(200_000), ..Rule::default() }, &back, 100_000);
    assert!(slow.delayed > 0 && took >= ms(450), "{slow}, {took:?}");
    network.adjust(&there, |rule| rule.cut = true);
    let before = network.counters(&there);
    let refused = hosts
        .host(1)
        .run(|| TcpStream::connect_timeout(&"10.77.0.2:9".parse().unwrap(), ms(1_500)))
        .unwrap();
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    assert!(network.counters(&there).since(&before).cut >= 2);
    network.heal();
    echo(&hosts, 10).unwrap();
}

/// A connection from host 1 to host 2: the end in each.
fn connected(hosts: &Hosts) -> (TcpStream, TcpStream) {
    let listener = hosts.host(2).run(|| TcpListener::bind("10.77.0.2:0")).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let one = hosts.host(1).run(|| TcpStream::connect_timeout(&address, SOON)).unwrap().unwrap();
    let two = listener.accept().unwrap().0;
    one.set_read_timeout(Some(SOON)).unwrap();
    two.set_read_timeout(Some(SOON)).unwrap();
    (one, two)
}

#[test]
fn ends_of_connections_are_told_when_these_are_rejected_or_reset() {
    if !within("ends_of_connections_are_told_when_these_are_rejected_or_reset") {
        return;
    }
    let hosts = two_hosts();
    let network = hosts.network();
    let (there, back) = ([(1, 2)], [(2, 1)]);
    let mut buffer = [0; 10];
    let mut reads = |mut end: &TcpStream| end.read(&mut buffer).map_err(|error| error.kind());
    let reset = Err(std::io::ErrorKind::ConnectionReset);

    // A link that rejects: who speaks over it is told, at once; who is silent is not.
    let (mut one, two) = connected(&hosts);
    let started = Instant::now();
    network.adjust(&there, |rule| rule.reject = true);
    one.write_all(b"hello").unwrap();
    assert_eq!(reads(&one), reset);
    two.set_nonblocking(true).unwrap();
    assert_eq!(reads(&two), Err(std::io::ErrorKind::WouldBlock));
    let address = "10.77.0.2:9".parse().unwrap();
    let refused = hosts.host(1).run(|| TcpStream::connect_timeout(&address, SOON)).unwrap();
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(network.counters(&there).reset >= 2, "{}", network.counters(&there));
    network.heal();

    // A reset where answers pass: the request arrives, the answer does not, both ends are told.
    let (mut one, mut two) = connected(&hosts);
    network.adjust(&back, |rule| rule.reset = Some(Duration::MAX));
    one.write_all(b"hello").unwrap();
    assert_eq!(reads(&two), Ok(5));
    two.write_all(b"answer").unwrap();
    assert_eq!(reads(&one), reset);
    assert_eq!(reads(&two), reset);
    assert_eq!(network.counters(&back).reset, 1);
    // Connections made since last, in either direction.
    echo(&hosts, 1 << 20).unwrap();
    assert_eq!(network.counters(&back).reset, 1);
    // With an age, those end as well.
    network.adjust(&back, |rule| rule.reset = Some(Duration::ZERO));
    assert_eq!(echo(&hosts, 10).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    network.heal();
    echo(&hosts, 10).unwrap();
}

#[test]
fn a_power_cut_loses_what_was_not_synced_and_keeps_what_was() {
    if !within("a_power_cut_loses_what_was_not_synced_and_keeps_what_was") {
        return;
    }
    let dir = directory("power");
    let disk = Disk::create(&dir, "disk", DiskKind::Image { bytes: 64 << 20 }).unwrap();
    fs::create_dir_all(&disk.data).unwrap();
    let path = |name: &str| disk.data.join(name);
    let write = |name: &str, text: &str, sync: bool| {
        let mut file = File::options().create(true).append(true).open(path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        if sync {
            file.sync_all().unwrap();
            File::open(&disk.data).unwrap().sync_all().unwrap();
        }
    };
    write("kept", "synced", true);
    write("kept", " and a tail", false);
    write("lost", "never synced", false);
    fs::rename(path("kept"), path("renamed")).unwrap();
    disk.cut_power().unwrap();
    assert!(File::create(path("later")).is_err(), "nothing is written without power");
    disk.restore_power().unwrap();
    assert_eq!(fs::read_to_string(path("kept")).unwrap(), "synced");
    assert!(!path("renamed").exists(), "the rename was not synced");
    assert!(fs::read_to_string(path("lost")).unwrap_or_default().is_empty());
    let filled = disk.fill().unwrap();
    assert!(filled > 10 << 20 && fs::write(path("more"), vec![1; 8192]).is_err());
    disk.empty().unwrap();
    fs::write(path("more"), vec![1; 8192]).unwrap();
    drop(disk);
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn the_shims_faults_reach_a_process_and_are_counted() {
    let dir = directory("shim");
    let library = Shim::find(None).expect("build quorate-jepsen-shim first");
    let shim = Shim::create(&library, &dir.join("control")).unwrap();
    let run = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).envs(shim.environment()).current_dir(&dir);
        command.output().unwrap()
    };
    let copy = ["if=/dev/zero", "of=000012.log", "bs=1000", "count=3", "conv=fdatasync"];
    assert!(run("dd", &copy).status.success());
    assert!(shim.loaded());
    assert_eq!(shim.hits().syncs, 1);
    assert_eq!(shim.synced_length(12), Some(3_000));
    shim.slow_sync(Duration::from_millis(300)).unwrap();
    let started = Instant::now();
    assert!(run("dd", &copy).status.success());
    assert!(started.elapsed() >= Duration::from_millis(300) && shim.hits().syncs_delayed == 1);
    shim.heal().unwrap();
    shim.fail_sync(sandbox::EIO).unwrap();
    let failed = run("dd", &copy);
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && said.contains("Input/output error"), "{said}");
    shim.heal().unwrap();
    shim.fail_write(sandbox::ENOSPC).unwrap();
    let script = r#"open(my $f, ">", "full") or die; syswrite($f, "x") // die "$!\n""#;
    let failed = run("perl", &["-e", script]);
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && said.contains("No space left"), "{said}");
    assert!(shim.hits().syncs_failed > 0 && shim.hits().writes_failed > 0);
    shim.heal().unwrap();
    let seconds = |shift: i64| {
        shim.clock_offset(shift * 1_000_000_000).unwrap();
        let said = run("date", &["+%s"]);
        String::from_utf8_lossy(&said.stdout).trim().parse::<i64>().unwrap()
    };
    let now = seconds(0);
    assert_eq!(shim.hits().clocks_bent, 0);
    assert!((295..310).contains(&(seconds(300) - now)));
    assert!((-310..-295).contains(&(seconds(-300) - now)) && shim.hits().clocks_bent >= 2);
    fs::remove_dir_all(&dir).unwrap();
}
