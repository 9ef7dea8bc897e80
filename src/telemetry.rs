//! What a broker tells its operator: log events, metrics, and its last words.
//!
//! Logs go to standard error, one event per line. The filter can be exchanged while the broker runs, because the
//! moment one needs `debug` is the moment one must not restart. A panic in any task ends the process: a broker of
//! which one part has silently stopped would go on holding leaderships it no longer serves.

mod metrics;
mod process;

use std::backtrace::Backtrace;
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use parking_lot::Mutex;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

pub use metrics::{
    Api, ApiError, BrokerState, GroupPartition, HttpRequest, HttpRoute, LabelText, Metrics,
    RaftRole, Seconds, State, TopicPartition, metrics,
};
pub use process::{Usage, usage, usage_of};

use crate::config::{Log, LogFilter, LogFormat};

static LEVEL: OnceLock<Level> = OnceLock::new();

struct Level {
    now: Mutex<LogFilter>,
    handle: reload::Handle<EnvFilter, Registry>,
}

/// The log level cannot be changed: this process has not set up logging, or is ending.
#[derive(Debug, thiserror::Error)]
#[error("the log level of this process cannot be changed")]
pub struct NoLog;

/// Sends this process's events to standard error, and makes a panic end the process with a logged reason.
///
/// Called once, before the first task is started; a second call changes nothing.
pub fn start(config: &Log) {
    let (filter, handle) = reload::Layer::new(filter_of(&config.level));
    let lines =
        fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match config.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        LEVEL.get_or_init(|| Level { now: Mutex::new(config.level.clone()), handle });
        std::panic::set_hook(Box::new(last_words));
    }
}

/// Returns which events are logged now.
pub fn log_level() -> Result<LogFilter, NoLog> {
    LEVEL.get().map(|level| level.now.lock().clone()).ok_or(NoLog)
}

/// Changes which events are logged, from the next one on.
pub fn set_log_level(filter: &LogFilter) -> Result<(), NoLog> {
    let level = LEVEL.get().ok_or(NoLog)?;
    let mut now = level.now.lock();
    level.handle.reload(filter_of(filter)).map_err(|_| NoLog)?;
    let before = std::mem::replace(&mut *now, filter.clone());
    tracing::info!(%before, after = %filter, "log level changed");
    Ok(())
}

/// openraft reports each lost connection and each refused vote as a warning or an error, which for a cluster are
/// ordinary events; our raft crate logs the ones an operator acts on. Its own events are there when asked for.
fn filter_of(filter: &LogFilter) -> EnvFilter {
    if filter.as_str().contains("openraft=") {
        EnvFilter::new(filter.as_str())
    } else {
        EnvFilter::new(format!("{filter},openraft=off"))
    }
}

fn last_words(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let reason = panic.payload_as_str().unwrap_or("(no message)");
    let thread = std::thread::current().name().unwrap_or("(unnamed)").to_owned();
    let stack = Backtrace::force_capture();
    tracing::error!(%place, %thread, reason, %stack, "broken invariant, the process ends");
    std::process::abort();
}
