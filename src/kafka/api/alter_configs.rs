//! AlterConfigs (key 33), versions 0–2: says what all configs of a topic shall be, those left out their defaults (KIP-133).
//! And what IncrementalAlterConfigs has in common with it.
//!
//! Each resource is changed whole or not at all, and has a row in the answer. A broker's settings come from its file and
//! command line and are not changed while it runs.
//!
//! | since version | what is new |
//! |---|---|
//! | 2 | flexible (KIP-482) |

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use kafka_wire::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_wire::alter_configs_response::AlterConfigsResourceResponse;
use kafka_wire::{AlterConfigsRequest, AlterConfigsResponse};
use kafka_wire_core::StrBytes;

use super::{CHANGE_WAIT, repeated};
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;
use crate::metadata::{AdminError, AlteredConfigs, TOPIC_CONFIGS, quote};

/// Kinds of resources, as the protocol numbers them (KIP-133).
pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;

/// What a resource takes while an answer is made: its change, its row and why it is refused, in both forms.
pub(super) const RESOURCE_BYTES: usize = 1024;

/// Why a resource is not changed.
pub(super) type Refusal = (ErrorCode, String);
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
    let edit =
        |it: AlterConfigsResource| ((it.resource_type, it.resource_name), whole(&it.configs));
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
fn whole(configs: &[AlterableConfig]) -> Result<Edit, Refusal> {
    once(configs.iter().map(|it| &it.name))?;
    let mut set = BTreeMap::new();
    for config in configs {
        set.insert(config.name.to_string(), given(&config.name, config.value.as_ref())?);
    }
    let others = TOPIC_CONFIGS.iter().map(|entry| entry.name.to_owned());
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
    let mut wanted = Vec::new();
    let mut rows = Vec::with_capacity(edits.len());
    for (named, edit) in edits {
        let refused = match allowed(server, &named, repeated.contains(&named)).and(edit) {
            Ok(Edit { set, remove }) => {
                wanted.push(AlteredConfigs { topic: named.1.to_string(), set, remove });
                None
            }
            Err(refusal) => Some(refusal),
        };
        rows.push((named, refused));
    }
    let controller = &server.context.controller;
    let altered = controller.alter_configs(wanted, validate_only, CHANGE_WAIT, |_| ()).await;
    let mut altered = altered.into_iter();
    for (_, refused) in rows.iter_mut().filter(|(_, refused)| refused.is_none()) {
        let error = altered.next().unwrap_or(Err(AdminError::Timeout)).err();
        *refused = error.map(|error| (ErrorCode::from(&error), error.to_string()));
    }
    rows
}

/// Says why the configs of such a resource are not changed by anybody.
fn allowed(server: &KafkaServer, (kind, name): &Named, repeated: bool) -> Result<(), Refusal> {
    let why = match *kind {
        _ if repeated => "the resource is named twice".to_owned(),
        TOPIC => return Ok(()),
        BROKER if name.is_empty() => {
            "there are no settings of all brokers; each has those of its configuration file"
                .to_owned()
        }
        BROKER => format!(
            "the settings of broker {} come from its configuration file and command line; \
             change them there and start it again",
            if *name.as_str() == *server.node_id().to_string() {
                name.to_string()
            } else {
                quote(name.as_str())
            }
        ),
        other => format!("resources of type {other} have no configs here"),
    };
    Err((ErrorCode::InvalidRequest, why))
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

    #[test]
    fn what_is_left_out_returns_to_its_default() {
        let edit = whole(&[config("retention.ms", Some("1"))]).unwrap();
        assert_eq!(edit.set, BTreeMap::from([("retention.ms".to_owned(), "1".to_owned())]));
        assert_eq!(edit.remove.len(), TOPIC_CONFIGS.len() - 1);
        assert!(!edit.remove.contains(&"retention.ms".to_owned()));
        let code = |configs: &[AlterableConfig]| whole(configs).unwrap_err().0;
        assert_eq!(
            code(&[config("a", Some("1")), config("a", Some("1"))]),
            ErrorCode::InvalidRequest
        );
        assert_eq!(code(&[config("retention.ms", None)]), ErrorCode::InvalidRequest);
    }
}
