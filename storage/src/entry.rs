//! How an entry looks as a value, and its own checksum.
//!
//! RocksDB's checksums guard its files; this one also covers the way between them (memory, a
//! misplaced key, an entry copied to another generation), so an entry is either what was appended
//! at that group and index or an error. The generation is left out: it changes when an entry moves.
//!
//! Layout: kind u8, term u64, crc32c u32, payload.

use bytes::Bytes;

use crate::{Entry, EntryId, EntryKind, GroupId, keys};

/// Bytes in front of the payload.
pub(crate) const HEADER: usize = 1 + 8 + 4;

/// Memory an entry costs beside its payload while it waits to be written.
pub(crate) const MEMORY_OVERHEAD: usize = 64;

const CRC_AT: usize = 1 + 8;

/// Bytes an entry takes in its generation, given the length of its value.
pub(crate) fn stored_bytes(value_length: usize) -> u64 {
    (keys::ENTRY_KEY + value_length) as u64
}

/// Appends the value of `entry` to `out`.
pub(crate) fn encode(group: GroupId, entry: &Entry, out: &mut Vec<u8>) {
    let kind = kind_byte(entry.kind);
    out.reserve(HEADER + entry.payload.len());
    out.push(kind);
    out.extend_from_slice(&entry.id.term.to_be_bytes());
    let crc = checksum(group, entry.id, kind, &entry.payload);
    out.extend_from_slice(&crc.to_be_bytes());
    out.extend_from_slice(&entry.payload);
}

/// Checks and decodes the value found at `group` and `index`. None: it is damaged.
pub(crate) fn decode(group: GroupId, index: u64, value: &[u8]) -> Option<Entry> {
    let id = verify(group, index, value)?;
    let kind = byte_kind(value[0])?;
    Some(Entry { id, kind, payload: Bytes::copy_from_slice(&value[HEADER..]) })
}

/// Checks the value found at `group` and `index` without copying its payload.
pub(crate) fn verify(group: GroupId, index: u64, value: &[u8]) -> Option<EntryId> {
    let (header, payload) = value.split_at_checked(HEADER)?;
    let term = u64::from_be_bytes(header[1..CRC_AT].try_into().ok()?);
    let stored = u32::from_be_bytes(header[CRC_AT..].try_into().ok()?);
    let id = EntryId { term, index };
    (stored == checksum(group, id, header[0], payload)).then_some(id)
}

fn checksum(group: GroupId, id: EntryId, kind: u8, payload: &[u8]) -> u32 {
    let mut head = [0; 25];
    head[..8].copy_from_slice(&group.0.to_be_bytes());
    head[8..16].copy_from_slice(&id.index.to_be_bytes());
    head[16..24].copy_from_slice(&id.term.to_be_bytes());
    head[24] = kind;
    crc32c::crc32c_append(crc32c::crc32c(&head), payload)
}

fn kind_byte(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Blank => 0,
        EntryKind::Normal => 1,
        EntryKind::Membership => 2,
    }
}

fn byte_kind(byte: u8) -> Option<EntryKind> {
    Some(match byte {
        0 => EntryKind::Blank,
        1 => EntryKind::Normal,
        2 => EntryKind::Membership,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (GroupId, Entry, Vec<u8>) {
        let entry = Entry {
            id: EntryId { term: 3, index: 9 },
            kind: EntryKind::Normal,
            payload: Bytes::from_static(b"some records"),
        };
        let mut value = Vec::new();
        encode(GroupId(4), &entry, &mut value);
        (GroupId(4), entry, value)
    }

    #[test]
    fn an_entry_decodes_to_what_was_encoded() {
        let (group, entry, value) = sample();
        assert_eq!(decode(group, 9, &value), Some(entry));
        for kind in [EntryKind::Blank, EntryKind::Normal, EntryKind::Membership] {
            let entry = Entry { id: EntryId { term: 0, index: 0 }, kind, payload: Bytes::new() };
            let mut value = Vec::new();
            encode(group, &entry, &mut value);
            assert_eq!(decode(group, 0, &value), Some(entry));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let (group, _, value) = sample();
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(group, 9, &damaged), None, "bit {bit}");
        }
        for length in 0..value.len() {
            assert_eq!(decode(group, 9, &value[..length]), None, "length {length}");
        }
    }

    #[test]
    fn an_entry_at_a_place_it_was_not_written_to_is_noticed() {
        let (group, _, value) = sample();
        assert_eq!(verify(group, 10, &value), None);
        assert_eq!(verify(GroupId(5), 9, &value), None);
    }
}
