//! The end of a run: what is in the logs, and what every broker shows of the streams.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::answer::Answer;
use super::append::{Via, append, token};
use super::consume::consume;
use super::known::Known;
use super::listen::hear_the_rest;
use super::look::whole;
use crate::admin::wait;
use crate::checker::Findings;
use crate::environment::{Address, Phase, Worker};
use crate::workload::keys::Keys;
use crate::workload::session::Session;

/// Of the streams that had few writers, so many are read.
const STREAMS: usize = 80;
/// Requests that nobody waits for any more are over after that: longer than brokers try.
const QUIET: Duration = Duration::from_secs(6);
const PAUSE: Duration = Duration::from_millis(200);

/// Waits for all workers, then for the logs to rest; reads them, and the streams from every broker.
pub fn finish(
    worker: &mut Worker,
    keys: &Arc<Keys>,
    known: &Known,
    found: &Mutex<Findings>,
) -> anyhow::Result<()> {
    known.through.fetch_add(1, Ordering::AcqRel);
    if worker.number != 0 {
        return Ok(());
    }
    let env = Arc::clone(&worker.env);
    let all = || known.through.load(Ordering::Acquire) >= env.settings.workers;
    let is_through = wait(env.settings.final_time / 4, || all().then_some(())).is_some();
    let deadline = Instant::now() + env.settings.final_time;
    let is_over = || env.phase() == Phase::Over || Instant::now() >= deadline;
    let resumed_by = Instant::now() + env.settings.final_time / 3;
    let is_too_late = || is_over() || Instant::now() >= resumed_by;
    for partition in 0..known.partitions {
        if !resumes(worker, keys, known, partition, &is_too_late)? {
            let case = || format!("nothing can be appended to partition {partition}");
            found.lock().invalid("appends-not-resumed", case, []);
        }
    }
    let mut session = Session::new(worker, keys);
    rest(&mut session, known, &is_over)?;
    let mut unread = Vec::new();
    if !is_through {
        unread.push("workers that go on".to_owned());
    }
    for partition in 0..known.partitions {
        let read = until(&is_over, || consume(&mut session, known, partition, true))?;
        if read.is_none() {
            unread.push(format!("partition {partition}"));
        }
    }
    unread.extend(hear_the_rest(&mut session, known, &is_over)?);
    unread.extend(read_streams(&mut session, known, &is_over)?);
    for case in unread {
        found.lock().invalid("streams-unread", || case, []);
    }
    Ok(())
}

/// Asks until there is an answer, or it is too late.
pub fn until<T>(
    is_over: &impl Fn() -> bool,
    mut ask: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<Option<T>> {
    while !is_over() {
        let told = ask()?;
        if told.is_some() {
            return Ok(told);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(None)
}

/// Reads every stream from every broker; those that could not be read in time.
fn read_streams(
    session: &mut Session,
    known: &Known,
    is_over: &impl Fn() -> bool,
) -> anyhow::Result<Vec<String>> {
    let mut todo = Vec::new();
    for key in known.final_keys(STREAMS, &mut session.random) {
        todo.extend(session.env.addresses().into_iter().map(|broker| (broker, key.clone())));
    }
    // Those that are not answered hold up no others.
    while !todo.is_empty() && !is_over() {
        let mut unread = Vec::new();
        for (broker, key) in todo {
            if is_over() || !whole(session, known, &broker, &key)? {
                unread.push((broker, key));
            }
        }
        todo = unread;
        std::thread::sleep(PAUSE);
    }
    let shown = |(broker, key): &(Address, String)| {
        format!("{key} of partition {} from broker {}", known.partition(key), broker.id)
    };
    Ok(todo.iter().map(shown).collect())
}

/// Appends to a partition upon a condition until that is acknowledged.
fn resumes(
    worker: &mut Worker,
    keys: &Arc<Keys>,
    known: &Known,
    partition: u32,
    is_over: &impl Fn() -> bool,
) -> anyhow::Result<bool> {
    let key = known.own_key("last", partition);
    while !is_over() {
        let mut batch = known.batch(vec![known.row(&key, Some(-1))]);
        batch.token = batch.rows.first().map(token);
        let mut session = Session::new(worker, keys);
        let (answer, _) = append(&mut session, known, Via::Stream, batch)?;
        match answer {
            // Upon a conflict the one before, of which nobody heard, is there.
            Answer::Acked { .. } | Answer::Conflict { .. } => return Ok(true),
            _ => std::thread::sleep(PAUSE),
        }
    }
    Ok(false)
}

/// Waits until nothing was appended for a while.
fn rest(session: &mut Session, known: &Known, is_over: &impl Fn() -> bool) -> anyhow::Result<()> {
    let mut since = Instant::now();
    let mut ends = Vec::new();
    while since.elapsed() < QUIET && !is_over() {
        let mut now = Vec::new();
        for partition in 0..known.partitions {
            now.push(consume(session, known, partition, false)?);
        }
        if now != ends {
            (since, ends) = (Instant::now(), now);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
