//! Requests about configs of brokers and groups.

use super::{Decision, changed, unchanged};
use crate::metadata::command::Change;
use crate::metadata::{AdminError, ConfigResource, Explicit, Image};

pub(super) fn alter(
    image: &Image,
    resource: &ConfigResource,
    set: &Explicit,
    remove: &[String],
) -> Decision {
    if let ConfigResource::Broker(broker) = resource
        && !image.brokers.contains_key(broker)
    {
        return Err(AdminError::UnknownBroker(*broker));
    }
    let before = image.configs.of(resource).cloned().unwrap_or_default();
    let mut configs = before.clone();
    configs.extend(set.clone());
    configs.retain(|name, _| !remove.contains(name));
    image.configs.check(resource, &configs)?;
    if configs == before {
        return unchanged();
    }
    changed(Change::SetResourceConfigs { resource: resource.clone(), configs })
}
