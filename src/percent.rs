//! Any bytes as one part of a URL's path, or as a value in its query.

/// Writes what means something in a URL, and what is no ASCII, as `%` and two digits.
pub(crate) fn encoded(part: impl AsRef<[u8]>) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape =
        |byte: &u8| if plain(*byte) { char::from(*byte).into() } else { format!("%{byte:02X}") };
    part.as_ref().iter().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_one_part_of_a_path() {
        assert_eq!(encoded("a-b.c_d~1"), "a-b.c_d~1");
        assert_eq!(encoded("a/b ?%\u{e4}"), "a%2Fb%20%3F%25%C3%A4");
        assert_eq!(encoded([0xff, 0]), "%FF%00");
    }
}
