//! What brokers ask of each other, beside Raft.
//!
//! Bodies are read with the metadata codec, which takes no more memory than the frame that carried them;
//! the transport bounds frames and calls in progress. A guest, that is a broker that is not a member yet,
//! may only ask to join.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use quorate_raft::{CallError, CallHandler, Caller};
use quorate_storage::GroupId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Controller, STEP};
use crate::metadata::{AdminError, BrokerSpec, Done, LeaderClaim, Request, decode, encode};

/// Methods; numbers are never given another meaning.
pub(crate) const JOIN: u16 = 1;
pub(super) const DECIDE: u16 = 2;
pub(super) const LEADERS: u16 = 3;
pub(super) const SET_LEADER: u16 = 4;
pub(super) const CURRENT: u16 = 5;
pub(crate) const PEERS: u16 = 6;
pub(super) const HEARD: u16 = 7;
pub(super) const QUORUM: u16 = 8;
pub(super) const READ_INDEX: u16 = 9;
pub(super) const ENDS: u16 = 10;
/// Methods from here on are answered by what is registered for them.
const REGISTERED_FROM: u16 = 11;

/// Answers a method that other parts of the broker have among themselves.
pub(crate) type Handler =
    Arc<dyn Fn(Bytes) -> BoxFuture<'static, Result<Bytes, CallError>> + Send + Sync>;

/// How long a join may wait for a metadata leader.
const JOIN_WAIT: Duration = Duration::from_secs(10);

/// A broker that wants to become a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JoinRequest {
    /// The cluster it expects, if its directory remembers one.
    pub(crate) cluster_id: Option<u128>,
    pub(crate) broker: BrokerSpec,
}

/// What a member answers: what the newcomer is called and whom to talk to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JoinAnswer {
    pub(crate) cluster_id: u128,
    pub(crate) node_id: u64,
    pub(crate) peers: Vec<Peer>,
}

/// A member as others reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub(crate) id: u64,
    pub(crate) address: String,
    pub(crate) directory_id: u128,
}

/// What a broker answers to one that tells it its leaderships.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AnnounceReply {
    /// Differs between runs of the broker, which forgets with each what it was told.
    pub(super) boot: u64,
    /// The metadata index its image is as of.
    pub(super) index: u64,
    /// As of then, the teller is out of service.
    pub(super) fenced: bool,
}

/// Serves the calls of other brokers.
pub(crate) struct Calls {
    controller: Arc<Controller>,
    /// Tells callers that this process is not the one they told their leaders to.
    boot: u64,
    registered: Registered,
}

/// Handlers by method.
#[derive(Default)]
struct Registered(BTreeMap<u16, Handler>);

impl Registered {
    /// Of two handlers for one method the first holds; what this file answers itself cannot be registered.
    fn new(handlers: impl IntoIterator<Item = (u16, Handler)>) -> Self {
        let mut registered = BTreeMap::new();
        for (method, handler) in handlers {
            if method < REGISTERED_FROM || registered.contains_key(&method) {
                tracing::error!(
                    method,
                    "a method is taken already, and is not answered by another"
                );
                continue;
            }
            registered.insert(method, handler);
        }
        Self(registered)
    }

    fn get(&self, method: u16) -> Result<Handler, CallError> {
        let handler = self.0.get(&method).map(Arc::clone);
        handler.ok_or_else(|| CallError::Refused(format!("this release has no method {method}")))
    }
}

impl Calls {
    /// Returns a handler; `boot` must differ between runs of a broker. `registered`: what other parts of the broker answer.
    pub(crate) fn new(
        controller: Arc<Controller>,
        boot: u64,
        registered: impl IntoIterator<Item = (u16, Handler)>,
    ) -> Arc<Self> {
        Arc::new(Self { controller, boot, registered: Registered::new(registered) })
    }

    async fn serve(
        controller: Arc<Controller>,
        boot: u64,
        from: Caller,
        method: u16,
        body: Bytes,
    ) -> Result<Bytes, CallError> {
        match method {
            JOIN => Ok(answer(&controller.admit(read(&body)?).await)),
            DECIDE => {
                let (request, asked): (Uuid, Request) = read(&body)?;
                Ok(answer(&controller.decide(request, &asked, STEP).await))
            }
            LEADERS => {
                controller.metadata().leaders().hear(&read::<Vec<LeaderClaim>>(&body)?);
                Ok(answer(&controller.told(boot, from)))
            }
            SET_LEADER => {
                let (group, to): (u64, u64) = read(&body)?;
                Ok(answer(&controller.transfer_here(GroupId(group), to).await))
            }
            CURRENT => Ok(answer(&controller.current_index().await)),
            PEERS => Ok(answer(&controller.reached_peers())),
            HEARD => Ok(answer(&controller.heard())),
            QUORUM => Ok(answer(&controller.quorum_here())),
            READ_INDEX => {
                let group = GroupId(read::<u64>(&body)?);
                Ok(answer(&controller.confirmed_index(group).await))
            }
            ENDS => Ok(answer(&controller.ends_here(read(&body)?).await)),
            _ => Err(CallError::Refused(format!("method {method} is not the controller's"))),
        }
    }
}

impl CallHandler for Calls {
    fn call(
        &self,
        from: Caller,
        method: u16,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        if matches!(from, Caller::Guest) && method != JOIN {
            let refusal = "only members of the cluster may ask this".to_owned();
            return futures::future::ready(Err(CallError::Refused(refusal))).boxed();
        }
        if method < REGISTERED_FROM {
            return Self::serve(Arc::clone(&self.controller), self.boot, from, method, body)
                .boxed();
        }
        match self.registered.get(method) {
            Ok(handler) => handler(body),
            Err(error) => futures::future::ready(Err(error)).boxed(),
        }
    }
}

impl Controller {
    /// Registers a broker and tells it what it has to know.
    async fn admit(&self, request: JoinRequest) -> Result<JoinAnswer, AdminError> {
        let ours = self.metadata().image().cluster_id;
        if ours == 0 {
            return Err(AdminError::NoController);
        }
        if let Some(theirs) = request.cluster_id.filter(|theirs| *theirs != ours) {
            return Err(AdminError::WrongCluster { ours, theirs });
        }
        let register = Request::RegisterBroker(request.broker);
        let done = self.submit(register, Instant::now() + JOIN_WAIT).await?;
        let Done::Registered { broker: node_id } = done else {
            return Err(super::requests::unexpected(&done));
        };
        let image = self.metadata().image();
        let peers = image.brokers.values().map(|broker| Peer {
            id: broker.id,
            address: broker.peer.to_string(),
            directory_id: broker.directory_id,
        });
        Ok(JoinAnswer { cluster_id: image.cluster_id, node_id, peers: peers.collect() })
    }

    fn told(&self, boot: u64, from: Caller) -> AnnounceReply {
        let image = self.metadata().image();
        let fenced = match from {
            Caller::Member(id) => image.brokers.get(&id).is_some_and(|broker| broker.fenced),
            Caller::Guest => false,
        };
        AnnounceReply { boot, index: image.applied, fenced }
    }

    /// Returns the nodes this broker hears, itself included.
    pub(super) fn heard(&self) -> BTreeSet<u64> {
        let verdicts = self.node.liveness().borrow().clone();
        let alive = verdicts.iter().filter(|(_, alive)| **alive).map(|(id, _)| *id);
        alive.chain([self.node.id()]).collect()
    }

    /// Returns the members this broker is connected to, and where.
    fn reached_peers(&self) -> Vec<Peer> {
        let reached = self.node.reached_peers().into_iter();
        reached.map(|(id, address, directory_id)| Peer { id, address, directory_id }).collect()
    }
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, CallError> {
    decode(body).map_err(|error| CallError::Refused(error.to_string()))
}

fn answer<T: Serialize>(value: &T) -> Bytes {
    Bytes::from(encode(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(word: &'static str) -> Handler {
        Arc::new(move |body| {
            let answered = [word.as_bytes(), &body].concat();
            futures::future::ready(Ok(Bytes::from(answered))).boxed()
        })
    }

    #[tokio::test]
    async fn a_method_is_answered_by_what_is_registered_for_it() {
        let registered = Registered::new([(11, echo("a")), (700, echo("b"))]);
        let ask = |method| registered.get(method).unwrap()(Bytes::from_static(b"!"));
        assert_eq!((ask(11).await, ask(700).await), (Ok("a!".into()), Ok("b!".into())));
    }

    #[test]
    fn a_method_of_another_release_is_refused_by_its_number() {
        let refused = Registered::default().get(12).err().unwrap();
        assert!(
            matches!(&refused, CallError::Refused(why) if why.contains("method 12")),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn a_method_that_is_taken_is_not_answered_by_another() {
        let registered = Registered::new([(DECIDE, echo("a")), (11, echo("b")), (11, echo("c"))]);
        assert!(registered.get(DECIDE).is_err());
        let answered = registered.get(11).unwrap()(Bytes::new()).await;
        assert_eq!(answered, Ok("b".into()));
    }
}
