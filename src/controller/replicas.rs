//! Carrying out changes of replicas, on the broker that leads the group.
//!
//! The image says what is wanted; Raft's membership says how far it got; so a leader that takes over
//! simply continues, and a cancelled change is one whose target is where it came from. When the voters
//! are exactly the target the change is stated complete, and only then do brokers that left delete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quorate_storage::GroupId;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};

use super::{Controller, STEP};
use crate::metadata::{AdminError, Image, Request};

/// Groups this broker moves at a time; each copies a whole log, at a rate the node bounds. As many more go back
/// where they came from, which copies nothing and is asked for when moves are stuck.
const CONCURRENT: usize = 4;
/// Between two attempts at one group.
const RETRY: Duration = Duration::from_secs(1);

/// The driver.
pub(crate) struct Reassignments {
    controller: Arc<Controller>,
    running: BTreeMap<GroupId, Running>,
    jobs: JoinSet<(GroupId, u64)>,
    /// When each waiting group was tried last, so that one that cannot move does not keep others from it.
    tried: BTreeMap<GroupId, Instant>,
}

struct Running {
    change: u64,
    back: bool,
    job: AbortHandle,
}

/// What the image wants of a group's replicas.
struct DesiredReplicas {
    change: u64,
    target: BTreeSet<u64>,
    /// A cancelled move.
    back: bool,
}

impl Reassignments {
    pub(crate) fn new(controller: Arc<Controller>) -> Self {
        let (running, tried) = (BTreeMap::new(), BTreeMap::new());
        Self { controller, running, jobs: JoinSet::new(), tried }
    }

    /// Runs until dropped.
    pub(crate) async fn run(mut self) {
        let mut images = self.controller.metadata().watch();
        let mut leaders = self.controller.metadata().leaders().changes();
        loop {
            leaders.borrow_and_update();
            let image = Arc::clone(&images.borrow_and_update());
            self.drop_superseded(&image);
            self.start_due(&image);
            let waiting = !image.moving.is_empty();
            tokio::select! {
                shown = images.changed() => if shown.is_err() { return },
                _ = leaders.changed(), if waiting => {}
                Some(ended) = self.jobs.join_next() => {
                    if let Ok((group, change)) = ended {
                        self.forget(group, change);
                    }
                }
                () = sleep(RETRY), if waiting => {}
            }
        }
    }

    /// A job's end must not take a newer job of the same group out of the books.
    fn forget(&mut self, group: GroupId, change: u64) {
        if self.running.get(&group).is_some_and(|running| running.change == change) {
            self.running.remove(&group);
        }
    }

    fn drop_superseded(&mut self, image: &Image) {
        let controller = &self.controller;
        self.running.retain(|group, running| {
            // Also once it is complete: the job itself may not have heard yet.
            let placed = image.placed(*group);
            let wanted = placed.is_some_and(|(_, info)| info.change == running.change);
            let keep = wanted && leads(controller, *group);
            if !keep {
                running.job.abort();
            }
            keep
        });
        self.tried.retain(|group, _| image.moving.contains(group));
    }

    fn start_due(&mut self, image: &Image) {
        let now = Instant::now();
        let due = |group: &&GroupId| {
            !self.running.contains_key(group)
                && self.tried.get(group).is_none_or(|tried| now - *tried >= RETRY)
                && leads(&self.controller, **group)
        };
        let mut due: Vec<GroupId> = image.moving.iter().filter(due).copied().collect();
        due.sort_by_key(|group| self.tried.get(group).copied());
        for group in due {
            let Some(DesiredReplicas { change, target, back }) = wanted(image, group) else {
                continue;
            };
            if self.running.values().filter(|running| running.back == back).count() >= CONCURRENT {
                continue;
            }
            self.tried.insert(group, now);
            let controller = Arc::clone(&self.controller);
            let job = self.jobs.spawn(async move {
                carry_out(&controller, group, change, target).await;
                (group, change)
            });
            self.running.insert(group, Running { change, back, job });
        }
    }
}

fn wanted(image: &Image, group: GroupId) -> Option<DesiredReplicas> {
    let (_, info) = image.placed(group)?;
    let target = info.target.as_ref()?;
    let back = *target == info.replicas;
    Some(DesiredReplicas { change: info.change, target: target.iter().copied().collect(), back })
}

fn leads(controller: &Controller, group: GroupId) -> bool {
    controller.replicas().leads(group)
}

async fn carry_out(controller: &Controller, group: GroupId, change: u64, target: BTreeSet<u64>) {
    tracing::info!(group = group.0, target = ?target, "replicas move");
    if let Err(error) = controller.replicas().move_to(group, target.clone()).await {
        tracing::info!(group = group.0, %error, "replicas have not moved yet");
        return;
    }
    let complete = Request::CompleteReplicas { group: group.0, change };
    match controller.submit(complete, Instant::now() + STEP).await {
        Ok(_) => tracing::info!(group = group.0, replicas = ?target, "replicas have moved"),
        Err(AdminError::ChangeSuperseded) => {}
        Err(error) => tracing::info!(group = group.0, %error, "completed move not recorded yet"),
    }
}
