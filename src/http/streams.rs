//! Streams by key over HTTP: append to one, delete it, and ask for its version.
//!
//! The version of a stream is its entity tag, so `If-Match` and `If-None-Match` say what an append expects, as with any other
//! resource of the web. What is refused says which version there is.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, ETAG, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::appending::{self, Append, Condition, Outcome};
use super::events::{Draft, NewEvent, NoTagAfter, encoded_url_safe, invalid_event};
use super::extract::{Options, Parameters, body_of, json_of, within_body};
use super::placed::{KeyEncoding, Place, key_of, streams_topic};
use super::preconditions::{Fingerprint, Preconditions};
use super::problem::Problem;
use super::reading::{self, Passing, ReadOptions, Reader};
use super::relay::Asked;
use crate::context::Context;
use crate::partition::{ExpectedVersion, StreamState};
use crate::percent;

/// Events of one append.
const EVENTS_MAX: usize = 1_000;
/// Conditions on tags of one append.
pub(super) const TAGS_MAX: usize = 64;
pub(super) const OFFSET: HeaderName = HeaderName::from_static("quorate-offset");

/// Events to append to a stream, all of them or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewEvents {
    #[schema(min_items = 1, max_items = 1_000)]
    events: Vec<NewEvent>,
    /// Appends only if no record of the partition with one of these tags stands behind the offset named with it.
    #[serde(default)]
    #[schema(max_items = 64)]
    no_tag_after: Vec<NoTagAfter>,
}

/// Where events of a stream were appended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AppendedEvents {
    topic: String,
    partition: i32,
    /// The key as the path has it.
    key: String,
    /// The version that the first of them made.
    first_version: i64,
    /// The version of the stream behind them.
    version: i64,
    /// The offset of the first and of the last of them.
    offset: i64,
    last_offset: i64,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct KeyOptions {
    /// How the key is written in the path: utf8 if left out, base64url for one that is no text.
    #[param(inline)]
    key_encoding: Option<KeyEncoding>,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Deletion {
    /// How the key is written in the path: utf8 if left out, base64url for one that is no text.
    #[param(inline)]
    key_encoding: Option<KeyEncoding>,
    /// Closes it for ever, so that nothing is appended any more.
    hard: Option<bool>,
}

/// What is appended to, and how the request named it.
struct Target<'a> {
    place: Place,
    name: &'a str,
    key: Bytes,
    encoding: Option<KeyEncoding>,
}

/// Appends events to a stream, all of them or none.
///
/// With `If-Match` the stream has to have that version, with `If-None-Match: *` there must be none. A body of type
/// `application/octet-stream` is one event, its bytes. With an `Idempotency-Key` the same request can be sent again
/// without being carried out twice, for a day.
#[utoipa::path(
    post, path = "/v1/topics/{topic}/streams/{key}", tag = "streams", request_body = NewEvents,
    params(
        ("topic" = String, Path, description = "Its name", example = "orders"),
        ("key" = String, Path, description = "The key of the stream", example = "order-1", min_length = 1),
        ("If-Match" = Option<String>, Header, description = "The version that is expected in quotes, or * for any that is there", pattern = "^([*]|\"[0-9]{1,18}\")$"),
        ("If-None-Match" = Option<String>, Header, description = "* if there must be no such stream", pattern = "^[*]$"),
        ("Idempotency-Key" = Option<String>, Header, description = "By which a retry is known", pattern = "^[!-~]{1,128}$"),
        KeyOptions
    ),
    responses(
        (status = 201, description = "Appended", body = AppendedEvents, headers(("ETag" = String, description = "The version in quotes"), ("Location" = String, description = "The stream"))),
        (status = 404, description = "There is no such topic", body = Problem),
        (status = 409, description = "The topic has no streams", body = Problem),
        (status = 410, description = "The stream is closed", body = Problem),
        (status = 412, description = "It has another version, or a record has one of the tags", body = Problem),
        (status = 422, description = "Something in it cannot be appended, or the Idempotency-Key was used before", body = Problem),
        (status = 503, description = "Nothing was appended", body = Problem),
        (status = 504, description = "It may have been appended", body = Problem)
    )
)]
pub(super) async fn append(
    State(context): State<Context>,
    Options(options): Options<KeyOptions>,
    Parameters((topic, key)): Parameters<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let asked = asked(request).await?;
    let mut preconditions = Preconditions::of(&asked.headers)?;
    let is_bytes = is_octet_stream(&asked.headers);
    let events = if is_bytes {
        None
    } else {
        let body: NewEvents = json_of(&asked.headers, &asked.body)?;
        within_body("events", body.events.len(), 1..=EVENTS_MAX)?;
        within_body("no_tag_after", body.no_tag_after.len(), 0..=TAGS_MAX)?;
        Some(body)
    };
    let target = target(&context, &topic, &key, options.key_encoding).await?;
    let mut fingerprint = Fingerprint::new("append");
    fingerprint.bytes(&[u8::from(is_bytes)]);
    let mut append = Append { is_stream: true, ..Append::default() };
    append.conditions = target.versions(&preconditions.versions);
    match events {
        None => {
            let (key, value) = (Some(target.key.clone()), Some(asked.body.clone()));
            append.records = vec![Draft { key, value, ..Draft::default() }];
        }
        Some(NewEvents { events, no_tag_after }) => {
            for event in events {
                append.records.push(event.draft(Some(target.key.clone()))?);
            }
            append.conditions.extend(tags(no_tag_after)?);
        }
    }
    append.once = once(&mut preconditions, fingerprint, &target, &asked.body);
    match appending::append(&context, &target.place, &asked, &append).await? {
        Outcome::Told(response) => Ok(response),
        Outcome::Here(appended) => {
            let told =
                target.appended(append.records.len(), (appended.base_offset, appended.version));
            Ok(target.answer(StatusCode::CREATED, &told, true))
        }
    }
}

/// Deletes a stream: what was before is not shown any more, and its next event has the next version.
#[utoipa::path(
    delete, path = "/v1/topics/{topic}/streams/{key}", tag = "streams",
    params(
        ("topic" = String, Path, description = "Its name", example = "orders"),
        ("key" = String, Path, description = "The key of the stream", example = "order-1", min_length = 1),
        ("If-Match" = Option<String>, Header, description = "The version that is expected in quotes, or * for any that is there", pattern = "^([*]|\"[0-9]{1,18}\")$"),
        ("Idempotency-Key" = Option<String>, Header, description = "By which a retry is known", pattern = "^[!-~]{1,128}$"),
        Deletion
    ),
    responses(
        (status = 200, description = "Deleted", body = AppendedEvents, headers(("ETag" = String, description = "The version in quotes"))),
        (status = 404, description = "There is no such topic or stream", body = Problem),
        (status = 409, description = "The topic has no streams", body = Problem),
        (status = 410, description = "The stream is closed", body = Problem),
        (status = 412, description = "It has another version", body = Problem),
        (status = 422, description = "The key is none, or the Idempotency-Key was used before", body = Problem),
        (status = 503, description = "Nothing was deleted", body = Problem),
        (status = 504, description = "It may have been deleted", body = Problem)
    )
)]
pub(super) async fn delete(
    State(context): State<Context>,
    Options(options): Options<Deletion>,
    Parameters((topic, key)): Parameters<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let asked = asked(request).await?;
    let mut preconditions = Preconditions::of(&asked.headers)?;
    let target = target(&context, &topic, &key, options.key_encoding).await?;
    let hard = options.hard.unwrap_or(false);
    let mut fingerprint = Fingerprint::new("delete");
    fingerprint.bytes(&[u8::from(hard)]);
    let mut append = Append { is_stream: true, ..Append::default() };
    append.conditions = target.versions(&preconditions.versions);
    // Who says nothing else means one that is there.
    let unsaid = append.conditions.is_empty() && !hard;
    if unsaid {
        append.conditions = target.versions(&[ExpectedVersion::Stream]);
    }
    append.records = vec![Draft::tombstone(target.key.clone(), hard)];
    append.once = once(&mut preconditions, fingerprint, &target, &[]);
    match appending::append(&context, &target.place, &asked, &append).await {
        Ok(Outcome::Told(response)) => Ok(response),
        Ok(Outcome::Here(appended)) => {
            let told = target.appended(1, (appended.base_offset, appended.version));
            Ok(target.answer(StatusCode::OK, &told, false))
        }
        Err(problem) if unsaid => Err(match problem.version_conflict() {
            Some(current) => target.missing(current),
            None => problem,
        }),
        Err(problem) => Err(problem),
    }
}

/// Tells the version of a stream, without its events.
#[utoipa::path(
    head, path = "/v1/topics/{topic}/streams/{key}", tag = "streams",
    params(
        ("topic" = String, Path, description = "Its name", example = "orders"),
        ("key" = String, Path, description = "The key of the stream", example = "order-1", min_length = 1),
        reading::HeadOptions
    ),
    responses(
        (status = 200, description = "It is there", headers(("ETag" = String, description = "The version in quotes"), ("quorate-offset" = i64, description = "The offset of its newest record"), ("quorate-last-contact-ms" = i64, description = "How long ago this broker last heard of the leader, or was confirmed as it by a majority, in milliseconds"))),
        (status = 404, description = "There is no such topic or stream, or it is deleted: then with its version as ETag"),
        (status = 409, description = "The topic has no streams"),
        (status = 410, description = "It is closed"),
        (status = 422, description = "The key is none")
    )
)]
pub(super) async fn head(
    State(context): State<Context>,
    Options(options): Options<reading::HeadOptions>,
    Parameters((topic, key)): Parameters<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let asked = asked(request).await?;
    let target = target(&context, &topic, &key, options.key_encoding).await?;
    let wanted = ReadOptions { consistency: options.consistency, min_offset: options.min_offset };
    let reader = match reading::reader(&context, &target.place, &asked, wanted, Passing::On).await?
    {
        Reader::Told(response) => return Ok(response),
        Reader::Here(reader) => reader,
    };
    let state = reader.stream_state(&target.key).await?;
    let mut response = reader.headers().into_response();
    response.headers_mut().insert(ETAG, etag(state.version));
    response.headers_mut().insert(OFFSET, HeaderValue::from(state.last_offset));
    Ok(response)
}

/// Takes a request apart, with its whole body.
pub(super) async fn asked(request: Request) -> Result<Asked, Problem> {
    let (parts, body) = request.into_parts();
    let (method, uri, headers) = (parts.method.clone(), parts.uri.clone(), parts.headers.clone());
    let body = body_of(Request::from_parts(parts, body)).await?;
    Ok(Asked { method, uri, headers, body })
}

fn is_octet_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/octet-stream")
}

async fn target<'a>(
    context: &Context,
    topic: &str,
    name: &'a str,
    encoding: Option<KeyEncoding>,
) -> Result<Target<'a>, Problem> {
    let key = key_of(name, encoding)?;
    let topic = streams_topic(context, topic).await?;
    Ok(Target { place: Place::of_key(topic, &key)?, name, key, encoding })
}

/// Reads conditions on tags.
pub(super) fn tags(asked: Vec<NoTagAfter>) -> Result<Vec<Condition>, Problem> {
    let read = |NoTagAfter { tag, offset }| {
        if (1..=crate::partition::TAG_BYTES_MAX).contains(&tag.len()) {
            return Ok(Condition::NoTagAfter(tag.into(), offset.0));
        }
        Err(invalid_event("a tag has 1 to 256 bytes"))
    };
    asked.into_iter().map(read).collect()
}

fn once(
    preconditions: &mut Preconditions,
    mut fingerprint: Fingerprint,
    target: &Target<'_>,
    body: &[u8],
) -> Option<(Bytes, u64)> {
    let key = preconditions.idempotency_key.take()?;
    preconditions.mark(&mut fingerprint);
    fingerprint.bytes(target.place.topic.name.as_bytes());
    fingerprint.bytes(&target.key);
    fingerprint.bytes(body);
    Some((key, fingerprint.finish()))
}

pub(super) fn etag(version: i64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).expect("digits in quotes")
}

impl Target<'_> {
    fn versions(&self, expected: &[ExpectedVersion]) -> Vec<Condition> {
        expected.iter().map(|expected| Condition::Version(self.key.clone(), *expected)).collect()
    }

    fn appended(&self, count: usize, (offset, version): (i64, i64)) -> AppendedEvents {
        let more = i64::try_from(count).unwrap_or(i64::MAX) - 1;
        AppendedEvents {
            topic: self.place.topic.name.clone(),
            partition: self.place.index,
            key: self.name.to_owned(),
            first_version: version - more,
            version,
            offset,
            last_offset: offset + more,
        }
    }

    fn answer(&self, status: StatusCode, told: &AppendedEvents, located: bool) -> Response {
        let version = told.version;
        let mut response = (status, Json(told)).into_response();
        response.headers_mut().insert(ETAG, etag(version));
        if located {
            let location = HeaderValue::from_str(&self.location());
            response.headers_mut().extend(location.ok().map(|it| (LOCATION, it)));
        }
        response
    }

    /// Where the stream is read.
    fn location(&self) -> String {
        let topic = &self.place.topic.name;
        match self.encoding {
            Some(KeyEncoding::Base64Url) => {
                let key = encoded_url_safe(&self.key);
                format!("/v1/topics/{topic}/streams/{key}?key_encoding=base64url")
            }
            None | Some(KeyEncoding::Utf8) => {
                format!("/v1/topics/{topic}/streams/{}", percent::encoded(&self.key))
            }
        }
    }

    /// The problem that there is none to delete.
    fn missing(&self, current: i64) -> Problem {
        let state =
            StreamState { version: current, hidden: current, closed: false, last_offset: -1 };
        reading::not_shown(&self.place.topic.name, (current > 0).then_some(state))
    }
}
