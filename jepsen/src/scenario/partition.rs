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
    stage.cut(&format!("broker {id} from the others"), &between(&[host(id)], &others), |stage| {
        stage.rest(seconds);
        Ok(())
    })
}

/// The broker that leads everything is in the minority, together with half of the clients.
pub(super) fn leader_with_clients(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let clients: Vec<HostId> = stage.cluster.client_hosts().iter().map(|host| host.id).collect();
    while stage.going_on() {
        let leader = 1 + u64::from(rand::Rng::random_range(&mut stage.random, 0..3u8));
        stage.gather(leader)?;
        stage.rest(WHOLE);
        let mine = [host(leader), clients[WITH_LEADER]];
        let mut theirs = hosts(stage, leader);
        theirs.extend(clients.iter().skip(WITH_LEADER + 1));
        let what = format!("broker {leader}, the leader, and clients {WITH_LEADER} from the rest");
        stage.cut(&what, &between(&mine, &theirs), |stage| {
            stage.rest(CUT);
            Ok(())
        })?;
        stage.rest(WHOLE);
    }
    Ok(())
}

/// What clients send arrives at the leader, what it answers does not.
pub(super) fn answers_lost(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let clients: Vec<HostId> = stage.cluster.client_hosts().iter().map(|host| host.id).collect();
    while stage.going_on() {
        stage.rest(1.0);
        let leader = stage.busiest()?;
        let answers: Vec<_> = clients.iter().map(|client| (host(leader), *client)).collect();
        stage.cut(&format!("what broker {leader} answers clients"), &answers, |stage| {
            stage.rest(0.5);
            Ok(())
        })?;
    }
    Ok(())
}

/// One after the other: a leader nobody hears, a leader that hears nobody, a bridge, a ring of majorities.
pub(super) fn shapes(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.going_on() {
        let leader = stage.busiest()?;
        let others = hosts(stage, leader);
        let out: Vec<_> = others.iter().map(|other| (host(leader), *other)).collect();
        let back: Vec<_> = others.iter().map(|other| (*other, host(leader))).collect();
        let bridge = between(&others[..1], &others[1..2]);
        let ring = between(&[host(leader)], &others[..1]);
        for (what, links) in [
            (format!("nobody hears broker {leader}"), out),
            (format!("broker {leader} hears nobody"), back),
            (format!("broker {leader} is the bridge between the others"), bridge),
            (format!("broker {leader} hears only one of the others"), ring),
        ] {
            stage.cut(&what, &links, |stage| {
                stage.rest(CUT);
                Ok(())
            })?;
            stage.rest(WHOLE);
            if !stage.going_on() {
                break;
            }
        }
    }
    Ok(())
}
