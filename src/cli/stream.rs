//! `quorate stream`: append to a stream of events, read it, and follow it.

use std::io::Write;

use clap::{Args, Subcommand, ValueEnum};
use tokio::io::{AsyncReadExt, stdin};
use tokio::task::spawn_blocking;
use tokio::time::Duration;

use super::consume::stopped;
use crate::client::{EventRange, EventStore, Expected, Loaded, NewEvent, StoreError};
use crate::terminal::{Failure, HttpServers, line, note};

/// The exit code of what the cluster refuses.
const REFUSED: u8 = 4;
/// Events of one append.
const EVENTS_MAX: usize = 1_000;
/// How much is read from standard input; a broker's default limit for a batch is 1 MiB.
const INPUT_BYTES_MAX: u64 = 16 << 20;
/// How long a broker is asked to wait for events.
const WAIT: Duration = Duration::from_secs(20);

#[derive(Debug, Subcommand)]
pub(super) enum StreamCommand {
    /// Append events, all of them or none; prints the version of the stream behind them.
    #[command(after_help = "Examples:\n  \
        quorate stream append orders order-1 '{\"type\":\"placed\"}' --expect none\n  \
        quorate stream append orders order-1 '{\"type\":\"paid\"}' --expect 1 --tag customer:7\n  \
        quorate stream append orders order-1 --idempotency-key import-17 < events.txt\n\n\
        Exit code 4: the stream has another version, or is closed; the message says which.")]
    Append(AppendOptions),
    /// Print the events of a stream.
    #[command(after_help = "Examples:\n  \
        quorate stream read orders order-1\n  \
        quorate stream read orders order-1 --from 5 --format json\n  \
        quorate stream read orders order-1 --backward --limit 1")]
    Read(ReadOptions),
    /// Print the events of a stream, those there are and those that come.
    #[command(after_help = "Example:\n  quorate stream tail orders order-1 --from 5\n\n\
        Ctrl-C ends it.")]
    Tail(TailOptions),
}

#[derive(Debug, Args)]
struct Named {
    /// The topic; its config quorate.streams has to be true.
    topic: String,
    /// The key of the stream.
    key: String,
    #[command(flatten)]
    servers: HttpServers,
}

#[derive(Debug, Args)]
pub(super) struct AppendOptions {
    #[command(flatten)]
    named: Named,
    /// The events; lines of standard input if there are none.
    values: Vec<String>,
    /// The version that is expected, or none, exists or any.
    #[arg(long, short, default_value = "any", value_parser = expected)]
    expect: Expected,
    /// By which a retry is known, so that it is not appended twice [default: a new one].
    #[arg(long)]
    idempotency_key: Option<String>,
    /// A tag that each of the events gets; may be given several times.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct ReadOptions {
    #[command(flatten)]
    named: Named,
    /// The first version.
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i64).range(1..))]
    from: Option<i64>,
    /// The last version.
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i64).range(1..))]
    to: Option<i64>,
    /// Newest first.
    #[arg(long)]
    backward: bool,
    /// At most so many events.
    #[arg(long, short = 'n', value_name = "EVENTS")]
    limit: Option<usize>,
    #[arg(long, value_enum, default_value = "values")]
    format: EventFormat,
}

#[derive(Debug, Args)]
pub(super) struct TailOptions {
    #[command(flatten)]
    named: Named,
    /// The first version.
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i64).range(1..))]
    from: Option<i64>,
    #[arg(long, value_enum, default_value = "values")]
    format: EventFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EventFormat {
    /// The value.
    Values,
    /// One JSON object per line.
    Json,
}

fn expected(text: &str) -> Result<Expected, String> {
    match text {
        "any" => Ok(Expected::Any),
        "none" => Ok(Expected::NoStream),
        "exists" => Ok(Expected::Exists),
        number => match number.parse() {
            Ok(version) if version >= 0 => Ok(Expected::Exactly(version)),
            _ => {
                Err("expected a version, a whole number from 0, or none, exists or any".to_owned())
            }
        },
    }
}

pub(super) async fn run(command: StreamCommand) -> Result<(), Failure> {
    match command {
        StreamCommand::Append(options) => append(options).await,
        StreamCommand::Read(options) => read(options).await,
        StreamCommand::Tail(options) => tail(options).await,
    }
}

async fn append(options: AppendOptions) -> Result<(), Failure> {
    let AppendOptions { named, mut values, expect, idempotency_key, tags } = options;
    if values.is_empty() {
        let mut text = String::new();
        stdin().take(INPUT_BYTES_MAX).read_to_string(&mut text).await?;
        values = text.lines().map(str::to_owned).collect();
    }
    if !(1..=EVENTS_MAX).contains(&values.len()) {
        let detail = format!("{} events are given, 1 to {EVENTS_MAX} are possible", values.len());
        return Err(Failure::usage(detail));
    }
    let event = |value: &String| NewEvent::new(value.as_bytes()).tags(tags.clone());
    let events: Vec<NewEvent> = values.iter().map(event).collect();
    let (store, key) = (named.store(), named.key.clone());
    let appended = blocking(move || match idempotency_key {
        Some(once) => store.append_once(&key, expect, &events, &once),
        None => store.append(&key, expect, &events),
    });
    let appended = appended.await.map_err(|error| failure(&named, error))?;
    let (version, partition) = (appended.version, appended.partition);
    line(&format!("version {version} (offset {} of partition {partition})", appended.offset))
}

async fn read(options: ReadOptions) -> Result<(), Failure> {
    let ReadOptions { named, from, to, backward, limit, format } = options;
    let mut left = limit.unwrap_or(usize::MAX);
    let mut range = EventRange { from, to, backward, ..EventRange::default() };
    while left > 0 {
        range.limit = Some(left.min(EVENTS_MAX));
        let found = named.read(range).await?;
        if found.version == 0 {
            let detail = format!("topic {} has no stream {}", named.topic, named.key);
            return Err(Failure::error(detail));
        }
        if found.deleted {
            note(&format!("the stream was deleted with version {}", found.version))?;
        }
        left -= found.events.len().min(left);
        print(&found, format)?;
        let Some(next) = found.next else { break };
        *(if backward { &mut range.to } else { &mut range.from }) = Some(next);
    }
    Ok(())
}

/// Prints events as they come, until it is told to stop.
async fn tail(options: TailOptions) -> Result<(), Failure> {
    tokio::select! {
        failed = follow(options) => failed,
        stopped = stopped() => stopped,
    }
}

async fn follow(options: TailOptions) -> Result<(), Failure> {
    let TailOptions { named, from, format } = options;
    let mut next = from.unwrap_or(1);
    let mut told = 0;
    loop {
        let range = EventRange { from: Some(next), wait: WAIT, ..EventRange::default() };
        let found = named.read(range).await?;
        print(&found, format)?;
        if found.deleted && found.version > told {
            told = found.version;
            note(&format!("the stream was deleted with version {told}"))?;
        }
        let seen = found.events.last().map_or(next, |event| event.version + 1);
        next = found.next.unwrap_or(seen).max(if found.deleted { found.version + 1 } else { 1 });
    }
}

fn print(found: &Loaded, format: EventFormat) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for (event, text) in found.events.iter().zip(&found.lines) {
        match format {
            EventFormat::Json => out.write_all(text.as_bytes())?,
            EventFormat::Values => out.write_all(&event.value().unwrap_or_default())?,
        }
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

impl Named {
    fn store(&self) -> EventStore {
        EventStore::new(self.servers.http.clone(), self.topic.clone())
    }

    async fn read(&self, range: EventRange) -> Result<Loaded, Failure> {
        let (store, key) = (self.store(), self.key.clone());
        let found = blocking(move || store.read(&key, range)).await;
        found.map_err(|error| failure(self, error))
    }
}

/// The client blocks, so it gets a thread of the blocking pool.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(StoreError::NoAnswer(error.to_string())))
}

fn failure(named: &Named, error: StoreError) -> Failure {
    let what = format!("stream {} of topic {}", named.key, named.topic);
    match error {
        StoreError::Conflict { current } => {
            let detail = format!("{what} has version {current}, another than expected");
            Failure::with_code(REFUSED, detail)
                .hint("read what is there, decide again, append then")
        }
        StoreError::Closed { current } => {
            Failure::with_code(REFUSED, format!("{what} was closed with version {current}"))
        }
        StoreError::Refused { hint: Some(ref hint), .. } => {
            Failure::error(error.to_string()).hint(hint.clone())
        }
        error => Failure::error(error.to_string()),
    }
}
