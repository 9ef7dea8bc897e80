use super::*;
use crate::metadata::FIRST_LEVEL;

fn configs(pairs: &[(&str, &str)]) -> Result<TopicConfigs, AdminError> {
    let explicit = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let explicit = explicit.collect();
    TopicConfigs::check(&explicit, 3, FIRST_LEVEL).map(|()| TopicConfigs::new(explicit))
}

fn refusal(name: &str, value: &str) -> String {
    match configs(&[(name, value)]) {
        Err(AdminError::InvalidConfig { name: named, reason }) if named == name => reason,
        other => panic!("{name}={value} gave {other:?}"),
    }
}

#[test]
fn the_table_is_sorted_and_every_default_is_allowed() {
    assert!(TOPIC_CONFIGS.is_sorted_by(|a, b| a.name < b.name));
    for entry in TOPIC_CONFIGS {
        assert_eq!(check(entry.name, entry.default, 1, entry.since), Ok(()), "{}", entry.name);
    }
}

#[test]
fn defaults_hold_where_nothing_is_set() {
    let defaults = TopicConfigs::default();
    assert_eq!(defaults.retention_ms(), Some(604_800_000));
    assert_eq!(defaults.retention_bytes(), None);
    assert_eq!(defaults.max_message_bytes(), 1_048_588);
    assert_eq!(defaults.timestamp_type(), TimestampType::CreateTime);
    assert_eq!(defaults.timestamp_before_max_ms(), i64::MAX);
    assert_eq!(defaults.timestamp_after_max_ms(), 3_600_000);
    assert_eq!(defaults.min_insync_replicas(), 1);
    assert_eq!(defaults.get("cleanup.policy"), Some("delete"));
    assert_eq!(defaults.get("flush.never"), None);
}

#[test]
fn explicit_values_are_typed() {
    let set = configs(&[
        ("retention.ms", "-1"),
        ("retention.bytes", "1000"),
        ("message.timestamp.type", "LogAppendTime"),
        ("min.insync.replicas", "2"),
    ])
    .unwrap();
    assert_eq!(set.retention_ms(), None);
    assert_eq!(set.retention_bytes(), Some(1_000));
    assert_eq!(set.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(set.min_insync_replicas(), 2);
    assert_eq!(set.explicit().len(), 4);
}

#[test]
fn what_cannot_be_enforced_is_refused_with_the_reason() {
    for wrong in ["", "compacted", "compact,", "delete,delete", "compact;delete"] {
        assert!(refusal("cleanup.policy", wrong).contains("one or more of compact, delete"));
    }
    for wrong in ["1.1", "-0.1", "half", "", "NaN", "0.00000000000000000001"] {
        assert!(refusal("min.cleanable.dirty.ratio", wrong).contains("from 0 to 1"), "{wrong}");
    }
    assert!(refusal("compression.type", "brotli").contains("only producer or uncompressed or"));
    assert!(refusal("min.insync.replicas", "3").contains("2 of 3 replicas"));
    assert!(refusal("retention.ms", "soon").contains("from -1 to"));
    assert!(refusal("retention.ms", "-2").contains("from -1 to"));
    assert!(refusal("retention.ms", &"0".repeat(21)).contains("not a whole number"));
    assert!(refusal("flush.messages", "0").contains("from 1 to"));
    assert!(refusal("flush.never", "1").contains("does not know"));
}

/// The README's table is the table that configs are judged by.
#[test]
fn the_readmes_table_of_configs_is_the_one_they_are_judged_by() {
    let readme = include_str!("../../../README.md");
    let section = readme.split("\n## Configs\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let told: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let row = |entry: &ConfigEntry| {
        let of_all = if entry.name == MIN_INSYNC_REPLICAS { "-" } else { entry.broker };
        let values = match entry.allowed {
            Allowed::OneOf(values) => values.join(", "),
            Allowed::SomeOf(values) => values.join(" and "),
            Allowed::Ratio => "0 to 1".to_owned(),
            Allowed::Between(least, i64::MAX) => format!("at least {least}"),
            Allowed::Between(least, most) => format!("{least} to {most}"),
        };
        let more = if entry.name == MIN_INSYNC_REPLICAS {
            ", never more than a majority of the replicas"
        } else {
            ""
        };
        format!("| {} | {of_all} | {} | {values}{more} |", entry.name, entry.default)
    };
    let released = TOPIC_CONFIGS.iter().filter(|entry| entry.since == FIRST_LEVEL);
    assert_eq!(told, released.map(row).collect::<Vec<_>>());
}
