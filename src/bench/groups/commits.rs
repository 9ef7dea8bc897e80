//! Commits of the members of many groups at once: as many as fit, and then how long each takes at a given rate.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{GroupsOptions, milliseconds};
use crate::bench::report::Report;
use crate::bench::statistics::Samples;
use crate::client::{ClientError, GroupMember};
use crate::terminal::Failure;

/// Not measured: connections and caches.
const WARM_UP: Duration = Duration::from_secs(2);
/// A member that commits says so often that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(3);

/// When to commit and what counts.
#[derive(Clone, Copy)]
struct Plan {
    begin: Instant,
    measured_from: Instant,
    end: Instant,
    /// Between two commits of a member; none: as soon as the last one is answered.
    every: Option<Duration>,
}

pub(super) async fn measure(
    options: &GroupsOptions,
    members: &mut Vec<GroupMember>,
    name: &str,
    report: &mut Report,
) -> Result<(), Failure> {
    let committers = u32::try_from(members.len()).unwrap_or(u32::MAX);
    let every = Duration::from_secs(1) * committers / options.commit_rate;
    let rate = format!("at {} a second", options.commit_rate);
    for (how, every) in [("as fast as possible", None), (rate.as_str(), Some(every))] {
        let begin = Instant::now();
        let measured_from = begin + WARM_UP;
        let end = measured_from + Duration::from_secs(options.commit_seconds);
        let mut took = all(members, Plan { begin, measured_from, end, every }).await?;
        #[expect(clippy::cast_precision_loss, reason = "a count of samples and of seconds")]
        let rate = took.count() as f64 / options.commit_seconds as f64;
        report.number(format!("{name}: commits, {how}"), rate, "1/s");
        for (which, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            let value = milliseconds(took.percentile(share));
            report.number(format!("{name}: a commit, {how}, {which}"), value, "ms");
        }
    }
    Ok(())
}

async fn all(members: &mut Vec<GroupMember>, plan: Plan) -> Result<Samples, Failure> {
    let count = u32::try_from(members.len()).unwrap_or(u32::MAX);
    let mut tasks = JoinSet::new();
    for (number, member) in (0_u32..).zip(members.drain(..)) {
        // Not all at the same moment.
        let first = plan.begin + plan.every.unwrap_or_default() * number / count.max(1);
        tasks.spawn(commit(member, first, plan));
    }
    let mut samples = Samples::default();
    while let Some(done) = tasks.join_next().await {
        let (member, took) = done.map_err(|error| Failure::error(error.to_string()))??;
        members.push(member);
        took.into_iter().for_each(|it| samples.add(it));
    }
    Ok(samples)
}

/// One commit after the other. With a rate a latency counts from when the commit was due, so that a coordinator that stalls
/// is charged for all that it kept waiting.
async fn commit(
    mut member: GroupMember,
    mut due: Instant,
    plan: Plan,
) -> Result<(GroupMember, Vec<Duration>), ClientError> {
    let mut took = Vec::new();
    let mut heard = Instant::now();
    // A member beyond the number of partitions has none, and commits for the first: its group lets it.
    let partition = [member.part().first().copied().unwrap_or(0)];
    for offset in 0.. {
        if plan.every.is_some() {
            sleep_until(due).await;
        } else {
            due = Instant::now();
        }
        if due >= plan.end {
            break;
        }
        member.commit(&partition, offset).await?;
        let now = Instant::now();
        if (plan.measured_from..plan.end).contains(&now) {
            took.push(now - due);
        }
        due += plan.every.unwrap_or_default();
        if heard.elapsed() > HEARTBEAT {
            member.heartbeat().await?;
            heard = Instant::now();
        }
    }
    Ok((member, took))
}
