//! What a workload is made of.

use std::sync::Arc;

use parking_lot::Mutex;

use super::keys::Keys;
use super::session::Session;
use crate::checker::{self, Finding, Findings};
use crate::client::At;
use crate::environment::{Env, Worker};
use crate::history::Op;

/// What one workload does that others do not; [`super::Workload`] is the rest.
pub(super) trait Work: Send + Sync {
    fn name(&self) -> &'static str;

    /// One sentence for `--help` and the report.
    fn about(&self) -> &'static str;

    /// Settings of brokers that it needs, such as `topics.retention_check_ms`.
    fn broker_settings(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Creates what the workers need.
    fn prepare(&self, env: &Env) -> anyhow::Result<Keys>;

    /// What a process does whenever it is its turn, for as long as it lives.
    fn process(&self, session: &mut Session) -> Step;

    /// What a worker has to find out once it has read everything.
    fn finish(&self, _: &mut Worker, _: &Arc<Keys>, _: &Mutex<Findings>) -> anyhow::Result<()> {
        Ok(())
    }

    /// The keys that are to be whole at the end, and their partitions.
    fn partitions(&self, keys: &Keys) -> Vec<(i64, At)> {
        keys.used()
    }

    fn check(&self, history: &[Op]) -> Vec<Finding> {
        checker::queue(history, &checker::Options::default())
    }
}

pub(super) type Step = Box<dyn FnMut(&mut Session) -> anyhow::Result<()>>;
