//! Kafka Connect in distributed mode: two workers whose state is three compacted topics, a source that is exactly once,
//! a sink, and a sink into Hadoop's layout, while a worker and brokers die.

mod files;
mod hadoop;
pub mod source;
pub mod workers;

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use crate::support::clients;
use crate::support::cluster::SOON;

/// What a topic's setting is, as any client sees it.
pub fn topic_setting(bootstrap: &str, topic: &str, name: &str) -> Option<String> {
    let admin: AdminClient<DefaultClientContext> = clients::producer(bootstrap).create().unwrap();
    let options = AdminOptions::new().request_timeout(Some(SOON));
    let asked = [ResourceSpecifier::Topic(topic)];
    let told = block_on(admin.describe_configs(&asked, &options)).unwrap().remove(0).ok()?;
    told.get(name)?.value.clone()
}
