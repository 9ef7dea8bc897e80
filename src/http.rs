//! The HTTP interface: records and streams, administration, health, metrics, and the description of all that.
//!
//! Any broker answers any request: what concerns the whole cluster is in its image or forwarded by the controller,
//! and what only another broker knows (the state of its Raft groups) is asked of that broker over this same API.
//! Errors are problem documents (RFC 9457) with a stable `code`. The specification at `/openapi.json` is made from
//! the handlers; a route cannot be mounted without being described.

mod appending;
mod cluster;
mod compaction;
mod compaction_metrics;
mod configs;
mod coordinator_list;
mod description;
mod drain;
mod ends;
mod events;
mod extract;
mod features;
mod forward;
mod group_changes;
mod groups;
mod health;
mod isolation;
mod lag;
mod leaders;
mod live;
mod log;
mod partition_transactions;
mod partitions;
mod placed;
mod preconditions;
mod problem;
mod raft;
mod reading;
mod record_reads;
mod records;
mod relay;
mod reset;
mod resource_configs;
mod scrape;
mod server;
mod stream_progress;
mod stream_reads;
mod streams;
mod topics;
mod transaction_metrics;
mod transactions;
mod whole;

use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use forward::ASKED_AT_A_TIME;
pub(crate) use server::HEALTH_PLACES;
pub use server::{Routers, serve};

use crate::context::Context;
use crate::telemetry::{HttpRequest, HttpRoute, metrics};
use problem::Problem;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Quorate",
        description = "Records and administration of a Quorate cluster. Any broker answers; errors are RFC 9457 problem documents."
    ),
    tags(
        (name = "health", description = "Whether this broker lives, serves, and how it fares"),
        (name = "cluster", description = "Brokers, and the cluster as a whole"),
        (name = "groups", description = "Consumer groups, their members and offsets"),
        (name = "configs", description = "What is changed while brokers run, of all, of one and of groups"),
        (name = "topics", description = "Topics, their partitions, replicas and leaders"),
        (name = "streams", description = "Records, and streams of events by key"),
        (name = "transactions", description = "Transactions, of all the cluster and of one partition"),
        (name = "raft", description = "The Raft groups beneath"),
        (name = "log", description = "What a broker logs")
    )
)]
struct Description;

/// What is answered even when all places for connections are taken.
const HEALTH_PATHS: [&str; 2] = ["/livez", "/readyz"];

/// Returns the router of all routes and their description.
fn routes() -> (Router<Context>, utoipa::openapi::OpenApi) {
    let (router, described) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(scrape::metrics_text))
        .routes(routes!(cluster::cluster))
        .routes(routes!(features::features, features::finalize))
        .routes(routes!(cluster::brokers))
        .routes(routes!(cluster::remove_broker))
        .routes(routes!(cluster::confirm_clock))
        .routes(routes!(topics::list, topics::create))
        .routes(routes!(topics::describe, topics::delete))
        .routes(routes!(configs::list, configs::change))
        .routes(routes!(compaction::describe_topic, compaction::compact_topic))
        .routes(routes!(resource_configs::of_cluster, resource_configs::change_cluster))
        .routes(routes!(resource_configs::of_broker, resource_configs::change_broker))
        .routes(routes!(resource_configs::of_group, resource_configs::change_group))
        .routes(routes!(groups::list))
        .routes(routes!(groups::describe, group_changes::delete))
        .routes(routes!(group_changes::reset, group_changes::delete_offsets))
        .routes(routes!(transactions::list))
        .routes(routes!(transactions::describe))
        .routes(routes!(transactions::abort))
        .routes(routes!(partition_transactions::list))
        .routes(routes!(partition_transactions::abort))
        .routes(routes!(partitions::describe))
        .routes(routes!(compaction::compact_partition))
        .routes(routes!(ends::ends))
        .routes(routes!(partitions::set_replicas, partitions::cancel_replicas))
        .routes(routes!(partitions::set_leader))
        .routes(routes!(stream_progress::progress))
        .routes(routes!(streams::append, streams::delete, streams::head, stream_reads::read))
        .routes(routes!(records::append, record_reads::read))
        .routes(routes!(raft::groups))
        .routes(routes!(raft::group))
        .routes(routes!(raft::summary))
        .routes(routes!(log::get_level, log::put_level))
        .routes(routes!(openapi))
        .split_for_parts();
    (router, description::complete(described))
}

/// Returns the whole HTTP interface of a broker.
pub fn routers(context: Context) -> Routers {
    let finish = |router: Router<Context>| {
        router
            .method_not_allowed_fallback(no_such_method)
            .layer(DefaultBodyLimit::max(context.config.http.body_bytes_max))
            .layer(middleware::from_fn_with_state(context.clone(), answer_in_time))
            .with_state(context.clone())
    };
    let health =
        OpenApiRouter::new().routes(routes!(health::livez)).routes(routes!(health::readyz));
    Routers {
        all: finish(routes().0.fallback(no_such_route)),
        health: finish(Router::from(health).fallback(no_place)),
    }
}

/// Returns the OpenAPI description of every route.
pub fn describe() -> utoipa::openapi::OpenApi {
    routes().1
}

/// This description, in OpenAPI 3.1.
#[utoipa::path(
    get, path = "/openapi.json", tag = "health",
    responses((status = 200, description = "The description", body = serde_json::Value))
)]
async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(describe())
}

async fn no_such_route(request: Request) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no_such_route",
        format!("there is no {}", request.uri().path()),
    )
    .hint("GET /openapi.json lists what there is")
}

/// The answer where only health has places left.
async fn no_place(State(context): State<Context>) -> Problem {
    let detail = format!(
        "all {} connections are taken; only /livez and /readyz are answered on further ones",
        context.config.http.connections_max
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", detail)
        .hint("ask another broker, close connections that are idle, or raise http.connections_max")
}

async fn no_such_method(request: Request) -> Problem {
    let detail = format!("{} does not take {}", request.uri().path(), request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", detail)
}

/// Ends every request after the configured time, and counts it by the pattern of its route.
async fn answer_in_time(State(context): State<Context>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = method_label(request.method());
    let route =
        request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let limit = Duration::from_millis(context.config.http.request_timeout_ms);
    let response = match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout_unknown_outcome",
            format!(
                "no outcome within {} ms; a change may have been made or may yet be",
                limit.as_millis()
            ),
        )
        .into_response(),
    };
    let status = response.status().as_u16();
    let labels = HttpRequest { method, route: route.clone(), status };
    metrics().http_requests.get_or_create(&labels).inc();
    metrics()
        .http_request_seconds
        .get_or_create(&HttpRoute { route })
        .observe(started.elapsed().as_secs_f64());
    response
}

/// A method as metrics name it: any word may be one, and every label lives as long as the broker.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

#[cfg(test)]
mod tests;
