//! `quorate consume`: records as lines of text, read alone or as a member of a consumer group.

use std::io::{BufWriter, Write};
use std::str::FromStr;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use serde::{Serialize, Serializer};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Duration, timeout};

use crate::client::{Client, ClientConfig, Consumer, Delivery, GroupConsumer, Isolation, Start};
use crate::record::Headers;
use crate::terminal::{Failure, KafkaServers};

/// How long what was printed last may take to be committed by a consumer that is to stop.
const STOP_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    quorate consume orders --from beginning -n 10\n  \
    quorate consume orders --partition 2 --from 1500 --format json\n  \
    quorate consume orders --from beginning --exit | wc -l\n  \
    quorate consume orders --group billing --from beginning\n  \
    quorate consume orders --from beginning --uncommitted   (also of transactions that are open or aborted)")]
pub(super) struct ConsumeOptions {
    /// The topic to read.
    topic: String,
    /// Where to begin: beginning, end, or an offset; with a group, where it has not read yet.
    #[arg(long, short, default_value = "end")]
    from: From,
    /// Read as a member of this consumer group: share its partitions, go on where it was, commit what was printed.
    #[arg(long, short, conflicts_with_all = ["partition", "exit"])]
    group: Option<String>,
    /// Stop after so many records.
    #[arg(long, short = 'n', value_name = "RECORDS")]
    number: Option<u64>,
    /// Read only this partition.
    #[arg(long, short)]
    partition: Option<i32>,
    /// Stop after the last record there is now.
    #[arg(long, short)]
    exit: bool,
    /// Show records of open and aborted transactions too, instead of waiting for the open and leaving out the aborted.
    #[arg(long)]
    uncommitted: bool,
    #[arg(long, value_enum, default_value = "value")]
    format: RecordFormat,
    #[command(flatten)]
    servers: KafkaServers,
}

#[derive(Debug, Clone, Copy)]
struct From(Start);

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "beginning" => Ok(Self(Start::Beginning)),
            "end" => Ok(Self(Start::End)),
            number => match number.parse() {
                Ok(offset) if offset >= 0 => Ok(Self(Start::Offset(offset))),
                _ => Err("expected beginning, end or an offset, a whole number from 0".to_owned()),
            },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RecordFormat {
    /// The value.
    Value,
    /// Partition, offset, timestamp, key and value, separated by tabs.
    Full,
    /// One JSON object per line.
    Json,
}

/// Prints records until there are enough, or for ever.
pub(super) async fn consume(options: ConsumeOptions) -> Result<(), Failure> {
    let left = options.number.unwrap_or(u64::MAX);
    let isolation = if options.uncommitted { Isolation::Uncommitted } else { Isolation::Committed };
    let client = Client::new(ClientConfig::new(options.servers.server));
    let (topic, start) = (&options.topic, options.from.0);
    if let Some(group) = &options.group {
        let consumer = GroupConsumer::open(client, topic, group, start, isolation).await?;
        return consume_in_group(consumer, left, options.format).await;
    }
    let mut left = left;
    let mut consumer = Consumer::open(client, topic, options.partition, start, isolation).await?;
    let ends = if options.exit { Some(consumer.ends().await?) } else { None };
    let mut out = BufWriter::new(std::io::stdout());
    while left > 0 && !ends.as_ref().is_some_and(|ends| consumer.reached(ends)) {
        if !consumer.has_ready() {
            out.flush()?;
        }
        if let Some(delivery) = consumer.next().await? {
            print(&mut out, &delivery, options.format)?;
            left -= 1;
        }
    }
    Ok(out.flush()?)
}

/// Prints records as a member of a group, until there are enough or it is told to stop; then leaves.
async fn consume_in_group(
    mut consumer: GroupConsumer,
    left: u64,
    format: RecordFormat,
) -> Result<(), Failure> {
    let mut out = BufWriter::new(std::io::stdout());
    let outcome = tokio::select! {
        outcome = print_of_group(&mut consumer, &mut out, left, format) => outcome,
        stopped = stopped() => stopped,
    };
    let settled = match outcome {
        Ok(()) => match out.flush() {
            Ok(()) => {
                timeout(STOP_WAIT, consumer.commit()).await.unwrap_or(Ok(())).map_err(Into::into)
            }
            Err(error) => Err(error.into()),
        },
        failed => failed,
    };
    consumer.leave().await;
    settled
}

async fn print_of_group(
    consumer: &mut GroupConsumer,
    out: &mut impl Write,
    mut left: u64,
    format: RecordFormat,
) -> Result<(), Failure> {
    while left > 0 {
        if consumer.must_commit() || !consumer.has_ready() {
            out.flush()?;
            consumer.commit().await?;
        }
        if let Some(delivery) = consumer.next().await? {
            print(out, &delivery, format)?;
            left -= 1;
        }
    }
    Ok(())
}

/// Waits until somebody presses Ctrl-C or sends SIGTERM.
pub(super) async fn stopped() -> Result<(), Failure> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        _ = terminated.recv() => Ok(()),
    }
}

fn print(out: &mut impl Write, delivery: &Delivery, format: RecordFormat) -> std::io::Result<()> {
    let Delivery { partition, offset, timestamp_ms, key, value, headers } = delivery;
    let shown = |bytes: &Option<Bytes>| {
        bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    match format {
        RecordFormat::Value => {
            // As it is, not as UTF-8: what was a line on the way in is the same line on the way out.
            out.write_all(value.as_deref().unwrap_or_default())?;
            out.write_all(b"\n")
        }
        RecordFormat::Full => {
            let [key, value] =
                [key, value].map(|bytes| shown(bytes).unwrap_or_else(|| "-".to_owned()));
            writeln!(out, "{partition}\t{offset}\t{timestamp_ms}\t{key}\t{value}")
        }
        RecordFormat::Json => {
            let record = Shown {
                partition: *partition,
                offset: *offset,
                timestamp_ms: *timestamp_ms,
                key: shown(key),
                value: shown(value),
                headers,
            };
            serde_json::to_writer(&mut *out, &record)?;
            writeln!(out)
        }
    }
}

/// A record as a JSON object.
#[derive(Serialize)]
struct Shown<'a> {
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    key: Option<String>,
    value: Option<String>,
    #[serde(serialize_with = "pairs")]
    headers: &'a Headers,
}

/// Writes headers one after the other; together they may be many times as large as the record.
fn pairs<S: Serializer>(headers: &&Headers, serializer: S) -> Result<S::Ok, S::Error> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    serializer
        .collect_seq(headers.iter().map(|(name, value)| (text(&name), value.as_ref().map(text))))
}
