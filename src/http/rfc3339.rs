//! Points in time as RFC 3339 writes them, such as `2026-11-27T05:30:00.250+01:00`.

/// Returns the milliseconds since 1970; `None` for what is no such time. A leap second is the second after it.
pub(super) fn milliseconds(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (clock, rest) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
    let ([year, month, day], [hour, minute, second]) = (fields(date, '-')?, fields(clock, ':')?);
    let is_date = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
            let digits = rest[..end].bytes().chain([b'0'; 3]).take(3);
            let fraction = digits.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
            (fraction, &rest[end..])
        }
        None => (0, rest),
    };
    let seconds = (days(year, month, day) * 24 + hour) * 3_600 + minute * 60 + second;
    Some((seconds - zone_seconds(zone)?) * 1_000 + fraction)
}

/// Writes milliseconds since 1970 as such a time, in UTC; `None` outside of the years 1970 to 9999.
pub(super) fn text(milliseconds: i64) -> Option<String> {
    let (seconds, fraction) = (milliseconds.div_euclid(1_000), milliseconds.rem_euclid(1_000));
    let (day_number, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    if day_number < 0 || day_number >= days(10_000, 1, 1) {
        return None;
    }
    // No year is longer, so this is not too late, and at most a few years too early.
    let mut year = 1970 + day_number / 366;
    while days(year + 1, 1, 1) <= day_number {
        year += 1;
    }
    let month = (1..=12).rfind(|month| days(year, *month, 1) <= day_number)?;
    let day = day_number - days(year, month, 1) + 1;
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z"))
}

/// Three numbers of as many digits as they have in a date and on a clock.
fn fields(text: &str, separator: char) -> Option<[i64; 3]> {
    let parts: Vec<&str> = text.split(separator).collect();
    let parts: [&str; 3] = parts.try_into().ok()?;
    if parts[1].len() != 2 || parts[2].len() != 2 {
        return None;
    }
    let [one, two, three] = parts.map(number);
    Some([one?, two?, three?])
}

fn number(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// How much a zone's clocks are ahead.
fn zone_seconds(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.strip_prefix(['+', '-'])?.split_once(':')?;
    let is_zone = hours.len() == 2 && minutes.len() == 2;
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (is_zone && hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn days_in(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970, which may be negative. Years are counted from March on, so that a leap day is the last of one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month < 3 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_milliseconds_since_1970() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.5z", 500),
            ("1969-12-31t23:59:59.999999-00:00", -1),
            ("2000-02-29 12:00:00+00:00", 951_825_600_000),
            ("2026-11-27T05:30:00.250+01:00", 1_795_753_800_250),
            ("2026-11-26T23:00:00.25-05:30", 1_795_753_800_250),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
            ("0000-03-01T00:00:00Z", -62_162_035_200_000),
        ] {
            assert_eq!(milliseconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        assert_eq!(text(1_795_753_800_250).unwrap(), "2026-11-27T04:30:00.250Z");
        assert_eq!(text(951_782_400_000).unwrap(), "2000-02-29T00:00:00.000Z");
        let last = 253_402_300_799_999;
        assert_eq!(text(last).unwrap(), "9999-12-31T23:59:59.999Z");
        assert_eq!((text(-1), text(last + 1), text(i64::MAX)), (None, None, None));
        for ms in (0..=last).step_by(86_399_999_983) {
            assert_eq!(milliseconds(&text(ms).unwrap()), Some(ms), "{ms}");
        }
        // Every day of some hundred years.
        for day in 0..100_000 {
            assert_eq!(milliseconds(&text(day * 86_400_000).unwrap()), Some(day * 86_400_000));
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "now",
            "2026-11-27",
            "2026-11-27T05:30:00",
            "2026-11-27T05:30Z",
            "2026-11-27T05:30:00.Z",
            "2026-11-27T05:30:00+1:00",
            "2026-11-27T05:30:00+24:00",
            "2026-02-29T05:30:00Z",
            "2026-13-01T05:30:00Z",
            "2026-11-27T24:00:00Z",
            "2026-1-027T05:30:00Z",
            "+026-11-27T05:30:00Z",
            "2026-11-27T05:30:00Zé",
            "2026-11-2éT05:30:00Z",
        ] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }
}
