//! Whether writers who contend on one key slow those of other keys, over HTTP.
//!
//! Writers with a stream each append to one partition, alone, then beside others who all append to one key, each upon the
//! version it was told last, so that nearly all are refused. As many others with keys of their own are the measure of
//! what more load does by itself. The three take turns, so that they meet the same machine.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::spawn_blocking;

use super::Common;
use super::load::incompressible;
use super::report::Report;
use super::statistics::{Samples, milliseconds};
use crate::client::{EventStore, Expected, NewEvent, StoreError};
use crate::config::HostPort;
use crate::terminal::{Failure, note};

/// Who else writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nobody,
    OwnKeys,
    OneKey,
}

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storm {
    pub(super) writers: u32,
    pub(super) contenders: u32,
    pub(super) rounds: u32,
    pub(super) length: Duration,
    pub(super) record_bytes: u32,
}

/// What the writers of other keys did, and how the contenders fared.
#[derive(Default)]
struct Measured {
    latencies: Samples,
    accepted: u64,
    refused: u64,
}

/// A writer's appends that were accepted, and how many were refused.
type Outcome = Result<(Vec<Duration>, u64), StoreError>;

pub(super) async fn run(storm: Storm, common: &Common, report: &mut Report) -> Result<(), Failure> {
    let configs = json!({ "quorate.streams": "true" });
    let topic = common.create_topic_with("streams-storm", 1, configs).await?;
    report.condition("writers beside", storm.contenders);
    let all = [Beside::Nobody, Beside::OwnKeys, Beside::OneKey];
    let mut measured = [Measured::default(), Measured::default(), Measured::default()];
    for number in 0..storm.rounds {
        note(&format!("a conflict storm, round {} of {}", number + 1, storm.rounds))?;
        for (beside, measured) in all.into_iter().zip(&mut measured) {
            let (topic, servers) = (topic.clone(), common.http.http.clone());
            let name = format!("{number}-{beside:?}");
            let done = spawn_blocking(move || round(storm, beside, &topic, &servers, &name)).await;
            let done = done.map_err(|error| Failure::error(error.to_string()))?;
            let (own, others) = done.map_err(|error| Failure::error(error.to_string()))?;
            own.into_iter().for_each(|latency| measured.latencies.add(latency));
            measured.accepted += others.0;
            measured.refused += others.1;
        }
    }
    let seconds = storm.length.as_secs_f64() * f64::from(storm.rounds);
    let mut rates = Vec::new();
    for (beside, measured) in all.into_iter().zip(&mut measured) {
        let name = match beside {
            Beside::Nobody => "alone",
            Beside::OwnKeys => "beside others of own keys",
            Beside::OneKey => "beside others of one key",
        };
        let rate = per_second(measured.latencies.count() as u64, seconds);
        rates.push(rate);
        report.number(format!("appends over HTTP, {name}"), rate, "1/s");
        for (of, share) in [("p50", 0.5), ("p99", 0.99)] {
            let value = milliseconds(measured.latencies.percentile(share));
            report.number(format!("append latency over HTTP, {name}, {of}"), value, "ms");
        }
        if beside != Beside::Nobody {
            for (what, count) in [("accepted", measured.accepted), ("refused", measured.refused)] {
                let rate = per_second(count, seconds);
                report.number(format!("{what} of the others, {name}"), rate, "1/s");
            }
        }
    }
    report.number("beside one key / alone", rates[2] / rates[0], "");
    report.number("beside one key / beside own keys", rates[2] / rates[1], "");
    common.delete_topic(&topic).await
}

#[expect(clippy::cast_precision_loss, reason = "a count of appends")]
fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

/// Returns how long each append of the own keys took, and how many of the others were accepted and refused.
fn round(
    storm: Storm,
    beside: Beside,
    topic: &str,
    servers: &[HostPort],
    name: &str,
) -> Result<(Vec<Duration>, (u64, u64)), StoreError> {
    let contenders = if beside == Beside::Nobody { 0 } else { storm.contenders };
    let ready = Arc::new(Barrier::new((storm.writers + contenders) as usize));
    let start = |key: String, number: u32| {
        let mut servers = servers.to_vec();
        let first = number as usize % servers.len().max(1);
        servers.rotate_left(first);
        let store = EventStore::new(servers, topic);
        let event = NewEvent::new(&incompressible(storm.record_bytes as usize));
        let ready = Arc::clone(&ready);
        thread::spawn(move || write(&store, &key, &event, &ready, storm.length))
    };
    let own: Vec<_> =
        (0..storm.writers).map(|number| start(format!("own-{name}-{number}"), number)).collect();
    let others: Vec<_> = (0..contenders)
        .map(|number| match beside {
            Beside::OneKey => start(format!("hot-{name}"), number),
            _ => start(format!("other-{name}-{number}"), number),
        })
        .collect();
    let joined = |running: thread::JoinHandle<Outcome>| {
        running.join().unwrap_or_else(|_| Err(StoreError::NoAnswer("a writer died".to_owned())))
    };
    let own: Vec<Outcome> = own.into_iter().map(joined).collect();
    let others: Vec<Outcome> = others.into_iter().map(joined).collect();
    let mut latencies = Vec::new();
    for of_one in own {
        latencies.extend(of_one?.0);
    }
    let (mut accepted, mut refused) = (0, 0);
    for of_one in others {
        let (of_one, conflicts) = of_one?;
        accepted += of_one.len() as u64;
        refused += conflicts;
    }
    Ok((latencies, (accepted, refused)))
}

/// Appends upon the version that was told last until the time is over. The first, which connects, does not count.
fn write(
    store: &EventStore,
    key: &str,
    event: &NewEvent,
    ready: &Barrier,
    length: Duration,
) -> Outcome {
    let connected = store.append(key, Expected::Any, std::slice::from_ref(event));
    ready.wait();
    let mut version = connected?.version;
    let (mut latencies, mut refused) = (Vec::new(), 0);
    let end = Instant::now() + length;
    while Instant::now() < end {
        let begun = Instant::now();
        match store.append(key, Expected::Exactly(version), std::slice::from_ref(event)) {
            Ok(appended) => {
                latencies.push(begun.elapsed());
                version = appended.version;
            }
            Err(StoreError::Conflict { current }) => {
                refused += 1;
                version = current;
            }
            Err(error) => return Err(error),
        }
    }
    Ok((latencies, refused))
}
