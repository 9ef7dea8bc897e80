//! One node of Apache Kafka from its own jars, broker and controller, for Quorate to be mirrored with.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::LONG;
use crate::support::clients::installed;
use crate::support::cluster::SOON;
use crate::support::process::{self, Process};
use crate::support::{logs, ports, wait};

/// A class of the jars, not of ours.
pub fn java(class: &str) -> Command {
    let mut command = process::command("java");
    command.args(["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.args(["-Dlog4j2.level=INFO", "-cp"]);
    command.arg(installed("frameworks/mirror").join("lib").join("*")).arg(class);
    command
}

/// Runs it with all that it says in a file.
pub fn logged(mut command: Command, log: &Path) -> Process {
    let file = File::options().create(true).append(true).open(log).unwrap();
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    Process::spawn(command)
}

pub struct Apache {
    port: u16,
    log: PathBuf,
    _process: Process,
}

impl Apache {
    pub fn start(dir: &Path) -> Apache {
        let port = ports::block(2);
        let (settings, log) = (dir.join("kafka.properties"), dir.join("kafka.log"));
        let (kafka, controller) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", port + 1));
        let text = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@{controller}\n\
             listeners=PLAINTEXT://{kafka},CONTROLLER://{controller}\n\
             advertised.listeners=PLAINTEXT://{kafka}\n\
             inter.broker.listener.name=PLAINTEXT\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             log.dirs={}\n\
             offsets.topic.num.partitions=4\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.num.partitions=4\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n\
             auto.create.topics.enable=false\n",
            dir.join("kafka").display()
        );
        fs::write(&settings, text).unwrap();
        let mut format = java("kafka.tools.StorageTool");
        format.args(["format", "-t", "QuorateMirrorTestsAAAAA", "-c"]).arg(&settings);
        process::run(format, LONG).ok("formatting Kafka's storage");
        let mut kafka = java("kafka.Kafka");
        kafka.arg(&settings);
        let node = Apache { port, _process: logged(kafka, &log), log };
        let mut config = ClientConfig::new();
        let consumer: BaseConsumer =
            config.set("bootstrap.servers", node.bootstrap()).create().unwrap();
        wait::maybe(LONG, || consumer.fetch_metadata(None, SOON).ok())
            .unwrap_or_else(|| panic!("Kafka does not start\n{}", node.report()));
        node
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn report(&self) -> String {
        format!("===== {}\n{}\n", self.log.display(), logs::tail(&self.log, 40))
    }
}
