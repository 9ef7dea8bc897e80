//! What has configs, as the protocol names it.

use crate::kafka::error::ErrorCode;
use crate::metadata::{
    ConfigEntry, ConfigKind, ConfigResource, TOPIC_CONFIGS, dynamic_entries, quote,
};

/// Kinds of resources, as the protocol numbers them (KIP-133, KIP-412, KIP-714, KIP-848).
pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;
pub(super) const BROKER_LOGGER: i8 = 8;
pub(super) const CLIENT_METRICS: i8 = 16;
pub(super) const GROUP: i8 = 32;

/// Why nothing is done with a resource.
pub(super) type Refusal = (ErrorCode, String);

/// A thing that has configs here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resource {
    Topic(String),
    /// Brokers or a group.
    Dynamic(ConfigResource),
}

impl Resource {
    /// Returns what a request names.
    pub(super) fn of(kind: i8, name: &str) -> Result<Resource, Refusal> {
        let why = match kind {
            TOPIC => return Ok(Resource::Topic(name.to_owned())),
            GROUP => return Ok(Resource::Dynamic(ConfigResource::Group(name.to_owned()))),
            BROKER if name.is_empty() => return Ok(Resource::Dynamic(ConfigResource::Brokers)),
            BROKER => match name.parse() {
                Ok(broker) => return Ok(Resource::Dynamic(ConfigResource::Broker(broker))),
                Err(_) => format!("{:?} is no broker's id", quote(name)),
            },
            BROKER_LOGGER => {
                "levels of logging are set over HTTP, see PUT /v1/log/level".to_owned()
            }
            CLIENT_METRICS => "nobody subscribes to clients' metrics here".to_owned(),
            other => format!("resources of type {other} have no configs here"),
        };
        Err((ErrorCode::InvalidRequest, why))
    }

    /// Returns the names of the configs that it may have.
    pub(super) fn names(&self) -> Vec<&'static str> {
        match self {
            Resource::Topic(_) => TOPIC_CONFIGS.iter().map(|entry| entry.name).collect(),
            Resource::Dynamic(it) => dynamic_entries(it).iter().map(|entry| entry.name).collect(),
        }
    }

    /// Returns the one item that a list of that name has; `None` for what is no list.
    pub(super) fn only_item(&self, name: &str) -> Option<&'static str> {
        let named = |it: &&ConfigEntry| match self {
            Resource::Topic(_) => it.name == name,
            Resource::Dynamic(_) => it.broker == name,
        };
        let entry = TOPIC_CONFIGS.iter().find(named)?;
        (entry.kind == ConfigKind::List).then_some(entry.default)
    }
}
