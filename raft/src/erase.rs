//! Erases a replica that has stopped because its state is wrong or its log damaged, if nothing is lost by it.
//!
//! It may be the only one that has some entry: so it says what it has, which grows no more, and its leader answers whether
//! every other voter has that too (`rebuild.rs`). If not, or if nobody answers, it is opened again as it was.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use quorate_storage::Db;
use tokio::time::timeout;

use crate::codec::{Get, Put};
use crate::promise;
use crate::shared::Shared;
use crate::transport::message::request;
use crate::transport::peers::Peers;
use crate::types::log_id;

/// Time the leader has to answer.
const ASK: Duration = Duration::from_secs(2);

/// Erases the replica or leaves it; returns which, as the reason why its group is not open.
pub(crate) async fn erase(peers: &Peers, db: &Arc<Db>, shared: &Shared) -> &'static str {
    let erased = async {
        promise::settle(&shared.log).await.ok()?;
        let last = shared.log.state().last.map(log_id);
        let mut body = BytesMut::new();
        body.opt_log_id(last.as_ref());
        let leader = peers.get(shared.leader()?)?;
        let group = shared.group;
        let asked = leader.request(request::MAY_ERASE, group.0, vec![body.freeze()]);
        let answer = timeout(ASK, asked).await.ok()?.ok()?;
        if !Get::new(answer).flag().ok()? {
            return None;
        }
        promise::erase(db, group).await.ok()
    };
    match erased.await {
        Some(()) => "it differed from the majority or was damaged, and is rebuilt from the others",
        None => "it differs from the majority or is damaged, and could not be rebuilt now",
    }
}
