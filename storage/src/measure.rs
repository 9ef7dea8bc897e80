//! Measuring the disk, and making the ballast again when there is room for it.

use crate::activity::Operation;
use crate::ballast;
use crate::shared::Shared;
use crate::space::DiskSpace;

/// Measures the disk. An answer that does not come counts as an operation under way.
pub(crate) fn measure(shared: &Shared) {
    let asked = shared.activity.run(Operation::Space, || DiskSpace::of(&shared.dir));
    match asked {
        Ok(measured) => shared.space.take(measured, shared.options.watermarks()),
        Err(error) => tracing::debug!(%error, "cannot ask for the free space"),
    }
}

/// Makes the ballast again when there is room for it above the upper watermark.
pub(crate) fn restore_ballast(shared: &Shared) {
    let wanted = shared.options.ballast_bytes;
    let marks = shared.options.watermarks();
    let kept = ballast::size(&shared.dir);
    shared.space.set_ballast(kept);
    let room = shared.space.disk().free >= marks.resume.saturating_add(wanted);
    if kept >= wanted || !room {
        return;
    }
    match ballast::make(&shared.dir, wanted) {
        Ok(()) => {
            tracing::debug!(bytes = wanted, "ballast made");
            shared.space.set_ballast(wanted);
        }
        Err(error) => tracing::info!(bytes = wanted, %error, "no room for the ballast yet"),
    }
}
