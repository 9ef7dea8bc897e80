//! Asking the coordinator of a consumer group or of a transactional id, wherever it is by now.

use kafka_wire::{FindCoordinatorRequest, RequestResponsePair};
use tokio::time::{Duration, Instant, sleep};

use super::{Client, ClientError, ErrorCode};
use crate::config::HostPort;

const FIND_COORDINATOR: i16 = 3;
/// Between two questions while there is none; one that dies is followed by another within about a second.
const PAUSE: Duration = Duration::from_millis(50);
/// Before a coordinator is asked again that still ends the transaction before; Java's producer waits as long.
pub(super) const CONCURRENT_PAUSE: Duration = Duration::from_millis(20);

/// What has a coordinator, by the protocol's numbers.
#[derive(Clone, Copy, Debug)]
#[repr(i8)]
enum Kind {
    Group = 0,
    Transaction = 1,
}

impl Client {
    /// Returns who coordinates a group, trying again as long as brokers say that nobody does yet.
    pub async fn coordinator(&self, group: &str) -> Result<HostPort, ClientError> {
        let started = Instant::now();
        loop {
            let error = match self.find_coordinator(group, Kind::Group).await {
                Err(error @ ClientError::Broker { .. }) if error.retriable() => error,
                outcome => return outcome,
            };
            if started.elapsed() > self.config().patience {
                return Err(gave_up(started, error));
            }
            sleep(PAUSE).await;
        }
    }

    async fn find_coordinator(&self, key: &str, kind: Kind) -> Result<HostPort, ClientError> {
        let request = message!(FindCoordinatorRequest { key: key.into(), key_type: kind as i8 });
        let connection = self.any_connection().await?;
        let wait = self.config().request_timeout;
        let answer = connection.call(&request, FIND_COORDINATOR, wait).await?;
        ErrorCode::check(answer.error_code, "find coordinator")?;
        Ok(HostPort::new(answer.host.as_str(), u16::try_from(answer.port).unwrap_or(0)))
    }
}

fn gave_up(since: Instant, last: ClientError) -> ClientError {
    ClientError::GaveUp { seconds: since.elapsed().as_secs(), last: Box::new(last) }
}

/// The coordinator of a group or of a transactional id, as far as it is known.
pub(super) struct Coordinator {
    client: Client,
    key: String,
    kind: Kind,
    address: Option<HostPort>,
    concurrent: u64,
}

impl Coordinator {
    pub(super) fn new(client: Client, group: String) -> Self {
        Self { client, key: group, kind: Kind::Group, address: None, concurrent: 0 }
    }

    pub(super) fn of_transactions(client: Client, transactional_id: String) -> Self {
        Self { kind: Kind::Transaction, ..Self::new(client, transactional_id) }
    }

    /// Returns how often it has answered that the transaction before has not ended.
    pub(super) fn concurrent(&self) -> u64 {
        self.concurrent
    }

    /// Asks, and asks again as long as that may help; `code` is the error that an answer tells.
    pub(super) async fn ask<R: RequestResponsePair>(
        &mut self,
        (api, version): (&'static str, i16),
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response, ClientError> {
        let started = Instant::now();
        loop {
            let answer = self.ask_once(request, version).await;
            let answer = answer.and_then(|it| ErrorCode::check(code(&it), api).map(|()| it));
            let error = match answer {
                Err(error) if error.retriable() => error,
                outcome => return outcome,
            };
            if started.elapsed() > self.client.config().patience {
                return Err(gave_up(started, error));
            }
            if error.is(ErrorCode::CONCURRENT_TRANSACTIONS) {
                self.concurrent += 1;
                sleep(CONCURRENT_PAUSE).await;
            } else {
                self.address = None;
                sleep(PAUSE).await;
            }
        }
    }

    async fn ask_once<R: RequestResponsePair>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, ClientError> {
        let address = match self.address.clone() {
            Some(address) => address,
            None => self.client.find_coordinator(&self.key, self.kind).await?,
        };
        let connection = self.client.connection(&address).await?;
        let answer = connection.call(request, version, self.client.config().request_timeout).await;
        self.address = Some(address);
        answer
    }
}
