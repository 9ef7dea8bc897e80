//! What consumers and their assignor say to each other, as far as a broker needs it: ConsumerProtocolSubscription and
//! ConsumerProtocolAssignment, versions 0–3.
//!
//! ```text
//!  subscription:  version i16 │ topics │ user data │ from 1: what it has │ from 2: its generation │ from 3: its rack
//!  assignment:    version i16 │ partitions by topic │ user data
//! ```
//!
//! A subscription says whose offsets nobody reads any more; one that cannot be read is taken for a wish to read everything.
//! Where the coordinator assigns, it reads and writes these for members that expect another member to have assigned.

use bytes::{BufMut, Bytes, BytesMut};

/// What clients call the protocol of consumers.
pub(super) const CONSUMER: &str = "consumer";
/// Versions from which there is more in a subscription.
const OWNED_FROM: i16 = 1;
const GENERATION_FROM: i16 = 2;
const RACK_FROM: i16 = 3;
/// The longest name that a topic may have, bytes.
const NAME_BYTES_MAX: usize = 249;
/// Partitions of all parts of a group that people are shown.
const SHOWN_MAX: usize = 100_000;

/// Partitions by topic.
pub(super) type Named = Vec<(String, Vec<i32>)>;

/// What a member wants to read, and what it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) topics: Vec<String>,
    pub(super) owned: Named,
    pub(super) rack: Option<String>,
}

impl Subscription {
    /// Reads a subscription; `None` if it is none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = Rest::of(bytes)?;
        let topics = rest.topics()?.into_iter().map(str::to_owned).collect();
        let mut read = Self { topics, ..Self::default() };
        if rest.version < OWNED_FROM {
            return Some(read);
        }
        rest.blob()?;
        read.owned = rest.named()?;
        if rest.version >= GENERATION_FROM {
            rest.i32()?;
        }
        if rest.version >= RACK_FROM {
            read.rack = rest.optional()?.map(str::to_owned);
        }
        Some(read)
    }
}

/// Returns the topics, if the bytes are a subscription.
pub(super) fn topics(metadata: &[u8]) -> Option<Vec<&str>> {
    Rest::of(metadata)?.topics()
}

/// The version that a subscription is of.
pub(super) fn version(metadata: &[u8]) -> Option<i16> {
    Some(Rest::of(metadata)?.version)
}

/// The partitions of an assignment, if it is one, and whether the assignor says more than that.
pub(super) fn assigned(assignment: &[u8]) -> Option<(Named, bool)> {
    let mut rest = Rest::of(assignment)?;
    let named = rest.named()?;
    let has_more = rest.i32().is_some_and(|bytes| bytes > 0);
    Some((named, has_more))
}

/// Writes an assignment.
pub(super) fn assignment(version: i16, parts: &[(&str, Vec<i32>)]) -> Bytes {
    let mut bytes = BytesMut::new();
    let count = |it: usize| i32::try_from(it).expect("parts of a group are bounded");
    bytes.put_i16(version);
    bytes.put_i32(count(parts.len()));
    for (topic, partitions) in parts {
        bytes.put_u16(u16::try_from(topic.len()).expect("names of topics are short"));
        bytes.put_slice(topic.as_bytes());
        bytes.put_i32(count(partitions.len()));
        partitions.iter().for_each(|partition| bytes.put_i32(*partition));
    }
    // No user data.
    bytes.put_i32(-1);
    bytes.freeze()
}

/// Returns the partitions of assignments as people are shown them, such as `orders-3`, for each of them; none if it cannot be
/// read, and no more together than anybody would look at.
#[must_use]
pub fn parts<'a>(assignments: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<String>> {
    let mut room = SHOWN_MAX;
    let mut shown = |assignment: &[u8]| {
        let (named, _) = assigned(assignment).unwrap_or_default();
        let named = named.iter().filter(|(topic, _)| topic.len() <= NAME_BYTES_MAX);
        let all = named.flat_map(|(topic, it)| it.iter().map(move |it| format!("{topic}-{it}")));
        let parts: Vec<String> = all.take(room).collect();
        room -= parts.len();
        parts
    };
    assignments.map(&mut shown).collect()
}

/// What is still to be read.
struct Rest<'a> {
    version: i16,
    bytes: &'a [u8],
}

impl<'a> Rest<'a> {
    /// What follows the version.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (version, bytes) = bytes.split_first_chunk::<2>()?;
        let version = i16::from_be_bytes(*version);
        (version >= 0).then_some(Self { version, bytes })
    }

    fn i32(&mut self) -> Option<i32> {
        let (number, rest) = self.bytes.split_first_chunk::<4>()?;
        self.bytes = rest;
        Some(i32::from_be_bytes(*number))
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.i32()?).ok()
    }

    fn string(&mut self) -> Option<&'a str> {
        self.optional()?
    }

    fn optional(&mut self) -> Option<Option<&'a str>> {
        let (length, behind) = self.bytes.split_first_chunk::<2>()?;
        self.bytes = behind;
        let Ok(length) = usize::try_from(i16::from_be_bytes(*length)) else { return Some(None) };
        let text = behind.get(..length)?;
        self.bytes = &behind[length..];
        std::str::from_utf8(text).ok().map(Some)
    }

    /// Passes bytes that may be null.
    fn blob(&mut self) -> Option<()> {
        let length = usize::try_from(self.i32()?).unwrap_or(0);
        self.bytes = self.bytes.get(length..)?;
        Some(())
    }

    fn topics(&mut self) -> Option<Vec<&'a str>> {
        let count = self.count()?;
        // Each takes two bytes at least.
        let mut topics = Vec::with_capacity(count.min(self.bytes.len() / 2));
        for _ in 0..count {
            topics.push(self.string()?);
        }
        Some(topics)
    }

    fn named(&mut self) -> Option<Named> {
        let mut named = Vec::new();
        for _ in 0..self.count()? {
            let topic = self.string()?.to_owned();
            let count = self.count()?;
            let mut partitions = Vec::with_capacity(count.min(self.bytes.len() / 4));
            for _ in 0..count {
                partitions.push(self.i32()?);
            }
            named.push((topic, partitions));
        }
        Some(named)
    }
}

#[cfg(test)]
mod tests;
