//! Settings with what was changed of them while brokers run (KIP-226).

use std::str::FromStr;

use super::{Compaction, Config, Topics};
use crate::metadata::{
    AUTO_CREATE, CLEANER_ENABLED, CLEANER_RATE, CONNECTIONS_MAX, DynamicConfigs, PARTITIONS,
    REPLICATION_FACTOR,
};

impl Topics {
    /// Returns what a new topic is, after what was set for all brokers.
    #[must_use]
    pub fn with(&self, configs: &DynamicConfigs) -> Topics {
        let cluster = configs.cluster();
        let mut topics = self.clone();
        let text = |name: &str| cluster.get(name).map(String::as_str);
        read(text(AUTO_CREATE), &mut topics.auto_create);
        read(text(PARTITIONS), &mut topics.partitions);
        if let Some(factor) = text(REPLICATION_FACTOR).and_then(|text| text.parse().ok()) {
            topics.replication_factor = Some(factor);
        }
        topics
    }
}

impl Compaction {
    /// Returns whether a broker compacts and how many bytes a second, after what was set for it or for all.
    pub fn with(&self, configs: &DynamicConfigs, broker: u64) -> (bool, u64) {
        let (mut enabled, mut rate) = (self.enabled, self.bytes_per_second_max);
        let text = |name| configs.of_broker(broker, name).map(|it| it.0);
        read(text(CLEANER_ENABLED), &mut enabled);
        read(text(CLEANER_RATE), &mut rate);
        (enabled, rate)
    }
}

impl Config {
    /// Returns the most client connections at a time: what was set, but no more than the file says.
    pub fn connections_max(&self, configs: &DynamicConfigs, broker: u64) -> usize {
        let mut most = self.kafka.connections_max;
        read(configs.of_broker(broker, CONNECTIONS_MAX).map(|it| it.0), &mut most);
        most.min(self.kafka.connections_max)
    }
}

/// Values were checked when they were set.
fn read<T: FromStr>(text: Option<&str>, into: &mut T) {
    if let Some(value) = text.and_then(|text| text.parse().ok()) {
        *into = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{ConfigResource, Image};

    #[test]
    fn what_was_set_holds_and_the_rest_stays() {
        let mut image = Image::default();
        let set = [("num.partitions", "7"), ("auto.create.topics.enable", "false")];
        let set = set.map(|(name, value)| (name.to_owned(), value.to_owned()));
        image.set_configs(ConfigResource::Brokers, set.into());
        let most = [("max.connections".to_owned(), "20000".to_owned())];
        image.set_configs(ConfigResource::Broker(1), most.into());
        let topics = Topics::default().with(&image.configs);
        assert_eq!((topics.partitions, topics.auto_create), (7, false));
        assert_eq!(topics.replication_factor, None);
        let paused = [("log.cleaner.enable".to_owned(), "false".to_owned())];
        image.set_configs(ConfigResource::Broker(2), paused.into());
        let compaction = Compaction::default();
        let of = |broker| compaction.with(&image.configs, broker);
        assert_eq!((of(1), of(2)), ((true, 67_108_864), (false, 67_108_864)));
        let most =
            |image: &Image, broker| Config::default().connections_max(&image.configs, broker);
        assert_eq!(most(&image, 1), 10_000, "no more than the file says");
        let fewer = [("max.connections".to_owned(), "9".to_owned())];
        image.set_configs(ConfigResource::Broker(1), fewer.into());
        assert_eq!((most(&image, 1), most(&image, 2)), (9, 10_000));
    }
}
