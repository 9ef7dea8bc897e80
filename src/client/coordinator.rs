//! Asking the coordinator of a consumer group, wherever it is by now.

use kafka_wire::{FindCoordinatorRequest, RequestResponsePair};
use tokio::time::{Duration, Instant, sleep};

use super::{Client, ClientError, ErrorCode};
use crate::config::HostPort;

const FIND_COORDINATOR: i16 = 3;
/// Between two questions while there is none; one that dies is followed by another within about a second.
const PAUSE: Duration = Duration::from_millis(50);

/// The coordinator of a group, as far as it is known.
pub(super) struct Coordinator {
    client: Client,
    group: String,
    address: Option<HostPort>,
}

impl Coordinator {
    pub(super) fn new(client: Client, group: String) -> Self {
        Self { client, group, address: None }
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
                let seconds = started.elapsed().as_secs();
                return Err(ClientError::GaveUp { seconds, last: Box::new(error) });
            }
            self.address = None;
            sleep(PAUSE).await;
        }
    }

    async fn ask_once<R: RequestResponsePair>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, ClientError> {
        let address = match self.address.clone() {
            Some(address) => address,
            None => self.find().await?,
        };
        let connection = self.client.connection(&address).await?;
        let answer = connection.call(request, version, self.client.config().request_timeout).await;
        self.address = Some(address);
        answer
    }

    async fn find(&self) -> Result<HostPort, ClientError> {
        let request = message!(FindCoordinatorRequest { key: self.group.as_str().into() });
        let connection = self.client.any_connection().await?;
        let wait = self.client.config().request_timeout;
        let answer = connection.call(&request, FIND_COORDINATOR, wait).await?;
        ErrorCode::check(answer.error_code, "find coordinator")?;
        Ok(HostPort::new(answer.host.as_str(), u16::try_from(answer.port).unwrap_or(0)))
    }
}
