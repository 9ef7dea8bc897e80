//! The end of a run: all transactions have ended, by their timeouts if nobody else does it, and every log is read from its
//! beginning, as those see it who read what is committed and as it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use parking_lot::Mutex;

use super::transformer::ask_offsets;
use super::{GROUP, Layout};
use crate::admin::wait;
use crate::checker::Findings;
use crate::checker::transactions::{LOG, final_log};
use crate::client::{
    self, EARLIEST, Failure, FetchFrom, Fetched, Isolation, OffsetsSeen, Part, parts, read_batches,
};
use crate::environment::{Phase, Worker};
use crate::history::{Body, Edn, Kind, text};
use crate::workload::content::Content;
use crate::workload::home::Home;
use crate::workload::keys::Keys;
use crate::workload::session::{Extra, Session};

/// Transactions that were left open have ended by then: several times their timeouts.
const ENDED: Duration = Duration::from_secs(40);
const PAUSE: Duration = Duration::from_millis(200);
const FETCH_BYTES: i32 = 1 << 20;

/// A log as it was read.
struct Whole {
    values: Vec<(i64, i64)>,
    markers: Vec<[i64; 4]>,
}

/// Waits for all workers, then for all transactions, and reads everything.
pub fn finish(
    worker: &mut Worker,
    keys: &Arc<Keys>,
    through: &AtomicUsize,
    found: &Mutex<Findings>,
) -> Result<()> {
    through.fetch_add(1, Ordering::AcqRel);
    if worker.number != 0 {
        return Ok(());
    }
    let env = Arc::clone(&worker.env);
    let is_over = || env.phase() == Phase::Over;
    let all = || through.load(Ordering::Acquire) >= env.settings.workers;
    let are_through = wait(env.settings.final_time, || (all() || is_over()).then(all));
    ensure!(are_through == Some(true), "workers that go on");
    let mut session = Session::new(worker, keys);
    let layout = Layout::of(&env);
    let deadline = Instant::now() + ENDED;
    for key in 0..layout.all() {
        let mut last = String::new();
        while let Err(why) = ended(&mut session, key)? {
            last = why;
            if is_over() || Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(PAUSE);
            last.clear();
        }
        if !last.is_empty() {
            found.lock().invalid("transaction-hangs", || format!("key {key}: {last}"), []);
        }
    }
    for key in 0..layout.all() {
        for isolation in [Isolation::Committed, Isolation::Uncommitted] {
            while !read(&mut session, key, isolation)? && !is_over() {
                std::thread::sleep(PAUSE);
            }
        }
    }
    let mut group = Home::of_group(GROUP);
    while ask_offsets(&mut session, &mut group, OffsetsSeen::Stable, true)?.is_none() && !is_over()
    {
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Whether no transaction is open in a partition, or what is known of it.
fn ended(session: &mut Session, key: i64) -> Result<Result<(), String>> {
    Ok(match fetched(session, key, 0, Isolation::Uncommitted, 1) {
        Ok(fetched) if fetched.stable >= fetched.high_watermark => Ok(()),
        Ok(Fetched { stable, high_watermark, .. }) => {
            Err(format!("stable up to {stable} of {high_watermark}"))
        }
        Err(failure) => Err(failure.to_string()),
    })
}

/// What the leader of a key serves from an offset on.
fn fetched(
    session: &mut Session,
    key: i64,
    offset: i64,
    isolation: Isolation,
    max_bytes: i32,
) -> Result<Fetched, Failure> {
    let at = session.keys.at(key);
    let patience = session.client.patience();
    let leader = session.client.leader(&at)?;
    let from = FetchFrom { at: at.clone(), offset, epoch: -1, max_bytes };
    let to = session.client.to(leader.broker);
    let fetched = to.and_then(|to| client::fetch_as(to, from, isolation, Duration::ZERO, patience));
    fetched.inspect_err(|failure| session.client.learn(leader.broker, &at, failure))
}

/// Reads a log from its beginning to where it ended when that began, and records it; whether that could be done.
fn read(session: &mut Session, key: i64, isolation: Isolation) -> Result<bool> {
    let committed = isolation == Isolation::Committed;
    let pending = session.invoke(Body::Other(LOG.to_owned(), Edn::Nil), Extra::new())?;
    let (kind, body, extra) = match whole(session, key, isolation) {
        Ok(whole) => {
            let body = final_log(key, committed, &whole.values, &whole.markers);
            (Kind::Ok, body, Extra::new())
        }
        Err(why) => {
            let extra = Extra::from([("error".to_owned(), text(why))]);
            (Kind::Fail, pending.body.clone(), extra)
        }
    };
    session.complete(pending, kind, body, extra)?;
    Ok(kind == Kind::Ok)
}

fn whole(session: &mut Session, key: i64, isolation: Isolation) -> Result<Whole, String> {
    let (at, log) = (session.keys.at(key), session.keys.log());
    let failed = |failure: Failure| failure.to_string();
    let leader = session.client.leader(&at).map_err(failed)?;
    let patience = session.client.patience();
    let to = session.client.to(leader.broker).map_err(failed)?;
    let mut next = client::list_offset(to, &at, -1, EARLIEST, patience).map_err(failed)?;
    let mut whole = Whole { values: Vec::new(), markers: Vec::new() };
    loop {
        let served = fetched(session, key, next, isolation, FETCH_BYTES).map_err(failed)?;
        let end = match isolation {
            Isolation::Committed => served.stable,
            Isolation::Uncommitted => served.high_watermark,
        };
        let (batches, damage) = read_batches(served.records.clone(), log);
        if let Some(damage) = damage {
            return Err(format!("key {key} at {}: {}", damage.offset, damage.reason));
        }
        let before = next;
        for (batch, part) in batches.iter().zip(parts(&batches, &served.aborted, isolation)) {
            let from = next;
            next = batch.end.max(next);
            match part {
                Part::Shown(batch) => {
                    for (offset, record) in batch.records.iter().filter(|(at, _)| *at >= from) {
                        whole.values.push((*offset, Content::examine(key, log, record)?.value));
                    }
                }
                Part::Marker(marker) if marker.offset >= from => whole.markers.push([
                    marker.offset,
                    marker.producer_id,
                    i64::from(marker.epoch),
                    i64::from(marker.is_commit),
                ]),
                Part::Odd(_) => return Err(format!("key {key} at {from}: an odd control batch")),
                Part::Aborted(_) | Part::Marker(_) | Part::Emptied => {}
            }
        }
        if next >= end {
            return Ok(whole);
        }
        if next == before {
            return Err(format!("key {key} ends at {next}, not {end}"));
        }
    }
}
