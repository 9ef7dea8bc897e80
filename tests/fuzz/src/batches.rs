//! What must hold for everything that a producer may send as a record batch.
//!
//! A checksum keeps random changes out, and a compressed stream does so nearly as well. So the first byte of an
//! input says how much of it is made right before it is judged: nothing, length and checksum, also the compression, or
//! everything, and the input is but a recipe for records. The second byte says what the topic allows.

use bytes::Bytes;
use quorate::partition::{BatchReply, attached, logged};
use quorate::record::{
    BatchBuilder, BatchError, Batches, CheckedBatch, Codec, Compacted, HEADER_BYTES, Header,
    INFLATED_BYTES_MAX, Limits, Projection, Record, Records, TimestampRule, check, compacted,
    stamp,
};

use crate::memory::peak_of;

/// The broker's clock, milliseconds since 1970.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;
/// Bytes in front of the batch in an input.
const CONTROL_BYTES: usize = 2;
/// Where length, checksum and attributes stand in a batch.
const LENGTH_AT: usize = 8;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;

/// Memory for one batch: the largest block that the LZ4 decoder knows is 8 MiB, once packed and once unpacked; and what
/// zstd takes to compress it anew.
const FIXED_BYTES: usize = 32 * 1024 * 1024;
/// A block of snappy is unpacked as a whole.
const GROWTH: usize = 32;

/// Names of headers, most of which say under which conditions a batch may be appended.
const NAMES: [&str; 6] = [
    "name",
    "quorate-expected-version",
    "quorate-expected-offset",
    "quorate-no-tag-after",
    "quorate-tag",
    "quorate-close",
];

/// More would say nothing new and take longer.
const COMPOSED_RECORDS_MAX: usize = 6;

/// How much is made right before a batch is judged.
#[derive(Clone, Copy)]
pub(crate) enum Repair {
    Nothing,
    Seal,
    PackAndSeal,
    Compose,
}

impl Repair {
    pub(crate) const ALL: [Repair; 4] =
        [Repair::Nothing, Repair::Seal, Repair::PackAndSeal, Repair::Compose];
}

/// Judges the batch that an input stands for.
pub fn judge(input: &[u8]) {
    let Some(([repair, rule], batch)) = input.split_first_chunk::<CONTROL_BYTES>() else { return };
    let repair = Repair::ALL[usize::from(*repair) % Repair::ALL.len()];
    let limits = limits(*rule);
    let batch = match repair {
        Repair::Compose => composed(batch),
        Repair::Nothing | Repair::Seal | Repair::PackAndSeal => repaired(batch, repair),
    };
    let before = batch.clone();
    let (checked, peak) = peak_of(|| check(batch, &limits));
    let bound = FIXED_BYTES + before.len() * GROWTH;
    assert!(peak <= bound, "{peak} bytes of memory for a batch of {}", before.len());
    match checked {
        Ok(checked) => judge_accepted(&checked, &before, &limits),
        Err(error) => judge_refusal(&error, &before, &limits),
    }
}

/// What the topic allows, so that every rule is met by some input.
fn limits(rule: u8) -> Limits {
    let timestamps = match rule % 3 {
        0 => TimestampRule::Create { before_ms_max: i64::MAX, after_ms_max: i64::MAX },
        1 => TimestampRule::Create { before_ms_max: 1_000, after_ms_max: 1_000 },
        _ => TimestampRule::LogAppend,
    };
    let bytes_max = if rule & 0x40 == 0 { 1_048_588 } else { 100 };
    let zstd = rule & 0x80 == 0;
    // Of eight, so some topics keep what the producer chose.
    let codec = Codec::ALL.get(usize::from(rule >> 3) % 8).copied();
    let (inflated_bytes_max, now_ms) = (INFLATED_BYTES_MAX, NOW_MS);
    let keys = rule & 0x04 != 0;
    Limits { bytes_max, inflated_bytes_max, now_ms, timestamps, zstd, codec, keys }
}

fn repaired(batch: &[u8], repair: Repair) -> Bytes {
    let Some(header) = Header::parse(batch) else { return Bytes::copy_from_slice(batch) };
    let mut made = batch.to_vec();
    if let (Repair::PackAndSeal, Some(codec)) = (repair, header.codec()) {
        let packed = codec.deflate(&batch[HEADER_BYTES..]);
        made.truncate(HEADER_BYTES);
        made.extend(packed.expect("compressing into memory does not fail"));
    }
    if !matches!(repair, Repair::Nothing) {
        let length = i32::try_from(made.len() - LENGTH_AT - 4).expect("inputs are small");
        made[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&made[ATTRIBUTES_AT..]);
        made[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
    }
    Bytes::from(made)
}

/// Builds the batch of a recipe: codec and producer, then four bytes for each record.
fn composed(recipe: &[u8]) -> Bytes {
    let Some(([codec, producer], records)) = recipe.split_first_chunk() else {
        return Bytes::new();
    };
    let mut batch = BatchBuilder::new().codec(Codec::ALL[usize::from(*codec) % Codec::ALL.len()]);
    if *producer > 0 {
        // Near the end of the sequence numbers, which then begin again.
        batch = batch.producer(i64::from(*producer), 0, i32::MAX - i32::from(*producer));
    }
    let blob = |bytes: u8| bytes.checked_sub(1).map(|length| vec![length; usize::from(length)]);
    for [time, key, value, headers] in records.as_chunks().0.iter().take(COMPOSED_RECORDS_MAX) {
        let timestamp = NOW_MS + i64::from(time.cast_signed());
        batch = batch.record(timestamp, blob(*key).as_deref(), blob(*value).as_deref());
        for number in 0..headers % 5 {
            let value = match number % 3 {
                0 => blob(number * (headers / 5)),
                1 => Some(time.cast_signed().to_string().into_bytes()),
                _ => Some(format!("{} {key}", headers / 5).into_bytes()),
            };
            let name = NAMES[usize::from(headers / 5 + number) % NAMES.len()];
            batch = batch.header(name, value.as_deref());
        }
    }
    batch.build()
}

/// What passed the gate may be believed by everybody behind it.
fn judge_accepted(checked: &CheckedBatch, sent: &Bytes, limits: &Limits) {
    let (header, bytes) = (checked.header(), checked.bytes());
    assert_eq!(Header::parse(bytes).as_ref(), Some(header));
    assert_eq!(header.crc, crc32c::crc32c(&bytes[ATTRIBUTES_AT..]));
    judge_content(checked, sent, limits);
    assert!(bytes.len() <= limits.bytes_max && checked.record_count() >= 1);
    judge_records(checked, limits);
    judge_log(checked);
    let attached = attached(checked).expect("what was taken out of it can be read again");
    assert!(attached.iter().all(|same| *same), "keys and conditions are read as they were written");
    judge_served(checked);
    judge_compacted(checked);
    // Whether the producer may send zstd says nothing of what the log may hold.
    let stored = Limits { zstd: true, ..*limits };
    let again = check(bytes.clone(), &stored).expect("what passed once passes again");
    // With the broker's time the first pass put it in.
    assert_eq!(again.bytes(), bytes);
}

/// Records are kept as sent; compressed otherwise, if the topic has a codec of its own.
fn judge_content(checked: &CheckedBatch, sent: &Bytes, limits: &Limits) {
    let bytes = checked.bytes();
    let codec = |batch: &Bytes| Header::parse(batch).and_then(|header| header.codec());
    if limits.codec.is_none() || codec(sent) == limits.codec {
        assert_eq!(bytes[HEADER_BYTES..], sent[HEADER_BYTES..], "records are kept as sent");
        return;
    }
    assert_eq!(codec(bytes), limits.codec);
    let read = |batch: &Bytes| -> Vec<_> {
        let records = Records::open(batch.clone(), Projection::Everything).expect("it is whole");
        let records = records.map(|record| record.expect("the gate read it"));
        records.map(|it| (it.key, it.value, it.headers.iter().collect::<Vec<_>>())).collect()
    };
    assert_eq!(read(bytes), read(sent), "the same records, compressed otherwise");
}

/// Everybody reads the same records, as many as offsets are taken.
fn judge_records(checked: &CheckedBatch, limits: &Limits) {
    let mut newest = -1;
    let mut count = 0;
    let open = |want| Records::open(checked.bytes(), want).expect("the gate opened it");
    let heads =
        open(Projection::Heads).zip(open(Projection::Keys)).zip(open(Projection::Everything));
    for ((head, keyed), whole) in heads {
        let read = |record: Result<Record, _>| record.expect("the gate read it");
        let (head, keyed, whole) = (read(head), read(keyed), read(whole));
        let of = |it: &Record| (it.offset_delta, it.timestamp, it.key_bytes, it.value_bytes);
        assert!(of(&head) == of(&keyed) && of(&keyed) == of(&whole));
        assert_eq!(head.offset_delta, count);
        assert_eq!(keyed.key, whole.key);
        assert_eq!(size(whole.key.as_ref()), whole.key_bytes);
        assert_eq!(size(whole.value.as_ref()), whole.value_bytes);
        newest = newest.max(head.timestamp);
        count += 1;
    }
    assert_eq!(count, checked.record_count());
    assert_eq!(open(Projection::Everything).count(), open(Projection::Heads).count());
    assert_eq!(checked.header().max_timestamp, newest, "time lookups believe the header");
    if limits.timestamps == TimestampRule::LogAppend {
        assert_eq!(newest, limits.now_ms);
    }
}

fn size(blob: Option<&Bytes>) -> i32 {
    blob.map_or(-1, |blob| i32::try_from(blob.len()).expect("a batch is small"))
}

/// The machine and every walk count as many offsets as there are records, in one entry as in two.
fn judge_log(checked: &CheckedBatch) {
    let count = i64::from(checked.record_count());
    let repeated = checked.header().is_idempotent();
    let (base, end) = if repeated { (0, count) } else { (count, 2 * count) };
    for together in [false, true] {
        let logged = logged(checked, NOW_MS, together).expect("an accepted batch is readable");
        let each = (checked.bytes().clone(), count);
        assert_eq!(logged.found, [each.clone(), each], "together: {together}");
        let [first, second] = logged.replies[..] else {
            panic!("two answers to two batches: {:?}", logged.replies);
        };
        let BatchReply::Appended { base_offset: 0, duplicate: false, .. } = first else {
            panic!("the first batch of an empty log: {first:?}");
        };
        let BatchReply::Appended { base_offset, duplicate, .. } = second else {
            panic!("the same batch again: {second:?}");
        };
        assert_eq!((base_offset, duplicate, logged.next_offset), (base, repeated, end));
    }
}

/// Without every second record the others are as they were, and so is where the batch ends.
fn judge_compacted(checked: &CheckedBatch) {
    let heads = |batch: &Bytes| -> Vec<Record> {
        let records = Records::open(batch.clone(), Projection::Heads).expect("it was checked");
        records.map(|record| record.expect("it was checked")).collect()
    };
    let left = compacted(checked.bytes(), |record| record.offset_delta % 2 == 0);
    let rest = match left.expect("it was checked") {
        Compacted::Whole => return assert_eq!(checked.record_count(), 1),
        Compacted::Nothing => panic!("the first record stays"),
        Compacted::Rest(rest) => rest,
    };
    let mut wanted = heads(checked.bytes());
    wanted.retain(|record| record.offset_delta % 2 == 0);
    assert_eq!(heads(&rest), wanted);
    let (header, old) = (Header::parse(&rest).expect("a header"), checked.header());
    assert_eq!(header.last_offset_delta, old.last_offset_delta);
    assert_eq!(header.last_sequence(), old.last_sequence());
    assert_eq!(header.crc, crc32c::crc32c(&rest[ATTRIBUTES_AT..]));
}

/// With offset and epoch stamped in, a consumer finds whole batches with valid checksums.
fn judge_served(checked: &CheckedBatch) {
    let mut one = checked.bytes().to_vec();
    stamp(&mut one, i64::MAX / 2, 7);
    let two = [one.as_slice(), one.as_slice()].concat();
    let found: Vec<_> = Batches::new(&two).collect();
    assert_eq!(found.len(), 2);
    for (header, batch) in found {
        assert_eq!((batch, header.crc), (one.as_slice(), checked.header().crc));
        let last = i64::MAX / 2 + i64::from(checked.record_count()) - 1;
        assert_eq!((header.base_offset, header.last_offset()), (i64::MAX / 2, last));
    }
}

/// A refusal says what is the case.
fn judge_refusal(error: &BatchError, sent: &Bytes, limits: &Limits) {
    let header = Header::parse(sent);
    match error {
        BatchError::NotOne => {
            assert!(header.is_none_or(|it| it.total_bytes() != Some(sent.len())));
        }
        BatchError::Magic { magic } => assert!(*magic != 2 && sent[16].cast_signed() == *magic),
        BatchError::Checksum => {
            assert!(header.is_some_and(|it| it.crc != crc32c::crc32c(&sent[ATTRIBUTES_AT..])));
        }
        BatchError::TooLarge { bytes, bytes_max } => assert!(bytes > bytes_max),
        BatchError::Count { records, offsets } => {
            assert!(*records <= 0 || i64::from(*records) != *offsets);
        }
        BatchError::Control => assert!(header.is_some_and(|it| it.is_control())),
        BatchError::Producer => assert!(header.is_some_and(|it| it.is_idempotent())),
        BatchError::Codec { .. } => {
            let codec = header.and_then(|it| it.codec());
            assert!(codec.is_none() || (codec == Some(Codec::Zstd) && !limits.zstd));
        }
        BatchError::Timestamps { .. } => assert_ne!(limits.timestamps, TimestampRule::LogAppend),
        BatchError::Keys { first, records } => {
            assert!(limits.keys && records.first() == Some(first));
        }
        BatchError::OffsetDelta { index, found } => assert_ne!(index, found),
        BatchError::Records(_) => {}
    }
}
