//! What consumers and their assignor say to each other, as far as a broker needs it: the beginnings of
//! ConsumerProtocolSubscription and ConsumerProtocolAssignment, versions 0 and up.
//!
//! A subscription says whose offsets nobody reads any more; one that cannot be read is taken for a wish to read everything.
//! An assignment is for people to see.

/// What clients call the protocol of consumers.
pub(super) const CONSUMER: &str = "consumer";

/// Returns the topics, if the bytes are a subscription.
pub(super) fn topics(metadata: &[u8]) -> Option<Vec<&str>> {
    let mut rest = Rest::of(metadata)?;
    let count = rest.count()?;
    // Each takes two bytes at least.
    let mut topics = Vec::with_capacity(count.min(rest.0.len() / 2));
    for _ in 0..count {
        topics.push(rest.string()?);
    }
    Some(topics)
}

/// Returns the partitions of an assignment, such as `orders-3`; none if it cannot be read.
#[must_use]
pub fn parts(assignment: &[u8]) -> Vec<String> {
    let read = || {
        let mut rest = Rest::of(assignment)?;
        let mut parts = Vec::new();
        for _ in 0..rest.count()? {
            let topic = rest.string()?;
            for _ in 0..rest.count()? {
                parts.push(format!("{topic}-{}", rest.i32()?));
            }
        }
        Some(parts)
    };
    read().unwrap_or_default()
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// What follows the version.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first_chunk::<2>()?;
        (i16::from_be_bytes(*version) >= 0).then_some(Self(rest))
    }

    fn i32(&mut self) -> Option<i32> {
        let (number, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(i32::from_be_bytes(*number))
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.i32()?).ok()
    }

    fn string(&mut self) -> Option<&'a str> {
        let (length, behind) = self.0.split_first_chunk::<2>()?;
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        let text = behind.get(..length)?;
        self.0 = &behind[length..];
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_read_and_what_is_none_is_nothing() {
        let bytes = [0, 1, 0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 0xff];
        assert_eq!(parts(&bytes), ["a-0", "a-7"]);
        for cut in 0..21 {
            assert_eq!(parts(&bytes[..cut]), Vec::<String>::new(), "cut to {cut}");
        }
        assert_eq!(parts(&[0, 0, 0x7f, 0xff, 0xff, 0xff]), Vec::<String>::new());
        assert_eq!(parts(b"connect"), Vec::<String>::new());
    }

    #[test]
    fn topics_are_read_whatever_follows_and_nothing_else_is_taken_for_them() {
        let bytes = [0, 3, 0, 0, 0, 2, 0, 1, b'a', 0, 2, b'b', b'c', 0xff, 0xff];
        assert_eq!(topics(&bytes), Some(vec!["a", "bc"]));
        for cut in 0..13 {
            assert_eq!(topics(&bytes[..cut]), None, "cut to {cut}");
        }
        assert_eq!(topics(&[0, 0, 0x7f, 0xff, 0xff, 0xff]), None);
        assert_eq!(topics(&[0, 0, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(topics(&[0xff, 0xff, 0, 0, 0, 0]), None);
        assert_eq!(topics(&[0, 0, 0, 0, 0, 1, 0, 1, 0xff]), None, "no UTF-8");
        assert_eq!(topics(&[0, 0, 0, 0, 0, 0]), Some(Vec::new()));
    }
}
