//! Configs of brokers and consumer groups that are changed while brokers run.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::configs::{ConfigChanges, current, source_name};
use super::extract::{Body, Nothing, Options, Parameters, patience};
use super::forward;
use super::problem::Problem;
use crate::config::{ConfigRow, broker_configs, cluster_configs, group_configs};
use crate::context::Context;
use crate::metadata::{AdminError, ConfigResource, dynamic_entries, quote};

/// Configs of all brokers, of one, or of a group.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ResourceConfigs {
    /// cluster, broker or group.
    #[schema(example = "broker")]
    kind: String,
    /// The broker's id or the group's name; none for the cluster.
    name: Option<String>,
    configs: Vec<ResourceConfig>,
}

/// A config, and where its value comes from.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ResourceConfig {
    #[schema(example = "log.retention.ms")]
    name: String,
    /// The value in force; none where nothing was set for all brokers, and each has what its file says.
    value: Option<String>,
    /// group, broker, cluster (set while brokers ran), file (or the environment, or the command line), or default.
    source: Option<String>,
    /// What it means.
    doc: String,
}

/// Returns the configs that all brokers can have, and those that were set.
#[utoipa::path(
    get, path = "/v1/cluster/configs", tag = "configs",
    responses(
        (status = 200, body = ResourceConfigs),
        (status = 503, description = "The broker has not caught up since its start", body = Problem)
    )
)]
pub(super) async fn of_cluster(
    State(context): State<Context>,
) -> Result<Json<ResourceConfigs>, Problem> {
    current(&context).await?;
    Ok(Json(shown(&context, &ConfigResource::Brokers)))
}

/// Changes configs of all brokers, all that are named or none. A topic that has no value of its own follows.
#[utoipa::path(
    patch, path = "/v1/cluster/configs", tag = "configs", request_body = ConfigChanges,
    responses(
        (status = 200, description = "What is in force now", body = ResourceConfigs),
        (status = 422, description = "A value is not usable", body = Problem),
        (status = 503, description = "Nothing was changed", body = Problem),
        (status = 504, description = "It may have been changed", body = Problem)
    )
)]
pub(super) async fn change_cluster(
    State(context): State<Context>,
    Options(Nothing {}): Options<Nothing>,
    Body(wanted): Body<ConfigChanges>,
) -> Result<Json<ResourceConfigs>, Problem> {
    change(&context, ConfigResource::Brokers, wanted).await
}

/// Returns the configs of a broker that can be changed while it runs, for it or for all.
#[utoipa::path(
    get, path = "/v1/brokers/{broker}/configs", tag = "configs",
    params(("broker" = u64, Path, description = "Its id", example = 1, maximum = 2_147_483_647)),
    responses(
        (status = 200, body = ResourceConfigs),
        (status = 404, description = "There is no such broker", body = Problem),
        (status = 503, description = "That broker does not answer, or this one has not caught up", body = Problem)
    )
)]
pub(super) async fn of_broker(
    State(context): State<Context>,
    headers: HeaderMap,
    uri: Uri,
    Parameters(broker): Parameters<u64>,
) -> Result<Json<ResourceConfigs>, Problem> {
    if !current(&context).await?.brokers.contains_key(&broker) {
        return Err(AdminError::UnknownBroker(broker).into());
    }
    if broker == context.node.id() {
        return Ok(Json(shown(&context, &ConfigResource::Broker(broker))));
    }
    // What its file says, only the broker itself knows.
    let told = if forward::is_forwarded(&headers) {
        None
    } else {
        forward::ask(&context, broker, uri.path().to_owned()).await
    };
    told.map(Json).ok_or_else(|| {
        let detail = format!("broker {broker} does not answer");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "broker_unavailable", detail)
    })
}

/// Changes configs of one broker, all that are named or none.
#[utoipa::path(
    patch, path = "/v1/brokers/{broker}/configs", tag = "configs", request_body = ConfigChanges,
    params(("broker" = u64, Path, description = "Its id", example = 1, maximum = 2_147_483_647)),
    responses(
        (status = 200, description = "What was set of it now", body = ResourceConfigs),
        (status = 404, description = "There is no such broker", body = Problem),
        (status = 422, description = "A value is not usable", body = Problem),
        (status = 503, description = "Nothing was changed", body = Problem),
        (status = 504, description = "It may have been changed", body = Problem)
    )
)]
pub(super) async fn change_broker(
    State(context): State<Context>,
    Options(Nothing {}): Options<Nothing>,
    Parameters(broker): Parameters<u64>,
    Body(wanted): Body<ConfigChanges>,
) -> Result<Json<ResourceConfigs>, Problem> {
    change(&context, ConfigResource::Broker(broker), wanted).await
}

/// Returns the configs of a consumer group; it need not have members, nor ever have had any.
#[utoipa::path(
    get, path = "/v1/groups/{group}/configs", tag = "configs",
    params(("group" = String, Path, description = "Its name", example = "billing")),
    responses(
        (status = 200, body = ResourceConfigs),
        (status = 503, description = "The broker has not caught up since its start", body = Problem)
    )
)]
pub(super) async fn of_group(
    State(context): State<Context>,
    Parameters(group): Parameters<String>,
) -> Result<Json<ResourceConfigs>, Problem> {
    current(&context).await?;
    Ok(Json(shown(&context, &ConfigResource::Group(group))))
}

/// Changes configs of a consumer group, all that are named or none; its members follow with their next heartbeat.
#[utoipa::path(
    patch, path = "/v1/groups/{group}/configs", tag = "configs", request_body = ConfigChanges,
    params(("group" = String, Path, description = "Its name", example = "billing")),
    responses(
        (status = 200, description = "What is in force now", body = ResourceConfigs),
        (status = 400, description = "No group can be called so", body = Problem),
        (status = 422, description = "A value is not usable", body = Problem),
        (status = 503, description = "Nothing was changed", body = Problem),
        (status = 504, description = "It may have been changed", body = Problem)
    )
)]
pub(super) async fn change_group(
    State(context): State<Context>,
    Options(Nothing {}): Options<Nothing>,
    Parameters(group): Parameters<String>,
    Body(wanted): Body<ConfigChanges>,
) -> Result<Json<ResourceConfigs>, Problem> {
    change(&context, ConfigResource::Group(group), wanted).await
}

async fn change(
    context: &Context,
    resource: ConfigResource,
    wanted: ConfigChanges,
) -> Result<Json<ResourceConfigs>, Problem> {
    let (mut set, mut remove) = (BTreeMap::new(), Vec::new());
    let known = dynamic_entries(&resource);
    for (name, value) in wanted.configs.0 {
        match value {
            Some(value) => drop(set.insert(name, value)),
            // Where it is set it is refused below.
            None if !known.iter().any(|entry| entry.name == name) => {
                let reason = "there is no such config, so it has no default".to_owned();
                return Err(AdminError::InvalidConfig { name: quote(&name), reason }.into());
            }
            None => remove.push(name),
        }
    }
    let (controller, wait) = (&context.controller, patience(context));
    let of = resource.clone();
    controller.alter_resource_configs(of, set, remove, wanted.dry_run, wait).await?;
    Ok(Json(shown(context, &resource)))
}

fn shown(context: &Context, resource: &ConfigResource) -> ResourceConfigs {
    let image = context.metadata.image();
    let (config, configs) = (&context.config, &image.configs);
    let (kind, name, rows) = match resource {
        ConfigResource::Brokers => ("cluster", None, cluster_configs(configs)),
        ConfigResource::Broker(broker) if *broker == context.node.id() => {
            let mut rows = broker_configs(config, configs, *broker);
            rows.retain(|row| !row.read_only);
            ("broker", Some(broker.to_string()), rows)
        }
        ConfigResource::Broker(broker) => ("broker", Some(broker.to_string()), Vec::new()),
        ConfigResource::Group(group) => {
            ("group", Some(group.clone()), group_configs(config, configs, group))
        }
    };
    let mut all: Vec<_> = rows.iter().map(in_force).collect();
    if *resource == ConfigResource::Brokers {
        let unset = dynamic_entries(resource).into_iter();
        all.extend(unset.filter(|entry| !configs.cluster().contains_key(entry.name)).map(|it| {
            let (name, doc) = (it.name.to_owned(), it.doc.to_owned());
            ResourceConfig { name, value: None, source: None, doc }
        }));
        all.sort_by(|one, other| one.name.cmp(&other.name));
    }
    ResourceConfigs { kind: kind.to_owned(), name, configs: all }
}

fn in_force(row: &ConfigRow) -> ResourceConfig {
    ResourceConfig {
        name: row.name.to_owned(),
        value: Some(row.value().to_owned()),
        source: Some(source_name(row.source()).to_owned()),
        doc: row.doc.to_owned(),
    }
}
