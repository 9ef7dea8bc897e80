//! What a group costs: commit latency and throughput, transfer and failover times.
//!
//! `cargo bench -p quorate-raft` runs three nodes in one process, each with its own runtime,
//! database and sockets, all on one disk; the numbers are therefore of one machine doing the work of
//! three. Sizes can be changed: `cargo bench -p quorate-raft -- seconds=5 groups=100`.

#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../tests/groups/cluster.rs"]
mod cluster;
#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../tests/groups/ledger.rs"]
mod ledger;

use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster::Cluster;
use quorate_raft::{Group, Outcome};

use ledger::Ledger;

fn argument(name: &str, default: u64) -> u64 {
    let prefix = format!("{name}=");
    std::env::args()
        .find_map(|argument| argument.strip_prefix(&prefix)?.parse().ok())
        .unwrap_or(default)
}

#[expect(clippy::print_stdout, reason = "a bench reports to the terminal")]
fn line(text: &str) {
    println!("{text}");
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let seconds = Duration::from_secs(argument("seconds", 4));
        let many = argument("groups", 100);
        let mut cluster = Cluster::start(3).await;
        for group in 1..=many {
            let first = group % 3;
            let voters = [first + 1, (first + 1) % 3 + 1, (first + 2) % 3 + 1];
            cluster.create(group, &voters).await;
        }
        let mut leaders = Vec::new();
        for group in 1..=many {
            let leader = cluster.leader(group).await;
            leaders.push(cluster.group(leader, group).clone());
        }
        for (groups, depth, size) in [
            (1, 1, 1024),
            (1, 16, 1024),
            (1, 16, 65_536),
            (many, 1, 1024),
            (many, 8, 1024),
            (many, 1, 65_536),
        ] {
            commit(&leaders[..groups as usize], depth, size, seconds).await;
        }
        transfers(&cluster, many).await;
        failover(&mut cluster, many).await;
    });
}

/// Writes to all groups, with `depth` proposals of each under way.
async fn commit(groups: &[Group<Ledger>], depth: usize, size: usize, for_: Duration) {
    let started = Instant::now();
    let payload = Bytes::from(vec![b'T'; size]);
    let mut writers = Vec::new();
    for group in groups {
        for _ in 0..depth {
            let (group, payload) = (group.clone(), payload.clone());
            writers.push(tokio::spawn(async move {
                let mut times = Vec::new();
                while started.elapsed() < for_ {
                    let sent = Instant::now();
                    let Ok(pending) = group.propose(payload.clone(), None).await else { continue };
                    if let Outcome::Applied { .. } = pending.await {
                        times.push(sent.elapsed());
                    }
                }
                times
            }));
        }
    }
    let mut times = Vec::new();
    for writer in writers {
        times.extend(writer.await.expect("no panic"));
    }
    let rate = times.len() as f64 / started.elapsed().as_secs_f64();
    line(&format!(
        "commit  groups {:4} depth {depth:2} size {size:6}: {rate:8.0}/s {:7.1} MB/s  {}",
        groups.len(),
        rate * size as f64 / 1e6,
        percentiles(&mut times)
    ));
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    if times.is_empty() {
        "nothing".into()
    } else {
        format!("p50 {:?} p99 {:?} max {:?}", at(0.5), at(0.99), at(1.0))
    }
}

async fn transfers(cluster: &Cluster, groups: u64) {
    let mut times = Vec::new();
    for group in 1..=groups {
        let leader = cluster.leader(group).await;
        let to = leader % 3 + 1;
        let replica = cluster.group(leader, group).clone();
        let target = cluster.group(to, group).clone();
        let started = Instant::now();
        let moved =
            cluster.node(leader).spawn(async move { replica.transfer_leader(to).await }).await;
        let mut leadership = target.leadership();
        leadership.wait_for(|now| now.ready).await.expect("the group runs");
        if moved.is_ok() {
            times.push(started.elapsed());
        }
    }
    line(&format!(
        "transfer of {} groups, one by one, until ready: {}",
        times.len(),
        percentiles(&mut times)
    ));
}

async fn failover(cluster: &mut Cluster, groups: u64) {
    let mut waiting = Vec::new();
    for group in 1..=groups {
        if cluster.leader(group).await == 1 {
            waiting.push(group);
        }
    }
    let started = Instant::now();
    cluster.kill(1);
    let mut tasks = Vec::new();
    for group in waiting {
        let survivors = [2, 3].map(|id| cluster.group(id, group).clone());
        tasks.push(tokio::spawn(async move {
            loop {
                for replica in &survivors {
                    let ready = replica.leadership().borrow().ready;
                    if ready
                        && let Ok(pending) =
                            replica.propose(Bytes::from_static(b"T00000000"), None).await
                        && let Outcome::Applied { .. } = pending.await
                    {
                        return started.elapsed();
                    }
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.push(task.await.expect("no panic"));
    }
    line(&format!("failover of {} groups until a write: {}", times.len(), percentiles(&mut times)));
}
