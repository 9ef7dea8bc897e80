//! `quorate produce` and `quorate consume`: records as lines of text.

use std::collections::VecDeque;
use std::io::{BufWriter, Write};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use serde::{Serialize, Serializer};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::time::{Duration, Instant, timeout_at};

use crate::client::{
    Client, ClientConfig, Consumer, Delivery, NewRecord, PendingBatch, Producer, ProducerConfig,
    Start, partition_for_key,
};
use crate::record::Headers;
use crate::terminal::{Failure, KafkaServers};

/// The longest line taken as a record; a broker's default limit for a batch is 1 MiB.
const LINE_BYTES_MAX: u64 = 1_000_000;
/// A batch is sent before a line that would take it above so many bytes, or when no more lines come for a moment.
/// A longer line is a batch of its own.
const BATCH_BYTES: usize = 256 * 1024;
/// The most that a record takes beside its line.
const RECORD_OVERHEAD_BYTES: usize = 16;
const LINGER: Duration = Duration::from_millis(5);
/// Batches on their way; reading lines waits beyond it.
const PENDING_MAX: usize = 64;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    quorate produce orders < lines.txt\n  \
    printf 'ann:1\\nbob:2\\n' | quorate produce orders --key-separator :")]
pub(super) struct ProduceOptions {
    /// The topic to write to; created if it does not exist and the brokers allow that.
    topic: String,
    /// Text between key and value; lines without it have no key. Equal keys go to the same partition.
    #[arg(long, short = 'k', value_name = "TEXT")]
    key_separator: Option<String>,
    /// Write to this partition [default: by key, or in turn].
    #[arg(long, short)]
    partition: Option<i32>,
    #[command(flatten)]
    servers: KafkaServers,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    quorate consume orders --from beginning -n 10\n  \
    quorate consume orders --partition 2 --from 1500 --format json\n  \
    quorate consume orders --from beginning --exit | wc -l")]
pub(super) struct ConsumeOptions {
    /// The topic to read.
    topic: String,
    /// Where to begin: beginning, end, or an offset.
    #[arg(long, short, default_value = "end")]
    from: From,
    /// Stop after so many records.
    #[arg(long, short = 'n', value_name = "RECORDS")]
    number: Option<u64>,
    /// Read only this partition.
    #[arg(long, short)]
    partition: Option<i32>,
    /// Stop after the last record there is now.
    #[arg(long, short)]
    exit: bool,
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

/// Writes standard input; returns when every record is stored on a majority.
pub(super) async fn produce(options: ProduceOptions) -> Result<(), Failure> {
    let client = Client::new(ClientConfig::new(options.servers.server));
    let topology = client.refresh_patiently(&options.topic, true).await?;
    let partitions = topology.partitions(&options.topic);
    if let Some(wanted) = options.partition.filter(|wanted| !partitions.contains(wanted)) {
        return Err(Failure::usage(format!("topic {} has no partition {wanted}", options.topic))
            .hint(format!("it has {}, numbered from 0", partitions.len())));
    }
    let mut writer = Writer {
        producer: Producer::new(client, ProducerConfig::default()).await?,
        topic: options.topic,
        fixed: options.partition,
        separator: options.key_separator,
        batches: vec![Vec::new(); partitions.len()],
        bytes: 0,
        turn: 0,
        pending: VecDeque::new(),
    };
    let mut input = BufReader::new(tokio::io::stdin());
    let mut text = Vec::new();
    // While lines wait in a batch, a pause in the input sends them.
    let mut linger: Option<Instant> = None;
    loop {
        let read = read_line(&mut input, &mut text);
        let read = match linger {
            Some(until) => match timeout_at(until, read).await {
                Ok(read) => read?,
                Err(_) => {
                    linger = None;
                    writer.flush().await?;
                    continue;
                }
            },
            None => read.await?,
        };
        if !read {
            break;
        }
        writer.add(&text).await?;
        text.clear();
        linger = (writer.bytes > 0).then(|| linger.unwrap_or_else(|| Instant::now() + LINGER));
    }
    writer.flush().await?;
    writer.finish().await
}

/// Reads up to the end of a line into `text`. False at the end of the input. Cancel-safe: what was read stays.
async fn read_line(
    input: &mut BufReader<tokio::io::Stdin>,
    text: &mut Vec<u8>,
) -> Result<bool, Failure> {
    let room = LINE_BYTES_MAX.saturating_sub(text.len() as u64) + 1;
    input.take(room).read_until(b'\n', text).await?;
    if text.len() as u64 > LINE_BYTES_MAX && text.last() != Some(&b'\n') {
        return Err(Failure::error(format!("a line is longer than {LINE_BYTES_MAX} bytes")));
    }
    let ended = text.last() == Some(&b'\n');
    if ended {
        text.pop();
    }
    Ok(ended || !text.is_empty())
}

struct Writer {
    producer: Producer,
    topic: String,
    fixed: Option<i32>,
    separator: Option<String>,
    /// Records collected, by partition.
    batches: Vec<Vec<NewRecord>>,
    bytes: usize,
    turn: usize,
    pending: VecDeque<PendingBatch>,
}

impl Writer {
    async fn add(&mut self, text: &[u8]) -> Result<(), Failure> {
        let bytes = text.len() + RECORD_OVERHEAD_BYTES;
        if self.bytes > 0 && self.bytes + bytes > BATCH_BYTES {
            self.flush().await?;
        }
        let (key, value) = self.split(text);
        let count = u32::try_from(self.batches.len()).unwrap_or(u32::MAX);
        let place = match (self.fixed, &key) {
            (Some(partition), _) => usize::try_from(partition).unwrap_or(0),
            (None, Some(key)) => usize::try_from(partition_for_key(key, count)).unwrap_or(0),
            (None, None) => self.turn,
        };
        self.bytes += bytes;
        let record = NewRecord { timestamp_ms: now_ms(), key, value: Some(value) };
        self.batches[place].push(record);
        Ok(())
    }

    fn split(&self, text: &[u8]) -> (Option<Bytes>, Bytes) {
        let found = self.separator.as_deref().filter(|separator| !separator.is_empty()).and_then(
            |separator| {
                let at = text
                    .windows(separator.len())
                    .position(|window| window == separator.as_bytes())?;
                Some((at, at + separator.len()))
            },
        );
        match found {
            Some((end, start)) => {
                (Some(Bytes::copy_from_slice(&text[..end])), Bytes::copy_from_slice(&text[start..]))
            }
            None => (None, Bytes::copy_from_slice(text)),
        }
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        for partition in 0..self.batches.len() {
            let records = std::mem::take(&mut self.batches[partition]);
            if records.is_empty() {
                continue;
            }
            let number = i32::try_from(partition).unwrap_or(i32::MAX);
            self.pending.push_back(self.producer.send(&self.topic, number, records).await?);
            if self.pending.len() >= PENDING_MAX {
                self.settle_one().await?;
            }
        }
        self.bytes = 0;
        // Keyless records change partition with each batch, so that batches are large (KIP-480).
        self.turn = (self.turn + 1) % self.batches.len();
        Ok(())
    }

    async fn settle_one(&mut self) -> Result<(), Failure> {
        if let Some(pending) = self.pending.pop_front() {
            pending.stored().await?;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<(), Failure> {
        while !self.pending.is_empty() {
            self.settle_one().await?;
        }
        Ok(())
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Prints records until there are enough, or for ever.
pub(super) async fn consume(options: ConsumeOptions) -> Result<(), Failure> {
    let client = Client::new(ClientConfig::new(options.servers.server));
    let mut consumer =
        Consumer::open(client, &options.topic, options.partition, options.from.0).await?;
    let ends = if options.exit { Some(consumer.ends().await?) } else { None };
    let mut left = options.number.unwrap_or(u64::MAX);
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
