//! What the workers of a run know together: names and numbers that nobody had, and what they were told last of versions,
//! tags and ends, which may be old and is used as such.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;

use super::listen::{Listener, Which};
use super::murmur2::partition_of;
use crate::checker::streams::{Batch, Row};

/// The key that most writers contend on.
pub const HOT: &str = "hot";
/// Names that a path cannot hold as they are are among them.
const OTHERS: [&str; 12] =
    ["a", "b", "c/d", "e f", "g?h=1", "i#j", "k%20l", "naïve", "流", "m:n", "user@host", "\"o\""];
/// Streams that are deleted and closed at the same time, and how long they have the same names.
const MORTALS: usize = 4;
const MORTAL: &str = "mortal-";
const LIFE: Duration = Duration::from_secs(5);
/// So many writers want the same address, more or less at the same time.
const CLAIMANTS: u64 = 3;

/// See the module.
pub struct Known {
    pub partitions: u32,
    /// Most of the bytes that an event has beside its number.
    pub padding: usize,
    began: Instant,
    ids: AtomicI64,
    claims: AtomicU64,
    /// Whether the topic has streams by now.
    on: AtomicBool,
    pub asked_for: AtomicBool,
    /// Workers that have nothing more to send.
    pub through: AtomicUsize,
    inner: Mutex<Inner>,
    /// Those who listen, by the worker they are of, unless they do so right now.
    pub listeners: Mutex<BTreeMap<(usize, Which), Listener>>,
    pub listener_numbers: AtomicI64,
}

#[derive(Default)]
struct Inner {
    versions: BTreeMap<String, i64>,
    /// By partition and tag.
    tags: BTreeMap<(u32, String), i64>,
    ends: BTreeMap<u32, i64>,
    /// How far each partition's log was consumed.
    consumed: BTreeMap<u32, i64>,
    keys: BTreeSet<String>,
    /// Keys that somebody may have deleted, or may do so yet.
    doubtful: BTreeSet<String>,
}

impl Known {
    pub fn new(partitions: u32, on: bool, padding: usize) -> Known {
        Known {
            partitions: partitions.max(1),
            padding,
            began: Instant::now(),
            ids: AtomicI64::new(1),
            claims: AtomicU64::new(0),
            on: AtomicBool::new(on),
            asked_for: AtomicBool::new(on),
            through: AtomicUsize::new(0),
            inner: Mutex::default(),
            listeners: Mutex::default(),
            listener_numbers: AtomicI64::new(1),
        }
    }

    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    pub fn turn_on(&self) {
        self.on.store(true, Ordering::Release);
    }

    pub fn partition(&self, key: &str) -> u32 {
        partition_of(key, self.partitions)
    }

    /// A record with a number nobody had.
    pub fn row(&self, key: &str, expected: Option<i64>) -> Row {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        self.inner.lock().keys.insert(key.to_owned());
        Row { key: key.to_owned(), id, expected, ..Row::default() }
    }

    /// A batch of these, which are of one partition.
    pub fn batch(&self, rows: Vec<Row>) -> Batch {
        let partition = rows.first().map_or(0, |row| self.partition(&row.key));
        Batch { partition: i64::from(partition), rows, ..Batch::default() }
    }

    /// The number of an address that some others want as well.
    pub fn claim(&self) -> u64 {
        self.claims.fetch_add(1, Ordering::Relaxed) / CLAIMANTS
    }

    /// A key in a partition that nobody else writes to.
    pub fn own_key(&self, name: &str, partition: u32) -> String {
        let mut keys = (0..).map(|number| format!("{name}-{number}"));
        keys.find(|key| self.partition(key) == partition).unwrap_or_default()
    }

    /// Any of the keys that several write to.
    pub fn other(&self, random: &mut StdRng) -> &'static str {
        OTHERS[random.random_range(0..OTHERS.len())]
    }

    /// Up to so many different ones in one partition.
    pub fn others(&self, partition: u32, count: usize, random: &mut StdRng) -> Vec<&'static str> {
        let all = OTHERS.into_iter().filter(|key| self.partition(key) == partition);
        all.choose_multiple(random, count)
    }

    /// A stream that is deleted and closed, and whether this worker alone deletes it without leaving a number.
    pub fn mortal(&self, worker: usize, random: &mut StdRng) -> (String, bool) {
        let slot = if worker < MORTALS && random.random_ratio(3, 4) {
            worker
        } else {
            random.random_range(0..MORTALS)
        };
        let life = self.age().as_secs() / LIFE.as_secs();
        let key = format!("{MORTAL}{slot}-{life}");
        let is_own = slot == worker && !self.inner.lock().doubtful.contains(&key);
        (key, is_own)
    }

    /// Whether a batch may be accepted although one like it was refused: streams that are deleted come back.
    pub fn may_hold_later(&self, batch: &Batch) -> bool {
        let is_mortal = |row: &Row| row.key.starts_with(MORTAL);
        batch.rows.iter().any(|row| is_mortal(row) && row.expected.is_some_and(|it| it < 0))
    }

    /// Nobody knows whether it was deleted, so that another such tombstone could not be told from that one.
    pub fn doubt(&self, key: &str) {
        self.inner.lock().doubtful.insert(key.to_owned());
    }

    /// Any key that was ever written to.
    pub fn any_key(&self, random: &mut StdRng) -> Option<String> {
        self.inner.lock().keys.iter().choose(random).cloned()
    }

    /// Those of which all is read in the end: all that several write to, and some of the rest.
    pub fn final_keys(&self, rest: usize, random: &mut StdRng) -> Vec<String> {
        let keys = std::mem::take(&mut self.inner.lock().keys);
        let is_shared = |key: &String| key == HOT || OTHERS.contains(&key.as_str());
        let (mut shared, others): (Vec<String>, Vec<String>) =
            keys.into_iter().partition(is_shared);
        shared.extend(others.into_iter().choose_multiple(random, rest));
        shared
    }

    pub fn version(&self, key: &str) -> i64 {
        self.inner.lock().versions.get(key).copied().unwrap_or(0)
    }

    pub fn tag(&self, partition: u32, tag: &str) -> i64 {
        self.inner.lock().tags.get(&(partition, tag.to_owned())).copied().unwrap_or(-1)
    }

    /// Behind the last record that somebody heard of.
    pub fn end(&self, partition: u32) -> i64 {
        self.inner.lock().ends.get(&partition).copied().unwrap_or(0)
    }

    pub fn consumed(&self, partition: u32) -> i64 {
        self.inner.lock().consumed.get(&partition).copied().unwrap_or(0)
    }

    pub fn note_version(&self, key: &str, version: i64) {
        self.inner.lock().versions.insert(key.to_owned(), version);
    }

    pub fn note_tag(&self, partition: u32, tag: &str, offset: i64) {
        self.inner.lock().tags.insert((partition, tag.to_owned()), offset);
    }

    pub fn note_end(&self, partition: u32, end: i64) {
        let mut inner = self.inner.lock();
        let known = inner.ends.entry(partition).or_default();
        *known = end.max(*known);
    }

    pub fn note_consumed(&self, partition: u32, end: i64) {
        self.inner.lock().consumed.insert(partition, end);
    }
}
