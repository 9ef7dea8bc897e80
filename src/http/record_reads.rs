//! Reading the records of a topic over HTTP, of one partition or of all.
//!
//! Where a reader has come is a position: one offset for each partition, in a form that only this file knows. Partitions
//! without a replica here are asked of brokers that have one, except where the answer does not end: that is given by a broker
//! that has all of them.
//!
//! What of transactions is shown is in `isolation.rs`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::{Duration, Instant, sleep, timeout_at};
use utoipa::ToSchema;

use super::events::{Event, decoded_url_safe, encoded_url_safe};
use super::extract::{Options, Parameters, patience, within};
use super::isolation::Isolation;
use super::live::{self, Source};
use super::placed::{self, Place, Replica};
use super::problem::Problem;
use super::reading::{self, Consistency, Form, Here, Passing, ReadOptions, Reader};
use super::relay::Asked;
use super::stream_reads::{BYTES_MAX, LIMIT, limit_and_wait, lines};
use super::streams::asked;
use crate::context::Context;
use crate::metadata::Topic;
use crate::partition::Changes;

/// Between two looks at partitions that other brokers have.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long a stream may pass over records that are not shown before it says where it is.
const PASSING_TOLD: Duration = Duration::from_secs(1);
const POSITION: HeaderName = HeaderName::from_static("quorate-position");

#[derive(Debug, Clone, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RecordsWanted {
    /// All if left out, with no order between them.
    #[param(minimum = 0, maximum = 2_147_483_647)]
    partition: Option<i32>,
    /// The first offset, of the partition named beside it.
    #[param(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    offset: Option<i64>,
    /// Where an earlier answer ended.
    position: Option<String>,
    /// At most so many records, 1000 if left out.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
    /// linearizable if left out: all that was acknowledged before is there. committed asks no leader.
    #[param(inline)]
    consistency: Option<Consistency>,
    /// read_committed if left out: nothing of aborted transactions, and nothing behind the first that is open.
    #[param(inline)]
    isolation: Option<Isolation>,
    /// Waits until the replica has everything before this offset, of the partition named beside it.
    #[param(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    min_offset: Option<i64>,
    /// Waits so long for a record when there is none.
    #[param(minimum = 0, maximum = 30_000)]
    wait_ms: Option<u64>,
}

/// Records of a topic.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct RecordsPage {
    topic: String,
    #[schema(value_type = Vec<Event>)]
    records: Vec<Box<RawValue>>,
    /// Ask with this as `position` for what follows.
    position: String,
}

/// How far each partition was read; those that are missing from their beginning on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Offsets(BTreeMap<i32, i64>);

impl Offsets {
    fn encode(&self) -> String {
        let parts: Vec<String> = self.0.iter().map(|(index, at)| format!("{index}:{at}")).collect();
        encoded_url_safe(parts.join(",").as_bytes())
    }

    fn decode(text: &str) -> Option<Self> {
        let text = String::from_utf8(decoded_url_safe(text)?).ok()?;
        let part = |part: &str| {
            let (index, at) = part.split_once(':')?;
            let (index, at) = (index.parse::<i32>().ok()?, at.parse::<i64>().ok()?);
            (index >= 0 && at >= 0).then_some((index, at))
        };
        let parts = text.split(',').filter(|part| !part.is_empty());
        Some(Self(parts.map(part).collect::<Option<_>>()?))
    }
}

/// What is read, and how far.
struct Reading<'a> {
    context: &'a Context,
    topic: &'a std::sync::Arc<Topic>,
    partitions: Vec<i32>,
    fresh: ReadOptions,
    isolation: Isolation,
    limit: usize,
}

/// Reads records. Accept chooses between a page, lines (`application/x-ndjson`), and events that go on as they come
/// (`text/event-stream`), whose ids are positions.
#[utoipa::path(
    get, path = "/v1/topics/{topic}/records", tag = "streams",
    params(("topic" = String, Path, description = "Its name", example = "orders"), RecordsWanted),
    responses(
        (status = 200, description = "Records", content((RecordsPage = "application/json"), (String = "application/x-ndjson"), (String = "text/event-stream")), headers(("quorate-last-contact-ms" = i64, description = "Of one partition: how long ago this broker last heard of its leader, or was confirmed as it by a majority, in milliseconds"))),
        (status = 307, description = "Only for text/event-stream: another broker has the partitions"),
        (status = 404, description = "There is no such topic or partition", body = Problem),
        (status = 422, description = "The position is none, the offset is not kept, or it needs a partition", body = Problem),
        (status = 503, description = "Nobody answers for a partition", body = Problem),
        (status = 504, description = "The replica has not caught up", body = Problem)
    )
)]
pub(super) async fn read(
    State(context): State<Context>,
    Options(wanted): Options<RecordsWanted>,
    Parameters(name): Parameters<String>,
    request: Request,
) -> Result<Response, Problem> {
    let asked = asked(request).await?;
    let form = Form::of(&asked.headers);
    let (limit, wait) = wanted.checked()?;
    let topic = placed::topic(&context, &name).await?;
    let mut offsets = wanted.offsets(&topic)?;
    let partitions = match wanted.partition {
        Some(index) => vec![Place::new(topic.clone(), index)?.index],
        None => topic.numbered().map(|(index, _)| index).collect(),
    };
    let fresh = ReadOptions { consistency: wanted.consistency, min_offset: wanted.min_offset };
    let isolation = wanted.isolation.unwrap_or_default();
    let reading = Reading { context: &context, topic: &topic, partitions, fresh, isolation, limit };
    if form == Form::Live {
        if let Some(id) = live::last_event_id(&asked.headers)? {
            offsets = Offsets::decode(id).ok_or_else(live::unknown_id)?;
        }
        return reading.follow(&asked, offsets).await;
    }
    let passing = if wait.is_zero() { Passing::On } else { Passing::OnWaiting };
    let mut headers = HeaderMap::new();
    if let [index] = reading.partitions[..] {
        let place = Place::new(topic.clone(), index)?;
        match reading::reader(&context, &place, &asked, fresh, passing).await? {
            Reader::Told(response) => return Ok(response),
            Reader::Here(here) => headers.extend(here.headers()),
        }
    }
    let records = reading.page_soon(&mut offsets, wait).await?;
    let position = offsets.encode();
    let mut response = if form == Form::Lines {
        lines(records.iter().map(|record| record.get()))
    } else {
        Json(RecordsPage { topic: name, records, position: position.clone() }).into_response()
    };
    response.headers_mut().extend(headers);
    response.headers_mut().extend(HeaderValue::from_str(&position).ok().map(|it| (POSITION, it)));
    Ok(response)
}

impl RecordsWanted {
    fn checked(&self) -> Result<(usize, Duration), Problem> {
        let limit_and_wait = limit_and_wait(self.limit, self.wait_ms)?;
        self.partition.map(|it| within("partition", it, 0..=i32::MAX)).transpose()?;
        self.offset.map(|it| within("offset", it, 0..=i64::MAX)).transpose()?;
        self.min_offset.map(|it| within("min_offset", it, 0..=i64::MAX)).transpose()?;
        Ok(limit_and_wait)
    }

    /// Where to begin.
    fn offsets(&self, topic: &Topic) -> Result<Offsets, Problem> {
        let invalid =
            |code, detail: &str| Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail));
        if self.partition.is_none() && (self.offset.is_some() || self.min_offset.is_some()) {
            return invalid(
                "partition_needed",
                "offset and min_offset are of a partition; name it",
            );
        }
        let Some(position) = &self.position else {
            let named = self.partition.into_iter().zip(self.offset);
            return Ok(Offsets(named.collect()));
        };
        if self.offset.is_some() {
            return invalid("ambiguous_position", "there is an offset and a position");
        }
        match Offsets::decode(position) {
            Some(offsets) if offsets.0.keys().all(|it| topic.partition(*it).is_some()) => {
                Ok(offsets)
            }
            _ => invalid("invalid_position", "the position is none that this topic gave"),
        }
    }
}

impl Reading<'_> {
    /// Reads records of all partitions, and moves the offsets on. Waits a while if there is none.
    async fn page_soon(
        &self,
        offsets: &mut Offsets,
        wait: Duration,
    ) -> Result<Vec<Box<RawValue>>, Problem> {
        let begun = Instant::now();
        let (until, patient) =
            (begun + wait.min(patience(self.context)), begun + patience(self.context));
        let place = if wait.is_zero() { None } else { Some(reading::waiting_place(self.context)?) };
        let mut stopping = self.context.readiness.stopping();
        loop {
            // Taken before looking, so that what changes in between is not missed.
            let here = self.partitions.iter().filter_map(|index| self.place(*index).ok());
            let here = here.filter_map(|place| self.context.partitions.get(place.group));
            let mut changes: Vec<Changes> = here.map(|here| here.changed()).collect();
            let before = offsets.clone();
            let records = self.page(offsets).await?;
            // What was passed over is not the end.
            let has_moved = *offsets != before;
            if records.is_empty() && has_moved && Instant::now() < patient {
                continue;
            }
            if !records.is_empty() || place.is_none() {
                return Ok(records);
            }
            let all_here = changes.len() == self.partitions.len();
            let changed = async {
                tokio::select! {
                    changed = live::any_change(&mut changes), if all_here => changed,
                    () = sleep(LOOK_AGAIN), if !all_here => true,
                    _ = stopping.wait_for(|stopping| *stopping) => false,
                }
            };
            if !timeout_at(until, changed).await.unwrap_or(false) {
                return Ok(records);
            }
        }
    }

    async fn page(&self, offsets: &mut Offsets) -> Result<Vec<Box<RawValue>>, Problem> {
        let count = self.partitions.len();
        // Each has its share, and another one is first every time.
        let share = self.limit.div_ceil(count);
        let read: i64 = offsets.0.values().fold(0, |sum, it| sum.wrapping_add(*it) & i64::MAX);
        let first = usize::try_from(read).unwrap_or(0) % count;
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut left = self.partitions.clone();
        left.rotate_left(first);
        // Those that have more than their share may fill what others left.
        while !left.is_empty() && records.len() < self.limit && bytes < BYTES_MAX {
            let mut more = Vec::new();
            for index in left {
                let limit = share.min(self.limit - records.len());
                if limit == 0 || bytes >= BYTES_MAX {
                    break;
                }
                let from = offsets.0.get(&index).copied();
                let (found, next) = self.part(index, from, limit).await?;
                bytes += found.iter().map(|record| record.get().len()).sum::<usize>();
                more.extend((found.len() == limit).then_some(index));
                records.extend(found);
                offsets.0.insert(index, next);
            }
            left = more;
        }
        Ok(records)
    }

    fn place(&self, index: i32) -> Result<Place, Problem> {
        Place::new(std::sync::Arc::clone(self.topic), index)
    }

    /// Reads records of one partition, wherever it is. Returns the offset to go on with as well.
    async fn part(
        &self,
        index: i32,
        from: Option<i64>,
        limit: usize,
    ) -> Result<(Vec<Box<RawValue>>, i64), Problem> {
        let place = self.place(index)?;
        let from_text = from.map_or_else(String::new, |from| format!("&offset={from}"));
        let consistency = match self.fresh.consistency.unwrap_or_default() {
            Consistency::Linearizable => "linearizable",
            Consistency::Committed => "committed",
        };
        // The default is not named, for a broker of an older release does not know it.
        let isolation = match self.isolation {
            Isolation::ReadCommitted => "",
            Isolation::ReadUncommitted => "&isolation=read_uncommitted",
        };
        let name = &self.topic.name;
        let path = format!(
            "/v1/topics/{name}/records?partition={index}&limit={limit}&consistency={consistency}{from_text}{isolation}"
        );
        let uri: Uri = path.parse().map_err(|_| place.no_leader())?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let asked = Asked { method: Method::GET, uri, headers, body: Bytes::new() };
        match reading::reader(self.context, &place, &asked, self.fresh, Passing::On).await? {
            Reader::Here(here) => here.records(self.isolation, from, limit).await,
            Reader::Told(response) => {
                let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await;
                let bytes = bytes.map_err(|_| place.no_leader())?;
                let page: Result<RecordsPage, _> = serde_json::from_slice(&bytes);
                let page = page.map_err(|_| place.no_leader())?;
                let next = Offsets::decode(&page.position);
                let next = next.and_then(|offsets| offsets.0.get(&index).copied());
                Ok((page.records, next.ok_or_else(|| place.no_leader())?))
            }
        }
    }

    /// Answers with records for as long as the client reads them.
    async fn follow(&self, asked: &Asked, offsets: Offsets) -> Result<Response, Problem> {
        let mut replicas = Vec::new();
        for index in &self.partitions {
            let place = self.place(*index)?;
            match place.replica(self.context)? {
                Replica::There(_) => return self.elsewhere(asked),
                Replica::Here(_) => {
                    let passing = Passing::Redirect;
                    let reader =
                        reading::reader(self.context, &place, asked, self.fresh, passing).await?;
                    match reader {
                        Reader::Told(response) => return Ok(response),
                        Reader::Here(here) => replicas.push(here),
                    }
                }
            }
        }
        let headers = (replicas.len() == 1).then(|| replicas[0].headers());
        let headers = headers.unwrap_or_default();
        let isolation = self.isolation;
        live::answer(self.context, headers, Followed { replicas, isolation, offsets })
    }

    /// Sends the client to a broker that has all the partitions.
    fn elsewhere(&self, asked: &Asked) -> Result<Response, Problem> {
        let infos = || self.partitions.iter().filter_map(|index| self.topic.partition(*index));
        let mut candidates = infos().next().map(|it| it.replicas.clone()).unwrap_or_default();
        candidates.retain(|broker| {
            *broker != self.context.node.id()
                && self.context.node.alive(*broker)
                && infos().all(|info| info.replicas.contains(broker))
        });
        match candidates.first() {
            Some(broker) if !asked.is_forwarded() => {
                reading::redirect(self.context, *broker, asked)
            }
            _ => Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "several_brokers",
                "no broker that is alive has replicas of all these partitions",
            )
            .hint("follow one partition at a time, with partition=")),
        }
    }
}

/// Partitions that are followed.
struct Followed {
    replicas: Vec<Here>,
    isolation: Isolation,
    offsets: Offsets,
}

impl Source for Followed {
    fn changes(&self) -> Vec<Changes> {
        live::changes_of(self.replicas.iter())
    }

    async fn more(&mut self) -> Option<Vec<Bytes>> {
        let (begun, from) = (Instant::now(), self.offsets.clone());
        loop {
            let before = self.offsets.clone();
            let sent = self.round().await?;
            if !sent.is_empty() {
                return Some(sent);
            }
            // What was passed over is not the end.
            if self.offsets != before && begun.elapsed() < PASSING_TOLD {
                continue;
            }
            // Whoever has to connect again goes on here, and not where all of it has to be passed over anew.
            let has_moved = self.offsets != from;
            return Some(
                has_moved.then(|| live::passed(&self.offsets.encode())).into_iter().collect(),
            );
        }
    }
}

impl Followed {
    async fn round(&mut self) -> Option<Vec<Bytes>> {
        let (mut sent, mut bytes, mut looked_at) = (Vec::new(), 0, 0);
        for here in &self.replicas {
            if bytes >= BYTES_MAX {
                break;
            }
            looked_at += 1;
            let index = here.place.index;
            let from = self.offsets.0.get(&index).copied();
            let (records, next) = here.records(self.isolation, from, LIMIT).await.ok()?;
            // Where records lie is in them, so each has the position behind it.
            for record in records {
                let offset = offset_of(&record)?;
                self.offsets.0.insert(index, offset + 1);
                let event = live::event(None, &self.offsets.encode(), record.get());
                bytes += event.len();
                sent.push(event);
            }
            self.offsets.0.insert(index, next);
        }
        // Those that were left out are first in the next round.
        self.replicas.rotate_left(looked_at);
        Some(sent)
    }
}

fn offset_of(record: &RawValue) -> Option<i64> {
    #[derive(Deserialize)]
    struct At {
        offset: i64,
    }
    serde_json::from_str::<At>(record.get()).ok().map(|at| at.offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_was_written_and_nothing_else_is() {
        let offsets = Offsets(BTreeMap::from([(0, 5), (12, i64::MAX)]));
        assert_eq!(Offsets::decode(&offsets.encode()), Some(offsets));
        assert_eq!(Offsets::decode(""), Some(Offsets::default()));
        for wrong in ["0", "0:-1", "-1:0", "0:x", "a"] {
            assert_eq!(Offsets::decode(&encoded_url_safe(wrong.as_bytes())), None, "{wrong}");
        }
        assert_eq!(Offsets::decode("?"), None);
    }
}
