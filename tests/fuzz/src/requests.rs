//! What must hold for every frame that a client may send.

use bytes::Bytes;
use quorate::kafka::{Captured, FrameError, TABLE, decode_request, request_memory_max};

use crate::memory::peak_of;

/// What decoding takes whatever the size of the frame: an error, the connection's memory of its producers, the few
/// empty partitions that any produce may have.
const FIXED_BYTES: usize = 4 * 1024;

/// Judges the bytes as they are, and as a frame whose length field is right.
pub fn judge(bytes: &[u8]) {
    judge_frame(bytes);
    if let Some((_, rest)) = bytes.split_first_chunk::<4>()
        && let Ok(length) = i32::try_from(rest.len())
    {
        judge_frame(&[&length.to_be_bytes(), rest].concat());
    }
}

fn judge_frame(bytes: &[u8]) {
    let (decoded, peak) = peak_of(|| decode_request(bytes));
    if let Ok(most) = request_memory_max(bytes) {
        // The frame itself is a copy here that the server does not make.
        let bound = most + bytes.len() + FIXED_BYTES;
        assert!(peak <= bound, "{peak} bytes of memory where {bound} are the most");
    }
    match decoded {
        Ok(request) => judge_request(&request, bytes),
        Err(error) => judge_refusal(&error, bytes),
    }
}

/// What was understood can be said again, and is then understood as the same.
fn judge_request(request: &Captured, bytes: &[u8]) {
    assert!(bytes.starts_with(&request.read) || bytes.len() < 12);
    let again: Bytes = request.encode().expect("a version that was read can be written");
    if request.is_flexible() {
        assert!(again.len() <= request.read.len(), "no encoding is longer than what was read");
    } else {
        // Such versions have one way to say a thing.
        assert_eq!(again[4..], request.read[4..], "{request:?}");
    }
    // With as many ignored bytes behind it as before, for the size of a produce bounds what may be in it.
    let mut padded = again.to_vec();
    padded.resize(bytes.len().max(again.len()), 0);
    let length = i32::try_from(padded.len() - 4).expect("inputs are small");
    padded[..4].copy_from_slice(&length.to_be_bytes());
    let repeated = decode_request(&padded).expect("what we write we read");
    assert_eq!(repeated.read[4..], again[4..], "{request:?}");
    assert_eq!(repeated.encode().expect("it was written before")[4..], again[4..]);
}

/// A refusal says what is the case.
fn judge_refusal(error: &FrameError, bytes: &[u8]) {
    let word = |at: usize| bytes.get(at..at + 2).map_or(0, |it| i16::from_be_bytes([it[0], it[1]]));
    let (key, version) = (word(4), word(6));
    let api = TABLE.iter().map(|row| &row.api).find(|api| api.key == key);
    match error {
        FrameError::TooShort { length } => assert!(*length < 8 || bytes.len() < 12),
        FrameError::TooLarge { length, max, .. } => assert!(length > max),
        FrameError::UnknownApi { .. } => assert!(api.is_none()),
        FrameError::Version { .. } => assert!(api.is_some_and(|api| !api.serves(version))),
        FrameError::Malformed(error) => {
            assert!(api.is_some(), "only the body of a known API is decoded");
            // The table promises versions that the codec must have.
            assert!(!error.to_string().contains("does not support version"), "{error}");
        }
    }
}
