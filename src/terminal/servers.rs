//! Where a command finds the brokers.

use clap::Args;

use crate::config::HostPort;

/// Where the brokers' HTTP interfaces are.
#[derive(Debug, Clone, Args)]
pub(crate) struct HttpServers {
    /// HTTP addresses of brokers, tried in turn.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', default_value = "127.0.0.1:8080")]
    pub(crate) http: Vec<HostPort>,
}

/// Where the brokers' Kafka interfaces are.
#[derive(Debug, Clone, Args)]
pub(crate) struct KafkaServers {
    /// Kafka addresses of brokers, tried in turn.
    #[arg(
        long,
        short = 'b',
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:9092"
    )]
    pub(crate) server: Vec<HostPort>,
}
