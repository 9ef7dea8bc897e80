//! Replicas that are moved, taken away and replaced, while other things go wrong.

use std::time::Duration;

use anyhow::Context;

use super::partition::host;
use super::restart;
use crate::admin::wait;
use crate::fault::Outcome;
use crate::run::{Stage, Used, between, resting};

/// Longer than brokers wait before they write a checkpoint of a quiet group: the restart begins with the state in it.
const CHECKPOINTED: f64 = 17.0;
/// A change that is not through by then counts as not made.
const MOVED: Duration = Duration::from_secs(20);

/// 3 to 1 to 3 replicas while the leader is cut off; then the leader's own replica goes to a new broker, during a kill.
pub(super) fn shrink_grow_replace(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let mut newcomer = None;
    while stage.another_round() {
        let used: Vec<Used> = stage.used()?.into_iter().take(4).collect();
        change(stage, &used, "to one replica", |_| vec![1])?;
        stage.rest(1.0);
        ask(stage, &used, "back to three, the only one cut off meanwhile", |_| vec![1, 2, 3])?;
        let links = between(&[host(1)], &[host(2), host(3)]);
        stage.cut("broker 1 from 2 and 3", &links, resting(2.0))?;
        settle(stage, &used)?;
        if newcomer.is_none() && stage.cluster.spares() > 0 {
            newcomer = Some(stage.cluster.add_broker()?.0);
        }
        let fourth = newcomer.unwrap_or(1);
        stage.gather(1)?;
        ask(stage, &used, "the leader's own replica goes elsewhere, a voter is killed", |_| {
            vec![2, 3, fourth]
        })?;
        stage.kill(2, "a voter", resting(1.5))?;
        settle(stage, &used)?;
        change(stage, &used, "home again", |_| vec![1, 2, 3])?;
    }
    Ok(())
}

/// Replicas are taken away and given back, and then every broker starts anew: its log of the metadata begins with a
/// past in which it had lost them.
pub(super) fn away_and_back(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let mut stays = 1;
    while stage.another_round() {
        let used: Vec<Used> = stage.used()?.into_iter().take(4).collect();
        change(stage, &used, "to one replica", |_| vec![stays])?;
        stage.rest(CHECKPOINTED);
        change(stage, &used, "back to three", |_| vec![1, 2, 3])?;
        restart::all_at_once(stage)?;
        stage.rest(2.0);
        stays = stays % 3 + 1;
    }
    Ok(())
}

/// Asks for other replicas and waits until they are.
pub(super) fn change(
    stage: &mut Stage<'_>,
    used: &[Used],
    what: &str,
    to: impl Fn(&Used) -> Vec<u64>,
) -> anyhow::Result<()> {
    ask(stage, used, what, to)?;
    settle(stage, used)
}

pub(super) fn ask(
    stage: &mut Stage<'_>,
    used: &[Used],
    what: &str,
    to: impl Fn(&Used) -> Vec<u64>,
) -> anyhow::Result<()> {
    let admin = stage.cluster.admin();
    let mut taken = 0;
    for it in used {
        let answer = admin.set_replicas(&it.topic, it.partition.partition, &to(it));
        taken += usize::from(answer.is_ok_and(|reply| reply.ok()));
    }
    let proof = format!("{taken} of {} changes taken", used.len());
    stage.began(
        "membership",
        match taken {
            0 => Outcome::Indeterminate { reason: proof },
            _ => Outcome::Installed { what: what.to_owned(), proof },
        },
    )
}

/// Waits until no change is under way.
pub(super) fn settle(stage: &mut Stage<'_>, used: &[Used]) -> anyhow::Result<()> {
    let admin = stage.cluster.admin();
    let moving = |it: &Used| {
        let found = admin.partition(&it.topic, it.partition.partition).context("asked");
        found.map_or(true, |partition| partition.target.is_some())
    };
    let settled = wait(MOVED, || (!used.iter().any(moving)).then_some(()));
    stage.ended(
        "membership",
        match settled {
            Some(()) => {
                Outcome::Installed { what: "moved".to_owned(), proof: "no target left".to_owned() }
            }
            None => Outcome::Indeterminate { reason: format!("not moved within {MOVED:?}") },
        },
    )
}
