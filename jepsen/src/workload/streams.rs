//! Streams by key and conditional appends: most writers contend on one key, each with the version it was told last, others
//! create the same things at the same time, put conditions on several keys, tags and the end of the log into one batch, and
//! have idempotent producers some of whose batches are refused. Some streams are deleted, written to again and closed in the
//! end. Listeners hear of a key or of all records, for a moment each time, and come back where they were.
//!
//! Some of those who are left without an answer send again until they know, and some of those who have one ask for it
//! again. Versions are read from every broker. In the end the logs are read, and every stream from every broker; what
//! that proves is said in [`crate::checker::streams`].
//!
//! Two variants: of one topic old records are removed all the time, and versions go on; another gets its streams while it
//! is written to.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use rand::Rng;
use serde_json::json;

use super::keys::{Keys, Limits};
use super::session::{Extra, Session};
use super::work::{Step, Work};
use crate::admin::Admin;
use crate::checker::streams::{Least, ON};
use crate::checker::{self, Finding, Findings};
use crate::client::At;
use crate::environment::{Env, Worker};
use crate::history::{Body, Edn, Kind, Op};
use known::Known;
use writers::Writer;

mod answer;
mod append;
mod consume;
mod finish;
mod known;
mod listen;
mod look;
mod mortals;
mod murmur2;
mod pages;
mod producer;
mod writers;

/// All partitions are those of one topic.
const LIMITS: Limits = Limits { active: 1, writes_min: u32::MAX, writes_max: u32::MAX };
/// Bytes of an event, up to so many, where records are removed: brokers keep a point to which they can forget after every
/// megabyte of a partition, and a replica that is away for some seconds is to miss one.
const PADDING: usize = 30_000;
/// Until streams are turned on, where they are.
const WITHOUT: Duration = Duration::from_secs(6);
/// Of so many workers in a row, all but the last contend on the hot key.
const OF: usize = 3;
/// One operation in so many removes what was read, where that is done.
const DELETIONS: u32 = 12;

/// Fewer show nothing.
const LEAST: Least = Least {
    acked: 60,
    conflicts: 5,
    agains: 2,
    reads: 10,
    ends: 5,
    closed: 2,
    heard: 50,
    records: 20,
};

/// Of what is checked of other histories, what makes sense of this one.
const ALSO: [&str; 2] = ["replicas-differ", "producer-sequence"];

/// See the module.
pub struct Streams {
    variant: Variant,
    known: OnceLock<Arc<Known>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    Plain,
    /// Old records are removed.
    Trimmed,
    /// The topic begins without streams.
    TurnedOn,
}

impl Streams {
    pub fn new(variant: Variant) -> Streams {
        Streams { variant, known: OnceLock::new() }
    }

    fn known(&self) -> anyhow::Result<Arc<Known>> {
        self.known.get().cloned().context("not prepared")
    }
}

fn with(_: usize) -> &'static [(&'static str, &'static str)] {
    &[("quorate.streams", "true")]
}

impl Work for Streams {
    fn name(&self) -> &'static str {
        match self.variant {
            Variant::Plain => "streams",
            Variant::Trimmed => "streams-trimmed",
            Variant::TurnedOn => "streams-turned-on",
        }
    }

    fn about(&self) -> &'static str {
        match self.variant {
            Variant::Plain => {
                "writers contend on versions of keys, tags and offsets, streams are read from all brokers"
            }
            Variant::Trimmed => "the same while old records are removed: versions go on",
            Variant::TurnedOn => "the same of a topic that gets its streams while it is written to",
        }
    }

    fn broker_settings(&self) -> &'static [(&'static str, &'static str)] {
        match self.variant {
            Variant::Trimmed => {
                &[("topics.retention_check_ms", "500"), ("storage.generation_bytes", "8388608")]
            }
            Variant::Plain | Variant::TurnedOn => &[],
        }
    }

    fn prepare(&self, env: &Env) -> anyhow::Result<Keys> {
        let on = self.variant != Variant::TurnedOn;
        let padding = if self.variant == Variant::Trimmed { PADDING } else { 0 };
        let keys = if on {
            Keys::prepare_with(env, self.name(), LIMITS, with)?
        } else {
            Keys::prepare(env, self.name(), LIMITS)?
        };
        let known = Known::new(env.settings.partitions, on, padding);
        self.known.set(Arc::new(known)).ok().context("prepared twice")?;
        Ok(keys)
    }

    fn process(&self, session: &mut Session) -> Step {
        let (known, variant) = (self.known(), self.variant);
        let (mut writer, number) = (Writer::default(), session.worker);
        Box::new(move |session| {
            let known = known.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
            let is_hot = number % OF != OF - 1;
            if number == OF - 1 {
                if !known.is_on() && known.age() >= WITHOUT {
                    return turn_on(session, known);
                }
                if variant == Variant::Trimmed && session.random.random_ratio(1, DELETIONS) {
                    let partition = session.random.random_range(0..known.partitions);
                    return consume::consume_and_delete(session, known, partition);
                }
            }
            if is_hot { writer.contend(session, known) } else { writer.mix(session, known) }
        })
    }

    fn finish(
        &self,
        worker: &mut Worker,
        keys: &Arc<Keys>,
        found: &Mutex<Findings>,
    ) -> anyhow::Result<()> {
        finish::finish(worker, keys, &*self.known()?, found)
    }

    fn partitions(&self, keys: &Keys) -> Vec<(i64, At)> {
        let partitions = self.known.get().map_or(0, |known| i64::from(known.partitions));
        (0..partitions).map(|partition| (partition, keys.at(partition))).collect()
    }

    fn check(&self, history: &[Op]) -> Vec<Finding> {
        // Nothing is sent or polled in this history as in others.
        let options = checker::Options { dense: false, ..checker::Options::default() };
        let mut findings = checker::queue(history, &options);
        findings.retain(|finding| ALSO.contains(&finding.anomaly.as_str()));
        findings.extend(checker::streams::streams(history, LEAST));
        findings
    }
}

/// Turns streams on, and later sees whether all partitions have them.
fn turn_on(session: &mut Session, known: &Known) -> anyhow::Result<()> {
    let topic = session.keys.at(0).topic;
    let brokers = session.env.addresses();
    let place = session.random.random_range(0..brokers.len().max(1));
    let Some(to) = brokers.get(place) else { return Ok(()) };
    let admin = Admin::with_patience(Vec::new(), session.client.patience());
    if !known.asked_for.load(Ordering::Acquire) {
        let path = format!("/v1/topics/{topic}/configs");
        let asked = json!({ "configs": { "quorate.streams": "true" } });
        let is_done = admin.ask(to, "PATCH", &path, Some(&asked)).is_ok_and(|reply| reply.ok());
        known.asked_for.store(is_done, Ordering::Release);
        return Ok(());
    }
    let path = format!("/v1/topics/{topic}/streams");
    let Ok(reply) = admin.ask(to, "GET", &path, None) else { return Ok(()) };
    let partitions = reply.body["partitions"].as_array().map_or(&[][..], Vec::as_slice);
    let is_on = partitions.len() == known.partitions as usize
        && partitions.iter().all(|partition| partition["state"] == "on");
    if !reply.ok() || !is_on {
        return Ok(());
    }
    let body = Body::Other(ON.to_owned(), Edn::Nil);
    let pending = session.invoke(body.clone(), Extra::new())?;
    session.complete(pending, Kind::Ok, body, Extra::new())?;
    known.turn_on();
    Ok(())
}
