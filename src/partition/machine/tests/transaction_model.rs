//! Transactions against a model that looks at all batches and markers there ever were.

use proptest::prelude::*;

use quorate_raft::conformance::{self, LogEntry};

use super::transactions::numbered;
use super::*;
use crate::partition::aborted::{self, Aborted};
use crate::record::EndMarker;

const DAY_MS: i64 = 86_400_000;
const IDS: i64 = 3;

/// What is in the log.
#[derive(Debug, Clone)]
struct Item {
    id: i64,
    epoch: i16,
    /// None of a batch that is part of no transaction.
    number: Option<u64>,
    what: What,
    offset: i64,
    place: Place,
    log_ms: i64,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Data { first: i32, last: i32 },
    Marker { commit: bool },
}

/// A batch or marker on its way, in relation to what there is.
#[derive(Debug, Clone, Copy)]
struct Sent {
    id: i64,
    /// 0 mostly.
    epoch_step: i16,
    /// 0: that which is open, or the next. 1: the next. 2: the last that ended. 3: an earlier one.
    number: u8,
    /// Of a batch 0: the next sequence. 1: that of the last again. 2: 0. 3: one further on.
    sequence: u8,
    records: i32,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Data,
    Plain,
    Marker { commit: bool },
}

#[derive(Debug, Clone)]
enum Step {
    Entry(Vec<Sent>),
    Wait,
    /// The log begins behind half of what there is.
    Trim,
    Restore,
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    New(i64),
    Again(i64),
    BadSequence,
    Fenced,
    NotIn,
}

/// See the file's header.
#[derive(Default)]
struct Model {
    items: Vec<Item>,
    /// Of each producer: items before this one are forgotten.
    forgotten: [usize; IDS as usize],
    end: i64,
    log_ms: i64,
    numbers: u64,
}

impl Model {
    fn live(&self, id: i64) -> Vec<&Item> {
        let from = self.forgotten[usize::try_from(id).unwrap()];
        self.items[from..].iter().filter(|item| item.id == id).collect()
    }

    /// The number that ended last, 0 if none has.
    fn ended(&self, id: i64) -> u64 {
        let live = self.live(id);
        let markers = live.iter().filter(|item| matches!(item.what, What::Marker { .. }));
        markers.filter_map(|item| item.number).max().unwrap_or(0)
    }

    /// The first batch of what is open.
    fn open(&self, id: i64) -> Option<Item> {
        let ended = self.ended(id);
        let live = self.live(id);
        live.into_iter().find(|item| item.number.is_some_and(|number| number > ended)).cloned()
    }

    fn stable(&self) -> i64 {
        let open = (0..IDS).filter_map(|id| self.open(id)).map(|first| first.offset);
        open.min().unwrap_or(self.end)
    }

    /// Who was silent for more than a day, and has nothing open, is forgotten.
    fn forget(&mut self, id: i64) {
        let last = self.live(id).last().map(|item| item.log_ms);
        if last.is_some_and(|last| self.log_ms - last > DAY_MS) && self.open(id).is_none() {
            self.forgotten[usize::try_from(id).unwrap()] = self.items.len();
        }
    }

    fn data(&self, id: i64, epoch: i16, number: Option<u64>, (first, last): (i32, i32)) -> Answer {
        let live = self.live(id);
        let known = live.last().map(|item| item.epoch);
        if known.is_some_and(|known| epoch < known) {
            return Answer::Fenced;
        }
        let own: Vec<_> = live.iter().rev().take_while(|item| item.epoch == epoch).collect();
        let of = |item: &&&Item| match item.what {
            What::Data { first, last } => Some((first, last, item.offset)),
            What::Marker { .. } => None,
        };
        let batches: Vec<_> = own.iter().filter_map(of).collect();
        let same = batches.iter().take(5).find(|it| (it.0, it.1) == (first, last));
        if let Some((.., offset)) = same {
            return Answer::Again(*offset);
        }
        let has = |sequence| batches.iter().any(|it| (it.0..=it.1).contains(&sequence));
        if (first..=last).all(has) {
            return Answer::BadSequence;
        }
        match (self.open(id), number) {
            (Some(open), Some(number)) if open.number == Some(number) => {
                if open.epoch != epoch {
                    return Answer::Fenced;
                }
            }
            (Some(_), _) => return Answer::NotIn,
            (None, Some(number)) if number <= self.ended(id) => return Answer::NotIn,
            (None, _) => {}
        }
        let expected = match batches.first() {
            Some(newest) => Some(newest.1 + 1),
            // The epoch is a later one than something that is known.
            None if live.len() > own.len() => Some(0),
            None => None,
        };
        if expected.is_none_or(|expected| expected == first) {
            Answer::New(self.end)
        } else {
            Answer::BadSequence
        }
    }

    fn marker(&self, id: i64, epoch: i16, number: u64) -> Answer {
        if number <= self.ended(id) {
            return Answer::Again(-1);
        }
        if self.open(id).is_some_and(|open| open.number != Some(number)) {
            return Answer::NotIn;
        }
        let known = self.live(id).last().map(|item| item.epoch);
        if known.is_some_and(|known| epoch < known) {
            Answer::Fenced
        } else {
            Answer::New(self.end)
        }
    }

    /// Makes a batch of what is to be sent, and says what comes of it.
    fn send(&mut self, sent: &Sent, place: Place) -> (Bytes, Option<u64>, Answer) {
        let id = sent.id;
        self.forget(id);
        let epoch = self.live(id).last().map_or(3, |item| item.epoch) + sent.epoch_step;
        self.numbers += 1;
        let number = match (sent.number, self.open(id)) {
            (0, Some(open)) => open.number.unwrap(),
            (0 | 1, _) => self.numbers,
            (2, _) => self.ended(id),
            _ => self.ended(id).saturating_sub(1),
        };
        let batches = self.live(id).into_iter().filter(|item| item.epoch == epoch);
        let sequences = batches.filter_map(|item| match item.what {
            What::Data { first, last } => Some((first, last)),
            What::Marker { .. } => None,
        });
        let sequences: Vec<(i32, i32)> = sequences.collect();
        let (again, next) = sequences.last().map_or((0, 0), |(first, last)| (*first, last + 1));
        let first = [next, again, 0, next + 1][usize::from(sent.sequence)];
        let last = first + sent.records - 1;
        let (batch, number, answer, what) = match sent.kind {
            Kind::Marker { commit } => {
                let batch = EndMarker { commit, coordinator_epoch: 0 }.batch(id, epoch, 0);
                let answer = self.marker(id, epoch, number);
                (batch, Some(number), answer, What::Marker { commit })
            }
            kind => {
                let number = matches!(kind, Kind::Data).then_some(number);
                let bits = if number.is_some() { 0b1_0000 } else { 0 };
                let count = usize::try_from(sent.records).unwrap();
                let batch = records(count, 0).attributes(bits).producer(id, epoch, first).build();
                let answer = self.data(id, epoch, number, (first, last));
                (batch, number, answer, What::Data { first, last })
            }
        };
        if let Answer::New(offset) = answer {
            let log_ms = self.log_ms;
            self.items.push(Item { id, epoch, number, what, offset, place, log_ms });
            self.end += if matches!(what, What::Data { .. }) { i64::from(sent.records) } else { 1 };
        }
        (batch, number, answer)
    }

    /// Whether a batch of a transaction was aborted; none while that is open.
    fn is_aborted(&self, item: &Item) -> Option<bool> {
        let of = self.items.iter().filter(|it| it.id == item.id && it.number == item.number);
        of.filter(|it| it.offset > item.offset).find_map(|it| match it.what {
            What::Marker { commit } => Some(!commit),
            What::Data { .. } => None,
        })
    }
}

fn answer_of(reply: BatchReply) -> Answer {
    match reply {
        BatchReply::Appended { base_offset, duplicate: false, .. } => Answer::New(base_offset),
        BatchReply::Appended { base_offset, .. } => Answer::Again(base_offset),
        BatchReply::Refused(Refusal::OutOfOrderSequence { .. } | Refusal::DuplicateSequence) => {
            Answer::BadSequence
        }
        BatchReply::Refused(Refusal::InvalidProducerEpoch { .. }) => Answer::Fenced,
        BatchReply::Refused(Refusal::Transaction(_)) => Answer::NotIn,
        other => panic!("{other:?}"),
    }
}

fn any_sent() -> impl Strategy<Value = Sent> {
    let kind = prop_oneof![
        6 => Just(Kind::Data),
        1 => Just(Kind::Plain),
        3 => any::<bool>().prop_map(|commit| Kind::Marker { commit }),
    ];
    let epoch_step = prop_oneof![8 => Just(0_i16), 2 => Just(1), 1 => Just(-1)];
    let number = prop_oneof![10 => Just(0_u8), 1 => Just(1), 1 => Just(2), 1 => Just(3)];
    let sequence = prop_oneof![10 => Just(0_u8), 1 => Just(1), 1 => Just(2), 1 => Just(3)];
    let all = (0..IDS, epoch_step, number, sequence, 1..4_i32, kind);
    all.prop_map(|(id, epoch_step, number, sequence, records, kind)| Sent {
        id,
        epoch_step,
        number,
        sequence,
        records,
        kind,
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => proptest::collection::vec(any_sent(), 1..4).prop_map(Step::Entry),
        1 => Just(Step::Wait),
        1 => Just(Step::Trim),
        2 => Just(Step::Restore),
    ]
}

/// Applies an entry and keeps it for the check of the contract.
fn apply(replica: &mut Replica, log: &mut Vec<LogEntry>, payload: Bytes) -> Reply {
    let reply = replica.apply(Some(&payload));
    log.push(LogEntry { term: 0, payload: Some(payload) });
    reply
}

fn trim(replica: &mut Replica, log: &mut Vec<LogEntry>, model: &Model) {
    let Some(item) = model.items.get(model.items.len() / 2) else { return };
    // How many bytes lie before it does not matter here, as long as it does not go back.
    let bytes = replica.machine.start.bytes;
    let start = Position { offset: item.offset, place: item.place, bytes };
    let times = Times { wall_ms: 0, log_ms: model.log_ms };
    let payload = trim_payload(times, &Trim { log_start: item.offset, start });
    apply(replica, log, payload.into());
}

/// Looks at every batch as a reader would: by the first row of its producer behind it.
fn check_rows(replica: &mut Replica, log: &mut Vec<LogEntry>, model: &Model) {
    let markers = model.items.iter().filter(|it| matches!(it.what, What::Marker { .. }));
    let keys: Vec<_> = markers.map(|it| (it.id, it.place, aborted::key(it.id, it.place))).collect();
    let named: Vec<Bytes> = keys.iter().map(|(.., key)| key.clone()).collect();
    let times = Times { wall_ms: 0, log_ms: model.log_ms };
    apply(replica, log, forget_payload(times, &named).into());
    let log_start = replica.machine.log_start();
    let row = |key: &Bytes| replica.effects.keyed.get(key).map(|it| Aborted::decode(&it).unwrap());
    let rows: Vec<_> =
        keys.iter().filter_map(|(id, place, key)| Some((*id, *place, row(key)?))).collect();
    assert!(rows.iter().all(|(.., row)| row.marker_offset >= log_start), "those that are over go");
    assert_eq!(replica.machine.summary().aborted_transactions, rows.len() as u64);
    let kept = model.items.iter().filter(|it| it.offset >= log_start && it.number.is_some());
    for item in kept.filter(|it| matches!(it.what, What::Data { .. })) {
        let next = rows.iter().find(|(id, place, _)| *id == item.id && *place > item.place);
        let found = next.is_some_and(|(.., row)| row.first_offset <= item.offset);
        match model.is_aborted(item) {
            Some(aborted) => assert_eq!(found, aborted, "{item:?}"),
            None => assert!(!found && model.stable() <= item.offset, "{item:?} is open"),
        }
    }
}

fn run(steps: &[Step]) {
    let (mut replica, mut model) = (Replica::default(), Model::default());
    let mut log = Vec::new();
    for step in steps {
        match step {
            Step::Wait => model.log_ms += DAY_MS * 2 / 3,
            Step::Restore => {
                replica.machine = PartitionMachine::decode(&replica.machine.encode()).unwrap();
            }
            Step::Trim => trim(&mut replica, &mut log, &model),
            Step::Entry(all) => {
                let (mut batches, mut expected) = (Vec::new(), Vec::new());
                for (sub, sent) in (0..).zip(all) {
                    let (batch, number, answer) = model.send(sent, at(replica.index, sub));
                    batches.push((batch, number));
                    expected.push(answer);
                }
                let reply = apply(&mut replica, &mut log, numbered(model.log_ms, &batches));
                let Reply::Appended(replies) = reply else { panic!("an append") };
                let answers: Vec<_> = replies.into_iter().map(answer_of).collect();
                assert_eq!(answers, expected);
            }
        }
        let machine = &replica.machine;
        assert_eq!(machine.next_offset(), model.end);
        assert_eq!(machine.last_stable_offset(), model.stable().max(machine.log_start()));
        let open: Vec<_> = (0..IDS).filter_map(|id| Some((id, model.open(id)?.number?))).collect();
        let mut found: Vec<_> =
            machine.transactions().all().map(|(id, open)| (id, open.number)).collect();
        found.sort_unstable();
        assert_eq!(found, open);
    }
    check_rows(&mut replica, &mut log, &model);
    if log.len() >= 2 {
        conformance::check(PartitionMachine::default, &log);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_machine_does_as_a_model_that_looks_at_everything(
        steps in proptest::collection::vec(any_step(), 1..60)
    ) {
        run(&steps);
    }
}
