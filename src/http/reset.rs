//! What a reset of a group's offsets says, and which offsets come of it.
//!
//! As with Kafka's tool, an offset outside of what is kept of a partition becomes the nearest that is, and a time after the last
//! record is the end of the log.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AdditionalProperties, KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type,
};
use utoipa::{PartialSchema, ToSchema};

use super::ends::{End, TIME_MS_MAX};
use super::problem::Problem;
use super::whole::WholeNumber;

/// Every whole number up to it is a number of JSON.
const OFFSET_MAX: i64 = 9_007_199_254_740_991;

/// A reset of a group's offsets.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OffsetReset {
    pub(super) to: ResetTo,
    /// What is reset, also if the group has no offset of it yet; all that it has an offset of if left out.
    #[schema(min_items = 1)]
    pub(super) topics: Option<Vec<ResetTopic>>,
    /// Only show what the offsets would be.
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// A topic whose offsets are reset.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResetTopic {
    #[schema(example = "orders")]
    pub(super) topic: String,
    /// All if left out.
    #[schema(value_type = Option<Vec<i32>>, min_items = 1, example = json!([0, 1]))]
    pub(super) partitions: Option<BTreeSet<WholeNumber<i32>>>,
}

/// Where a group is to read on.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ResetTo {
    Earliest,
    Latest,
    Offset(WholeNumber<i64>),
    /// By so many records, backwards if negative.
    Shift(WholeNumber<i64>),
    /// At the first record of that time or later, as RFC 3339 writes it.
    Time(String),
    /// The same in milliseconds since 1970.
    TimeMs(WholeNumber<i64>),
}

/// What is derived has no word on further fields, which are refused.
impl PartialSchema for ResetTo {
    fn schema() -> RefOr<Schema> {
        let whole = |min: i64, max: i64| {
            let number = ObjectBuilder::new().schema_type(Type::Integer);
            number.minimum(Some(min)).maximum(Some(max))
        };
        let time = ObjectBuilder::new().schema_type(Type::String);
        let time = time.format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
        let choices = [
            ("offset", whole(0, OFFSET_MAX)),
            ("shift", whole(-OFFSET_MAX, OFFSET_MAX)),
            ("time", time.examples([json!("2026-11-27T05:30:00Z")])),
            ("time_ms", whole(0, TIME_MS_MAX)),
        ];
        let ends = ObjectBuilder::new().schema_type(Type::String);
        let ends = ends.enum_values(Some(["earliest", "latest"]));
        let of = choices.into_iter().fold(OneOfBuilder::new().item(ends), |of, (name, value)| {
            let choice = ObjectBuilder::new().property(name, value).required(name);
            of.item(choice.additional_properties(Some(AdditionalProperties::FreeForm(false))))
        });
        of.description(Some("Where the group is to read on.")).into()
    }
}

impl ToSchema for ResetTo {}

/// Where a group is to read on, read and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Earliest,
    Latest,
    Offset(i64),
    Shift(i64),
    TimeMs(i64),
}

impl ResetTo {
    pub(super) fn target(&self) -> Result<Target, Problem> {
        let target = match self {
            Self::Earliest => Target::Earliest,
            Self::Latest => Target::Latest,
            Self::Offset(to) => Target::Offset(bounded("offset", to.0, 0, OFFSET_MAX)?),
            Self::Shift(by) => Target::Shift(bounded("shift", by.0, -OFFSET_MAX, OFFSET_MAX)?),
            Self::TimeMs(ms) => Target::TimeMs(bounded("time_ms", ms.0, 0, TIME_MS_MAX)?),
            Self::Time(text) => {
                let time = DateTime::parse_from_rfc3339(text).map_err(|error| {
                    let detail = format!("{text:?} is no time of RFC 3339: {error}");
                    invalid(detail).hint("write it as 2026-11-27T05:30:00Z, or use time_ms")
                })?;
                Target::TimeMs(time.timestamp_millis().max(0))
            }
        };
        Ok(target)
    }
}

impl Target {
    /// Returns the time that has to be looked up.
    pub(super) fn time_ms(self) -> Option<i64> {
        match self {
            Self::TimeMs(ms) => Some(ms),
            _ => None,
        }
    }

    /// Returns the offset that a partition is set to; none where it would be shifted from none.
    pub(super) fn offset(self, old: Option<i64>, end: &End) -> Option<i64> {
        let (first, last) = (end.log_start_offset, end.high_watermark);
        let wanted = match self {
            Self::Earliest => first,
            Self::Latest => last,
            Self::Offset(offset) => offset,
            Self::Shift(by) => old?.saturating_add(by),
            Self::TimeMs(_) => end.at_time.unwrap_or(last),
        };
        Some(wanted.max(first).min(last))
    }
}

fn bounded(name: &str, number: i64, min: i64, max: i64) -> Result<i64, Problem> {
    if (min..=max).contains(&number) {
        return Ok(number);
    }
    Err(invalid(format!("{name} is {number}, {min} to {max} is possible")))
}

pub(super) fn invalid(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_reset", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(log_start_offset: i64, high_watermark: i64, at_time: Option<i64>) -> End {
        let end = json!({
            "topic": "orders", "id": uuid::Uuid::nil(), "partition": 0,
            "log_start_offset": log_start_offset, "high_watermark": high_watermark, "at_time": at_time
        });
        serde_json::from_value(end).unwrap()
    }

    fn read(text: &str) -> Result<Target, &'static str> {
        let to: ResetTo = serde_json::from_str(text).map_err(|_| "malformed")?;
        to.target().map_err(|problem| problem.code())
    }

    #[test]
    fn a_target_is_one_word_or_one_number() {
        assert_eq!(read("\"earliest\""), Ok(Target::Earliest));
        assert_eq!(read("{\"offset\": 7.0}"), Ok(Target::Offset(7)));
        assert_eq!(read("{\"shift\": -7}"), Ok(Target::Shift(-7)));
        assert_eq!(read("{\"time\": \"1970-01-01T00:00:01Z\"}"), Ok(Target::TimeMs(1000)));
        assert_eq!(read("{\"time\": \"1960-01-01T00:00:01Z\"}"), Ok(Target::TimeMs(0)));
        assert_eq!(read("{\"time_ms\": 5}"), Ok(Target::TimeMs(5)));
        for text in ["\"offset\"", "{\"offset\": 1, \"shift\": 1}", "{}", "{\"earliest\": 1}", "5"]
        {
            assert_eq!(read(text), Err("malformed"), "{text}");
        }
        for text in ["{\"offset\": -1}", "{\"time\": \"soon\"}", "{\"time_ms\": 253402300800000}"] {
            assert_eq!(read(text), Err("invalid_reset"), "{text}");
        }
    }

    #[test]
    fn a_time_is_milliseconds_since_1970_wherever_its_clock_is() {
        for (text, expected) in [
            ("1969-12-31T23:59:59.999999-00:00", Ok(Target::TimeMs(0))),
            ("1970-01-01T00:00:00.5z", Ok(Target::TimeMs(500))),
            ("2000-02-29 12:00:00+00:00", Ok(Target::TimeMs(951_825_600_000))),
            ("2026-11-27T05:30:00.250+01:00", Ok(Target::TimeMs(1_795_753_800_250))),
            ("2026-11-26t23:00:00.25-05:30", Ok(Target::TimeMs(1_795_753_800_250))),
            // A leap second is the second after it.
            ("2016-12-31T23:59:60Z", Ok(Target::TimeMs(1_483_228_800_000))),
            ("9999-12-31T23:59:59.999Z", Ok(Target::TimeMs(TIME_MS_MAX))),
            ("2026-11-27", Err("invalid_reset")),
            ("2026-11-27T05:30:00", Err("invalid_reset")),
            ("2026-11-27T05:30Z", Err("invalid_reset")),
            ("2026-11-27T05:30:00.Z", Err("invalid_reset")),
            ("2026-11-27T05:30:00+24:00", Err("invalid_reset")),
            ("2026-02-29T05:30:00Z", Err("invalid_reset")),
            ("2026-11-27T24:00:00Z", Err("invalid_reset")),
            ("+026-11-27T05:30:00Z", Err("invalid_reset")),
            ("2026-11-27T05:30:00Zé", Err("invalid_reset")),
        ] {
            assert_eq!(read(&json!({ "time": text }).to_string()), expected, "{text}");
        }
    }

    #[test]
    fn an_offset_stays_within_what_is_kept() {
        let kept = end(10, 20, None);
        for (target, old, expected) in [
            (Target::Earliest, Some(15), Some(10)),
            (Target::Latest, None, Some(20)),
            (Target::Offset(12), None, Some(12)),
            (Target::Offset(9), None, Some(10)),
            (Target::Offset(21), None, Some(20)),
            (Target::Shift(-3), Some(15), Some(12)),
            (Target::Shift(-30), Some(15), Some(10)),
            (Target::Shift(OFFSET_MAX), Some(i64::MAX), Some(20)),
            (Target::Shift(1), None, None),
            (Target::TimeMs(0), Some(11), Some(20)),
        ] {
            assert_eq!(target.offset(old, &kept), expected, "{target:?} from {old:?}");
        }
        assert_eq!(Target::TimeMs(0).offset(None, &end(10, 20, Some(13))), Some(13));
    }
}
