//! `quorate demo`: a cluster of brokers on this machine, each a process of its own, to try things out.
//!
//! The brokers are ordinary `quorate serve` processes whose command lines are printed, so that what is learned
//! here holds elsewhere: one is killed with `kill -9` and comes back by pasting its line into any terminal. The
//! demo watches and reports, and never restarts a broker by itself. Data stays between runs.

mod broker;
mod layout;
mod watch;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::terminal::wait_until_healthy;
use crate::terminal::{Admin, Failure, line};

pub(crate) use broker::{DemoBroker, arguments_of, signal_to};
pub(crate) use layout::{Layout, default_data_dir, quoted};
use watch::Watch;

/// A broker with much to replay may take long; one that does not start has ended by then.
const START_PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    quorate demo\n  \
    quorate demo --brokers 5 --data-dir /tmp/five\n  \
    quorate demo --kafka-port 19092 --http-port 18080 --peer-port 19192")]
pub(crate) struct DemoOptions {
    /// How many brokers to start.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=15))]
    brokers: u16,
    /// Kafka port of the first broker; the others take the ports after it.
    #[arg(long, value_name = "PORT", default_value_t = 9092)]
    kafka_port: u16,
    /// HTTP port of the first broker.
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    http_port: u16,
    /// Port of the first broker for the others.
    #[arg(long, value_name = "PORT", default_value_t = 9192)]
    peer_port: u16,
    /// Where the data is kept between runs [default: ~/.local/share/quorate/demo].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Runs the demo until Ctrl-C.
pub(crate) async fn run(options: DemoOptions) -> Result<(), Failure> {
    let layout = Layout::new(&options)?;
    layout.check()?;
    // From here on a signal must not end this process before the brokers have ended.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut watch = Watch::default();
    let outcome = tokio::select! {
        outcome = run_cluster(&layout, &mut watch) => outcome,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    // Even a failed start leaves nothing running behind. Nothing said here may keep the brokers from being stopped.
    drop(line("\nstopping the brokers ..."));
    let stopped = watch.stop_all(&layout).await;
    drop(line("stopped; the data is kept, `quorate demo` goes on with it"));
    outcome.and(stopped)
}

async fn run_cluster(layout: &Layout, watch: &mut Watch) -> Result<(), Failure> {
    start(layout, watch).await?;
    line(&guide(layout))?;
    watch.report(layout).await
}

async fn start(layout: &Layout, watch: &mut Watch) -> Result<(), Failure> {
    let started = Instant::now();
    let plural = if layout.brokers.len() == 1 { "broker" } else { "brokers" };
    line(&format!(
        "starting {} {plural}, data in {}",
        layout.brokers.len(),
        layout.directory.display()
    ))?;
    let fresh = layout.is_fresh();
    let patience = started + START_PATIENCE;
    for broker in &layout.brokers {
        let forms = fresh && broker.id == 1;
        watch.add(broker.id, broker.start(forms)?);
        // The others need a cluster to join; brokers of an existing one need each other to get ready.
        if forms {
            watch.wait_until_up(broker, patience).await?;
        }
    }
    for broker in &layout.brokers {
        watch.wait_until_up(broker, patience).await?;
        line(&format!(
            "  broker {} is up       ({:.1} s)",
            broker.id,
            started.elapsed().as_secs_f32()
        ))?;
    }
    let admin = Admin::new(layout.brokers.iter().map(DemoBroker::http).collect());
    let health = wait_until_healthy(&admin, START_PATIENCE).await?;
    if health["healthy"] != serde_json::Value::Bool(true) {
        return Err(Failure::error(format!(
            "the cluster does not become healthy: {}",
            health["reasons"]
        ))
        .hint(format!("the brokers' logs are {}/broker-*/log", layout.directory.display())));
    }
    line(&format!("  cluster is healthy  ({:.1} s)", started.elapsed().as_secs_f32()))
}

/// What to type next, ready to be pasted.
fn guide(layout: &Layout) -> String {
    let first = &layout.brokers[0];
    let (kafka, http) = (first.kafka(), first.http());
    let program = layout.program();
    let server = if kafka.port == 9092 { String::new() } else { format!(" --server {kafka}") };
    let admin = if http.port == 8080 { String::new() } else { format!(" --http {http}") };
    let lines: Vec<String> = layout
        .brokers
        .iter()
        .map(|broker| format!("  {}", broker.command_line(&program)))
        .collect();
    let victim = layout.brokers.last().unwrap_or(first);
    format!(
        "\nTry, in another terminal:\n  \
         {program} topic create orders --partitions 3{admin}\n  \
         echo hello | {program} produce orders{server}\n  \
         {program} consume orders --from beginning -n 1{server}\n  \
         {program} cluster status{admin}\n  \
         echo hi | kcat -b {kafka} -P -t orders\n  \
         kcat -b {kafka} -C -t orders -o beginning -e\n  \
         curl -s http://{http}/v1/cluster\n  \
         curl -s http://{http}/openapi.json\n\n\
         Kill a broker; nothing acknowledged is lost:\n  \
         kill -9 $(cat {pid})\n\n\
         Start one again by pasting its line:\n{lines}\n\n\
         Logs: {logs}/broker-*/log. Ctrl-C stops all brokers.",
        pid = quoted(&victim.pid_file().to_string_lossy()),
        lines = lines.join("\n"),
        logs = layout.directory.display(),
    )
}

#[cfg(test)]
mod tests;
