//! What the headers of a request ask for beside its body: versions as entity tags, and that it is carried out once.
//!
//! Anything that is not understood is refused: a condition that was passed over would let an append through that its sender
//! did not want.

use std::hash::Hasher;

use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use siphasher::sip::SipHasher24;

use super::problem::Problem;
use crate::partition::{ExpectedVersion, IDEMPOTENCY_KEY_BYTES_MAX};

pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What the headers of a request ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Preconditions {
    /// All of them have to hold.
    pub(super) versions: Vec<ExpectedVersion>,
    pub(super) idempotency_key: Option<Bytes>,
}

/// Tells requests apart that come under one idempotency key: the same on every broker, release and machine.
pub(super) struct Fingerprint(SipHasher24);

impl Preconditions {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut versions = Vec::new();
        if let Some(value) = single(headers, IF_MATCH.as_str())? {
            let expected = match value {
                "*" => Some(ExpectedVersion::Stream),
                tag => version_of_tag(tag).map(ExpectedVersion::Exactly),
            };
            versions.push(expected.ok_or_else(|| {
                malformed("If-Match is neither * nor a version in quotes, such as \"7\"")
            })?);
        }
        match single(headers, IF_NONE_MATCH.as_str())? {
            None => {}
            Some("*") => versions.push(ExpectedVersion::NoStream),
            Some(_) => return Err(malformed("If-None-Match can only be *")),
        }
        Ok(Self { versions, idempotency_key: idempotency_key(headers)? })
    }

    /// Has them tell one request from another.
    pub(super) fn mark(&self, fingerprint: &mut Fingerprint) {
        for version in &self.versions {
            fingerprint.number(version.number());
        }
    }
}

/// Reads the name by which a retry is known.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<Bytes>, Problem> {
    let Some(key) = single(headers, IDEMPOTENCY_KEY)? else { return Ok(None) };
    if (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) {
        return Ok(Some(Bytes::copy_from_slice(key.as_bytes())));
    }
    Err(malformed("an Idempotency-Key has 1 to 128 characters"))
}

/// Reads an entity tag that is a version.
fn version_of_tag(tag: &str) -> Option<i64> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

/// Reads a header that may come once, in plain characters.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(malformed(&format!("the header {name} comes twice")));
    }
    let plain = value.to_str().map_err(|_| {
        malformed(&format!("the header {name} has other characters than printable ASCII"))
    })?;
    Ok(Some(plain))
}

pub(super) fn malformed(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed_header", detail)
}

impl Fingerprint {
    /// `operation`: what is asked for.
    pub(super) fn new(operation: &str) -> Self {
        let mut fingerprint = Self(SipHasher24::new_with_keys(0, 0));
        fingerprint.bytes(operation.as_bytes());
        fingerprint
    }

    /// Adds a part, so that no two rows of parts are the same bytes.
    pub(super) fn bytes(&mut self, part: &[u8]) {
        self.number(i64::try_from(part.len()).unwrap_or(i64::MAX));
        self.0.write(part);
    }

    pub(super) fn number(&mut self, number: i64) {
        self.0.write(&number.to_le_bytes());
    }

    pub(super) fn finish(&self) -> u64 {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(headers: &[(&'static str, &'static str)]) -> Result<Preconditions, &'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Preconditions::of(&map).map_err(|problem| problem.code())
    }

    #[test]
    fn an_entity_tag_is_a_version_and_nothing_is_guessed() {
        let versions = |value| read(&[("if-match", value)]).map(|it| it.versions);
        assert_eq!(versions("\"7\""), Ok(vec![ExpectedVersion::Exactly(7)]));
        assert_eq!(versions("*"), Ok(vec![ExpectedVersion::Stream]));
        for wrong in ["7", "\"\"", "W/\"7\"", "\"7\", \"8\"", "\"-1\"", "\"+7\"", "\"7", "", "**"] {
            assert_eq!(versions(wrong), Err("malformed_header"), "{wrong}");
        }
        assert_eq!(versions("\"9223372036854775808\""), Err("malformed_header"));
        let none = read(&[("if-none-match", "*")]).unwrap();
        assert_eq!(none.versions, [ExpectedVersion::NoStream]);
        assert_eq!(read(&[("if-none-match", "\"7\"")]), Err("malformed_header"));
        assert_eq!(read(&[("if-match", "*"), ("if-match", "*")]), Err("malformed_header"));
        assert_eq!(read(&[]), Ok(Preconditions::default()));
    }

    #[test]
    fn an_idempotency_key_is_short_and_plain() {
        let key = read(&[("idempotency-key", "a b")]).unwrap().idempotency_key;
        assert_eq!(key.as_deref(), Some(&b"a b"[..]));
        assert_eq!(read(&[("idempotency-key", "")]), Err("malformed_header"));
        assert_eq!(read(&[("idempotency-key", "\u{e9}")]), Err("malformed_header"));
    }

    /// Written down, because two releases that run beside each other must agree.
    #[test]
    fn a_fingerprint_is_the_same_everywhere_and_for_ever() {
        let of = |parts: &[&str]| {
            let mut fingerprint = Fingerprint::new("append");
            parts.iter().for_each(|part| fingerprint.bytes(part.as_bytes()));
            fingerprint.finish()
        };
        assert_eq!(of(&["a", "b"]), FINGERPRINT);
        assert_ne!(of(&["ab", ""]), of(&["a", "b"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
    }

    const FINGERPRINT: u64 = 0x0c52_d8ac_093e_a8f1;
}
