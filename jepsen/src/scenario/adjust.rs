//! What scenarios change of a plan: how many brokers and clients there are, and what brokers are set to.

use super::descriptors;
use crate::run::Plan;

pub(super) fn alone(plan: &mut Plan) {
    (plan.brokers, plan.replication) = (1, 1);
}

pub(super) fn many_partitions(plan: &mut Plan) {
    plan.partitions = 100;
}

/// Ten members, and thirty partitions of one topic.
pub(super) fn ten_of_thirty(plan: &mut Plan) {
    (plan.workers, plan.partitions) = (10, 30);
}

/// Eight writers contend on one key, four do everything else.
pub(super) fn contended(plan: &mut Plan) {
    (plan.workers, plan.partitions, plan.rate) = (12, 3, 250.0);
}

/// Six producers, two that transform, two that read.
pub(super) fn transactional(plan: &mut Plan) {
    (plan.workers, plan.rate) = (10, 150.0);
}

pub(super) fn with_a_spare(plan: &mut Plan) {
    plan.spares = 1;
}

/// A broker whose damage cannot be put back is replaced, and that may happen more than once.
pub(super) fn with_spares(plan: &mut Plan) {
    plan.spares = 4;
}

/// So that what a wrong clock would remove is gone before the clock is right again.
pub(super) fn retention_looks_often(plan: &mut Plan) {
    plan.settings.push(("topics.retention_check_ms".to_owned(), "500".to_owned()));
}

pub(super) fn alone_and_retention_looks_often(plan: &mut Plan) {
    alone(plan);
    retention_looks_often(plan);
}

/// So that it shows within a run that nobody ends while a majority's disks hang.
pub(super) fn ends_soon(plan: &mut Plan) {
    plan.settings.push(("storage.stall_end_ms".to_owned(), "8000".to_owned()));
}

pub(super) fn few_descriptors(plan: &mut Plan) {
    plan.descriptors = Some(descriptors::LIMIT);
}

/// So that there are brokers that do not vote on the metadata, and partitions on one end of a link only.
pub(super) fn four_brokers(plan: &mut Plan) {
    plan.brokers = 4;
    // While the link is still cut.
    plan.settings.push(("raft.fence_after_ms".to_owned(), "3000".to_owned()));
}
