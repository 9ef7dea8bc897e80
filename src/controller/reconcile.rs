//! Making this broker run the replicas the image gives it.
//!
//! ```text
//!            hosted here                    not hosted
//! nothing    open, bootstrap if newly made  –
//! on disk    open                           delete, once current
//! open       bootstrap if newly made        delete, once current
//! ```
//!
//! After a start the image passes through the past again: it may show, for a moment, that a replica was
//! removed which was later given back and now holds acknowledged records. So nothing is deleted and no
//! group is bootstrapped before the image has reached an index that the metadata leader confirmed after the
//! start. What is on disk is opened at once; it is right to take part in elections whatever the image says.
//!
//! A replica that fails by itself, for a defect of this program, is closed and opened again from what is on
//! disk (`restarts.rs` says how often), which is what a restart of the whole broker would do for it.
//!
//! Invariant: data is deleted only on the word of the metadata log (a group deleted, a replica moved
//! away), never because something is unknown.

mod changes;
mod restarts;
mod steps;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use quorate_storage::{Db, GroupId, mutant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Controller, STEP};
use crate::metadata::Image;
use changes::changed_groups;
use restarts::Restarts;
use steps::{ReplicaState, Step, next_step};

/// Groups opened, bootstrapped or deleted at a time. Opening reads a checkpoint and replays what follows, so
/// more at once would only queue at the disk.
const CONCURRENT: usize = 128;
const RETRY: Duration = Duration::from_secs(1);
/// How long the metadata leader is given before it is asked again whether the image is current.
const ASK: Duration = Duration::from_millis(100);

/// How far a broker got with running what it should; shared with whoever answers for its readiness.
#[derive(Debug, Default)]
pub struct Progress {
    current: watch::Sender<bool>,
    wanted: AtomicUsize,
    running: AtomicUsize,
}

impl Progress {
    /// Returns whether the image has caught up since the start.
    pub fn current(&self) -> bool {
        *self.current.borrow()
    }

    /// Waits until the image has caught up.
    pub async fn until_current(&self) {
        let mut current = self.current.subscribe();
        current.wait_for(|current| *current).await.expect("the sender is in self");
    }

    /// Returns how many replicas this broker should run.
    pub fn wanted(&self) -> usize {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Returns how many it runs.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }
}

/// The driver.
pub(crate) struct Reconciler {
    controller: Arc<Controller>,
    progress: Arc<Progress>,
    /// The image that was compared last.
    seen: Arc<Image>,
    hosted: BTreeSet<GroupId>,
    held: HashMap<GroupId, Replica>,
    due: VecDeque<GroupId>,
    jobs: JoinSet<(GroupId, ReplicaState)>,
    watchers: JoinSet<()>,
    /// Groups that failed and are looked at again at `retry_at`.
    failed: BTreeSet<GroupId>,
    retry_at: Instant,
    restarts: Restarts,
}

/// What this broker has of a group.
struct Replica {
    held: ReplicaState,
    busy: bool,
}

impl Reconciler {
    /// Returns a driver that knows what `db` holds.
    pub(crate) fn new(controller: Arc<Controller>, db: &Db, progress: Arc<Progress>) -> Self {
        let replica = |group| (group, Replica { held: ReplicaState::OnDisk, busy: false });
        Self {
            controller,
            progress,
            seen: Arc::default(),
            hosted: BTreeSet::new(),
            held: db.groups().into_iter().map(replica).collect(),
            due: VecDeque::new(),
            jobs: JoinSet::new(),
            watchers: JoinSet::new(),
            failed: BTreeSet::new(),
            retry_at: Instant::now(),
            restarts: Restarts::default(),
        }
    }

    /// Runs until `stop` is true, then finishes what is under way.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut images = self.controller.metadata().watch();
        let mut broken = self.controller.node().failed_groups();
        let current = become_current(Arc::clone(&self.controller));
        tokio::pin!(current);
        let mut planned_as_current = false;
        loop {
            let image = Arc::clone(&images.borrow_and_update());
            self.plan(&image);
            // Never with the image at hand when it became current, which may be a much older one.
            if self.progress.current() && !planned_as_current {
                planned_as_current = true;
                self.plan_everything();
            }
            loop {
                self.start(&image);
                tokio::select! {
                    () = told_to(&mut stop) => return self.finish().await,
                    () = &mut current, if !self.progress.current() => {
                        self.progress.current.send_replace(true);
                        break;
                    }
                    changed = images.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return self.finish().await,
                    },
                    Some(ended) = self.jobs.join_next() => {
                        if let Ok((group, held)) = ended {
                            self.ended(&image, group, held);
                        }
                    }
                    Some(_) = self.watchers.join_next() => {}
                    _ = broken.changed() => {
                        self.due.extend(broken.borrow_and_update().keys().copied());
                    }
                    () = until(self.restarts.next_due()) => {
                        self.due.extend(self.restarts.take_due(Instant::now()));
                    }
                    () = sleep_until(self.retry_at), if !self.failed.is_empty() => {
                        self.due.extend(std::mem::take(&mut self.failed));
                    }
                }
            }
        }
    }

    /// Finds what a new image makes necessary.
    fn plan(&mut self, image: &Arc<Image>) {
        let me = self.controller.node().id();
        for group in changed_groups(&self.seen, image) {
            if image.placed(group).is_some_and(|(_, info)| info.hosted_by(me)) {
                self.hosted.insert(group);
                self.controller.replicas().changed(image, group);
            } else {
                self.hosted.remove(&group);
            }
            self.due.push_back(group);
        }
        self.progress.wanted.store(self.hosted.len(), Ordering::Relaxed);
        if image.groups.len() < self.seen.groups.len() {
            self.controller.metadata().leaders().retain(|group| !image.deleted(group));
        }
        self.seen = Arc::clone(image);
    }

    /// Once the image is current, what was not to be done before is.
    fn plan_everything(&mut self) {
        let everything: BTreeSet<GroupId> =
            self.hosted.iter().chain(self.held.keys()).copied().collect();
        self.due = everything.into_iter().collect();
    }

    fn start(&mut self, image: &Image) {
        while self.jobs.len() < CONCURRENT {
            let Some(group) = self.due.pop_front() else { return };
            let replica = self.held.get(&group);
            if replica.is_some_and(|replica| replica.busy) {
                continue;
            }
            let held = replica.map_or(ReplicaState::Nothing, |replica| replica.held);
            let me = self.controller.node().id();
            let current = self.progress.current() || mutant::on("deleted-by-old-image");
            let broken = self.controller.node().failed_groups().borrow().contains_key(&group);
            let step = if held.is_open() && broken {
                Some(Step::Close)
            } else {
                next_step(image, me, group, held, current)
            };
            let Some(step) = step else { continue };
            if self.restarts.holds_back(group, step, Instant::now()) {
                continue;
            }
            if step == Step::Delete && !self.is_deleted_now(group, held) {
                // The image that says otherwise is the next one that is planned.
                continue;
            }
            if step == Step::Close {
                self.restarts.failed(group, Instant::now());
            }
            self.held.insert(group, Replica { held, busy: true });
            let taken = steps::take(&self.controller, image, group, held, step);
            // A step that panics has failed and is tried again, as every other.
            let taken = AssertUnwindSafe(taken).catch_unwind();
            self.jobs.spawn(async move { taken.await.unwrap_or((group, held)) });
        }
    }

    /// Whether the newest image would have the replica deleted as well: it may have come back since.
    fn is_deleted_now(&self, group: GroupId, held: ReplicaState) -> bool {
        if mutant::on("deleted-by-old-image") {
            return true;
        }
        // An image that differs from the others' is no reason to delete anything.
        if self.controller.group().divergence().is_some() {
            return false;
        }
        let newest = self.controller.metadata().image();
        let me = self.controller.node().id();
        next_step(&newest, me, group, held, true) == Some(Step::Delete)
    }

    fn ended(&mut self, image: &Image, group: GroupId, held: ReplicaState) {
        let Some(replica) = self.held.get_mut(&group) else { return };
        let (before, unchanged) = (replica.held, replica.held == held);
        (replica.held, replica.busy) = (held, false);
        if held == ReplicaState::Nothing {
            self.held.remove(&group);
        }
        if unchanged {
            if self.failed.is_empty() {
                self.retry_at = Instant::now() + RETRY;
            }
            self.failed.insert(group);
        } else {
            self.due.push_back(group);
        }
        match (before.is_open(), held.is_open()) {
            (false, true) => {
                self.progress.running.fetch_add(1, Ordering::Relaxed);
                self.opened(image, group);
            }
            (true, false) => {
                self.progress.running.fetch_sub(1, Ordering::Relaxed);
                self.controller.metadata().leaders().forget_local(group);
            }
            _ => {}
        }
    }

    /// Lets the rest of the broker know who leads the group, as long as it is open.
    fn opened(&mut self, image: &Image, group: GroupId) {
        let Some(replica) = self.controller.replicas().get(group) else { return };
        let mut leadership = replica.leadership();
        let metadata = Arc::clone(self.controller.metadata());
        metadata.leaders().watch_local(group, leadership.clone());
        self.watchers.spawn(async move {
            while leadership.changed().await.is_ok() {
                metadata.leaders().announce();
            }
        });
        // It was opened as an older image has it.
        self.controller.replicas().changed(image, group);
    }

    async fn finish(mut self) {
        let all = async { while self.jobs.join_next().await.is_some() {} };
        if timeout(STEP, all).await.is_err() {
            tracing::info!(left = self.jobs.len(), "replicas still being opened at the stop");
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Returns once `stop` is true, or whoever would say so is gone.
async fn told_to(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Returns once the local image shows everything that was acknowledged before the call.
async fn become_current(controller: Arc<Controller>) {
    loop {
        if controller.catch_up(Instant::now() + STEP).await.is_ok() {
            return;
        }
        sleep(ASK).await;
    }
}

#[cfg(test)]
mod tests;
