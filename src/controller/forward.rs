//! One request's way to the metadata leader and its verdict's way back.
//!
//! The sender tries until its deadline: a leader may be being elected, or the one asked may just have
//! been deposed. An attempt whose outcome was not learned is repeated too, under the same request id, so that it
//! takes effect once. If no attempt can have reached the log the answer is
//! [`AdminError::NoController`], and otherwise [`AdminError::Timeout`], which promises nothing.

use std::time::Duration;

use bytes::Bytes;
use quorate_raft::CallError;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::Controller;
use super::calls::DECIDE;
use crate::metadata::{AdminError, Done, Reply, Request, check_form, decode, encode};

/// Between two attempts: about an election's length over ten.
const PAUSE: Duration = Duration::from_millis(50);
/// The largest request and the largest command: a topic of 10,000 partitions whose 15 replicas are named takes less.
/// The log keeps some thousands of commands, whatever they say.
pub(super) const BYTES_MAX: usize = 1024 * 1024;
/// One attempt's share of the time, so that a leader that died unheard does not use it up.
const ATTEMPT: Duration = Duration::from_secs(5);

/// What one broker could find out about a request it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Verdict {
    /// Applied at this metadata index.
    Applied { reply: Reply, index: u64 },
    /// It is not in the log and will not get there.
    NotInLog,
    /// It may be in the log.
    Unknown,
}

impl Controller {
    /// Has `request` decided and the decision applied, and waits until the local image shows it.
    pub(crate) async fn submit(
        &self,
        request: Request,
        deadline: Instant,
    ) -> Result<Done, AdminError> {
        check_form(&request)?;
        let request = (Uuid::new_v4(), request);
        let message = Bytes::from(encode(&request));
        if message.len() > BYTES_MAX {
            return Err(too_large(message.len()));
        }
        let mut repeated = false;
        loop {
            match self.attempt(&request, &message, deadline).await {
                Verdict::Applied { reply, index } => {
                    self.wait_for_image(index, deadline).await;
                    return reply;
                }
                Verdict::NotInLog => {}
                Verdict::Unknown => repeated = true,
            }
            if Instant::now() + PAUSE >= deadline {
                return Err(if repeated { AdminError::Timeout } else { AdminError::NoController });
            }
            self.wait_for_leader().await;
        }
    }

    async fn attempt(
        &self,
        (id, request): &(Uuid, Request),
        message: &Bytes,
        deadline: Instant,
    ) -> Verdict {
        let patience = ATTEMPT.min(deadline.saturating_duration_since(Instant::now()));
        let Some(leader) = self.group.leadership().borrow().leader else {
            return Verdict::NotInLog;
        };
        if leader == self.node.id() {
            return self.decide(*id, request, patience).await;
        }
        self.anticipate_nothing();
        // A call would wait for it to come back, and meanwhile another leader may be elected.
        if !self.node.alive(leader) {
            return Verdict::NotInLog;
        }
        match self.node.call(leader, DECIDE, message.clone(), patience).await {
            Ok(answer) => decode(&answer).unwrap_or(Verdict::Unknown),
            Err(error) => {
                tracing::debug!(peer = leader, %error, "request not answered by the metadata leader");
                match error {
                    CallError::Unreachable(_) | CallError::Refused(_) | CallError::Busy => {
                        Verdict::NotInLog
                    }
                    CallError::Timeout | CallError::TooLarge(_) | CallError::Failed(_) => {
                        Verdict::Unknown
                    }
                }
            }
        }
    }

    /// Waits for a change of leadership, or a little: the leader known may merely be slow to be ready.
    async fn wait_for_leader(&self) {
        let mut leadership = self.group.leadership();
        leadership.borrow_and_update();
        tokio::select! {
            _ = leadership.changed() => {}
            () = sleep(PAUSE) => {}
        }
    }

    /// Gives up silently at the deadline: the change is made, this broker is just slow to see it.
    async fn wait_for_image(&self, index: u64, deadline: Instant) {
        let mut images = self.metadata.watch();
        let shown = images.wait_for(|image| image.applied >= index);
        if timeout_at(deadline, shown).await.is_err() {
            tracing::debug!(index, "image does not show an applied command in time");
        }
    }
}

pub(super) fn too_large(bytes: usize) -> AdminError {
    AdminError::InvalidRequest(format!("it comes to {bytes} bytes, at most {BYTES_MAX} are taken"))
}
