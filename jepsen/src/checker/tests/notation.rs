//! Histories in a few strokes.
//!
//! A line is an event or a whole operation:
//!
//! ```text
//! 0 > s5:1            process 0 begins to send value 1 to key 5
//! 0 ok s5:1@7         and is told offset 7 (also: fail, info)
//! 1 = p5:1@7,2@8 p6:  begins a poll and succeeds at once, with two records of key 5, none of key 6
//! 1 x s5:3            begins and fails at once;  1 ? s5:3  begins and stays indeterminate
//! 1 = s5:3@9 p5:3@9   a transaction
//! 1 = assign 5 6      also subscribe, crash, list-offsets 5 10
//! n start-kill        the nemesis
//! at 12.5             what follows happens from second 12.5 on
//! ```
//!
//! `p ... / p ...` are two polls of one operation; extra keys of an operation follow `&` as EDN without braces.

use std::collections::BTreeMap;

use crate::history::{Body, Edn, Kind, Mop, Op, Process, Sent};

pub fn history(text: &str) -> Vec<Op> {
    let mut notation = Notation::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        notation.line(line);
    }
    notation.ops
}

#[derive(Default)]
struct Notation {
    ops: Vec<Op>,
    time: u64,
}

impl Notation {
    fn line(&mut self, line: &str) {
        let (line, extra) = line.split_once('&').unwrap_or((line, ""));
        let mut words = line.split_whitespace();
        let process = words.next().expect("a process");
        let rest: Vec<&str> = words.collect();
        match process {
            "at" => self.time = (rest[0].parse::<f64>().expect("seconds") * 1e9) as u64,
            "n" => {
                let value = edn(extra.trim());
                self.push(Process::Nemesis, Kind::Info, Body::Other(rest[0].to_owned(), value), "");
            }
            _ => {
                let process = Process::Client(process.parse().expect("a process number"));
                let body = body(&rest[1..]);
                let (begin, end) = match rest[0] {
                    ">" => (true, None),
                    "=" => (true, Some(Kind::Ok)),
                    "x" => (true, Some(Kind::Fail)),
                    "?" => (true, Some(Kind::Info)),
                    "ok" => (false, Some(Kind::Ok)),
                    "fail" => (false, Some(Kind::Fail)),
                    "info" => (false, Some(Kind::Info)),
                    other => panic!("{other} is no kind of event"),
                };
                if begin {
                    self.push(process, Kind::Invoke, invocation(&body), "");
                }
                if let Some(kind) = end {
                    self.push(process, kind, body, extra);
                }
            }
        }
    }

    fn push(&mut self, process: Process, kind: Kind, body: Body, extra: &str) {
        let Edn::Map(extra) = edn(&format!("{{{extra}}}")) else { panic!("{extra} is no map") };
        let extra = extra.into_iter().map(|(key, value)| match key {
            Edn::Keyword(key) => (key.name().to_owned(), value),
            other => panic!("{other} is no keyword"),
        });
        let index = self.ops.len() as u64;
        self.time += 1_000_000;
        let extra: BTreeMap<String, Edn> = extra.collect();
        self.ops.push(Op { index, time: self.time, process, kind, body, extra });
    }
}

fn edn(text: &str) -> Edn {
    match text {
        "" => Edn::Nil,
        _ => edn_format::parse_str(text).expect("EDN"),
    }
}

fn number(text: &str) -> i64 {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

fn body(words: &[&str]) -> Body {
    let keys = || words[1..].iter().map(|key| number(key)).collect();
    match words[0] {
        "assign" => Body::Assign(keys()),
        "subscribe" => Body::Subscribe(keys()),
        "crash" => Body::Crash,
        "list-offsets" => {
            let answer = words.get(2).map_or(Edn::Nil, |offset| Edn::Integer(number(offset)));
            let value = vec![Edn::Integer(number(words[1])), answer];
            Body::Other("list-offsets".to_owned(), Edn::Vector(value))
        }
        _ => mops(words),
    }
}

fn mops(words: &[&str]) -> Body {
    let mut mops: Vec<Mop> = Vec::new();
    let mut separate = true;
    for word in words {
        if let Some(send) = word.strip_prefix('s') {
            let (key, value) = send.split_once(':').expect("key:value");
            let (value, sent) = match value.split_once('@') {
                Some((value, "")) => (value, Sent::OffsetUnknown),
                Some((value, offset)) => (value, Sent::At(number(offset))),
                None => (value, Sent::Plain),
            };
            mops.push(Mop::Send { key: number(key), value: number(value), sent });
        } else if let Some(poll) = word.strip_prefix('p') {
            if separate || !matches!(mops.last(), Some(Mop::Poll(_))) {
                mops.push(Mop::Poll(Some(BTreeMap::new())));
            }
            if let (Some((key, records)), Some(Mop::Poll(Some(read)))) =
                (poll.split_once(':'), mops.last_mut())
            {
                let records = records.split(',').filter(|record| !record.is_empty());
                let records = records.map(|record| {
                    let (value, offset) = record.split_once('@').expect("value@offset");
                    (number(offset), number(value))
                });
                read.insert(number(key), records.collect());
            }
        }
        separate = *word == "/";
    }
    let sends = mops.iter().filter(|mop| matches!(mop, Mop::Send { .. })).count();
    match sends {
        0 => Body::Poll(mops),
        all if all == mops.len() => Body::Send(mops),
        _ => Body::Txn(mops),
    }
}

/// What an operation knew when it began.
fn invocation(body: &Body) -> Body {
    let strip = |mops: &[Mop]| {
        mops.iter()
            .map(|mop| match mop {
                Mop::Send { key, value, .. } => {
                    Mop::Send { key: *key, value: *value, sent: Sent::Plain }
                }
                Mop::Poll(_) => Mop::Poll(None),
            })
            .collect()
    };
    match body {
        Body::Send(mops) => Body::Send(strip(mops)),
        Body::Poll(mops) => Body::Poll(strip(mops)),
        Body::Txn(mops) => Body::Txn(strip(mops)),
        Body::Other(f, Edn::Vector(pair)) if f == "list-offsets" => {
            Body::Other(f.clone(), Edn::Vector(vec![pair[0].clone(), Edn::Nil]))
        }
        other => other.clone(),
    }
}
