//! Who a data directory belongs to, and which releases can read it.
//!
//! The identity is written once, before the broker does anything another could see, and never changed.
//! It lives in the database, so it shares the fate of the votes and entries given under it: a directory
//! can lose both or neither.
//!
//! The feature level is noted in a file beside the database, so that a release that does not support what is written
//! here says so before it opens that.
//!
//! Every release must read these, whatever it makes of the rest, so their bytes are their own and never change:
//!
//! ```text
//!  identity  │ version u8 = 1 │ cluster u128 │ node u64 │ directory u128 │ forms the cluster u8 │   big-endian
//!  directory │ u128 │                                                                          big-endian
//!  feature-level, the file: the level in decimal digits and a line feed
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate_storage::Db;

const IDENTITY: &str = "identity";
const DIRECTORY: &str = "directory";
const LEVEL: &str = "feature-level";
const VERSION: u8 = 1;

/// The name of a broker's data directory and of the cluster and id it was given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    #[error("the identity in the data directory is not readable: {0}")]
    Unreadable(String),
    #[error("read or write the feature level in {path}")]
    Level { path: PathBuf, source: io::Error },
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
        let id = <[u8; 16]>::try_from(&bytes[..]).map_err(|_| unreadable(&bytes))?;
        return Ok(u128::from_be_bytes(id));
    }
    let id = random_id();
    put(db, DIRECTORY, id.to_be_bytes().to_vec()).await?;
    Ok(id)
}

/// Returns the feature level that a data directory is written at; 0 if none was finalized yet that it knows of.
pub(crate) fn level(data_dir: &Path) -> Result<u16, IdentityError> {
    let path = data_dir.join(LEVEL);
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(source) => Err(IdentityError::Level { path, source }),
        Ok(text) => match text.trim_end().parse() {
            Ok(level) => Ok(level),
            Err(_) => {
                let words = format!("{} says {text:?}, not a number", path.display());
                Err(IdentityError::Unreadable(words))
            }
        },
    }
}

/// Notes the level that a data directory is written at from now on; it is on disk when this returns. Blocks.
pub(crate) fn save_level(data_dir: &Path, level: u16) -> Result<(), IdentityError> {
    let path = data_dir.join(LEVEL);
    let beside = path.with_extension("new");
    let write = || {
        let mut file = File::create(&beside)?;
        writeln!(file, "{level}")?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        File::open(data_dir)?.sync_all()
    };
    write().map_err(|source| IdentityError::Level { path: path.clone(), source })
}

fn encode(identity: &Identity) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend(identity.cluster_id.to_be_bytes());
    bytes.extend(identity.node_id.to_be_bytes());
    bytes.extend(identity.directory_id.to_be_bytes());
    bytes.push(identity.forms_cluster.into());
    bytes
}

fn decode(bytes: &[u8]) -> Result<Identity, IdentityError> {
    let fields = || {
        let (version, rest) = bytes.split_first_chunk::<1>()?;
        let (cluster, rest) = rest.split_first_chunk()?;
        let (node, rest) = rest.split_first_chunk()?;
        let (directory, forms) = rest.split_first_chunk()?;
        let forms_cluster = match (version, forms) {
            ([VERSION], [0]) => false,
            ([VERSION], [1]) => true,
            _ => return None,
        };
        Some(Identity {
            cluster_id: u128::from_be_bytes(*cluster),
            node_id: u64::from_be_bytes(*node),
            directory_id: u128::from_be_bytes(*directory),
            forms_cluster,
        })
    };
    fields().ok_or_else(|| unreadable(bytes))
}

fn unreadable(bytes: &[u8]) -> IdentityError {
    let first = bytes.first().copied().unwrap_or(0);
    IdentityError::Unreadable(format!("{} bytes, the first {first}", bytes.len()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_an_identity_are_frozen() {
        let identity = Identity { cluster_id: 1, node_id: 2, directory_id: 3, forms_cluster: true };
        let bytes = encode(&identity);
        let mut frozen = [0; 42];
        (frozen[0], frozen[16], frozen[24], frozen[40], frozen[41]) = (1, 1, 2, 3, 1);
        assert_eq!(bytes, frozen);
        assert_eq!(decode(&bytes).unwrap(), identity);
        for wrong in [&bytes[..41], &[&bytes[..], &[0]].concat(), &[&[2][..], &bytes[1..]].concat()]
        {
            assert!(matches!(decode(wrong), Err(IdentityError::Unreadable(_))), "{wrong:?}");
        }
    }

    #[test]
    fn the_level_stands_in_a_file_that_any_release_can_read() {
        let dir = tempfile::TempDir::new().unwrap();
        assert_eq!(level(dir.path()).unwrap(), 0);
        for noted in [1, 2, 32_767] {
            save_level(dir.path(), noted).unwrap();
            assert_eq!(level(dir.path()).unwrap(), noted);
        }
        assert_eq!(fs::read(dir.path().join("feature-level")).unwrap(), b"32767\n");
        fs::write(dir.path().join("feature-level"), "two").unwrap();
        assert!(matches!(level(dir.path()), Err(IdentityError::Unreadable(_))));
    }
}
