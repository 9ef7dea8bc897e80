//! Reading and changing what this broker logs, without a restart.

use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Body, Nothing, Options};
use super::problem::Problem;
use crate::config::{LogFilter, NotLogFilter};
use crate::telemetry;

/// Which events a broker logs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Level {
    /// off, error, warn, info, debug or trace, or levels by module.
    #[schema(example = "info,quorate_raft=debug")]
    level: String,
}

/// Returns which events this broker logs.
#[utoipa::path(
    get, path = "/v1/log/level", tag = "log",
    responses((status = 200, body = Level), (status = 503, description = "Logging is not set up", body = Problem))
)]
pub(super) async fn get_level() -> Result<Json<Level>, Problem> {
    let level = telemetry::log_level().map_err(|error| unavailable(&error))?;
    Ok(Json(Level { level: level.to_string() }))
}

/// Changes which events this broker logs, from the next one on and until it restarts.
#[utoipa::path(
    put, path = "/v1/log/level", tag = "log", request_body = Level,
    responses((status = 200, body = Level), (status = 422, description = "Not a level", body = Problem))
)]
pub(super) async fn put_level(
    Options(Nothing {}): Options<Nothing>,
    Body(wanted): Body<Level>,
) -> Result<Json<Level>, Problem> {
    let filter: LogFilter = wanted.level.parse().map_err(|error: NotLogFilter| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_log_level", error.to_string())
    })?;
    telemetry::set_log_level(&filter).map_err(|error| unavailable(&error))?;
    Ok(Json(Level { level: filter.to_string() }))
}

fn unavailable(error: &telemetry::NoLog) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_log", error.to_string())
}
