//! Who a data directory belongs to, and which releases can read it.
//!
//! The identity is written once, before the broker does anything another could see, and never changed.
//! It lives in the database, so it shares the fate of the votes and entries given under it: a directory
//! can lose both or neither.
//!
//! The feature level is noted beside it, so that a release that does not support what is written here says so before
//! it reads anything else.

use std::sync::Arc;

use quorate_storage::Db;
use serde::{Deserialize, Serialize};

use crate::metadata::{decode, encode};

const IDENTITY: &str = "identity";
const DIRECTORY: &str = "directory";
const LEVEL: &str = "level";

/// The name of a broker's data directory and of the cluster and id it was given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub cluster_id: u128,
    pub node_id: u64,
    /// Random, made with the directory.
    pub directory_id: u128,
    /// This broker formed the cluster, and is the one that may found its metadata group.
    pub forms_cluster: bool,
}

/// The identity could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("read or write the identity of the data directory")]
    Storage(#[from] quorate_storage::Error),
    #[error("the identity in the data directory is not readable")]
    Unreadable(#[from] crate::metadata::CodecError),
}

/// Returns the directory's identity, if it has one.
pub(crate) fn load(db: &Db) -> Result<Option<Identity>, IdentityError> {
    let Some(bytes) = db.node_get(IDENTITY)? else { return Ok(None) };
    Ok(Some(decode(&bytes)?))
}

/// Writes the identity; it is on disk when this returns.
pub(crate) async fn save(db: &Arc<Db>, identity: Identity) -> Result<(), IdentityError> {
    put(db, IDENTITY, encode(&identity)).await
}

/// Returns the directory's own id, giving it one if it is new.
pub(crate) async fn directory_id(db: &Arc<Db>) -> Result<u128, IdentityError> {
    if let Some(bytes) = db.node_get(DIRECTORY)? {
        return Ok(decode(&bytes)?);
    }
    let id = random_id();
    put(db, DIRECTORY, encode(&id)).await?;
    Ok(id)
}

/// Returns the feature level that the directory is written at; 0 if none was finalized yet that it knows of.
pub(crate) fn level(db: &Db) -> Result<u16, IdentityError> {
    let Some(bytes) = db.node_get(LEVEL)? else { return Ok(0) };
    Ok(decode(&bytes)?)
}

/// Notes the level that the directory is written at from now on; it is on disk when this returns.
pub(crate) async fn save_level(db: &Arc<Db>, level: u16) -> Result<(), IdentityError> {
    put(db, LEVEL, encode(&level)).await
}

async fn put(db: &Arc<Db>, key: &'static str, value: Vec<u8>) -> Result<(), IdentityError> {
    let db = Arc::clone(db);
    let written = tokio::task::spawn_blocking(move || db.node_put(key, &value)).await;
    Ok(written.expect("a write neither panics nor is cancelled")?)
}

/// Returns a random id for a cluster or directory.
pub(crate) fn random_id() -> u128 {
    uuid::Uuid::new_v4().as_u128()
}
