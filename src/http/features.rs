//! The feature level that the cluster keeps to, and how it is raised (KIP-584).

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Body, Nothing, Options, patience};
use super::problem::Problem;
use super::whole::WholeNumber;
use crate::context::Context;
use crate::metadata::{FEATURE, Image, Levels};

/// The feature level of a cluster, and which its brokers support.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Features {
    /// What Kafka's tools call the level.
    #[schema(example = "quorate.version")]
    feature: &'static str,
    /// The level that is in force: what is written can be read by every release that supports it. Never lowered.
    finalized: u16,
    /// The highest level that every registered broker supports: what could be finalized.
    possible: u16,
    /// The metadata group's index up to which the answering broker knows all this.
    metadata_index: u64,
    brokers: Vec<BrokerLevels>,
}

/// The levels that a broker's release supports.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BrokerLevels {
    broker: u64,
    lowest: u16,
    highest: u16,
}

/// A level to finalize.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Finalize {
    #[schema(value_type = u16, example = 1, minimum = 1, maximum = 32767)]
    level: WholeNumber<u16>,
    /// Says that you know that there is no way back: brokers of releases that do not support the level are refused
    /// for ever. Without it nothing is changed.
    #[serde(default)]
    confirm: bool,
    /// Says whether it could be done, and changes nothing.
    #[serde(default)]
    dry_run: bool,
}

/// Returns the finalized feature level, and the levels that each registered broker supports.
#[utoipa::path(
    get, path = "/v1/cluster/features", tag = "cluster", responses((status = 200, body = Features))
)]
pub(super) async fn features(State(context): State<Context>) -> Json<Features> {
    Json(described(&context.metadata.image()))
}

/// Raises the feature level that the cluster keeps to, once every broker runs a release that supports it.
///
/// There is no way back: what is written from then on cannot be read by releases that do not support the level, and
/// their brokers are refused. Until then any broker may be taken back to the release it came from. Therefore nothing is
/// done without `confirm`; `dry_run` says whether it could be.
#[utoipa::path(
    post, path = "/v1/cluster/features", tag = "cluster", request_body = Finalize,
    responses(
        (status = 200, description = "It is finalized, or with dry_run could be", body = Features),
        (status = 409, description = "It cannot be, for a reason given", body = Problem),
        (status = 422, description = "It was not confirmed, and nothing was changed", body = Problem),
        (status = 503, description = "Nothing was changed", body = Problem),
        (status = 504, description = "It may have been finalized", body = Problem)
    )
)]
pub(super) async fn finalize(
    State(context): State<Context>,
    Options(Nothing {}): Options<Nothing>,
    Body(wanted): Body<Finalize>,
) -> Result<Json<Features>, Problem> {
    let Finalize { level: WholeNumber(level), confirm, dry_run } = wanted;
    if level == 0 || level > i16::MAX.unsigned_abs() {
        let detail = format!("a feature level is from 1 to {}, not {level}", i16::MAX);
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_body", detail));
    }
    let finalized = context.metadata.image().level;
    if !dry_run && !confirm && level > finalized {
        let detail = format!(
            "there is no way back from feature level {level} to {finalized}: brokers of releases that do not support \
             it would be refused for ever; nothing was changed"
        );
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not_confirmed", detail)
            .hint("dry_run says whether it could be done; with confirm it is done"));
    }
    context.controller.finalize(level, dry_run, patience(&context)).await?;
    Ok(Json(described(&context.metadata.image())))
}

fn described(image: &Image) -> Features {
    let brokers = image.brokers.values().map(|broker| {
        let Levels { lowest, highest } = broker.levels;
        BrokerLevels { broker: broker.id, lowest, highest }
    });
    Features {
        feature: FEATURE,
        finalized: image.level,
        possible: image.level_possible(),
        metadata_index: image.applied,
        brokers: brokers.collect(),
    }
}
