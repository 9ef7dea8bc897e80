//! IncrementalAlterConfigs (key 44), versions 0–1: changes single configs of a topic, of brokers or of a group and
//! leaves the others (KIP-339).
//!
//! | since version | what is new |
//! |---|---|
//! | 1 | flexible (KIP-482) |

use std::sync::Arc;

use kafka_wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_wire::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_wire::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::alter_configs::{Edit, RESOURCE_BYTES, alter, given, once, resource};
use crate::kafka::call::Call;
use crate::kafka::config_resource::{Refusal, Resource};
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;
use crate::metadata::quote;

/// What is done to a config (KIP-339).
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let edit = |it: AlterConfigsResource| {
        let named = (it.resource_type, it.resource_name);
        let edit = resource(&named).and_then(|of| single(&of, &it.configs));
        (named, edit)
    };
    let edits = request.resources.into_iter().map(edit).collect();
    let mut answer = IncrementalAlterConfigsResponse::default();
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
pub(in crate::kafka) fn weigh(
    _: &KafkaServer,
    _: i16,
    request: &IncrementalAlterConfigsRequest,
) -> usize {
    request.resources.len().saturating_mul(RESOURCE_BYTES)
}

/// Only what is named changes.
fn single(of: &Resource, configs: &[AlterableConfig]) -> Result<Edit, Refusal> {
    once(configs.iter().map(|it| &it.name))?;
    let mut edit = Edit::default();
    for config in configs {
        let name = config.name.to_string();
        match config.config_operation {
            SET => {
                edit.set.insert(name, given(&config.name, config.value.as_ref())?);
            }
            DELETE => edit.remove.push(name),
            APPEND | SUBTRACT => {
                let value = given(&config.name, config.value.as_ref())?;
                if let Some(value) = item(of, &name, config.config_operation, value)? {
                    edit.set.insert(name, value);
                }
            }
            other => {
                let why = format!("{other} is no operation on a config");
                return Err((ErrorCode::InvalidRequest, why));
            }
        }
    }
    Ok(edit)
}

/// Returns what a list becomes when an item is added or taken away; `None`: what it is.
///
/// A list has one item, whatever it is: its only allowed one. Adding that changes nothing and adding another is refused as
/// the other's value is, and so is taking away the only one.
fn item(
    of: &Resource,
    name: &str,
    operation: i8,
    value: String,
) -> Result<Option<String>, Refusal> {
    let Some(only) = of.only_item(name) else {
        let why =
            format!("config {} is no list, so nothing is added to it or taken away", quote(name));
        return Err((ErrorCode::InvalidConfig, why));
    };
    let is_there = only == value;
    match (operation, is_there) {
        (SUBTRACT, true) => Ok(Some(String::new())),
        (SUBTRACT, false) => Ok(None),
        (_, true) => Ok(None),
        (_, false) => Ok(Some(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, operation: i8, value: Option<&str>) -> AlterableConfig {
        let mut config = AlterableConfig::default();
        config.name = name.to_owned().into();
        config.config_operation = operation;
        config.value = value.map(|it| it.to_owned().into());
        config
    }

    fn topic() -> Resource {
        Resource::Topic("t".to_owned())
    }

    #[test]
    fn what_is_named_changes_and_nothing_else() {
        let edit = single(
            &topic(),
            &[
                config("retention.ms", SET, Some("1")),
                config("retention.bytes", DELETE, None),
                config("cleanup.policy", APPEND, Some("delete")),
            ],
        );
        let edit = edit.unwrap();
        assert_eq!(
            edit.set.into_iter().collect::<Vec<_>>(),
            [("retention.ms".to_owned(), "1".to_owned())]
        );
        assert_eq!(edit.remove, ["retention.bytes"]);
    }

    #[test]
    fn a_list_is_added_to_and_taken_from_and_what_is_none_is_not() {
        let becomes = |operation, value: &str| {
            let edit =
                single(&topic(), &[config("cleanup.policy", operation, Some(value))]).unwrap();
            edit.set.get("cleanup.policy").cloned()
        };
        assert_eq!(becomes(APPEND, "compact"), Some("compact".to_owned()));
        assert_eq!(becomes(SUBTRACT, "delete"), Some(String::new()));
        assert_eq!(becomes(SUBTRACT, "compact"), None);
        let code = |config| single(&topic(), &[config]).unwrap_err().0;
        assert_eq!(code(config("retention.ms", APPEND, Some("1"))), ErrorCode::InvalidConfig);
        assert_eq!(code(config("no.such", SUBTRACT, Some("1"))), ErrorCode::InvalidConfig);
        assert_eq!(code(config("retention.ms", 4, Some("1"))), ErrorCode::InvalidRequest);
        assert_eq!(code(config("retention.ms", SET, None)), ErrorCode::InvalidRequest);
        assert_eq!(code(config("cleanup.policy", APPEND, None)), ErrorCode::InvalidRequest);
    }
}
