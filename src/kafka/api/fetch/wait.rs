//! The long poll: look, wait for a change, look again.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use crate::kafka::face::Face;
use crate::kafka::face::stopped;
use crate::kafka::sessions::Plan;
use crate::partition::Partition;

use super::Terms;
use super::look::{Look, look};

/// A fetch that wants many bytes is woken by every commit of a busy partition; looking more often than this
/// would read the same records over and over.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until there is enough, an error, the end of the client's wait, or the broker stops.
pub(super) async fn until_enough(face: &Face, plan: &Plan, terms: &Terms) -> Look {
    loop {
        let looked = Instant::now();
        // Subscribed before looking, so that nothing is missed in between.
        let partitions = partitions(face, plan);
        let mut images = face.context.metadata.watch();
        images.mark_unchanged();
        let mut changes: FuturesUnordered<_> = partitions
            .iter()
            .map(|partition| {
                let mut changes = partition.changed();
                async move { changes.changed().await }
            })
            .collect();
        let found = look(face, plan, terms).await;
        if found.is_enough(terms.bytes_min) || looked >= terms.deadline {
            return found;
        }
        drop(found);
        let mut stopping = face.stopping.clone();
        let woken = async {
            tokio::select! {
                Some(_) = changes.next() => false,
                Ok(()) = images.changed() => false,
                () = stopped(&mut stopping) => true,
            }
        };
        if timeout_at(terms.deadline, woken).await.unwrap_or(true) {
            return look(face, plan, terms).await;
        }
        if terms.bytes_min > 1 {
            sleep_until((looked + LOOK_EVERY).min(terms.deadline)).await;
        }
    }
}

fn partitions(face: &Face, plan: &Plan) -> Vec<Arc<Partition>> {
    let image = face.context.metadata.image();
    let find = |key: &crate::kafka::route::PartitionKey| {
        let info = key.topic.find(&image).ok()?.partition(key.index)?;
        face.context.partitions.get(info.group)
    };
    plan.wanted.iter().filter_map(|(key, _)| find(key)).collect()
}
