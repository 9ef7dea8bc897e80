//! ApiVersions (key 18), versions 0–4: which APIs are served in which versions (KIP-35, KIP-511).
//!
//! The one request that is answered in every version: to one from the future goes the answer of version 0 with
//! error 35 and the whole table, so that the client can choose again without reconnecting. The answer's header
//! has no tagged fields in any version, for the client cannot know yet what this broker speaks.
//!
//! | since version | what is new |
//! |---|---|
//! | 3 | flexible; the client's name and version (KIP-511), features (KIP-584) |
//! | 4 | features that begin at level 0 (KIP-1022) |

use std::sync::Arc;

use kafka_wire::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_wire::{ApiVersionsRequest, ApiVersionsResponse};

use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;
use crate::kafka::table::TABLE;
use crate::metadata::{FEATURE, Image, Levels};

/// The version from which clients name their software.
const NAMED_FROM: i16 = 3;
/// The version from which they are told of features.
const FEATURES_FROM: i16 = 3;
/// The version from which a feature may be told to begin at level 0: clients of before cannot read that (KAFKA-17011).
const LEVEL_0_FROM: i16 = 4;
/// Kafka's name for how transactions go, and the level that is served beside those before it: every transaction has an
/// epoch of its own, and takes in what is written in it (KIP-890 part 2). Producers look for it here.
pub(in crate::kafka) const TRANSACTIONS: &str = "transaction.version";
pub(in crate::kafka) const TRANSACTIONS_LEVEL: i16 = 2;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: ApiVersionsRequest,
) -> ApiVersionsResponse {
    let mut answer = ApiVersionsResponse::default();
    let (name, version) = (&request.client_software_name, &request.client_software_version);
    if call.version >= NAMED_FROM && !(is_plain(name.as_str()) && is_plain(version.as_str())) {
        answer.error_code = ErrorCode::InvalidRequest.count(&call);
        return answer;
    }
    tracing::debug!(client = call.client.as_deref(), %name, %version, "client software");
    answer.api_keys = served();
    if call.version >= FEATURES_FROM {
        tell_features(&server.context.metadata.image(), call.version, &mut answer);
    }
    answer
}

/// Tells which feature levels this broker's release supports and which are finalized. The epoch, by which a client
/// knows the newest of several answers, is the metadata index.
fn tell_features(image: &Image, version: i16, answer: &mut ApiVersionsResponse) {
    let number = |level| i16::try_from(level).unwrap_or(i16::MAX);
    let levels = Levels::supported();
    let lowest = if version >= LEVEL_0_FROM { 0 } else { 1 };
    answer.supported_features =
        vec![supported(FEATURE, number(levels.lowest), number(levels.highest))];
    answer.supported_features.push(supported(TRANSACTIONS, lowest, TRANSACTIONS_LEVEL));
    if image.level > 0 {
        answer.finalized_features.push(finalized(FEATURE, number(image.level)));
        answer.finalized_features.push(finalized(TRANSACTIONS, TRANSACTIONS_LEVEL));
        answer.finalized_features_epoch = i64::try_from(image.applied).unwrap_or(i64::MAX);
    }
}

fn supported(name: &'static str, lowest: i16, highest: i16) -> SupportedFeatureKey {
    let mut supported = SupportedFeatureKey::default();
    supported.name = name.into();
    (supported.min_version, supported.max_version) = (lowest, highest);
    supported
}

fn finalized(name: &'static str, level: i16) -> FinalizedFeatureKey {
    let mut finalized = FinalizedFeatureKey::default();
    finalized.name = name.into();
    (finalized.min_version_level, finalized.max_version_level) = (level, level);
    finalized
}

/// Returns the answer to a request of a version that is not served; encode it as version 0.
pub(in crate::kafka) fn unsupported(call: &Call) -> ApiVersionsResponse {
    let mut answer = ApiVersionsResponse::default();
    answer.error_code = ErrorCode::UnsupportedVersion.count(call);
    answer.api_keys = served();
    answer
}

fn served() -> Vec<ApiVersion> {
    let row = |api: &crate::kafka::Api| {
        let mut row = ApiVersion::default();
        row.api_key = api.key;
        row.min_version = api.min;
        row.max_version = api.max;
        row
    };
    TABLE.iter().map(|it| row(&it.api)).collect()
}

/// Letters, digits, dots and hyphens, the last two not at an end: what may go into logs and metrics.
fn is_plain(text: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_alphanumeric();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|byte| alphanumeric(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_are_plain_words() {
        for good in ["librdkafka", "2.12.1", "a", "apache-kafka-java"] {
            assert!(is_plain(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "ä", "a\n"] {
            assert!(!is_plain(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_version_of_transactions_is_told_in_words_that_each_client_can_read() {
        let mut image = Image::default();
        let told = |image: &Image, version| {
            let mut answer = ApiVersionsResponse::default();
            tell_features(image, version, &mut answer);
            let of =
                |it: &SupportedFeatureKey| (it.name.to_string(), it.min_version, it.max_version);
            let supported = answer.supported_features.last().map(of);
            let of = |it: &FinalizedFeatureKey| (it.name.to_string(), it.max_version_level);
            (supported.unwrap(), answer.finalized_features.last().map(of))
        };
        let name = || TRANSACTIONS.to_owned();
        assert_eq!(told(&image, 4), ((name(), 0, 2), None));
        image.level = 1;
        assert_eq!(told(&image, 3), ((name(), 1, 2), Some((name(), 2))));
        assert_eq!(told(&image, 4), ((name(), 0, 2), Some((name(), 2))));
    }

    #[test]
    fn the_table_is_advertised_row_by_row() {
        let rows = served();
        assert_eq!(rows.len(), TABLE.len());
        let produce = rows.iter().find(|row| row.api_key == 0).unwrap();
        assert_eq!((produce.min_version, produce.max_version), (0, 13));
    }
}
