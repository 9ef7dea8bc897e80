//! Operations from EDN: the way back from a file of history to what the checkers work on.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;

use super::reader::{ReadError, Reader};
use super::{Body, Edn, Kind, Mop, Op, Process, Sent};

/// Reads a file as [`read`] does.
pub fn read_file(path: &Path) -> anyhow::Result<Vec<Op>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the history {} cannot be read", path.display()))?;
    read(&text).with_context(|| format!("{} is no history", path.display()))
}

/// Reads a history: one map per operation, either one after another or in one vector. Indexes have to be dense from
/// 0; where they are left out, the position stands for them, and for the time as well.
pub fn read(text: &str) -> Result<Vec<Op>, ReadError> {
    let mut reader = Reader::new(text);
    let within = reader.peek()? == Some(b'[');
    if within {
        reader.take();
    }
    let mut ops = Vec::new();
    loop {
        if within && reader.peek()? == Some(b']') {
            reader.take();
            return match reader.peek()? {
                None => Ok(ops),
                Some(_) => Err(reader.error("something follows the vector of operations")),
            };
        }
        // Found before the value is read: its line is where it begins.
        reader.peek()?;
        let line = reader.line();
        match reader.next_value()? {
            Some(value) => {
                let op = op(value, ops.len() as u64).map_err(|what| ReadError { line, what })?;
                ops.push(op);
            }
            None if within => return Err(reader.error("the vector of operations has no end")),
            None => return Ok(ops),
        }
    }
}

fn op(value: Edn, position: u64) -> Result<Op, String> {
    let Edn::Map(pairs) = value else { return Err("an operation is a map".to_owned()) };
    let mut fields = BTreeMap::new();
    for (key, value) in pairs {
        let Edn::Keyword(key) = key else {
            return Err("an operation's keys are keywords".to_owned());
        };
        fields.insert(key.name().to_owned(), value);
    }
    let index = match fields.remove("index") {
        None => position,
        Some(Edn::Integer(index)) if u64::try_from(index) == Ok(position) => position,
        Some(other) => return Err(format!("index {other} where {position} is due")),
    };
    let time = match fields.remove("time") {
        None => position,
        Some(Edn::Integer(time)) => {
            u64::try_from(time).map_err(|_| "a negative time".to_owned())?
        }
        Some(other) => return Err(format!(":time {other} is no number")),
    };
    let process = match fields.remove("process") {
        Some(Edn::Integer(number)) => Process::Client(number),
        Some(Edn::Keyword(name)) if name.name() == "nemesis" => Process::Nemesis,
        other => return Err(format!("{} is no process", shown(other.as_ref()))),
    };
    let kind = match fields.remove("type") {
        Some(Edn::Keyword(name)) => Kind::named(name.name()),
        _ => None,
    };
    let kind = kind.ok_or(":type is one of :invoke :ok :fail :info")?;
    let Some(Edn::Keyword(f)) = fields.remove("f") else { return Err("no :f".to_owned()) };
    let value = fields.remove("value").unwrap_or(Edn::Nil);
    let body = match process {
        Process::Nemesis => Body::Other(f.name().to_owned(), value),
        Process::Client(_) => body(f.name(), value)?,
    };
    Ok(Op { index, time, process, kind, body, extra: fields })
}

impl Kind {
    fn named(name: &str) -> Option<Kind> {
        [Kind::Invoke, Kind::Ok, Kind::Fail, Kind::Info]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

fn body(f: &str, value: Edn) -> Result<Body, String> {
    Ok(match f {
        "send" => Body::Send(mops(value)?),
        "poll" => Body::Poll(mops(value)?),
        "txn" => Body::Txn(mops(value)?),
        "assign" => Body::Assign(keys(&value).ok_or(":assign needs a vector of keys")?),
        "subscribe" => Body::Subscribe(keys(&value).ok_or(":subscribe needs a vector of keys")?),
        "crash" => Body::Crash,
        "debug-topic-partitions" => match keys(&value) {
            Some(keys) => Body::DebugTopicPartitions(keys),
            None => Body::Other(f.to_owned(), value),
        },
        _ => Body::Other(f.to_owned(), value),
    })
}

fn keys(value: &Edn) -> Option<Vec<i64>> {
    let (Edn::Vector(list) | Edn::List(list)) = value else { return None };
    list.iter().map(number).collect()
}

fn mops(value: Edn) -> Result<Vec<Mop>, String> {
    let (Edn::Vector(list) | Edn::List(list)) = value else {
        return Err("an operation's value is a vector of micro-operations".to_owned());
    };
    list.into_iter().map(mop).collect()
}

fn mop(value: Edn) -> Result<Mop, String> {
    let (Edn::Vector(parts) | Edn::List(parts)) = &value else {
        return Err(format!("{value} is no micro-operation"));
    };
    let name = match parts.first() {
        Some(Edn::Keyword(name)) => name.name(),
        _ => "",
    };
    let parsed = match (name, &parts[..]) {
        ("send", [_, key, sent]) => send(key, sent),
        ("poll", [_] | [_, Edn::Nil]) => Some(Mop::Poll(None)),
        ("poll", [_, Edn::Map(read)]) => read
            .iter()
            .map(|(key, records)| Some((number(key)?, records_of(records)?)))
            .collect::<Option<_>>()
            .map(|read| Mop::Poll(Some(read))),
        _ => None,
    };
    parsed.ok_or_else(|| format!("{value} is no micro-operation"))
}

fn send(key: &Edn, sent: &Edn) -> Option<Mop> {
    let (value, sent) = match sent {
        Edn::Integer(value) => (*value, Sent::Plain),
        Edn::Vector(pair) => match &pair[..] {
            [Edn::Nil, Edn::Integer(value)] => (*value, Sent::OffsetUnknown),
            [Edn::Integer(offset), Edn::Integer(value)] => (*value, Sent::At(*offset)),
            _ => return None,
        },
        _ => return None,
    };
    Some(Mop::Send { key: number(key)?, value, sent })
}

fn records_of(records: &Edn) -> Option<Vec<(i64, i64)>> {
    let (Edn::Vector(list) | Edn::List(list)) = records else { return None };
    list.iter()
        .map(|record| match record {
            Edn::Vector(pair) => match &pair[..] {
                [offset, value] => Some((number(offset)?, number(value)?)),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

fn number(value: &Edn) -> Option<i64> {
    match value {
        Edn::Integer(number) => Some(*number),
        _ => None,
    }
}

fn shown(value: Option<&Edn>) -> String {
    value.map_or_else(|| "nothing".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests;
