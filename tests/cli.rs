//! The command line as a newcomer meets it: help with examples, errors that say what to do, topics
//! and records without another program, and the demo.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::cluster::{Cluster, SOON, fresh_dir, quorate};
use crate::support::process::{self, Process};
use crate::support::{ports, wait};

#[test]
fn every_commands_help_carries_an_example() {
    let commands: [&[&str]; 30] = [
        &[],
        &["serve"],
        &["demo"],
        &["topic", "create"],
        &["topic", "list"],
        &["topic", "describe"],
        &["topic", "alter"],
        &["topic", "compact"],
        &["topic", "delete"],
        &["group", "list"],
        &["group", "describe"],
        &["group", "delete"],
        &["group", "reset-offsets"],
        &["group", "delete-offsets"],
        &["transaction", "list"],
        &["transaction", "describe"],
        &["transaction", "abort"],
        &["produce"],
        &["consume"],
        &["stream", "append"],
        &["stream", "read"],
        &["stream", "tail"],
        &["cluster", "status"],
        &["cluster", "remove-broker"],
        &["config"],
        &["config", "get"],
        &["config", "set"],
        &["bench"],
        &["bench", "transactions"],
        &["version"],
    ];
    for command in commands {
        let args: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
        let help = process::run(quorate(&args), SOON).ok(&format!("{args:?}"));
        let example = help.split("Example").nth(1).unwrap_or_default();
        assert!(example.contains("quorate "), "{args:?}: {help}");
        if args[0] == "consume" {
            assert!(example.contains("--group"), "how a group reads: {help}");
        }
    }
}

#[test]
fn a_wrong_setting_is_named_with_what_is_allowed_and_nothing_starts() {
    let dir = fresh_dir("wrong-settings");
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let misspelt = file("misspelt.toml", "[kafka]\nlisen = \"127.0.0.1:9092\"\n");
    let large = file("large.toml", "[topics]\npartitions = 1000000\n");
    let typed = file("typed.toml", "[topics]\nauto_create = \"yes\"\n");
    let cases: [(&[&str], &[&str]); 6] = [
        (&["--config", &misspelt], &["kafka.lisen", "misspelt.toml", "kafka.listen"]),
        (&["--config", &large], &["topics.partitions", "1000000", "10000", "large.toml"]),
        (&["--config", &typed], &["topics.auto_create", "true or false"]),
        (&["--config", "/does/not/exist.toml"], &["/does/not/exist.toml"]),
        (&["--kafka", "nowhere"], &["kafka.listen", "nowhere", "--kafka", "127.0.0.1:9092"]),
        (&["--node-id", "0"], &["broker.id", "--node-id", "1"]),
    ];
    for (flags, parts) in cases {
        let data = dir.join("data").display().to_string();
        let args: Vec<&str> = ["serve", "--data-dir", &data].iter().chain(flags).copied().collect();
        let output = process::run(quorate(&args), SOON);
        assert_eq!(output.code, Some(2), "{flags:?}: {}", output.stderr);
        for part in parts {
            assert!(
                output.stderr.contains(part),
                "{flags:?} does not say {part}: {}",
                output.stderr
            );
        }
        assert!(!dir.join("data").exists(), "{flags:?}: nothing was started");
    }
    let mut command = quorate(&["serve"]);
    command.env("QUORATE_TOPICS_PARTITION", "3");
    let output = process::run(command, SOON);
    assert_eq!(output.code, Some(2));
    assert!(output.stderr.contains("QUORATE_TOPICS_PARTITIONS"), "{}", output.stderr);
}

#[test]
fn the_printed_configuration_is_a_file_that_is_accepted() {
    let dir = fresh_dir("printed");
    let text = process::run(quorate(&["config"]), SOON).ok("config");
    assert!(text.contains("[kafka]"), "{text}");
    let file = dir.join("all.toml");
    fs::write(&file, text).unwrap();
    let path = file.display().to_string();
    process::run(quorate(&["config", "--effective", "--config", &path]), SOON).ok("effective");
}

#[test]
fn topics_and_records_are_handled_without_another_program() {
    let cluster = Cluster::shared();
    let made = cluster.cli(&["topic", "create", "typed", "--partitions", "3"], "").ok("create");
    assert!(made.contains("typed"), "{made}");
    let again = cluster.cli(&["topic", "create", "typed"], "");
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("exists already"), "{}", again.stderr);

    let listed = cluster.cli(&["topic", "list", "--format", "json"], "").ok("list");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let typed = listed["topics"].as_array().unwrap().iter().find(|t| t["name"] == "typed").unwrap();
    assert_eq!((&typed["partitions"], &typed["replication_factor"]), (&3.into(), &3.into()));
    let described = cluster.cli(&["topic", "describe", "typed"], "").ok("describe");
    assert!(described.contains("PARTITION") && described.contains("LEADER"), "{described}");

    let lines: String = (0..1000).map(|n| format!("k{n}:value {n} é\n")).collect();
    cluster.cli(&["produce", "typed", "--key-separator", ":"], &lines).ok("produce");
    let read = ["consume", "typed", "--from", "beginning", "--exit", "--format", "json"];
    let read = cluster.cli(&read, "").ok("consume");
    let mut read: Vec<String> = read
        .lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            format!("{}:{}", record["key"].as_str().unwrap(), record["value"].as_str().unwrap())
        })
        .collect();
    let mut expected: Vec<String> = lines.lines().map(str::to_owned).collect();
    read.sort();
    expected.sort();
    assert_eq!(read, expected);

    cluster.cli(&["topic", "delete", "typed"], "").ok("delete");
    let gone = cluster.cli(&["topic", "describe", "typed"], "");
    assert_eq!(gone.code, Some(1));
    assert!(gone.stderr.contains("no topic typed"), "{}", gone.stderr);
}

#[test]
fn a_long_line_behind_many_short_ones_is_no_batch_above_the_topics_limit() {
    let cluster = Cluster::shared();
    cluster.create_topic("long-line", 1, 3);
    // Just short of what makes a batch; several times, since a pause between two lines parts them, too.
    let short = format!("{}\n", "y".repeat(99)).repeat(2_250);
    let lines = format!("{short}{}\n", "z".repeat(950_000)).repeat(10);
    cluster.cli(&["produce", "long-line"], &lines).ok("produce");
    let read = ["consume", "long-line", "--from", "beginning", "--exit"];
    assert!(cluster.cli(&read, "").ok("consume") == lines, "other lines come out than went in");
}

#[test]
fn status_tells_health_and_waits_for_it() {
    let cluster = Cluster::start("status", 3);
    cluster.create_topic("watched", 3, 3);
    let healthy = cluster.cli(&["cluster", "status", "--wait"], "").ok("status --wait");
    assert!(healthy.contains("healthy"), "{healthy}");
    cluster.broker(3).kill9();
    cluster.wait("the loss is seen", || {
        let output = cluster.cli(&["cluster", "status"], "");
        (output.code == Some(1) && output.stderr.contains("broker 3")).then_some(())
    });
    cluster.broker(3).start();
    cluster.cli(&["cluster", "status", "--wait"], "").ok("status --wait");
    let status = cluster.cli(&["cluster", "status", "--format", "json"], "").ok("json");
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["brokers"].as_array().unwrap().len(), 3);
    let nobody = quorate(&["cluster", "status", "--http", "127.0.0.1:1"]);
    let nobody = process::run(nobody, SOON);
    assert_eq!(nobody.code, Some(1));
    assert!(nobody.stderr.contains("127.0.0.1:1"), "it names whom it asked: {}", nobody.stderr);
}

/// A running demo; dropping it ends the brokers too.
struct Demo {
    process: Process,
    dir: PathBuf,
    said: Arc<Mutex<String>>,
}

impl Demo {
    fn start(dir: &Path, first_port: u16) -> Demo {
        let port = |n: u16| (first_port + n).to_string();
        let data = dir.display().to_string();
        let mut command = quorate(&["demo", "--data-dir", &data, "--kafka-port", &port(0)]);
        command.args(["--http-port", &port(3), "--peer-port", &port(6)]);
        command.stdout(Stdio::piped()).stdin(Stdio::null());
        let mut process = Process::spawn(command);
        let said = Arc::new(Mutex::new(String::new()));
        let (mut out, heard) = (process.stdout().unwrap(), Arc::clone(&said));
        thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = out.read(&mut part) {
                heard.lock().unwrap().push_str(&String::from_utf8_lossy(&part[..length]));
            }
        });
        let demo = Demo { process, dir: dir.to_owned(), said };
        wait::until("the demo says what to type", 2 * SOON, || {
            demo.said().contains("Ctrl-C").then_some(())
        });
        demo
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn pid(&self, broker: u32) -> Option<String> {
        let file = self.dir.join(format!("broker-{broker}/pid"));
        Some(fs::read_to_string(file).ok()?.trim().to_owned())
    }

    fn interrupt(mut self) {
        self.process.signal(Signal::INT);
        let status = self.process.wait_exit("the demo ends on Ctrl-C", SOON);
        assert!(status.success(), "{status}: {}", self.said());
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let alive = |pid: &String| Path::new("/proc").join(pid).exists();
        let left: Vec<String> = (1..=3).filter_map(|n| self.pid(n)).filter(alive).collect();
        for pid in &left {
            let _ = process::send(pid.parse().unwrap(), Signal::KILL);
        }
        if !thread::panicking() {
            assert_eq!(left, Vec::<String>::new(), "brokers outlive the demo");
        }
    }
}

#[test]
fn the_demo_starts_three_brokers_that_can_be_killed_and_pasted_back_and_keeps_its_data() {
    let dir = fresh_dir("demo");
    let first_port = ports::block(9);
    let server = format!("127.0.0.1:{first_port}");
    let http = format!("127.0.0.1:{}", first_port + 3);
    let demo = Demo::start(&dir, first_port);
    let said = demo.said();
    for part in ["kcat -b", "curl ", "quorate topic create", "quorate produce", "kill -9"] {
        let part = part.strip_prefix("quorate ").unwrap_or(part);
        assert!(said.contains(part), "the demo does not say {part}: {said}");
    }
    let produce = quorate(&["produce", "kept", "--server", &server]);
    process::run_with(produce, "one\ntwo\n", SOON).ok("produce");

    // As it says: kill a broker, then paste its line into another terminal.
    let victim = demo.pid(2).unwrap();
    process::send(victim.parse().unwrap(), Signal::KILL).unwrap();
    let line =
        said.lines().find(|line| line.contains("serve") && line.contains("broker-2")).unwrap();
    let mut shell = process::command("sh");
    shell.args(["-c", &format!("exec {}", line.trim())]).stdin(Stdio::null());
    shell.stdout(Stdio::null()).stderr(Stdio::null());
    let mut pasted = Process::spawn(shell);
    let status = quorate(&["cluster", "status", "--wait", "--http", &http]);
    process::run(status, 2 * SOON).ok("healthy again");
    pasted.signal(Signal::INT);
    assert!(pasted.wait_exit("the pasted broker stops", SOON).success());
    demo.interrupt();

    // It goes on with its data on whatever ports it is given.
    let other_port = ports::block(9);
    let server = format!("127.0.0.1:{other_port}");
    let demo = Demo::start(&dir, other_port);
    let args = ["consume", "kept", "--from", "beginning", "--exit", "--server", &server];
    let mut kept: Vec<String> =
        process::run(quorate(&args), SOON).ok("consume").lines().map(str::to_owned).collect();
    kept.sort();
    assert_eq!(kept, ["one", "two"]);
    demo.interrupt();
}
