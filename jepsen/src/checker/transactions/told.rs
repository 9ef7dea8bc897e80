//! What a producer tells of a transaction beside its micro-operations, and how that stands in a history.
//!
//! Times are nanoseconds of the history's clock. They are taken before a request leaves and after its answer has come.

use std::collections::BTreeMap;

use crate::history::{Edn, int, text};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub id: String,
    pub producer: i64,
    pub epoch: i64,
    pub flow: String,
    pub writes: Vec<Wrote>,
    pub ends: Vec<End>,
    pub late: Vec<Late>,
    pub derives: Vec<Derived>,
    /// Offsets of the group, by key.
    pub offsets: Vec<(i64, i64)>,
    pub peeks: Vec<Peek>,
}

/// A value that was sent at least once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrote {
    pub key: i64,
    pub value: i64,
    pub epoch: i64,
    /// When it was sent first.
    pub sent_ns: i64,
    /// -1: it was not acknowledged.
    pub acked_ns: i64,
    /// -1: nobody said.
    pub offset: i64,
}

/// What an attempt to end the transaction came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Unknown,
    Done,
    /// It certainly did nothing.
    Refused,
}

/// One attempt to end the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub commit: bool,
    pub sent_ns: i64,
    pub answered_ns: i64,
    pub answer: Answer,
}

/// The end of the transaction before, sent again in the middle of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    pub epoch: i64,
    pub commit: bool,
    pub sent_ns: i64,
    pub answer: Answer,
}

/// An output and the input that it was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Derived {
    pub from_key: i64,
    pub from_offset: i64,
    pub from_value: i64,
    pub key: i64,
    pub value: i64,
}

/// What the group was said to have committed, while this transaction had sent something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peek {
    pub key: i64,
    pub offset: i64,
    pub asked_ns: i64,
    pub answered_ns: i64,
}

impl Answer {
    fn number(self) -> i64 {
        match self {
            Answer::Unknown => 0,
            Answer::Done => 1,
            Answer::Refused => 2,
        }
    }

    fn of(number: i64) -> Answer {
        match number {
            1 => Answer::Done,
            2 => Answer::Refused,
            _ => Answer::Unknown,
        }
    }
}

impl Told {
    /// Further keys of the operation.
    pub fn extra(&self) -> BTreeMap<String, Edn> {
        let mut extra = BTreeMap::from([
            ("id".to_owned(), text(&self.id)),
            ("producer".to_owned(), int(self.producer)),
            ("epoch".to_owned(), int(self.epoch)),
            ("flow".to_owned(), text(&self.flow)),
        ]);
        let writes = self.writes.iter();
        let writes = writes.map(|w| [w.key, w.value, w.epoch, w.sent_ns, w.acked_ns, w.offset]);
        let ends = self.ends.iter();
        let ends = ends.map(|it| [flag(it.commit), it.sent_ns, it.answered_ns, it.answer.number()]);
        let late = self.late.iter();
        let late = late.map(|it| [it.epoch, flag(it.commit), it.sent_ns, it.answer.number()]);
        let derives = self.derives.iter();
        let derives =
            derives.map(|it| [it.from_key, it.from_offset, it.from_value, it.key, it.value]);
        let peeks = self.peeks.iter();
        let peeks = peeks.map(|it| [it.key, it.offset, it.asked_ns, it.answered_ns]);
        let offsets = self.offsets.iter().map(|(key, offset)| [*key, *offset]);
        for (name, rows) in [
            ("writes", rows(writes)),
            ("ends", rows(ends)),
            ("late", rows(late)),
            ("derives", rows(derives)),
            ("peeks", rows(peeks)),
            ("offsets", rows(offsets)),
        ] {
            if rows != Edn::Vector(Vec::new()) {
                extra.insert(name.to_owned(), rows);
            }
        }
        extra
    }

    /// The way back; what is missing or malformed is left out.
    pub fn of(extra: &BTreeMap<String, Edn>) -> Told {
        let said = |name: &str| match extra.get(name) {
            Some(Edn::String(said)) => said.clone(),
            _ => String::new(),
        };
        let number = |name: &str| match extra.get(name) {
            Some(Edn::Integer(number)) => *number,
            _ => -1,
        };
        let wrote = |[key, value, epoch, sent_ns, acked_ns, offset]: [i64; 6]| Wrote {
            key,
            value,
            epoch,
            sent_ns,
            acked_ns,
            offset,
        };
        let end = |[commit, sent_ns, answered_ns, answer]: [i64; 4]| End {
            commit: commit == 1,
            sent_ns,
            answered_ns,
            answer: Answer::of(answer),
        };
        let late = |[epoch, commit, sent_ns, answer]: [i64; 4]| Late {
            epoch,
            commit: commit == 1,
            sent_ns,
            answer: Answer::of(answer),
        };
        let derived = |[from_key, from_offset, from_value, key, value]: [i64; 5]| Derived {
            from_key,
            from_offset,
            from_value,
            key,
            value,
        };
        let peek = |[key, offset, asked_ns, answered_ns]: [i64; 4]| Peek {
            key,
            offset,
            asked_ns,
            answered_ns,
        };
        Told {
            id: said("id"),
            producer: number("producer"),
            epoch: number("epoch"),
            flow: said("flow"),
            writes: numbers(extra.get("writes")).map(wrote).collect(),
            ends: numbers(extra.get("ends")).map(end).collect(),
            late: numbers(extra.get("late")).map(late).collect(),
            derives: numbers(extra.get("derives")).map(derived).collect(),
            offsets: numbers(extra.get("offsets")).map(|[key, offset]| (key, offset)).collect(),
            peeks: numbers(extra.get("peeks")).map(peek).collect(),
        }
    }
}

fn flag(flag: bool) -> i64 {
    i64::from(flag)
}

/// Rows of numbers as a history has them.
pub(super) fn rows<const N: usize>(rows: impl Iterator<Item = [i64; N]>) -> Edn {
    let row = |row: [i64; N]| Edn::Vector(row.into_iter().map(Edn::Integer).collect());
    Edn::Vector(rows.map(row).collect())
}

/// The rows that have so many numbers.
pub(super) fn numbers<const N: usize>(value: Option<&Edn>) -> impl Iterator<Item = [i64; N]> + '_ {
    let list = match value {
        Some(Edn::Vector(list)) => &list[..],
        _ => &[],
    };
    list.iter().filter_map(|row| {
        let Edn::Vector(row) = row else { return None };
        let row = row.iter().map(|it| if let Edn::Integer(it) = it { Some(*it) } else { None });
        row.collect::<Option<Vec<i64>>>()?.try_into().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_comes_back() {
        let told = Told {
            id: "tx-1".to_owned(),
            producer: 7,
            epoch: 3,
            flow: "implicit".to_owned(),
            writes: vec![Wrote {
                key: 1,
                value: 2,
                epoch: 3,
                sent_ns: 4,
                acked_ns: -1,
                offset: -1,
            }],
            ends: vec![End { commit: true, sent_ns: 5, answered_ns: 6, answer: Answer::Refused }],
            late: vec![Late { epoch: 2, commit: false, sent_ns: 5, answer: Answer::Done }],
            derives: vec![Derived { from_key: 1, from_offset: 2, from_value: 3, key: 4, value: 5 }],
            offsets: vec![(1, 3)],
            peeks: vec![Peek { key: 1, offset: -1, asked_ns: 8, answered_ns: 9 }],
        };
        assert_eq!(Told::of(&told.extra()), told);
        assert_eq!(Told::of(&BTreeMap::new()).writes, []);
    }
}
