//! `quorate produce`: lines of text as records.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Args;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::time::{Duration, Instant, timeout_at};

use crate::client::{Client, ClientConfig, NewRecord, PendingBatch, Producer, ProducerConfig};
use crate::record::partition_for_key;
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
        let record =
            NewRecord { timestamp_ms: now_ms(), key, value: Some(value), headers: Vec::new() };
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
