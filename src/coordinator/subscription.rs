//! What a consumer tells the assignor it wants to read: the beginning of ConsumerProtocolSubscription, versions 0 and up.
//!
//! Brokers need it for one thing alone, whose offsets nobody reads any more. What cannot be read is taken for a wish to
//! read everything.

/// What clients call the protocol of consumers.
pub(super) const CONSUMER: &str = "consumer";

/// Returns the topics, if the bytes are a subscription.
pub(super) fn topics(metadata: &[u8]) -> Option<Vec<&str>> {
    let (version, rest) = metadata.split_first_chunk::<2>()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_be_bytes(*count)).ok()?;
    // Each takes two bytes at least.
    let mut topics = Vec::with_capacity(count.min(rest.len() / 2));
    for _ in 0..count {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        let topic = behind.get(..length)?;
        topics.push(std::str::from_utf8(topic).ok()?);
        rest = &behind[length..];
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

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
