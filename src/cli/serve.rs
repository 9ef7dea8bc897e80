//! `quorate serve`, and the settings of its file: one broker, from its flags to its last moment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

use crate::broker::{Broker, StartError};
use crate::config::{Config, ConfigError, Flag, Resolved};
use crate::telemetry;
use crate::terminal::{Failure, line};

const PREDECESSOR_WAIT: Duration = Duration::from_secs(3);
const PREDECESSOR_LOOK: Duration = Duration::from_millis(50);

#[derive(Debug, Default, Args)]
#[command(after_help = "Examples:\n  \
    quorate serve\n  \
    quorate serve --data-dir /var/lib/quorate --config /etc/quorate.toml\n  \
    quorate serve --data-dir d2 --kafka 127.0.0.1:9093 --http 127.0.0.1:8081 --peer 127.0.0.1:9193 \\\n    \
      --join 127.0.0.1:9192\n\n\
    An empty data directory without --join forms a new cluster of one broker. Every setting of\n\
    `quorate config` can also stand in the file, in an environment variable, or in --set.")]
pub(super) struct ServeOptions {
    /// TOML file with settings; `quorate config` prints one to start from.
    #[arg(long, value_name = "FILE", env = "QUORATE_CONFIG")]
    config: Option<PathBuf>,
    /// Directory of everything the broker must not forget.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Number of the broker in its cluster [default: given by the cluster].
    #[arg(long, value_name = "N")]
    node_id: Option<String>,
    /// Address for Kafka clients [default: 127.0.0.1:9092].
    #[arg(long, value_name = "IP:PORT")]
    kafka: Option<String>,
    /// The address Kafka clients are told to connect to [default: the one listened on].
    #[arg(long, value_name = "HOST:PORT")]
    kafka_advertised: Option<String>,
    /// Address for HTTP [default: 127.0.0.1:8080].
    #[arg(long, value_name = "IP:PORT")]
    http: Option<String>,
    /// The address others are told to reach HTTP on [default: the one listened on].
    #[arg(long, value_name = "HOST:PORT")]
    http_advertised: Option<String>,
    /// Address for other brokers [default: 127.0.0.1:9192].
    #[arg(long, value_name = "IP:PORT")]
    peer: Option<String>,
    /// The address other brokers are told to reach this one on [default: the one listened on].
    #[arg(long, value_name = "HOST:PORT")]
    peer_advertised: Option<String>,
    /// Members of the cluster to join, by their peer addresses.
    #[arg(long, value_name = "HOST:PORT,...")]
    join: Option<String>,
    /// The rack the broker stands in.
    #[arg(long, value_name = "NAME")]
    rack: Option<String>,
    /// What is logged: off, error, warn, info, debug, trace, or levels by module.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Any other setting; may be given several times.
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(super) struct ConfigOptions {
    /// Print what the file, the environment and --set come to, and where each value is from.
    #[arg(long)]
    effective: bool,
    #[arg(long, value_name = "FILE", env = "QUORATE_CONFIG")]
    config: Option<PathBuf>,
    /// A setting, as for `quorate serve`.
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

/// Reads `NAME=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

impl ServeOptions {
    /// Reads the configuration these flags, the environment and the file come to.
    pub(super) fn load(
        &self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Resolved, ConfigError> {
        Config::load(self.config.as_deref(), environment, &self.flags())
    }

    fn flags(&self) -> Vec<Flag> {
        let named = [
            ("broker.data_dir", "--data-dir", &self.data_dir),
            ("broker.id", "--node-id", &self.node_id),
            ("broker.rack", "--rack", &self.rack),
            ("kafka.listen", "--kafka", &self.kafka),
            ("kafka.advertised", "--kafka-advertised", &self.kafka_advertised),
            ("http.listen", "--http", &self.http),
            ("http.advertised", "--http-advertised", &self.http_advertised),
            ("peer.listen", "--peer", &self.peer),
            ("peer.advertised", "--peer-advertised", &self.peer_advertised),
            ("peer.join", "--join", &self.join),
            ("log.level", "--log-level", &self.log_level),
            ("log.format", "--log-format", &self.log_format),
        ];
        let named = named.into_iter().filter_map(|(key, flag, value)| {
            Some(Flag { key: key.to_owned(), flag, value: value.clone()? })
        });
        named.chain(set_flags(&self.set)).collect()
    }
}

fn set_flags(set: &[(String, String)]) -> impl Iterator<Item = Flag> {
    set.iter().map(|(key, value)| Flag { key: key.clone(), flag: "--set", value: value.clone() })
}

/// Variables that are not Unicode cannot be ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Prints the settings as an annotated TOML file.
pub(super) fn print_config(options: &ConfigOptions) -> Result<(), Failure> {
    if !options.effective {
        return line(Config::document().trim_end());
    }
    let flags: Vec<Flag> = set_flags(&options.set).collect();
    let resolved = Config::load(options.config.as_deref(), environment(), &flags)?;
    line(resolved.document().trim_end())
}

/// Runs a broker until a signal asks it to stop, or until it cannot go on.
pub(super) async fn serve(options: &ServeOptions) -> Result<(), Failure> {
    let resolved = options.load(environment())?;
    telemetry::start(&resolved.config.log);
    let settings = resolved.changes().join(", ");
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        settings,
        "broker starts"
    );

    let mut signals = Signals::new()?;
    let pid_file = PidFile::at(&resolved.config.broker.data_dir);
    let started = tokio::select! {
        started = start(resolved.config) => started,
        () = signals.next() => return Ok(()),
    };
    let broker = started.map_err(|error| failure(&error))?;
    if let Err(error) = pid_file.write() {
        // It is only a note, and a broker on a full disk must be able to free some.
        tracing::info!(%error, "pid file not written");
    }
    let mut again = Signals::new()?;
    let outcome = tokio::select! {
        outcome = broker.run_until_shutdown(signals.next()) => outcome,
        // Asked a second time, the broker ends at once; what it acknowledged is on disk at any moment.
        () = async { again.next().await; again.next().await } => Ok(()),
    };
    pid_file.remove();
    outcome.map_err(|error| failure(&error))
}

/// Starts the broker, waiting a moment for a process that held its ports or its directory to be gone: one that was
/// just killed keeps them until the kernel has cleaned up, and whoever restarts it cannot see when that is.
async fn start(config: Config) -> Result<Broker, StartError> {
    let deadline = Instant::now() + PREDECESSOR_WAIT;
    loop {
        match Broker::start(config.clone()).await {
            Err(error) if still_held(&error) && Instant::now() < deadline => {
                sleep(PREDECESSOR_LOOK).await;
            }
            outcome => return outcome,
        }
    }
}

fn still_held(error: &StartError) -> bool {
    match error {
        StartError::Bind { source, .. } => source.kind() == std::io::ErrorKind::AddrInUse,
        StartError::Storage(quorate_storage::Error::Locked { .. }) => true,
        _ => false,
    }
}

/// What asks a process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn failure(error: &StartError) -> Failure {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        // A transparent error shows its cause's text as its own.
        if !reason.ends_with(&next.to_string()) {
            reason = format!("{reason}: {next}");
        }
        cause = next.source();
    }
    tracing::error!(reason, "broker ends");
    let failure = Failure::with_code(error.exit_code(), reason);
    match error {
        StartError::Bind { setting, .. } => {
            let section = setting.split('.').next().unwrap_or(setting);
            failure.hint(format!(
                "is another broker running? choose another port with --{section} HOST:PORT"
            ))
        }
        StartError::NotLetIn { .. } => {
            failure.hint("check --join and whether those brokers are running")
        }
        _ => failure,
    }
}

/// `DATA/pid`: tells scripts, and `quorate demo`, which process runs on a data directory.
///
/// Only a note: what keeps two brokers apart is the lock that storage holds.
struct PidFile(PathBuf);

impl PidFile {
    fn at(directory: &Path) -> Self {
        Self(directory.join("pid"))
    }

    fn write(&self) -> std::io::Result<()> {
        std::fs::write(&self.0, format!("{}\n", std::process::id()))
    }

    fn remove(&self) {
        // It may be gone already, and a stale one is recognised by its process being gone.
        drop(std::fs::remove_file(&self.0));
    }
}
