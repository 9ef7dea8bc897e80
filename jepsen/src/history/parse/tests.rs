//! What is written is read back the same; what is no history is refused with the line.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, any};
use proptest::{prop_assert_eq, prop_oneof, proptest};

use super::super::{keyword, text};
use super::*;

fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![Just(Sent::Plain), Just(Sent::OffsetUnknown), any::<i64>().prop_map(Sent::At)]
}

fn send() -> impl Strategy<Value = Mop> {
    (any::<i64>(), any::<i64>(), sent()).prop_map(|(key, value, sent)| Mop::Send {
        key,
        value,
        sent,
    })
}

fn poll() -> impl Strategy<Value = Mop> {
    let read = btree_map(any::<i64>(), vec((any::<i64>(), any::<i64>()), 0..4), 0..3);
    prop_oneof![Just(Mop::Poll(None)), read.prop_map(|read| Mop::Poll(Some(read)))]
}

/// Values as they appear in extra keys: errors in words, lists of numbers, maps.
fn edn() -> impl Strategy<Value = Edn> {
    let leaf = prop_oneof![
        Just(Edn::Nil),
        any::<bool>().prop_map(Edn::Boolean),
        any::<i64>().prop_map(Edn::Integer),
        any::<String>().prop_map(Edn::String),
        "[a-z][a-z0-9?-]{0,8}".prop_map(|name| keyword(&name)),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Edn::Vector),
            vec(inner.clone(), 0..4).prop_map(Edn::List),
            btree_map(inner.clone(), inner.clone(), 0..4).prop_map(Edn::Map),
            vec(inner, 0..4).prop_map(|values| Edn::Set(values.into_iter().collect())),
        ]
    })
}

fn body() -> impl Strategy<Value = (Process, Body)> {
    let client = prop_oneof![
        vec(send(), 0..3).prop_map(Body::Send),
        vec(poll(), 0..3).prop_map(Body::Poll),
        vec(prop_oneof![send(), poll()], 0..4).prop_map(Body::Txn),
        vec(any::<i64>(), 0..4).prop_map(Body::Assign),
        vec(any::<i64>(), 0..4).prop_map(Body::Subscribe),
        vec(any::<i64>(), 0..4).prop_map(Body::DebugTopicPartitions),
        Just(Body::Crash),
        edn().prop_map(|value| Body::Other("list-offsets".to_owned(), value)),
    ];
    let nemesis = edn().prop_map(|value| Body::Other("start-kill".to_owned(), value));
    prop_oneof![
        (any::<i64>(), client).prop_map(|(process, body)| (Process::Client(process), body)),
        nemesis.prop_map(|body| (Process::Nemesis, body)),
    ]
}

fn history() -> impl Strategy<Value = Vec<Op>> {
    let kind = prop_oneof![Just(Kind::Invoke), Just(Kind::Ok), Just(Kind::Fail), Just(Kind::Info)];
    let extra = btree_map("error|poll-ms|corrupt|seek-to-beginning\\?", edn(), 0..3);
    let op = (body(), kind, extra, 0..=i64::MAX as u64);
    vec(op, 0..8).prop_map(|ops| {
        ops.into_iter()
            .enumerate()
            .map(|(index, ((process, body), kind, extra, time))| Op {
                index: index as u64,
                time,
                process,
                kind,
                body,
                extra,
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn a_history_is_read_back_as_it_was_written(ops in history()) {
        let lines: Vec<String> = ops.iter().map(Op::to_edn).collect();
        prop_assert_eq!(read(&lines.join("\n")), Ok(ops.clone()));
        prop_assert_eq!(read(&format!("[{}]", lines.join(",\n"))), Ok(ops));
    }

    #[test]
    fn anything_else_is_refused_and_not_a_panic(text in "[\\[\\]{}:a-z0-9\"\\\\#_ \n-]{0,60}") {
        drop(read(&text));
    }
}

const LINE: &str = "{:index 0 :time 5 :process 0 :type :invoke :f :send :value [[:send 3 17]]}";

#[test]
fn what_jepsen_writes_is_read() {
    let tagged = "#jepsen.history.Op{:index 0, :time 5, :type :ok, :process 0, :f :poll,
        :value [[:poll {3 [[1 2]]}]], :error [:consumer-commit \"a \\\"b\\\" \\u00e9\"]} ; the end
        #_ {:index 1}";
    let ops = read(tagged).expect("one operation");
    assert_eq!(ops.len(), 1);
    assert_eq!(ops[0].mops(), [Mop::Poll(Some([(3, vec![(1, 2)])].into()))]);
    let error = Edn::Vector(vec![keyword("consumer-commit"), text("a \"b\" \u{e9}")]);
    assert_eq!(ops[0].extra, BTreeMap::from([("error".to_owned(), error)]));
    assert_eq!(read("").expect("no operation"), []);
}

#[test]
fn an_error_says_where() {
    let refused = |text: &str| read(text).expect_err("no history").to_string();
    let second = |line: &str| refused(&format!("{LINE}\n{line}"));
    assert_eq!(second("{:index 2}"), "line 2: index 2 where 1 is due");
    assert_eq!(second("17"), "line 2: an operation is a map");
    assert_eq!(
        second("{:process 1 :type :done}"),
        "line 2: :type is one of :invoke :ok :fail :info"
    );
    assert_eq!(
        second("{:process 1 :type :ok :f :send :value [[:send :x 1]]}"),
        "line 2: [:send :x 1] is no micro-operation"
    );
    assert_eq!(second("{:process 1 :f"), "line 2: the text ends within a value");
    assert_eq!(second("{:a 1 :a 2}"), "line 2: a map with the same key twice");
    assert_eq!(
        second("{:a 99999999999999999999}"),
        "line 2: 99999999999999999999 is no number of 64 bits"
    );
    assert_eq!(second("{:a \"x\ny"), "line 2: the text ends within a string");
    assert_eq!(refused(&"[".repeat(1000)), "line 1: nested too deeply");
    assert_eq!(refused(&format!("[{LINE}\n")), "line 2: the vector of operations has no end");
    assert_eq!(
        refused(&format!("[{LINE}]\n{LINE}")),
        "line 2: something follows the vector of operations"
    );
}
