//! `quorate stream tail`: events as they come, over the death of the broker that was asked, until a signal.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{append, ask, create};
use crate::support::cluster::{Cluster, SOON, quorate};
use crate::support::process::Process;

/// One that runs, and the lines it prints.
struct Tail {
    process: Process,
    events: Receiver<String>,
}

impl Tail {
    fn start(cluster: &Cluster, args: &[&str]) -> Tail {
        let servers: Vec<String> =
            cluster.brokers().iter().map(|broker| format!("127.0.0.1:{}", broker.http)).collect();
        let mut command = quorate(&["stream", "tail", "tailed", "k", "--http"]);
        command.arg(servers.join(",")).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = Process::spawn(command);
        let events = lines(process.stdout().unwrap());
        Tail { process, events }
    }

    /// The version and the value of the next event.
    fn next(&self) -> (i64, Value) {
        let line = self.events.recv_timeout(SOON).expect("an event in time");
        let event: Value = serde_json::from_str(&line).unwrap();
        (event["version"].as_i64().unwrap(), event["value"].clone())
    }

    /// Ends it; what it had printed beside what was taken.
    fn end(mut self, signal: Signal) -> Vec<String> {
        self.process.signal(signal);
        let status = self.process.wait_exit("it ends by a signal", SOON);
        assert_eq!(status.code(), Some(0), "{status}");
        self.events.iter().collect()
    }
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        BufReader::new(from).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
    });
    lines
}

#[test]
fn a_tail_follows_a_stream_over_broken_brokers_and_deletions_until_a_signal() {
    let cluster = Cluster::start("streams-tail", 3);
    create(&cluster, "tailed", 1);
    append(cluster.broker(1), "tailed/k", &[], &[json!("a"), json!("b")]).ok();
    let tail = Tail::start(&cluster, &["--from", "2", "--format", "json"]);
    assert_eq!(tail.next(), (2, json!("b")));
    append(cluster.broker(2), "tailed/k", &[], &[json!("c")]).ok();
    assert_eq!(tail.next(), (3, json!("c")));
    // The one it asks first, while it waits there.
    cluster.broker(1).kill9();
    let other = cluster.broker(2);
    let headers = [("idempotency-key", "d")];
    cluster.wait("the append is accepted", || {
        let made = append(other, "tailed/k", &headers, &[json!("d")]);
        (made.status == 201).then_some(())
    });
    assert_eq!(tail.next(), (4, json!("d")));
    ask(other, "DELETE", "/v1/topics/tailed/streams/k", &[], &Value::Null).ok();
    append(other, "tailed/k", &[], &[json!("f")]).ok();
    assert_eq!(tail.next(), (6, json!("f")));
    assert_eq!(tail.end(Signal::INT), Vec::<String>::new(), "each event once");
    cluster.broker(1).start();
    cluster.wait_whole();
    // Where another one has come.
    append(other, "tailed/k", &[], &[json!("g")]).ok();
    let tail = Tail::start(&cluster, &["--from", "7", "--format", "json"]);
    assert_eq!(tail.next(), (7, json!("g")));
    assert_eq!(tail.end(Signal::TERM), Vec::<String>::new());
}
