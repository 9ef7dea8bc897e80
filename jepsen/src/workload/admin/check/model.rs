//! One name of a topic as a register that holds nothing or a number of partitions.
//!
//! A change that may or may not have taken effect makes two registers of one, so a state is the set of all that are
//! possible.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

use super::Event;
use crate::checker::Verdict;
use crate::history::Kind;

/// For one name's history.
const SEARCH: Duration = Duration::from_secs(10);

/// What an operation says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There was nothing, and now there are so many partitions.
    Created(i64),
    MayHaveCreated(i64),
    /// There was something when somebody else wanted to create it.
    Existed,
    Deleted,
    /// Also a deletion that found nothing: it may have looked at an old list, or have been repeated on its way.
    MayHaveDeleted,
    /// There were fewer, and now there are so many.
    Grown(i64),
    /// Also a growth that was refused, for it may have been repeated on its way.
    MayHaveGrown(i64),
    /// There was nothing to grow.
    WasMissing,
    Read(Option<i64>),
}

impl Step {
    /// None for what changed nothing and tells nothing.
    pub fn of(f: &str, kind: Kind, refused: Option<&str>, count: i64) -> Option<Step> {
        Some(match (f, kind, refused) {
            ("create-topic", Kind::Ok, _) => Step::Created(count),
            ("create-topic", Kind::Info, _) => Step::MayHaveCreated(count),
            ("create-topic", Kind::Fail, Some("exists")) => Step::Existed,
            ("delete-topic", Kind::Ok, _) => Step::Deleted,
            ("delete-topic", Kind::Info, _) | ("delete-topic", Kind::Fail, Some("unknown")) => {
                Step::MayHaveDeleted
            }
            ("grow-topic", Kind::Ok, _) => Step::Grown(count),
            ("grow-topic", Kind::Info, _) | ("grow-topic", Kind::Fail, Some("partitions")) => {
                Step::MayHaveGrown(count)
            }
            ("grow-topic", Kind::Fail, Some("unknown")) => Step::WasMissing,
            _ => return None,
        })
    }

    /// Whether somebody wanted so many partitions.
    pub fn asks_for(self, partitions: i64) -> bool {
        match self {
            Step::Created(count)
            | Step::MayHaveCreated(count)
            | Step::Grown(count)
            | Step::MayHaveGrown(count) => count == partitions,
            _ => false,
        }
    }

    /// The registers that one may become; none if the step contradicts it.
    fn after(self, register: Option<i64>) -> Vec<Option<i64>> {
        match (self, register) {
            (Step::Created(count), None) => vec![Some(count)],
            (Step::MayHaveCreated(count), None) => vec![None, Some(count)],
            (Step::MayHaveCreated(_) | Step::Existed, Some(_)) => vec![register],
            (Step::Deleted, Some(_)) => vec![None],
            (Step::MayHaveDeleted, _) => vec![register, None],
            (Step::Grown(count), Some(old)) if old < count => vec![Some(count)],
            (Step::MayHaveGrown(count), Some(old)) if old < count => vec![register, Some(count)],
            (Step::MayHaveGrown(_), _) => vec![register],
            (Step::WasMissing, None) => vec![None],
            (Step::Read(seen), _) if seen == register => vec![register],
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Created(count) => write!(f, "created with {count}"),
            Step::MayHaveCreated(count) => write!(f, "perhaps created with {count}"),
            Step::Existed => write!(f, "there already"),
            Step::Deleted => write!(f, "deleted"),
            Step::MayHaveDeleted => write!(f, "perhaps deleted"),
            Step::Grown(count) => write!(f, "grown to {count}"),
            Step::MayHaveGrown(count) => write!(f, "perhaps grown to {count}"),
            Step::WasMissing => write!(f, "not there to grow"),
            Step::Read(None) => write!(f, "not there in the end"),
            Step::Read(Some(count)) => write!(f, "there in the end with {count}"),
        }
    }
}

/// The life of one name.
#[derive(Clone)]
struct Name;

impl Model for Name {
    type State = BTreeSet<Option<i64>>;
    type Op = Step;
    type Metadata = ();

    fn init() -> Self::State {
        BTreeSet::from([None])
    }

    fn step(state: &Self::State, step: &Step) -> (bool, Self::State) {
        let after: BTreeSet<_> = state.iter().flat_map(|register| step.after(*register)).collect();
        (!after.is_empty(), after)
    }
}

/// Whether some order of the events explains them all.
pub fn linearizable(events: &[Event]) -> Verdict {
    let time = |index: u64| i64::try_from(index).unwrap_or(i64::MAX);
    let operation = |event: &Event| Operation::<Name> {
        client_id: None,
        call_time: time(event.began),
        return_time: event.ended.map_or(i64::MAX, time),
        op: event.step,
        metadata: None,
    };
    let operations: Vec<Operation<Name>> = events.iter().map(operation).collect();
    match check_operations_timeout(&operations, SEARCH) {
        CheckResult::Ok => Verdict::Valid,
        CheckResult::Illegal => Verdict::Invalid,
        CheckResult::Unknown => Verdict::Unknown,
    }
}
