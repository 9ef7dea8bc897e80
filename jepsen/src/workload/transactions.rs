//! Transactions of several producers, each with a transactional id of its own: values in several partitions that are to
//! be visible together or not at all, by either flow (KIP-98, KIP-890). Others make each record of an input topic into one of
//! an output topic, exactly once, with the offsets of a group in the same transaction. Others read all the time, what is
//! committed and what is there.
//!
//! Transactions are committed, aborted, left alone; ends come twice, and late. Instances are replaced, by others that take
//! their ids and by themselves, and some do not notice.
//!
//! A process that is left without an answer to an end may ask again, or not; but it never goes on in the same epoch, where
//! an end that arrives late would be taken for that of the next transaction. That is how Kafka's protocol was, and how it
//! still is for those who do not ask for an epoch for each transaction.
//!
//! A second variant does the same with compacted topics.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;
use rand::Rng;

use super::content::{deletes, name};
use super::keys::{Keys, Limits};
use super::session::Session;
use super::work::{Step, Work};
use crate::checker::transactions::{Compacted, Least, transactions};
use crate::checker::{self, Finding, Findings};
use crate::client::{At, Flow};
use crate::environment::{Env, Worker};
use crate::history::Op;
use reader::Reader;
use transformer::Transformer;
use writer::Writer;

mod finish;
mod instance;
mod reader;
mod running;
mod transformer;
mod writer;

/// The group whose offsets are part of transactions. Nobody is a member.
const GROUP: &str = "transformers";
/// Topics that producers write to, the input among them, and the output.
const TARGETS: i64 = 3;
const TOPICS: i64 = 4;
/// Of so many workers in a row this one transforms and this one reads; the others write.
const OF: usize = 5;
const TRANSFORMS: usize = 1;
const READS: usize = 2;
/// Found while the history is judged as one of logs from which nothing goes, and no anomaly where they are compacted.
const EXPECTED: [&str; 4] = ["lost-write", "unseen", "poll-skip", "int-poll-skip"];

/// Fewer show nothing.
const LEAST: Least = Least { committed: 10, aborted: 3, fenced: 3, late: 1, derived: 10, peeks: 2 };

/// See the module.
pub struct Transactions {
    variant: Variant,
    /// Workers that have nothing more to send.
    through: AtomicUsize,
    layout: Mutex<Option<Layout>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    Plain,
    /// Two of the topics are compacted.
    Compacted,
}

/// What keys are for, by the partitions of a topic: first two topics of values, then the input, then the output.
#[derive(Clone, Copy, Debug)]
struct Layout {
    partitions: i64,
}

impl Layout {
    fn of(env: &Env) -> Layout {
        Layout { partitions: i64::from(env.settings.partitions.max(1)) }
    }

    /// Keys below are written by producers.
    fn targets(self) -> i64 {
        TARGETS * self.partitions
    }

    fn all(self) -> i64 {
        TOPICS * self.partitions
    }

    fn inputs(self) -> Range<i64> {
        self.targets() - self.partitions..self.targets()
    }

    fn outputs(self) -> Range<i64> {
        self.targets()..self.all()
    }

    /// Those whose topics are compacted, in that variant.
    fn compacted(self) -> BTreeSet<i64> {
        (0..self.inputs().start).collect()
    }
}

impl Transactions {
    pub fn new(variant: Variant) -> Transactions {
        Transactions { variant, through: AtomicUsize::new(0), layout: Mutex::new(None) }
    }
}

fn is_writer(worker: usize) -> bool {
    ![TRANSFORMS, READS].contains(&(worker % OF))
}

/// The id of a worker that writes.
pub fn writer_id(number: usize) -> String {
    format!("writer-{number}")
}

fn transformer_id(input: i64) -> String {
    format!("transformer-{input}")
}

/// Half of the processes do it in either way.
fn flow(session: &mut Session) -> Flow {
    if session.random.random() { Flow::Classic } else { Flow::Implicit }
}

/// As Kafka has it, but for how soon something is compacted; by the topic's number.
fn configs(number: usize) -> &'static [(&'static str, &'static str)] {
    /// How long tombstones and markers stay, in milliseconds.
    macro_rules! compacted {
        ($kept:literal) => {
            &[
                ("cleanup.policy", "compact"),
                ("min.cleanable.dirty.ratio", "0.01"),
                ("segment.ms", "200"),
                ("segment.bytes", "262144"),
                ("delete.retention.ms", $kept),
            ]
        };
    }
    match number {
        0 => compacted!("3600000"),
        1 => compacted!("4000"),
        _ => &[],
    }
}

impl Work for Transactions {
    fn name(&self) -> &'static str {
        match self.variant {
            Variant::Plain => "transactions",
            Variant::Compacted => "transactions-compacted",
        }
    }

    fn about(&self) -> &'static str {
        match self.variant {
            Variant::Plain => {
                "transactions over several partitions and a group's offsets, with zombies, hijacked ids and late ends"
            }
            Variant::Compacted => "the same where topics are compacted",
        }
    }

    fn broker_settings(&self) -> &'static [(&'static str, &'static str)] {
        match self.variant {
            Variant::Plain => &[],
            Variant::Compacted => &[
                ("compaction.check_ms", "300"),
                ("compaction.log_kept_ms", "0"),
                ("storage.generation_bytes", "8388608"),
            ],
        }
    }

    fn prepare(&self, env: &Env) -> anyhow::Result<Keys> {
        let layout = Layout::of(env);
        *self.layout.lock() = Some(layout);
        // Twice as many keys get their topics as are active.
        let active = usize::try_from(layout.all() / 2)?;
        let limits = Limits { active, writes_min: u32::MAX, writes_max: u32::MAX };
        match self.variant {
            Variant::Plain => Keys::prepare(env, self.name(), limits),
            Variant::Compacted => {
                Ok(Keys::prepare_with(env, self.name(), limits, configs)?.compacted())
            }
        }
    }

    fn process(&self, session: &mut Session) -> Step {
        let layout = Layout::of(&session.env);
        match session.worker % OF {
            TRANSFORMS => {
                let mut transformer = Transformer::new(session, layout, session.worker / OF);
                Box::new(move |session| transformer.step(session))
            }
            READS => {
                let mut reader = Reader::new(session, layout);
                Box::new(move |session| reader.step(session))
            }
            _ => {
                let mut writer = Writer::new(session, layout);
                Box::new(move |session| writer.step(session))
            }
        }
    }

    fn finish(
        &self,
        worker: &mut Worker,
        keys: &Arc<Keys>,
        found: &Mutex<Findings>,
    ) -> anyhow::Result<()> {
        finish::finish(worker, keys, &self.through, found)
    }

    /// Replicas compact each in its own time.
    fn partitions(&self, keys: &Keys) -> Vec<(i64, At)> {
        let layout = self.layout.lock();
        let all = layout.filter(|_| self.variant == Variant::Plain).map_or(0, Layout::all);
        (0..all).map(|key| (key, keys.at(key))).collect()
    }

    fn check(&self, history: &[Op]) -> Vec<Finding> {
        let options = checker::Options { dense: false, ..checker::Options::default() };
        let mut findings = checker::queue(history, &options);
        let layout = self.layout.lock().filter(|_| self.variant == Variant::Compacted);
        let compacted = layout.map(|it| Compacted { keys: it.compacted(), name, deletes });
        if compacted.is_some() {
            findings.retain(|finding| !EXPECTED.contains(&finding.anomaly.as_str()));
        }
        findings.extend(transactions(history, LEAST, compacted.as_ref()));
        findings
    }
}
