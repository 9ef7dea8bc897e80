//! Which version of transactions a cluster has: asked of any broker, as every client of KIP-584 does.

use kafka_wire::ApiVersionsRequest;

use super::{Client, ClientError, ErrorCode};

const API_VERSIONS: i16 = 3;

/// How transactions begin and end between a producer and the brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionVersion {
    /// Partitions are added before they are written to, and a producer keeps its epoch (KIP-98).
    Classic,
    /// Writing adds a partition, and each transaction has an epoch of its own (KIP-890, part 2).
    Second,
}

impl Client {
    /// Returns which version of transactions the cluster has settled on: that of the feature `transaction.version`.
    pub async fn transaction_version(&self) -> Result<TransactionVersion, ClientError> {
        let request = message!(ApiVersionsRequest {
            client_software_name: "quorate".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        });
        let connection = self.any_connection().await?;
        let answer = connection.call(&request, API_VERSIONS, self.config().request_timeout).await?;
        ErrorCode::check(answer.error_code, "api versions")?;
        let level = |name: &str| {
            let found = answer.finalized_features.iter().find(|it| it.name.as_str() == name);
            found.map_or(0, |it| it.max_version_level)
        };
        Ok(match level("transaction.version") {
            2.. => TransactionVersion::Second,
            _ => TransactionVersion::Classic,
        })
    }
}
