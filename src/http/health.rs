//! Whether this broker lives, and whether it can serve.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;

/// Whether a broker can serve clients.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ready {
    ready: bool,
    /// What is missing, most fundamental first; empty when ready.
    #[schema(example = json!(["3 of 5 replicas are running"]))]
    reasons: Vec<String>,
}

/// Says that the process lives. Restart it when this does not answer.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, description = "It lives", body = String)))]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Says whether this broker can serve clients now, and if not, why. Send it no traffic meanwhile.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses(
        (status = 200, description = "It can serve", body = Ready),
        (status = 503, description = "It cannot serve yet, or no more", body = Ready)
    )
)]
pub(super) async fn readyz(State(context): State<Context>) -> Response {
    let reasons = context.readiness.missing(&context);
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready: reasons.is_empty(), reasons })).into_response()
}
