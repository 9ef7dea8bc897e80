//! Bytes of everything the cluster layer writes to a log or sends to a peer: one version byte, then
//! postcard.
//!
//! Postcard writes enum variants and struct fields by position, so an old reader of a newer value would
//! misread it without noticing; the version byte makes it refuse instead. Variants are added at the end
//! under the same version; anything else, one more field too, raises it.

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) const VERSION: u8 = 3;

/// The bytes are not a value of the expected type in a version this broker reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Written by a newer release; upgrade this broker.
    #[error("written in format version {0}, this release reads {VERSION}")]
    Version(u8),
    #[error("the bytes are not a value of the expected type: {0}")]
    Malformed(#[source] postcard::Error),
    #[error("{0} bytes stand behind the value")]
    Trailing(usize),
    #[error("there are no bytes")]
    Empty,
}

/// Returns the bytes of `value`.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION])
        .expect("a Vec takes any number of bytes and the types written have no failing serializer")
}

/// Returns the value in `bytes`, which must hold nothing else. Allocates no more than a small multiple
/// of `bytes`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (version, body) = bytes.split_first().ok_or(CodecError::Empty)?;
    if *version != VERSION {
        return Err(CodecError::Version(*version));
    }
    let (value, rest) = postcard::take_from_bytes(body).map_err(CodecError::Malformed)?;
    if rest.is_empty() { Ok(value) } else { Err(CodecError::Trailing(rest.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_and_starts_with_the_version() {
        let bytes = encode(&(7_u64, "t".to_owned()));
        assert_eq!(bytes, [3, 7, 1, b't']);
        assert_eq!(decode::<(u64, String)>(&bytes), Ok((7, "t".to_owned())));
    }

    #[test]
    fn other_versions_missing_and_extra_bytes_are_refused() {
        assert_eq!(decode::<u64>(&[]), Err(CodecError::Empty));
        assert_eq!(decode::<u64>(&[9, 7]), Err(CodecError::Version(9)));
        assert_eq!(decode::<u64>(&[3, 7, 7]), Err(CodecError::Trailing(1)));
        assert!(matches!(decode::<String>(&[3, 200, 1, 1]), Err(CodecError::Malformed(_))));
    }
}
