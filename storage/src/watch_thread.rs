//! The thread that looks at the disk: its free space, and whether its tables have caught up.
//!
//! It is apart from the background thread, which unlinks and rewrites files and may be held up for
//! as long as the disk likes.

use std::time::{Duration, Instant};

use crate::measure;
use crate::rocks::Rocks;
use crate::shared::Shared;

/// Between two looks at the free space. At a gigabyte a second 200 MB are written meanwhile.
const LOOK: Duration = Duration::from_millis(200);
/// Between two looks at the tables while entries are held back.
const BEHIND: Duration = Duration::from_millis(10);

/// Body of the thread.
pub(crate) fn run(shared: &Shared, rocks: &Rocks) {
    let mut measured: Option<Instant> = None;
    loop {
        if measured.is_none_or(|at| at.elapsed() >= LOOK) {
            measure::measure(shared);
            measured = Some(Instant::now());
        }
        if shared.flow.is_behind() {
            shared.flow.update(rocks);
        }
        let patience = if shared.flow.is_behind() { BEHIND } else { LOOK };
        if !shared.watch.wait(patience) {
            return;
        }
    }
}
