//! Operations as EDN, one map per line, exactly as Jepsen writes and reads them.

use std::collections::BTreeMap;

use edn_format::Keyword;
pub use edn_format::Value;

use super::{Body, Kind, Mop, Op, Process, Sent};

/// `:name`
pub fn keyword(name: &str) -> Value {
    Value::Keyword(Keyword::from_name(name))
}

pub fn int(number: impl Into<i64>) -> Value {
    Value::Integer(number.into())
}

pub fn text(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

/// A map whose keys are keywords.
pub fn map<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Map(pairs.into_iter().map(|(key, value)| (keyword(key), value)).collect())
}

/// Times and indexes of a run fit into 63 bits.
fn count(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

impl Op {
    /// The operation as one line, without the line's end.
    pub fn to_edn(&self) -> String {
        let mut pairs: BTreeMap<Value, Value> =
            self.extra.iter().map(|(key, value)| (keyword(key), value.clone())).collect();
        let process = match self.process {
            Process::Client(number) => Value::Integer(number),
            Process::Nemesis => keyword("nemesis"),
        };
        let (f, value) = self.body.to_edn();
        pairs.insert(keyword("index"), count(self.index));
        pairs.insert(keyword("time"), count(self.time));
        pairs.insert(keyword("process"), process);
        pairs.insert(keyword("type"), keyword(self.kind.name()));
        pairs.insert(keyword("f"), keyword(f));
        pairs.insert(keyword("value"), value);
        edn_format::emit_str(&Value::Map(pairs))
    }
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Invoke => "invoke",
            Kind::Ok => "ok",
            Kind::Fail => "fail",
            Kind::Info => "info",
        }
    }
}

impl Body {
    /// `:f` and `:value`.
    pub fn to_edn(&self) -> (&str, Value) {
        let mops = |mops: &[Mop]| Value::Vector(mops.iter().map(Mop::to_edn).collect());
        let keys = |keys: &[i64]| Value::Vector(keys.iter().copied().map(Value::Integer).collect());
        match self {
            Body::Send(list) => ("send", mops(list)),
            Body::Poll(list) => ("poll", mops(list)),
            Body::Txn(list) => ("txn", mops(list)),
            Body::Assign(list) => ("assign", keys(list)),
            Body::Subscribe(list) => ("subscribe", keys(list)),
            Body::Crash => ("crash", Value::Nil),
            Body::DebugTopicPartitions(list) => ("debug-topic-partitions", keys(list)),
            Body::Other(f, value) => (f, value.clone()),
        }
    }
}

impl Mop {
    fn to_edn(&self) -> Value {
        let pair = |(offset, value): &(i64, i64)| Value::Vector(vec![int(*offset), int(*value)]);
        match self {
            Mop::Send { key, value, sent } => {
                let value = match sent {
                    Sent::Plain => int(*value),
                    Sent::OffsetUnknown => Value::Vector(vec![Value::Nil, int(*value)]),
                    Sent::At(offset) => pair(&(*offset, *value)),
                };
                Value::Vector(vec![keyword("send"), int(*key), value])
            }
            Mop::Poll(None) => Value::Vector(vec![keyword("poll")]),
            Mop::Poll(Some(read)) => {
                let read = read.iter().map(|(key, records)| {
                    (int(*key), Value::Vector(records.iter().map(pair).collect()))
                });
                Value::Vector(vec![keyword("poll"), Value::Map(read.collect())])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_written_as_jepsen_writes_it() {
        let op = Op {
            index: 3,
            time: 15_000,
            process: Process::Client(1),
            kind: Kind::Ok,
            body: Body::Poll(vec![Mop::Poll(Some([(3, vec![(40, 16), (41, 17)])].into()))]),
            extra: BTreeMap::new(),
        };
        assert_eq!(
            op.to_edn(),
            "{:f :poll :index 3 :process 1 :time 15000 :type :ok :value [[:poll {3 [[40 16] [41 17]]}]]}"
        );
    }
}
