//! The format of RocksDB's logs, write-ahead logs and manifests alike: blocks of 32 KiB, records in fragments, each
//! with a masked CRC-32C. It is frozen.

pub(crate) const BLOCK: usize = 32 * 1024;
/// CRC, length, type. Files that are written over have longer ones; here none is.
pub(crate) const HEADER: usize = 7;

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
    /// Nothing more was written here.
    End,
    /// The fragment is longer than what is left of its block.
    Short,
    Damage,
}

/// The fragment at the beginning of `bytes`, which are the rest of a block.
pub(crate) fn fragment(bytes: &[u8]) -> Found<'_> {
    if bytes.len() < HEADER {
        return Found::Short;
    }
    let kind = bytes[6];
    let length = usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
    if kind == 0 && length == 0 {
        return Found::End;
    }
    let part = match kind {
        1 => Part::Full,
        2 => Part::First,
        3 => Part::Middle,
        4 => Part::Last,
        // Settings of the log: compression, timestamp sizes, the log before it.
        9 | 10 | 130 => Part::Other,
        _ => return Found::Damage,
    };
    let Some(payload) = bytes.get(HEADER..HEADER + length) else { return Found::Short };
    let stored = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    if stored == masked(crc32c::crc32c(&bytes[6..HEADER + length])) {
        Found::Fragment(part, payload, HEADER + length)
    } else {
        Found::Damage
    }
}

/// As RocksDB stores checksums, so that a checksum of data with checksums in it is still worth something.
pub(crate) fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}
