//! Records as files, the one form all clients share: a client writes the lines `key TAB value` of
//! one file to a partition and reads a partition into lines `offset TAB key TAB value`.

use std::fs;
use std::path::{Path, PathBuf};

/// Writes `count` records, the same for the same arguments: values of mixed length, partly easy
/// to compress and partly not.
pub fn write_file(dir: &Path, name: &str, count: usize) -> PathBuf {
    let mut text = String::with_capacity(count * 120);
    let mut random: u64 = name.bytes().fold(0x9E37_79B9_7F4A_7C15, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    for n in 0..count {
        // xorshift: any stream of bits will do, as long as it is the same one every time.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let zeros = "0".repeat((random % 120) as usize);
        text += &format!("key-{n}\t{name} {n} {random:016x}{zeros} é\n");
    }
    let path = dir.join(format!("{name}.records"));
    fs::write(&path, text).unwrap();
    path
}

/// Fails unless `read` holds exactly the records of `written`, in order, at offsets from 0 on.
pub fn assert_same(written: &Path, read: &Path, what: &str) {
    let written = fs::read_to_string(written).unwrap();
    let read = fs::read_to_string(read).unwrap();
    let mut lines = read.lines();
    for (offset, expected) in written.lines().enumerate() {
        let line = lines.next().unwrap_or_else(|| panic!("{what}: ends before offset {offset}"));
        let (at, record) = line.split_once('\t').unwrap_or(("", line));
        assert_eq!((at, record), (offset.to_string().as_str(), expected), "{what}");
    }
    assert_eq!(lines.next(), None, "{what}: more records than were written");
}
