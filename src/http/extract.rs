//! What handlers take apart a request with: axum's extractors, refusing with problem documents.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::context::Context;

/// A JSON body. An unknown field is refused, not ignored: it is a misspelt one.
pub(super) struct Body<T>(pub(super) T);

/// The variable parts of a path.
pub(super) struct Parameters<T>(pub(super) T);

/// The part after the question mark. As in a body, an unknown option is refused.
pub(super) struct Options<T>(pub(super) T);

/// Of a change that takes no options: one that is given is a misunderstanding, and the change is not made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(refuse(&rejection)),
        }
    }
}

fn refuse(rejection: &JsonRejection) -> Problem {
    let (status, code) = match rejection {
        // 422 is for what is described well and cannot be done.
        JsonRejection::JsonDataError(_) => (StatusCode::BAD_REQUEST, "invalid_body"),
        JsonRejection::MissingJsonContentType(_) => {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json")
        }
        other if other.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            (other.status(), "body_too_large")
        }
        _ => (StatusCode::BAD_REQUEST, "malformed_body"),
    };
    Problem::new(status, code, rejection.body_text())
}

/// Reads a body as the bytes that came.
pub(super) async fn body_of(request: Request) -> Result<Bytes, Problem> {
    Bytes::from_request(request, &()).await.map_err(|rejection| {
        let code = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => return too_large(rejection.body_text()),
            _ => "malformed_body",
        };
        Problem::new(StatusCode::BAD_REQUEST, code, rejection.body_text())
    })
}

/// Reads a body that came with these headers as JSON.
pub(super) fn json_of<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind != "application/json" && !(kind.starts_with("application/") && kind.ends_with("+json"))
    {
        let detail = "Expected request with `Content-Type: application/json`";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail));
    }
    serde_json::from_slice(body).map_err(|error| {
        let code = if error.is_data() { "invalid_body" } else { "malformed_body" };
        Problem::new(StatusCode::BAD_REQUEST, code, error.to_string())
    })
}

fn too_large(detail: String) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

/// Refuses a number of a body, or of the members of a list in it, that is out of its bounds.
pub(super) fn within_body<T: PartialOrd + Display>(
    name: &str,
    number: T,
    bounds: RangeInclusive<T>,
) -> Result<(), Problem> {
    if bounds.contains(&number) {
        return Ok(());
    }
    let (min, max) = (bounds.start(), bounds.end());
    let detail = format!("{name} is or has {number}, {min} to {max} is possible");
    Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_body", detail))
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(parameters)) => Ok(Self(parameters)),
            Err(rejection) => {
                Err(Problem::new(StatusCode::BAD_REQUEST, "malformed_path", rejection.body_text()))
            }
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Options<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(options)) => Ok(Self(options)),
            Err(rejection) => {
                Err(Problem::new(StatusCode::BAD_REQUEST, "malformed_query", rejection.body_text()))
            }
        }
    }
}

/// A change gives up a little before the request does, so that the answer can say what is known.
pub(super) fn patience(context: &Context) -> Duration {
    Duration::from_millis(context.config.http.request_timeout_ms).mul_f32(0.9)
}

/// Refuses a number of a query that is out of its bounds.
pub(super) fn within<T: PartialOrd + Display>(
    name: &str,
    number: T,
    bounds: RangeInclusive<T>,
) -> Result<T, Problem> {
    if bounds.contains(&number) {
        return Ok(number);
    }
    let detail = format!("{name} is {number}, {} to {} is possible", bounds.start(), bounds.end());
    Err(Problem::new(StatusCode::BAD_REQUEST, "malformed_query", detail))
}
