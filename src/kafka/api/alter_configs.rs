//! AlterConfigs (key 33), versions 0–2: says what all configs of a topic, of brokers or of a group shall be, those left out
//! their defaults (KIP-133, KIP-226). And what IncrementalAlterConfigs has in common with it.
//!
//! Each resource is changed whole or not at all, and has a row in the answer.
//!
//! | since version | what is new |
//! |---|---|
//! | 2 | flexible (KIP-482) |

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures::future::{join, join_all};
use kafka_wire::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_wire::alter_configs_response::AlterConfigsResourceResponse;
use kafka_wire::{AlterConfigsRequest, AlterConfigsResponse};
use kafka_wire_core::StrBytes;

use super::{CHANGE_WAIT, repeated};
use crate::kafka::call::Call;
use crate::kafka::config_resource::{Refusal, Resource};
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;
use crate::metadata::{AlteredConfigs, quote};

/// What a resource takes while an answer is made: its change, its row and why it is refused, in both forms.
pub(super) const RESOURCE_BYTES: usize = 1024;

/// Kind and name of a resource.
pub(super) type Named = (i8, StrBytes);

/// What a change sets, and what it returns to its default.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) set: BTreeMap<String, String>,
    pub(super) remove: Vec<String>,
}

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let edit = |it: AlterConfigsResource| {
        let named = (it.resource_type, it.resource_name);
        let edit = resource(&named).and_then(|of| whole(&of, &it.configs));
        (named, edit)
    };
    let edits = request.resources.into_iter().map(edit).collect();
    let mut answer = AlterConfigsResponse::default();
    for ((kind, name), refused) in alter(&server, edits, request.validate_only).await {
        let mut row = AlterConfigsResourceResponse::default();
        (row.resource_type, row.resource_name) = (kind, name);
        // The codec's default is an empty message; success has none.
        row.error_message = None;
        if let Some((code, why)) = refused {
            (row.error_code, row.error_message) = (code.count(&call), Some(why.into()));
        }
        answer.responses.push(row);
    }
    answer
}

/// Returns about how many bytes the answer takes while it is made.
pub(in crate::kafka) fn weigh(_: &KafkaServer, _: i16, request: &AlterConfigsRequest) -> usize {
    request.resources.len().saturating_mul(RESOURCE_BYTES)
}

/// Everything that is not named returns to its default.
fn whole(of: &Resource, configs: &[AlterableConfig]) -> Result<Edit, Refusal> {
    once(configs.iter().map(|it| &it.name))?;
    let mut set = BTreeMap::new();
    for config in configs {
        set.insert(config.name.to_string(), given(&config.name, config.value.as_ref())?);
    }
    let others = of.names().into_iter().map(str::to_owned);
    let remove = others.filter(|name| !set.contains_key(name)).collect();
    Ok(Edit { set, remove })
}

/// Refuses a config that is named twice: the two may not say the same.
pub(super) fn once<'a>(mut names: impl Iterator<Item = &'a StrBytes>) -> Result<(), Refusal> {
    let mut seen = HashSet::new();
    match names.find(|name| !seen.insert(name.as_str())) {
        None => Ok(()),
        Some(twice) => {
            let why = format!("config {} is named twice", quote(twice.as_str()));
            Err((ErrorCode::InvalidRequest, why))
        }
    }
}

/// Returns the value to set.
pub(super) fn given(name: &StrBytes, value: Option<&StrBytes>) -> Result<String, Refusal> {
    value.map(ToString::to_string).ok_or_else(|| {
        let why = format!("config {} is set to null, which is no value", quote(name.as_str()));
        (ErrorCode::InvalidRequest, why)
    })
}

/// Carries out what is asked of each resource; returns why it was refused, if it was.
pub(super) async fn alter(
    server: &KafkaServer,
    edits: Vec<(Named, Result<Edit, Refusal>)>,
    validate_only: bool,
) -> Vec<(Named, Option<Refusal>)> {
    let repeated = repeated(edits.iter().map(|(named, _)| named.clone()));
    let (mut topics, mut others) = (Vec::new(), Vec::new());
    let mut rows = Vec::with_capacity(edits.len());
    for (named, edit) in edits {
        let twice = repeated.contains(&named);
        let why = || (ErrorCode::InvalidRequest, "the resource is named twice".to_owned());
        let wanted = if twice { Err(why()) } else { resource(&named) };
        let refused = match wanted.and_then(|of| Ok((of, edit?))) {
            Ok((Resource::Topic(topic), Edit { set, remove })) => {
                topics.push((rows.len(), AlteredConfigs { topic, set, remove }));
                None
            }
            Ok((Resource::Dynamic(of), edit)) => {
                others.push((rows.len(), of, edit));
                None
            }
            Err(refusal) => Some(refusal),
        };
        rows.push((named, refused));
    }
    let controller = &server.context.controller;
    let (at, wanted): (Vec<_>, Vec<_>) = topics.into_iter().unzip();
    let topics = controller.alter_configs(wanted, validate_only, CHANGE_WAIT, |_| ());
    let others = others.into_iter().map(|(at, of, Edit { set, remove })| async move {
        let wait = CHANGE_WAIT;
        (at, controller.alter_resource_configs(of, set, remove, validate_only, wait).await)
    });
    let (topics, others) = join(topics, join_all(others)).await;
    for (at, done) in at.into_iter().zip(topics).chain(others) {
        rows[at].1 = done.err().map(|error| (ErrorCode::from(&error), error.to_string()));
    }
    rows
}

/// The thing that a request names.
pub(super) fn resource((kind, name): &Named) -> Result<Resource, Refusal> {
    Resource::of(*kind, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &'static str, value: Option<&'static str>) -> AlterableConfig {
        let mut config = AlterableConfig::default();
        (config.name, config.value) =
            (name.to_owned().into(), value.map(|it| it.to_owned().into()));
        config
    }

    fn topic() -> Resource {
        Resource::Topic("t".to_owned())
    }

    #[test]
    fn what_is_left_out_returns_to_its_default() {
        let edit = whole(&topic(), &[config("retention.ms", Some("1"))]).unwrap();
        assert_eq!(edit.set, BTreeMap::from([("retention.ms".to_owned(), "1".to_owned())]));
        assert_eq!(edit.remove.len(), topic().names().len() - 1);
        assert!(!edit.remove.contains(&"retention.ms".to_owned()));
        let code = |configs: &[AlterableConfig]| whole(&topic(), configs).unwrap_err().0;
        assert_eq!(
            code(&[config("a", Some("1")), config("a", Some("1"))]),
            ErrorCode::InvalidRequest
        );
        assert_eq!(code(&[config("retention.ms", None)]), ErrorCode::InvalidRequest);
    }
}
