//! The feature level of a data directory: whether this release may open it, and what it is written at.
//!
//! A level that was finalized holds for what is on disk as well: whoever does not support it must not read it. The
//! directory therefore notes the level as soon as the image shows it, in a file beside the database, and at a start the
//! note is compared before the database is opened. A directory that has not noted it yet has it in its logs and
//! checkpoints, which say the same a little later.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::StartError;
use crate::context::identity;
use crate::metadata::{AdminError, Levels, Metadata};

/// Refuses a directory of a level which this release does not support.
pub(super) fn check(level: u16) -> Result<(), StartError> {
    let levels = Levels::supported();
    if level == 0 || levels.contains(level) {
        Ok(())
    } else {
        Err(StartError::Refused(AdminError::ReleaseUnfit { level, levels }))
    }
}

/// Between two attempts to note a level.
const AGAIN: Duration = Duration::from_secs(1);

/// Notes every level that is finalized, until dropped.
pub(super) async fn note(data_dir: PathBuf, metadata: Arc<Metadata>) {
    let mut images = metadata.watch();
    let mut noted = identity::level(&data_dir).unwrap_or(0);
    loop {
        let level = images.borrow_and_update().level;
        if level > noted {
            let dir = data_dir.clone();
            match spawn_blocking(move || identity::save_level(&dir, level)).await {
                Ok(Ok(())) => {
                    noted = level;
                    tracing::info!(level, "the data directory is written at this feature level");
                }
                Ok(Err(error)) => tracing::warn!(level, %error, "the feature level is not noted"),
                Err(error) => tracing::warn!(level, %error, "the feature level is not noted"),
            }
        }
        let patience = if level > noted { AGAIN } else { Duration::MAX };
        if let Ok(Err(_)) = timeout(patience, images.changed()).await {
            return;
        }
    }
}
