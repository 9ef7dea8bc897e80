//! Partitions of every shape.

use crate::net::HostId;
use crate::run::{Stage, between};

/// How long each cut lasts: several failure detections and elections.
const CUT: f64 = 5.0;
const WHOLE: f64 = 2.0;
/// The client group that is cut off together with the old leader.
const WITH_LEADER: usize = 0;

/// The host of a broker; brokers' hosts carry their numbers.
pub(super) fn host(broker: u64) -> HostId {
    HostId::try_from(broker).unwrap_or(HostId::MAX)
}

fn hosts(stage: &Stage<'_>, without: u64) -> Vec<HostId> {
    stage.cluster.ids().into_iter().filter(|id| *id != without).map(host).collect()
}

/// Cuts one broker off from all others, clients still reach it.
pub(super) fn cut_off(stage: &mut Stage<'_>, id: u64, seconds: f64) -> anyhow::Result<()> {
    let others = hosts(stage, id);
    let what = format!("broker {id} from the others");
    strike(stage, id, &what, &between(&[host(id)], &others), seconds)
}

/// Cuts links of a broker for a while.
fn strike(
    stage: &mut Stage<'_>,
    id: u64,
    what: &str,
    links: &[(HostId, HostId)],
    seconds: f64,
) -> anyhow::Result<()> {
    let struck = stage.strike(id);
    stage.cut(what, links, |stage| {
        stage.rest(seconds);
        stage.recover(&struck);
        Ok(())
    })
}

/// The broker that leads everything is in the minority, together with half of the clients.
pub(super) fn leader_with_clients(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let clients: Vec<HostId> = stage.cluster.client_hosts().iter().map(|host| host.id).collect();
    while stage.another_round() {
        let leader = 1 + u64::from(rand::Rng::random_range(&mut stage.random, 0..3u8));
        stage.gather(leader)?;
        stage.rest(WHOLE);
        let mine = [host(leader), clients[WITH_LEADER]];
        let mut theirs = hosts(stage, leader);
        theirs.extend(clients.iter().skip(WITH_LEADER + 1));
        let what = format!("broker {leader}, the leader, and clients {WITH_LEADER} from the rest");
        strike(stage, leader, &what, &between(&mine, &theirs), CUT)?;
        stage.rest(WHOLE);
    }
    Ok(())
}

/// What clients send arrives at the leader, what it answers does not.
pub(super) fn answers_lost(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.another_round() {
        stage.rest(1.0);
        let leader = stage.busiest()?;
        unheard(stage, leader, 0.5)?;
    }
    Ok(())
}

/// What a broker answers clients is lost for a while.
pub(super) fn unheard(stage: &mut Stage<'_>, id: u64, seconds: f64) -> anyhow::Result<()> {
    let clients: Vec<HostId> = stage.cluster.client_hosts().iter().map(|host| host.id).collect();
    let answers: Vec<_> = clients.iter().map(|client| (host(id), *client)).collect();
    strike(stage, id, &format!("what broker {id} answers clients"), &answers, seconds)
}

/// A leader and the others, and what is cut between them.
type Shape = (&'static str, fn(HostId, &[HostId]) -> Vec<(HostId, HostId)>);

const SHAPES: [Shape; 4] = [
    ("nobody hears it", |it, others| others.iter().map(|other| (it, *other)).collect()),
    ("it hears nobody", |it, others| others.iter().map(|other| (*other, it)).collect()),
    ("it is the bridge between the others", |_, others| between(&others[..1], &others[1..])),
    ("it hears only one of the others", |it, others| between(&[it], &others[..1])),
];

/// One after the other, each around whoever leads by then.
pub(super) fn shapes(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.another_round() {
        for (what, links) in SHAPES {
            stage.rest(WHOLE);
            let leader = stage.busiest()?;
            let links = links(host(leader), &hosts(stage, leader));
            strike(stage, leader, &format!("broker {leader}: {what}"), &links, CUT)?;
        }
    }
    Ok(())
}
