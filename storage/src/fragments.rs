//! The format of RocksDB's logs, write-ahead logs and manifests alike: blocks of 32 KiB, records in fragments, each
//! with a masked CRC-32C. It is frozen.

pub(crate) const BLOCK: usize = 32 * 1024;
/// CRC, length, type; logs that reuse a file add the file's number.
pub(crate) const HEADER: usize = 7;
pub(crate) const HEADER_RECYCLED: usize = 11;

/// What a fragment is of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Full,
    First,
    Middle,
    Last,
    /// Not a write: settings of the log itself.
    Other,
}

#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// A fragment, its payload, and its length with the header.
    Fragment(Part, &'a [u8], usize),
    /// Nothing more was written here, or what follows is of the file's earlier life.
    End,
    /// The fragment is longer than what is left of its block.
    Short,
    Damage,
}

/// The fragment at the beginning of `bytes`, which are the rest of a block, in the log with this number.
pub(crate) fn fragment(bytes: &[u8], number: u64) -> Found<'_> {
    if bytes.len() < HEADER {
        return Found::Short;
    }
    let kind = bytes[6];
    let length = usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
    if kind == 0 && length == 0 {
        return Found::End;
    }
    let (part, header) = match kind {
        1 => (Part::Full, HEADER),
        2 => (Part::First, HEADER),
        3 => (Part::Middle, HEADER),
        4 => (Part::Last, HEADER),
        5 => (Part::Full, HEADER_RECYCLED),
        6 => (Part::First, HEADER_RECYCLED),
        7 => (Part::Middle, HEADER_RECYCLED),
        8 => (Part::Last, HEADER_RECYCLED),
        // Settings of the log: compression, timestamp sizes, the log before it.
        9 | 10 | 130 => (Part::Other, HEADER),
        11 | 131 => (Part::Other, HEADER_RECYCLED),
        _ => return Found::Damage,
    };
    let Some(payload) = bytes.get(header..header + length) else { return Found::Short };
    if header == HEADER_RECYCLED && bytes[HEADER..header] != (number as u32).to_le_bytes() {
        return Found::End;
    }
    let stored = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    match stored == masked(crc32c::crc32c(&bytes[6..header + length])) {
        true => Found::Fragment(part, payload, header + length),
        false => Found::Damage,
    }
}

/// As RocksDB stores checksums, so that a checksum of data with checksums in it is still worth something.
pub(crate) fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}
