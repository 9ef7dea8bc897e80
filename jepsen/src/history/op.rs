//! One event of a history: an operation's invocation or its completion.

use std::collections::BTreeMap;

use super::Edn;

/// Who acts. A client process is logically single-threaded; after an indeterminate completion its
/// number is retired and its thread goes on under a new one, with new clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Process {
    Client(i64),
    Nemesis,
}

/// An invocation, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Invoke,
    /// It happened.
    Ok,
    /// It did not happen and never will.
    Fail,
    /// Nobody knows: it may have happened, or may happen yet.
    Info,
}

/// A micro-operation of a send, poll or transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mop {
    /// `[:send k v]`, and once answered `[:send k [offset v]]` with a nil offset if it is unknown.
    Send { key: i64, value: i64, sent: Sent },
    /// `[:poll]`, and once answered `[:poll {k [[offset v] ...]}]`.
    Poll(Option<BTreeMap<i64, Vec<(i64, i64)>>>),
}

/// What is known of where a value went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Written as a plain `v`: nothing is claimed.
    Plain,
    /// Written as `[nil v]`.
    OffsetUnknown,
    /// Written as `[offset v]`.
    At(i64),
}

/// What an operation is about: `:f` and `:value`.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// `:send`: only sends.
    Send(Vec<Mop>),
    /// `:poll`: only polls.
    Poll(Vec<Mop>),
    /// `:txn`: sends and polls.
    Txn(Vec<Mop>),
    /// `:assign`: these partitions, in place of all before.
    Assign(Vec<i64>),
    /// `:subscribe`: the topics of these keys, in place of all before.
    Subscribe(Vec<i64>),
    /// `:crash`: the process ends here.
    Crash,
    /// `:debug-topic-partitions`.
    DebugTopicPartitions(Vec<i64>),
    /// Anything else, a fault for example: `:f` without its colon, and the value.
    Other(String, Edn),
}

/// An event. `extra` holds further keys of the map, such as `:error`, `:poll-ms`, `:seek-to-beginning?` or `:fetched`.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// Position in the history, dense from 0.
    pub index: u64,
    /// Nanoseconds since the history began, by one monotonic clock.
    pub time: u64,
    pub process: Process,
    pub kind: Kind,
    pub body: Body,
    pub extra: BTreeMap<String, Edn>,
}

impl Op {
    /// The micro-operations of a send, poll or transaction; none for anything else.
    pub fn mops(&self) -> &[Mop] {
        match &self.body {
            Body::Send(mops) | Body::Poll(mops) | Body::Txn(mops) => mops,
            _ => &[],
        }
    }
}
