//! An instance of a transactional producer: its id and epoch, where its coordinator is, and how it numbers what it sends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use rand::Rng;

use crate::checker::transactions::{Answer, init_of};
use crate::client::{self, Claim, Failure, Flow, Write};
use crate::environment::Phase;
use crate::history::{Kind, Process, text};
use crate::workload::home::Home;
use crate::workload::session::{Extra, Session};

/// How long an instance tries to be given its id.
const INIT: Duration = Duration::from_secs(8);
/// Between two attempts at anything.
pub const PAUSE: Duration = Duration::from_millis(60);
/// A transaction that is left alone for so long is aborted by its coordinator: the least, and how much more.
const TIMEOUT_MS: std::ops::Range<u64> = 2_000..6_000;

/// Codes that say that the transaction is not this instance's any more, or not open.
const OVER: [ResponseError; 7] = [
    ResponseError::InvalidProducerEpoch,
    ResponseError::ProducerFenced,
    ResponseError::InvalidProducerIdMapping,
    ResponseError::InvalidTxnState,
    ResponseError::UnknownProducerId,
    ResponseError::OutOfOrderSequenceNumber,
    ResponseError::TransactionAbortable,
];

/// See the module.
pub struct Instance {
    pub claim: Claim,
    pub flow: Flow,
    pub home: Home,
    /// Next sequence, by key.
    sequences: BTreeMap<i64, i32>,
    /// The claim of the transaction before, if each has an epoch of its own.
    pub before: Option<Claim>,
    /// Claims that are over, and keys in which nothing of theirs may be taken any more.
    pub over: Vec<(Claim, i64)>,
}

/// Whether a failure says that there is no use in trying again.
pub fn is_over(failure: &Failure) -> bool {
    OVER.iter().any(|code| failure.is(*code))
}

/// What a failure to end a transaction says: only that it was not this instance's to end says that it did nothing.
pub fn answer(failure: &Failure) -> Answer {
    let refused = OVER[..4].iter().any(|code| failure.is(*code));
    if refused { Answer::Refused } else { Answer::Unknown }
}

impl Instance {
    /// Takes an id over, as this process; none if that could not be had in time. `had` is what the same instance had before.
    pub fn begin(
        session: &mut Session,
        process: Process,
        id: &str,
        flow: Flow,
        had: Option<(i64, i16)>,
    ) -> anyhow::Result<Option<Instance>> {
        let body =
            |(producer, epoch): (i64, i16)| init_of(id, flow.name(), producer, i64::from(epoch));
        let none = had.unwrap_or((-1, -1));
        let pending = session.env.recorder.invoke(process, body(none), Extra::new())?;
        let timeout = Duration::from_millis(session.random.random_range(TIMEOUT_MS));
        let mut home = Home::of_transactions(id);
        let deadline = Instant::now() + INIT;
        let given = loop {
            let given = home.ask(session, |to, patience| {
                client::init_transactions(to, id, flow, timeout, had, patience)
            });
            match given {
                Err(failure)
                    if !is_over(&failure)
                        && Instant::now() < deadline
                        && session.env.phase() == Phase::Main =>
                {
                    std::thread::sleep(PAUSE);
                }
                given => break given,
            }
        };
        match given {
            Ok(given) => {
                session.env.recorder.complete(pending, Kind::Ok, body(given), Extra::new())?;
                let claim =
                    Claim { transactional_id: id.to_owned(), producer_id: given.0, epoch: given.1 };
                Ok(Some(Instance::of(claim, flow, home)))
            }
            Err(failure) => {
                let extra = Extra::from([("error".to_owned(), text(failure.to_string()))]);
                // It may have been given to nobody who knows.
                session.env.recorder.complete(pending, Kind::Fail, body(none), extra)?;
                Ok(None)
            }
        }
    }

    fn of(claim: Claim, flow: Flow, home: Home) -> Instance {
        let (sequences, before, over) = (BTreeMap::new(), None, Vec::new());
        Instance { claim, flow, home, sequences, before, over }
    }

    /// One that does not know that its claim is over.
    pub fn outdated(&self, claim: Claim, key: i64, sequence: i32) -> Instance {
        let home = Home::of_transactions(&claim.transactional_id);
        let mut outdated = Instance::of(claim, self.flow, home);
        outdated.sequences.insert(key, sequence);
        outdated
    }

    /// How the next batch for a key is numbered.
    pub fn number(&self, key: i64) -> Write {
        Write {
            producer_id: self.claim.producer_id,
            producer_epoch: self.claim.epoch,
            sequence: self.sequences.get(&key).copied().unwrap_or(0),
        }
    }

    /// A batch was acknowledged.
    pub fn acked(&mut self, key: i64, records: usize) {
        *self.sequences.entry(key).or_default() += i32::try_from(records).unwrap_or(0);
    }

    /// A transaction has ended, and this is the claim for the next.
    pub fn goes_on(&mut self, (producer_id, epoch): (i64, i16)) {
        let id = self.claim.transactional_id.clone();
        let next = Claim { transactional_id: id, producer_id, epoch };
        if next != self.claim {
            self.sequences.clear();
            self.before = Some(std::mem::replace(&mut self.claim, next));
        }
    }

    /// In these keys something was acknowledged in this epoch, so that nothing of the one before may be any more.
    pub fn passed(&mut self, before: &Claim, keys: &[i64]) {
        const KEPT: usize = 8;
        self.over.extend(keys.iter().map(|key| (before.clone(), *key)));
        let many = self.over.len().saturating_sub(KEPT);
        self.over.drain(..many);
    }
}
