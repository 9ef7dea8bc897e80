//! The feature level of a data directory: whether this release may open it, and what it is written at.
//!
//! A level that was finalized holds for what is on disk as well: whoever does not support it must not read it. The
//! directory therefore notes the level as soon as the image shows it, and before anything else is read at a start the
//! note is compared. A directory that has not noted it yet has it in its metadata log, which says the same a little
//! later.

use std::sync::Arc;

use quorate_storage::Db;

use super::StartError;
use crate::context::identity;
use crate::metadata::{AdminError, Levels, Metadata};

/// Refuses a directory or an image that is of a level which this release does not support.
pub(super) fn check(level: u16) -> Result<(), StartError> {
    let levels = Levels::supported();
    if level == 0 || levels.contains(level) {
        Ok(())
    } else {
        Err(StartError::Refused(AdminError::ReleaseUnfit { level, levels }))
    }
}

/// Notes every level that is finalized, until dropped. A disk that does not take the note ends the broker elsewhere.
pub(super) async fn note(db: Arc<Db>, metadata: Arc<Metadata>) {
    let mut images = metadata.watch();
    loop {
        let level = images.borrow_and_update().level;
        let noted = identity::level(&db).unwrap_or(0);
        if level > noted {
            match identity::save_level(&db, level).await {
                Ok(()) => {
                    tracing::info!(level, "the data directory is written at this feature level");
                }
                Err(error) => tracing::warn!(level, %error, "the feature level is not noted"),
            }
        }
        if images.changed().await.is_err() {
            return;
        }
    }
}
