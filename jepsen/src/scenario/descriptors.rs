//! More connections than a broker may have open: nothing that strangers do may end it, or take the places of its health,
//! its peers or its storage.

use std::time::{Duration, Instant};

use crate::client::Idle;
use crate::run::{Sign, Stage};
use crate::sandbox::Broker;

/// What a broker may have open, and what strangers open to it: more.
pub(super) const LIMIT: u64 = 1024;
const TO_EACH_PORT: usize = 600;
/// A health check that takes longer kills healthy brokers.
const HEALTH: Duration = Duration::from_millis(2_000);
const HELD: f64 = 4.0;
const UP: f64 = 1.5;

/// Strangers hold what they get of every broker; meanwhile logs are written into tables, and a broker starts anew.
pub(super) fn taken(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    while stage.another_round() {
        stage.rest(UP);
        // Before strangers take the places of whoever asks for anything but health.
        let leader = stage.busiest()?;
        let mut idle = strangers(stage)?;
        stage.rest(HELD);
        check_health(stage);
        stage.kill(leader, "which leads most partitions", |stage| {
            stage.rest(UP);
            Ok(())
        })?;
        // It is new, and strangers come back to it.
        let ports = stage.cluster.broker(leader)?.ports();
        let more = stage.cluster.client_host(0).run(|| Idle::open(&ports, TO_EACH_PORT))?;
        stage.rest(HELD);
        check_health(stage);
        let held = idle.iter().map(Idle::held).sum::<usize>() + more.held();
        stage.saw(Sign::IdleConnections, held);
        idle.clear();
        drop(more);
        stage.end("idle", "strangers leave", |_| Ok(format!("{held} were still connected")))?;
    }
    Ok(())
}

fn strangers(stage: &mut Stage<'_>) -> anyhow::Result<Vec<Idle>> {
    let hosts = stage.cluster.client_hosts();
    let mut idle = Vec::new();
    for (place, broker) in stage.cluster.members().enumerate() {
        let ports = broker.ports();
        idle.push(hosts[place % hosts.len()].run(|| Idle::open(&ports, TO_EACH_PORT))?);
    }
    let opened: usize = idle.iter().map(Idle::opened).sum();
    let used: Vec<String> = stage.cluster.members().map(used).collect();
    let most = stage.cluster.members().filter_map(Broker::descriptors).max().unwrap_or(0);
    stage.begin("idle", &format!("{TO_EACH_PORT} idle connections to each port"), |_| {
        anyhow::ensure!(most as u64 > LIMIT / 4, "brokers let hardly any in: {}", used.join(", "));
        Ok(format!("{opened} made; {}", used.join(", ")))
    })?;
    Ok(idle)
}

fn used(broker: &Broker) -> String {
    let open = broker.descriptors().unwrap_or(0);
    format!("broker {} has {open} of {LIMIT} descriptors open", broker.id)
}

/// Whoever asks whether a broker lives is answered soon, strangers or not.
fn check_health(stage: &mut Stage<'_>) {
    let admin = stage.cluster.hasty_admin();
    let mut late = Vec::new();
    for broker in admin.brokers() {
        let started = Instant::now();
        let answer = admin.ask(broker, "GET", "/livez", None);
        let (took, id) = (started.elapsed(), broker.id);
        match answer {
            Ok(reply) if reply.ok() && took < HEALTH => {}
            Ok(reply) => late.push(format!("broker {id}: {} after {took:.1?}", reply.status)),
            Err(error) => late.push(format!("broker {id}: {error:#} after {took:.1?}")),
        }
    }
    if !late.is_empty() {
        stage.cluster.find("health-not-told", late);
    }
}
