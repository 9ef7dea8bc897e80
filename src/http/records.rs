//! Appending records of any keys to one partition over HTTP, all of them or none.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::appending::{self, Append, Condition, Outcome};
use super::events::{Draft, NewRecord, NoTagAfter};
use super::extract::{Nothing, Options, Parameters, json_of, within_body};
use super::placed::{self, Place};
use super::preconditions::{self, Fingerprint};
use super::problem::Problem;
use super::streams::{TAGS_MAX, asked, tags};
use super::whole::WholeNumber;
use crate::context::Context;
use crate::metadata::Topic;

/// Records of one append.
const RECORDS_MAX: usize = 1_000;

/// Records to append to one partition, all of them or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRecords {
    /// That of the keys if left out, for which all keys have to be in the same one.
    #[schema(value_type = Option<i32>, minimum = 0, maximum = 2_147_483_647)]
    partition: Option<WholeNumber<i32>>,
    #[schema(min_items = 1, max_items = 1_000)]
    records: Vec<NewRecord>,
    /// The offset that the first of them gets: the end of the partition.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    expected_offset: Option<WholeNumber<i64>>,
    /// Appends only if no record of the partition with one of these tags stands behind the offset named with it.
    #[serde(default)]
    #[schema(max_items = 64)]
    no_tag_after: Vec<NoTagAfter>,
}

/// Where records were appended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AppendedRecords {
    topic: String,
    partition: i32,
    /// The offset of the first and of the last of them.
    offset: i64,
    last_offset: i64,
}

/// Appends records to one partition, all of them or none.
///
/// The topic need not have streams, unless versions or tags are asked for. With an `Idempotency-Key` the same request can be
/// sent again without being carried out twice, for a day.
#[utoipa::path(
    post, path = "/v1/topics/{topic}/records", tag = "streams", request_body = NewRecords,
    params(
        ("topic" = String, Path, description = "Its name", example = "orders"),
        ("Idempotency-Key" = Option<String>, Header, description = "By which a retry is known", pattern = "^[!-~]{1,128}$")
    ),
    responses(
        (status = 201, description = "Appended", body = AppendedRecords),
        (status = 404, description = "There is no such topic or partition", body = Problem),
        (status = 409, description = "The topic has no streams", body = Problem),
        (status = 410, description = "A stream is closed", body = Problem),
        (status = 412, description = "A condition does not hold", body = Problem),
        (status = 422, description = "Something in it cannot be appended, or the Idempotency-Key was used before", body = Problem),
        (status = 503, description = "Nothing was appended", body = Problem),
        (status = 504, description = "It may have been appended", body = Problem)
    )
)]
pub(super) async fn append(
    State(context): State<Context>,
    Options(Nothing {}): Options<Nothing>,
    Parameters(name): Parameters<String>,
    request: Request,
) -> Result<Response, Problem> {
    let asked = asked(request).await?;
    let key = preconditions::idempotency_key(&asked.headers)?;
    let body: NewRecords = json_of(&asked.headers, &asked.body)?;
    within_body("records", body.records.len(), 1..=RECORDS_MAX)?;
    within_body("no_tag_after", body.no_tag_after.len(), 0..=TAGS_MAX)?;
    within_body("expected_offset", body.expected_offset.map_or(0, |it| it.0), 0..=i64::MAX)?;
    within_body("partition", body.partition.map_or(0, |it| it.0), 0..=i32::MAX)?;
    let topic = placed::topic(&context, &name).await?;
    let records = body.records.into_iter().map(NewRecord::draft);
    let records = records.collect::<Result<Vec<Draft>, Problem>>()?;
    let index = match body.partition {
        Some(partition) => partition.0,
        None => partition_of(&topic, &records)?,
    };
    let place = Place::new(topic, index)?;
    let mut conditions = tags(body.no_tag_after)?;
    conditions.extend(body.expected_offset.map(|offset| Condition::EndOffset(offset.0)));
    let once = key.map(|key| {
        let mut fingerprint = Fingerprint::new("records");
        fingerprint.bytes(name.as_bytes());
        fingerprint.bytes(&asked.body);
        (key, fingerprint.finish())
    });
    let append = Append { records, conditions, once, is_stream: false };
    match appending::append(&context, &place, &asked, &append).await? {
        Outcome::Told(response) => Ok(response),
        Outcome::Here(appended) => {
            let more = i64::try_from(append.records.len()).unwrap_or(i64::MAX) - 1;
            let offset = appended.base_offset;
            let told = AppendedRecords {
                topic: name,
                partition: index,
                offset,
                last_offset: offset + more,
            };
            Ok((StatusCode::CREATED, Json(told)).into_response())
        }
    }
}

/// Returns the one partition that all keys are in.
fn partition_of(topic: &Topic, records: &[Draft]) -> Result<i32, Problem> {
    let several = |detail: &str| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "several_partitions", detail).hint(
            "one request appends to one partition; name it, or send records of its keys alone",
        )
    };
    let mut found = None;
    for key in records.iter().filter_map(|draft| draft.key.as_ref()) {
        let index = placed::index_of_key(topic, key);
        if *found.get_or_insert(index) != index {
            return Err(several("the keys are in different partitions"));
        }
    }
    match found {
        Some(index) => Ok(index),
        None if topic.partitions.len() == 1 => Ok(0),
        None => Err(several("no record has a key that says which partition it is for")),
    }
}
