//! The machine's small state as bytes. Kept on disk and sent to replicas that fell behind, so frozen.
//!
//! A checkpoint is of the last applied entry. A replica that is given it is given the records before it besides
//! (`transfer.rs`), replays what follows, trims included, and arrives where the others are.

use super::{Cleaned, Newest, OpenSpan, PartitionMachine, Streams, Transactions};
use crate::partition::codec::{CodecError, Reader, Writer};
use crate::partition::epochs::Epochs;
use crate::partition::index::{OpenBlocks, Span};
use crate::partition::position::Position;
use crate::partition::rejected::Rejected;

pub(super) const VERSION: u8 = 8;

pub(super) fn encode(machine: &PartitionMachine) -> Vec<u8> {
    let mut writer = Writer::with_capacity(512);
    writer.u8(VERSION);
    writer.u32(machine.level.into());
    writer.i64(machine.log_start);
    machine.start.encode(&mut writer);
    machine.end.encode(&mut writer);
    machine.open.start.encode(&mut writer);
    writer.i64(machine.open.opened_ms);
    writer.u32(machine.open.passed);
    writer.i64(machine.open.span.timestamp_max);
    writer.i64(machine.open.span.age_max);
    writer.i64(machine.open.span.appended_max);
    machine.blocks.encode(&mut writer);
    writer.i64(machine.log_ms);
    writer.u8(u8::from(machine.newest.is_some()));
    if let Some(newest) = machine.newest {
        writer.i64(newest.timestamp);
        writer.i64(newest.end_offset);
        newest.at.encode(&mut writer);
    }
    machine.epochs.encode(&mut writer);
    machine.rejected.encode(&mut writer);
    writer.u64(machine.producers);
    machine.cleaned.encode(&mut writer);
    machine.streams.encode(&mut writer);
    writer.u64(machine.aborted);
    machine.transactions.encode(&mut writer);
    writer.finish()
}

pub(super) fn decode(bytes: &[u8]) -> Result<PartitionMachine, CodecError> {
    let mut reader = Reader::new(bytes);
    let version = reader.u8()?;
    if version != VERSION {
        return Err(CodecError::Version(version));
    }
    let level = u16::try_from(reader.u32()?).map_err(|_| CodecError::Range("a level"))?;
    let log_start = reader.i64()?;
    let start = Position::decode(&mut reader)?;
    let end = Position::decode(&mut reader)?;
    let open = take_open(&mut reader)?;
    let blocks = OpenBlocks::decode(&mut reader)?;
    let log_ms = reader.i64()?;
    let newest = match reader.u8()? {
        0 => None,
        1 => Some(Newest {
            timestamp: reader.i64()?,
            end_offset: reader.i64()?,
            at: Position::decode(&mut reader)?,
        }),
        _ => return Err(CodecError::Range("whether there is a newest batch")),
    };
    let machine = PartitionMachine {
        level,
        log_start,
        start,
        end,
        open,
        blocks,
        log_ms,
        newest,
        epochs: Epochs::decode(&mut reader)?,
        rejected: Rejected::decode(&mut reader)?,
        producers: reader.u64()?,
        cleaned: Cleaned::decode(&mut reader)?,
        streams: Streams::decode(&mut reader)?,
        aborted: reader.u64()?,
        transactions: Transactions::decode(&mut reader)?,
        ..PartitionMachine::default()
    };
    reader.end()?;
    if is_ordered(&machine) {
        Ok(machine)
    } else {
        Err(CodecError::Range("the order of positions"))
    }
}

/// What all arithmetic on positions relies on.
fn is_ordered(machine: &PartitionMachine) -> bool {
    let before_end = |at: Position| {
        0 <= at.offset
            && at.offset <= machine.end.offset
            && at.place <= machine.end.place
            && at.bytes <= machine.end.bytes
    };
    // A checkpoint is of whole entries.
    machine.end.place.sub == 0
        && before_end(machine.start)
        && before_end(machine.open.start)
        && before_end(machine.cleaned.upto)
        && machine.streams.begun <= machine.end.offset
        && machine.transactions.all().all(|(_, open)| before_end(open.first))
        && (machine.start.offset..=machine.end.offset).contains(&machine.log_start)
}

fn take_open(reader: &mut Reader<'_>) -> Result<OpenSpan, CodecError> {
    Ok(OpenSpan {
        start: Position::decode(reader)?,
        opened_ms: reader.i64()?,
        passed: reader.u32()?,
        span: Span {
            timestamp_max: reader.i64()?,
            age_max: reader.i64()?,
            appended_max: reader.i64()?,
        },
    })
}
