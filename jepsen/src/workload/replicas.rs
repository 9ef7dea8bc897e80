//! Whether the replicas of a partition are the same: once all is healed they agree on what is in their logs, and
//! serve the same bytes.
//!
//! A replica only serves while it leads, so each voter is made leader in turn. This is not a workload but what
//! follows one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::dump::{Dump, rows};
use crate::admin::{Admin, Group, wait};
use crate::checker::{Finding, Verdict};
use crate::client::{At, Connection};
use crate::environment::Env;
use crate::history::{int, map};

/// Partitions that are read at the same time.
const THREADS: usize = 3;
/// For one replica to become leader and to be read.
const REPLICA: Duration = Duration::from_secs(20);

/// Waits until all replicas agree, then notes every replica of `partitions` as `:replica`, in random order until
/// `limit` is over. Checkers compare what was noted; here only what is missing is found.
pub fn compare(
    env: &Env,
    partitions: &[(i64, At)],
    limit: Duration,
) -> anyhow::Result<Vec<Finding>> {
    let deadline = Instant::now() + limit;
    let admin = Admin::new(env.addresses());
    let mut why = Vec::new();
    let converged = wait(limit / 2, || {
        why = disagreements(&admin);
        why.is_empty().then_some(())
    });
    if converged.is_none() {
        return Ok(vec![Finding::new("not-converged", Verdict::Invalid, why)]);
    }
    let mut order = partitions.to_vec();
    order.shuffle(&mut StdRng::seed_from_u64(env.settings.seed));
    let todo = Mutex::new(order);
    let (read, failed) = (Mutex::new(0), Mutex::new(Vec::new()));
    let work = || -> anyhow::Result<()> {
        while Instant::now() < deadline {
            let Some((key, at)) = todo.lock().pop() else { break };
            match note(env, &admin, key, &at, deadline) {
                Ok(()) => *read.lock() += 1,
                Err(error) => failed.lock().push(format!("key {key}, {at}: {error:#}")),
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked")).flatten()
        })
    })?;
    let (read, failed) = (*read.lock(), failed.into_inner());
    let summary = format!("the replicas of {read} of {} partitions were read", partitions.len());
    let verdict =
        if read == 0 && !partitions.is_empty() { Verdict::Unknown } else { Verdict::Valid };
    let mut findings = vec![Finding::new("replicas-read", verdict, vec![summary])];
    if !failed.is_empty() {
        findings.push(Finding::new("replicas-unread", Verdict::Unknown, failed));
    }
    Ok(findings)
}

/// In what the replicas of any group differ, by what every broker says of its own.
fn disagreements(admin: &Admin) -> Vec<String> {
    let mut groups: BTreeMap<u64, Vec<Group>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for broker in admin.brokers() {
        match admin.groups(broker) {
            Ok(all) => all.into_iter().for_each(|it| groups.entry(it.group).or_default().push(it)),
            Err(error) => wrong.push(format!("broker {}: {error:#}", broker.id)),
        }
    }
    let asked: Vec<u64> = admin.brokers().iter().map(|broker| broker.id).collect();
    wrong.extend(groups.values().filter_map(|replicas| disagreement(replicas, &asked)));
    wrong
}

fn disagreement(replicas: &[Group], asked: &[u64]) -> Option<String> {
    let first = replicas.first()?;
    let name = first.partition.clone().unwrap_or_else(|| format!("group {}", first.group));
    let view = |it: &Group| {
        (it.last_index, it.committed_index, it.applied_index, it.leader, it.voters.clone())
    };
    let agreed = replicas.iter().all(|it| view(it) == view(first));
    let settled = !first.joint && first.leader.is_some() && first.last_index == first.applied_index;
    let mut hosts: Vec<u64> = replicas.iter().map(|it| it.broker).collect();
    let mut members: Vec<u64> = [&first.voters[..], &first.learners[..]].concat();
    if first.partition.is_none() {
        // A broker that is lost for good stays a member of the metadata group.
        members.retain(|id| asked.contains(id));
    }
    hosts.sort_unstable();
    members.sort_unstable();
    if agreed && settled && hosts == members {
        return None;
    }
    let say = |it: &Group| {
        format!(
            "broker {}: {} of term {} under {:?}, last {:?}, committed {:?}, applied {:?}, voters {:?}, learners {:?}",
            it.broker,
            it.role,
            it.term,
            it.leader,
            it.last_index,
            it.committed_index,
            it.applied_index,
            it.voters,
            it.learners
        )
    };
    Some(format!("{name}: {}", replicas.iter().map(say).collect::<Vec<_>>().join("; ")))
}

/// Makes each voter of a partition leader in turn and notes what it serves.
fn note(env: &Env, admin: &Admin, key: i64, at: &At, deadline: Instant) -> anyhow::Result<()> {
    let replicas = admin.partition(&at.topic, at.partition)?.replicas;
    for broker in replicas {
        let mut last = None;
        let limit = REPLICA.min(deadline.saturating_duration_since(Instant::now()));
        let dump = wait(limit, || match read_from(env, admin, at, broker) {
            Ok(dump) => Some(dump),
            Err(error) => {
                last = Some(error);
                None
            }
        });
        let dump = dump.with_context(|| match last {
            Some(error) => format!("broker {broker}: {error:#}"),
            None => format!("no time left for broker {broker}"),
        })?;
        let value = map([
            ("key", int(key)),
            ("broker", int(i64::try_from(broker)?)),
            ("log-start", int(dump.start)),
            ("end", int(dump.end)),
            ("batches", rows(&dump.hashes)),
        ]);
        env.recorder.nemesis("replica", value)?;
    }
    Ok(())
}

fn read_from(env: &Env, admin: &Admin, at: &At, broker: u64) -> anyhow::Result<Dump> {
    if admin.leader(&at.topic, at.partition) != Some(broker) {
        let reply = admin.set_leader(&at.topic, at.partition, broker)?;
        anyhow::ensure!(reply.ok(), "cannot be made leader: {} {}", reply.status, reply.body);
    }
    let address = env.addresses().into_iter().find(|address| address.id == broker);
    let address = address.context("its address is not known")?.kafka;
    let patience = env.settings.request_timeout;
    let mut to = Connection::open(address, patience).map_err(|it| anyhow::anyhow!("{it}"))?;
    Dump::read(&mut to, at, patience).map_err(|failure| anyhow::anyhow!("{failure}"))
}
