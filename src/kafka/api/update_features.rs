//! UpdateFeatures (key 57), versions 0–2: raises the feature level that the cluster keeps to (KIP-584).
//!
//! There is one feature to raise, and its level is raised only. That of transactions is what this release serves; nobody
//! sets it. A request is carried out whole or not at all, as in Kafka.
//!
//! | since version | what is new |
//! |---|---|
//! | 1 | which kind of change is asked for, validate_only (KIP-778) |
//! | 2 | one answer for all features (KIP-1022) |

use std::sync::Arc;

use kafka_wire::update_features_request::FeatureUpdateKey;
use kafka_wire::update_features_response::UpdatableFeatureResult;
use kafka_wire::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::api_versions::{TRANSACTIONS, TRANSACTIONS_LEVEL};
use super::{change_wait_of, repeated};
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;
use crate::metadata::{AdminError, FEATURE, quote};

/// The kind of change that raises a level (KIP-778); version 0 says only whether it may be lowered.
const UPGRADE: i8 = 1;
/// The version from which there is one answer for all.
const WHOLE_FROM: i16 = 2;

/// Features that a request may name. There are two, so more are refused all the same; an answer for each of a million
/// would take more memory than a request is allowed.
const NAMED_MAX: usize = 16;

/// Why a request is not carried out.
type Refusal = (ErrorCode, String);

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: UpdateFeaturesRequest,
) -> UpdateFeaturesResponse {
    let updates = &request.feature_updates;
    let outcome = match wanted(updates, call.version) {
        Ok(level) => {
            let timeout = change_wait_of(request.timeout_ms);
            let controller = &server.context.controller;
            let done = controller.finalize(level, request.validate_only, timeout).await;
            done.map_err(|error: AdminError| (ErrorCode::from(&error), error.to_string()))
        }
        Err(refusal) => Err(refusal),
    };
    answer(&call, updates, outcome)
}

/// Returns the level to finalize.
fn wanted(updates: &[FeatureUpdateKey], version: i16) -> Result<u16, Refusal> {
    let refuse = |why: String| Err((ErrorCode::InvalidUpdateVersion, why));
    if updates.len() > NAMED_MAX {
        let why = format!("{} features are named, at most {NAMED_MAX} are taken", updates.len());
        return Err((ErrorCode::InvalidRequest, why));
    }
    if !repeated(updates.iter().map(|update| update.feature.clone())).is_empty() {
        return Err((ErrorCode::InvalidRequest, "a feature is named twice".to_owned()));
    }
    let mut level = None;
    for update in updates {
        let (name, asked) = (quote(update.feature.as_str()), update.max_version_level);
        let lowers =
            if version == 0 { update.allow_downgrade } else { update.upgrade_type != UPGRADE };
        if update.feature.as_str() == TRANSACTIONS {
            let why = format!(
                "{TRANSACTIONS} is {TRANSACTIONS_LEVEL} and is not set: clients of before are served all the same"
            );
            return refuse(why);
        }
        if update.feature.as_str() != FEATURE {
            return refuse(format!("there is no feature {name}, only {FEATURE}"));
        }
        match u16::try_from(asked) {
            Ok(asked) if asked > 0 && !lowers => level = Some(asked),
            _ => return refuse(format!("{FEATURE} is never lowered or removed, only upgraded")),
        }
    }
    level.ok_or_else(|| (ErrorCode::InvalidRequest, "no feature is named".to_owned()))
}

fn answer(
    call: &Call,
    updates: &[FeatureUpdateKey],
    outcome: Result<(), Refusal>,
) -> UpdateFeaturesResponse {
    let mut answer = UpdateFeaturesResponse::default();
    // Until version 1 every feature has its own answer, unless there is none to have it.
    let by_row = call.version < WHOLE_FROM && updates.len() <= NAMED_MAX;
    let rows = if by_row { updates } else { &[] };
    for update in rows {
        let mut row = UpdatableFeatureResult::default();
        row.feature = update.feature.clone();
        if let Err((code, why)) = &outcome {
            row.error_code = code.count(call);
            row.error_message = Some(why.as_str().into());
        }
        answer.results.push(row);
    }
    match outcome {
        Err((code, why)) if rows.is_empty() => {
            answer.error_code = code.count(call);
            answer.error_message = Some(why.into());
        }
        _ => {}
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(feature: &str, level: i16, kind: i8) -> FeatureUpdateKey {
        let mut update = FeatureUpdateKey::default();
        (update.feature, update.max_version_level, update.upgrade_type) =
            (feature.to_owned().into(), level, kind);
        update
    }

    #[test]
    fn the_one_feature_is_raised_and_nothing_else_is_done() {
        assert_eq!(wanted(&[update(FEATURE, 2, UPGRADE)], 1), Ok(2));
        let code = |updates: &[FeatureUpdateKey]| wanted(updates, 1).unwrap_err().0;
        for refused in [
            update("metadata.version", 2, UPGRADE),
            update(TRANSACTIONS, 1, 2),
            update(TRANSACTIONS, 2, UPGRADE),
            update(FEATURE, 0, UPGRADE),
            update(FEATURE, -1, UPGRADE),
            update(FEATURE, 1, 2),
            update(FEATURE, 1, 3),
        ] {
            assert_eq!(code(&[refused]), ErrorCode::InvalidUpdateVersion);
        }
        let twice = [update(FEATURE, 2, UPGRADE), update(FEATURE, 3, UPGRADE)];
        assert_eq!(code(&twice), ErrorCode::InvalidRequest);
        assert_eq!(code(&[]), ErrorCode::InvalidRequest);
        let many = vec![update(FEATURE, 2, UPGRADE); NAMED_MAX + 1];
        assert_eq!(code(&many), ErrorCode::InvalidRequest);
    }

    #[test]
    fn version_0_says_whether_a_level_may_be_lowered() {
        let mut asked = update(FEATURE, 2, 0);
        assert_eq!(wanted(&[asked.clone()], 0), Ok(2));
        asked.allow_downgrade = true;
        assert_eq!(wanted(&[asked], 0).unwrap_err().0, ErrorCode::InvalidUpdateVersion);
    }
}
