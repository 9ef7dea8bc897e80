//! Killing a broker and measuring until each partition it led takes writes again.
//!
//! Measured as a client sees it: from the kill until the acknowledgement of the first record that a partition took
//! from a new leader, the search for that leader included.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Common;
use super::report::Report;
use super::statistics::{Samples, milliseconds};
use crate::client::{Client, ClientConfig, Probe};
use crate::demo::{arguments_of, default_data_dir, quoted, signal_to};
use crate::terminal::{Failure, Format, line};

/// A partition that takes no writes for so long has not failed over.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the leaders are asked for; it is part of what is measured.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Args)]
pub(crate) struct FailoverOptions {
    /// Partitions of the topic that is measured.
    #[arg(long, short, default_value_t = 100)]
    partitions: u32,
    /// How often to kill; more than once needs --restart.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Start the killed broker again with its own command line.
    #[arg(long)]
    restart: bool,
    /// The demo's data directory, where the brokers' pid files are [default: the demo's default].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Returns the brokers of a demo that run: their number and process.
pub(super) fn running_brokers(directory: &Path) -> Result<Vec<(u64, i32)>, Failure> {
    let running = (1..=99_u64).filter_map(|id| {
        let text = std::fs::read_to_string(directory.join(format!("broker-{id}/pid"))).ok()?;
        let pid = text.trim().parse().ok()?;
        arguments_of(pid).map(|_| (id, pid))
    });
    let running: Vec<_> = running.collect();
    if running.is_empty() {
        Err(Failure::error(format!("no demo runs in {}", directory.display()))
            .hint("start one with `quorate demo`, or give its --data-dir"))
    } else {
        Ok(running)
    }
}

pub(super) async fn run(options: FailoverOptions) -> Result<(), Failure> {
    if options.rounds > 1 && !options.restart {
        return Err(Failure::usage("more than one round needs --restart"));
    }
    let directory = match &options.data_dir {
        Some(directory) => directory.clone(),
        None => default_data_dir()?,
    };
    running_brokers(&directory)?;
    let topic = options.common.create_topic("failover", options.partitions).await?;
    let mut report = Report::new(&options.common).await?;
    report.condition("partitions of the topic", options.partitions);
    report.condition("kill", "SIGKILL of the broker that leads most of them");
    report.condition("leaders asked for every", format!("{} ms", LOOK.as_millis()));
    let mut all = Samples::default();
    for round in 1..=options.rounds {
        let outcome = kill_once(&options, &directory, &topic, &mut all).await?;
        report.number(
            format!("round {round}: partitions failed over"),
            f64::from(outcome.partitions),
            "",
        );
        report.number(
            format!("round {round}: last one after"),
            milliseconds(outcome.slowest),
            "ms",
        );
        if options.restart {
            start_again(&outcome.arguments, &directory, outcome.broker)?;
            options.common.wait_until_healthy().await?;
        } else if options.common.format == Format::Table {
            let words: Vec<String> = outcome.arguments.iter().map(|word| quoted(word)).collect();
            line(&format!(
                "broker {} was killed. Start it again with:\n  {}\n",
                outcome.broker,
                words.join(" ")
            ))?;
        }
    }
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        report.number(
            format!("kill -9 to first write, {name}"),
            milliseconds(all.percentile(share)),
            "ms",
        );
    }
    report.condition("failovers measured", all.count());
    options.common.delete_topic(&topic).await?;
    report.print(options.common.format)
}

struct Killed {
    broker: u64,
    arguments: Vec<String>,
    partitions: u32,
    slowest: Duration,
}

async fn kill_once(
    options: &FailoverOptions,
    directory: &Path,
    topic: &str,
    all: &mut Samples,
) -> Result<Killed, Failure> {
    let brokers = options.common.admin().get("/v1/brokers").await?;
    let addresses = brokers["brokers"].as_array().into_iter().flatten();
    let addresses: Vec<(u64, String)> = addresses
        .filter_map(|broker| Some((broker["id"].as_u64()?, broker["kafka"].as_str()?.to_owned())))
        .collect();
    let everyone = addresses.iter().filter_map(|(_, address)| address.parse().ok()).collect();
    let topology = Client::new(ClientConfig::new(everyone)).refresh_patiently(topic, false).await?;
    let led = |broker: u64| -> Vec<i32> {
        let leads = |partition: &i32| {
            topology
                .leader(topic, *partition)
                .is_some_and(|at| u64::try_from(at.broker) == Ok(broker))
        };
        topology.partitions(topic).into_iter().filter(leads).collect()
    };
    let victim = running_brokers(directory)?.into_iter().max_by_key(|(id, _)| led(*id).len());
    let (victim, pid) = victim.ok_or_else(|| Failure::error("no broker of the demo runs"))?;
    let arguments = arguments_of(pid).unwrap_or_default();
    let survivors = addresses.iter().filter(|(id, _)| *id != victim);
    let survivors = survivors.filter_map(|(_, address)| address.parse().ok()).collect();
    let config =
        ClientConfig { request_timeout: Duration::from_secs(2), ..ClientConfig::new(survivors) };
    let client = Client::new(config);
    // Connections are made before the kill: a client that is at work has them.
    let partitions = led(victim);
    Probe::warm_up(&client, topic).await?;
    signal_to(pid, Signal::KILL);
    let killed = Instant::now();
    let mut probes = JoinSet::new();
    let watcher = tokio::spawn(watch_leaders(client.clone(), topic.to_owned()));
    for partition in &partitions {
        probes.spawn(first_write(client.clone(), topic.to_owned(), *partition, victim, killed));
    }
    let mut slowest = Duration::ZERO;
    while let Some(probe) = probes.join_next().await {
        let took = probe.map_err(|error| Failure::error(error.to_string()))??;
        all.add(took);
        slowest = slowest.max(took);
    }
    watcher.abort();
    let partitions = u32::try_from(partitions.len()).unwrap_or(u32::MAX);
    Ok(Killed { broker: victim, arguments, partitions, slowest })
}

/// One question about all partitions, instead of one from each of them.
async fn watch_leaders(client: Client, topic: String) {
    loop {
        // A broker that cannot say now is asked again.
        drop(client.refresh(&topic, false).await);
        sleep(LOOK).await;
    }
}

async fn first_write(
    client: Client,
    topic: String,
    partition: i32,
    victim: u64,
    killed: Instant,
) -> Result<Duration, Failure> {
    let mut last = "no new leader was named".to_owned();
    while killed.elapsed() < PATIENCE {
        let leader = client.topology().leader(&topic, partition);
        if let Some(leader) = leader.filter(|leader| u64::try_from(leader.broker) != Ok(victim)) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
            match (Probe { client: &client, topic: &topic, partition }).write(&leader, now).await {
                Ok(()) => return Ok(killed.elapsed()),
                Err(error) => last = error.to_string(),
            }
        }
        sleep(LOOK / 2).await;
    }
    Err(Failure::error(format!(
        "{topic}-{partition} takes no writes {} s after the kill: {last}",
        PATIENCE.as_secs()
    )))
}

fn start_again(arguments: &[String], directory: &Path, broker: u64) -> Result<(), Failure> {
    use std::os::unix::process::CommandExt;
    let (program, rest) = arguments
        .split_first()
        .ok_or_else(|| Failure::error("the broker's command line is gone"))?;
    let log = directory.join(format!("broker-{broker}/log"));
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    // A process group of its own: Ctrl-C here is not meant for it.
    Command::new(program)
        .args(rest)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()?;
    Ok(())
}
