//! The load, the same for the store and for the plain file.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_storage::{Db, Entry, EntryId, EntryKind, GroupId, Options};

use crate::disk::Usage;

#[derive(Clone, Copy)]
pub struct Load {
    pub total: u64,
    pub entry: usize,
    /// Entries under way at a time.
    pub callers: usize,
    pub groups: u64,
}

pub struct Outcome {
    bytes: u64,
    took: Duration,
    used: Usage,
    latencies: Vec<Duration>,
    pub syncs: u64,
    /// Time to open what was written.
    pub reopen: Duration,
}

impl Outcome {
    pub fn rate(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.took.as_secs_f64()
    }

    /// As the kernel counts for this process, and as the device counts for all.
    pub fn written_per_byte(&self) -> (f64, f64) {
        let per_byte = |written: u64| written as f64 / self.bytes as f64;
        (per_byte(self.used.process), per_byte(self.used.device))
    }

    pub fn cpu_per_gb(&self) -> f64 {
        self.used.cpu.as_secs_f64() / (self.bytes as f64 / 1e9)
    }

    /// Milliseconds.
    pub fn percentile(&self, percent: usize) -> f64 {
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len() - 1);
        self.latencies[at].as_secs_f64() * 1e3
    }
}

/// Bytes no file system can make smaller.
fn noise(size: usize) -> Bytes {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let next = std::iter::repeat_with(|| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    });
    next.flatten().take(size).collect()
}

impl Load {
    /// One thread that appends what is waiting and syncs, as a log without a database would.
    pub fn against_file(self, dir: &Path) -> Outcome {
        let dir = tempfile::tempdir_in(dir).expect("a directory");
        let mut file = File::create(dir.path().join("log")).expect("a file");
        let (requests, waiting) = mpsc::channel::<mpsc::Sender<()>>();
        let payload = noise(self.entry);
        let writer = std::thread::spawn(move || {
            let mut syncs = 0_u64;
            let mut batch = Vec::new();
            while let Ok(first) = waiting.recv() {
                let answers: Vec<_> = std::iter::once(first).chain(waiting.try_iter()).collect();
                batch.clear();
                answers.iter().for_each(|_| batch.extend_from_slice(&payload));
                file.write_all(&batch).expect("write");
                file.sync_data().expect("sync");
                syncs += 1;
                for answer in answers {
                    // A caller that has enough bytes no longer listens.
                    let _ = answer.send(());
                }
            }
            syncs
        });
        let mut outcome = self.run(
            dir.path(),
            |_, answer| requests.send(answer).expect("the writer lives"),
            || {},
        );
        drop(requests);
        outcome.syncs = writer.join().expect("the writer ends");
        outcome
    }

    pub fn against_store(self, dir: &Path) -> Outcome {
        let dir = tempfile::tempdir_in(dir).expect("a directory");
        let db = Db::open(dir.path(), Options::default()).expect("the store opens");
        let logs: Vec<_> = (1..=self.groups).map(|group| db.log(GroupId(group))).collect();
        let payload = noise(self.entry);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let append = |number: u64, answer: mpsc::Sender<()>| {
            let log =
                &logs[(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % logs.len()];
            let index = log.state().last.map_or(0, |last| last.index + 1);
            let id = EntryId { term: 1, index };
            let entry = Entry { id, kind: EntryKind::Normal, payload: payload.clone() };
            let answer = Answer(answer);
            let durable = Box::new(move || drop(answer));
            runtime.block_on(log.append(vec![entry], durable)).expect("append");
        };
        // Closing writes out what is in memory, so that it counts.
        let mut outcome = self.run(dir.path(), append, || db.close());
        outcome.syncs = db.stats().syncs;
        drop((logs, db));
        let begun = Instant::now();
        Db::open(dir.path(), Options::default()).expect("the store opens again");
        outcome.reopen = begun.elapsed();
        outcome
    }

    /// Keeps `callers` entries under way. Answers come in the order of the appends, nearly: the
    /// times of neighbours may be swapped, which no percentile notices.
    fn run(
        self,
        dir: &Path,
        mut append: impl FnMut(u64, mpsc::Sender<()>),
        finish: impl FnOnce(),
    ) -> Outcome {
        let count = self.total / self.entry as u64;
        let before = Usage::now(dir);
        let begun = Instant::now();
        let (answer, answered) = mpsc::channel();
        let mut under_way = std::collections::VecDeque::new();
        let mut measured = Vec::with_capacity(count as usize);
        for number in 0..count {
            if under_way.len() == self.callers {
                answered.recv().expect("an answer");
                let sent: Instant = under_way.pop_front().expect("one is under way");
                measured.push(sent.elapsed());
            }
            under_way.push_back(Instant::now());
            append(number, answer.clone());
        }
        for sent in under_way {
            answered.recv().expect("an answer");
            measured.push(sent.elapsed());
        }
        let took = begun.elapsed();
        finish();
        let used = Usage::now(dir).since(before);
        measured.sort_unstable();
        Outcome {
            bytes: count * self.entry as u64,
            took,
            used,
            latencies: measured,
            syncs: 0,
            reopen: Duration::ZERO,
        }
    }
}

/// Tells the caller when it is dropped, fired or not: one sync fires only the newest callback of a
/// group, and drops the others it covers right before.
struct Answer(mpsc::Sender<()>);

impl Drop for Answer {
    fn drop(&mut self) {
        // The end of the run does not listen any more.
        let _ = self.0.send(());
    }
}
