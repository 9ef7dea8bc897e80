//! What a batch must keep to in a topic, whichever door it comes in by.

use crate::metadata::{TimestampType, TopicConfigs};
use crate::record::{Codec, INFLATED_BYTES_MAX, Limits, TimestampRule};

/// Returns the limits that a topic's configs set. `zstd`: whether the door takes batches in it.
pub fn limits_of(configs: &TopicConfigs, now_ms: i64, zstd: bool) -> Limits {
    let timestamps = match configs.timestamp_type() {
        TimestampType::LogAppendTime => TimestampRule::LogAppend,
        TimestampType::CreateTime => TimestampRule::Create {
            before_ms_max: configs.timestamp_before_max_ms(),
            after_ms_max: configs.timestamp_after_max_ms(),
        },
    };
    let bytes_max = configs.max_message_bytes();
    let (codec, inflated_bytes_max) = (codec_of(configs), INFLATED_BYTES_MAX);
    let keys = configs.compacts();
    Limits { bytes_max, now_ms, timestamps, zstd, inflated_bytes_max, codec, keys }
}

/// How a topic's batches are compressed in its log; `None`: as their producers chose.
fn codec_of(configs: &TopicConfigs) -> Option<Codec> {
    match configs.compression_type() {
        "uncompressed" => Some(Codec::None),
        name => Codec::ALL.into_iter().find(|it| *it != Codec::None && it.name() == name),
    }
}
