//! Errors as a client sees them: RFC 9457 problem documents with a stable code.
//!
//! This is the only map from our errors to HTTP. The `code` is what programs may compare; the texts may change.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::metadata::AdminError;

/// Why a request failed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Always `about:blank`: the code says all there is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The meaning of the status.
    title: &'static str,
    status: u16,
    /// What programs compare; it does not change between releases.
    #[schema(example = "unknown_topic")]
    code: &'static str,
    /// What happened, for people.
    detail: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
    /// Whether the same request may succeed later.
    retriable: bool,
    /// What is there instead of what was expected.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    conflict: Option<Box<Conflict>>,
}

/// What is there instead of what a request expected. What does not apply is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Conflict {
    /// The key whose version it is, if the request was about several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expected_version: Option<i64>,
    /// How many records the key has had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) current_version: Option<i64>,
    /// The tag that a later record has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tag: Option<String>,
    /// The end of the partition, the offset of the newest record with the tag, or where the log starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) current_offset: Option<i64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: detail.into(),
            hint: None,
            retriable: status == StatusCode::SERVICE_UNAVAILABLE
                || status == StatusCode::GATEWAY_TIMEOUT,
            conflict: None,
        }
    }

    pub(super) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// Says what is there instead; a version goes into the `ETag` as well.
    pub(super) fn conflict(mut self, conflict: Conflict) -> Self {
        self.conflict = Some(Box::new(conflict));
        self
    }

    /// Returns the version there is instead, of a problem that is only about that.
    pub(super) fn version_conflict(&self) -> Option<i64> {
        let conflict = self.conflict.as_ref().filter(|_| self.code == "version_conflict")?;
        conflict.current_version
    }

    pub(super) fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND.as_u16()
    }

    #[cfg(test)]
    pub(super) fn code(&self) -> &'static str {
        self.code
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let version = self.conflict.as_ref().and_then(|it| it.current_version);
        let mut response = (status, Json(self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        let tag = version.and_then(|it| HeaderValue::from_str(&format!("\"{it}\"")).ok());
        response.headers_mut().extend(tag.map(|tag| (header::ETAG, tag)));
        response
    }
}

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        use StatusCode as S;
        let detail = error.to_string();
        let of = |status, code| Self::new(status, code, detail);
        match error {
            AdminError::TopicExists(_) => of(S::CONFLICT, "topic_exists"),
            AdminError::UnknownTopic(_) | AdminError::UnknownTopicId(_) => {
                of(S::NOT_FOUND, "unknown_topic").hint("GET /v1/topics lists the topics")
            }
            AdminError::UnknownPartition { .. } => of(S::NOT_FOUND, "unknown_partition"),
            AdminError::InvalidName(_) => of(S::UNPROCESSABLE_ENTITY, "invalid_name"),
            AdminError::InvalidReplicationFactor(_) => of(S::UNPROCESSABLE_ENTITY, "invalid_replication_factor"),
            AdminError::InvalidPartitions(_) => of(S::UNPROCESSABLE_ENTITY, "invalid_partitions"),
            AdminError::InvalidAssignment(_) => of(S::UNPROCESSABLE_ENTITY, "invalid_replicas"),
            AdminError::InvalidConfig { .. } => of(S::UNPROCESSABLE_ENTITY, "invalid_config"),
            AdminError::NotEnoughBrokers { .. } => of(S::UNPROCESSABLE_ENTITY, "not_enough_brokers")
                .hint("GET /v1/brokers lists the brokers; start the missing ones or ask for fewer replicas"),
            AdminError::UnknownBroker(_) => {
                of(S::NOT_FOUND, "unknown_broker").hint("GET /v1/brokers lists the brokers")
            }
            AdminError::BrokerRemoved(_) => of(S::NOT_FOUND, "broker_removed"),
            AdminError::BrokerAlive(_) => of(S::CONFLICT, "broker_alive")
                .hint("GET /v1/brokers shows which are fenced; raft.fence_after_ms is how long that takes"),
            AdminError::BrokerHasReplicas { .. } => of(S::CONFLICT, "broker_has_replicas").hint(
                "PUT /v1/topics/{topic}/partitions/{partition}/replicas moves a partition; \
                 GET it until its target is gone",
            ),
            AdminError::InternalGroupsNeed { .. } => of(S::CONFLICT, "internal_groups_need_broker")
                .hint("GET /v1/raft/groups/{group} shows who votes in a group, and who of them is alive"),
            AdminError::LastBroker(_) => of(S::CONFLICT, "last_broker"),
            AdminError::BrokerIdTaken { .. } => of(S::CONFLICT, "broker_id_taken"),
            AdminError::WrongCluster { .. } => of(S::CONFLICT, "wrong_cluster"),
            AdminError::NoChangeUnderWay => of(S::CONFLICT, "no_change_under_way"),
            AdminError::ChangeSuperseded => of(S::CONFLICT, "change_superseded"),
            AdminError::NoLeader | AdminError::EmptinessUnknown { .. } => of(S::SERVICE_UNAVAILABLE, "no_leader"),
            AdminError::TransferFailed { .. } => of(S::SERVICE_UNAVAILABLE, "transfer_failed"),
            AdminError::InvalidRequest(_) => of(S::UNPROCESSABLE_ENTITY, "invalid_request"),
            AdminError::NoController => of(S::SERVICE_UNAVAILABLE, "no_controller")
                .hint("a majority of the brokers must be running; GET /v1/brokers shows which are"),
            AdminError::Timeout => of(S::GATEWAY_TIMEOUT, "timeout_unknown_outcome")
                .hint("look whether the change was made before asking again"),
            AdminError::ShuttingDown => of(S::SERVICE_UNAVAILABLE, "shutting_down").hint("ask another broker"),
            AdminError::LevelNotLowered { .. } => of(S::CONFLICT, "level_not_lowered"),
            AdminError::LevelNotSupported { .. } => of(S::CONFLICT, "level_not_supported")
                .hint("GET /v1/cluster/features shows which levels each broker supports"),
            AdminError::ReleaseUnfit { .. } => of(S::CONFLICT, "release_unfit"),
            AdminError::ProducerIdsExhausted => of(S::INTERNAL_SERVER_ERROR, "producer_ids_exhausted"),
        }
    }
}
