//! What `/metrics` tells of consumer groups: how far each has read a partition, and how far it is behind.
//!
//! A broker tells of the groups that it coordinates, so that together they tell of each once. It is read when somebody asks and
//! not in between, for nobody may; and not again within some seconds, for several may. No majority is asked: a metric is as
//! old as it may be. An end that its leader does not tell within a second is not known, and the lag not told.
//!
//! Bound: `OFFSETS_MAX` offsets for each broker, those of the oldest groups, so that it is always the same that are left out.

use std::sync::LazyLock;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Duration, Instant};

use super::ends::{self, Question};
use super::groups::lag;
use crate::context::Context;
use crate::coordinator::CommittedOffset;
use crate::telemetry::{GroupPartition, LabelText, metrics};

/// Offsets that a broker tells of; each is two series.
const OFFSETS_MAX: usize = 10_000;
/// How old what was read may be.
const KEPT: Duration = Duration::from_secs(5);
/// How long the leaders may take together.
const ENDS_WAIT: Duration = Duration::from_secs(1);

/// When it was read; locked while it is, and until it is written out.
static READ: LazyLock<Mutex<Option<Instant>>> = LazyLock::new(Mutex::default);

/// Reads the metrics of consumer groups, which stay as they are while what is returned is kept.
pub(super) async fn read(context: &Context) -> MutexGuard<'static, Option<Instant>> {
    let mut read = READ.lock().await;
    if read.is_some_and(|read| read.elapsed() < KEPT) {
        return read;
    }
    let (offsets, left_out) = committed(context).await;
    let partitions: Vec<_> = offsets.iter().map(|(_, it)| (it.topic, it.partition)).collect();
    let question = Question { time_ms: None, confirmed: false, wait: ENDS_WAIT };
    let ends = ends::of(context, &partitions, question).await;
    let image = context.metadata.image();
    let metrics = metrics();
    metrics.consumer_group_offset.clear();
    metrics.consumer_group_lag.clear();
    metrics.consumer_group_offsets_left_out.set(i64::try_from(left_out).unwrap_or(i64::MAX));
    for (group, it) in offsets {
        let Some(topic) = image.topic_by_id(it.topic) else { continue };
        let (topic, partition) = (topic.name.clone(), it.partition);
        let labels = GroupPartition { group: LabelText(group), topic, partition };
        metrics.consumer_group_offset.get_or_create_owned(&labels).set(it.offset);
        if let Some(end) = ends.get(&(it.topic, partition)) {
            let lag = lag(end.high_watermark, it.offset);
            metrics.consumer_group_lag.get_or_create_owned(&labels).set(lag);
        }
    }
    *read = Some(Instant::now());
    read
}

/// What the groups have committed that are coordinated here, and how much of that is left out.
async fn committed(context: &Context) -> (Vec<(String, CommittedOffset)>, u64) {
    let mut led = context.coordinators.all();
    led.retain(|it| it.group().leadership().borrow().ready);
    led.sort_by_key(|it| it.group().id());
    let (mut all, mut left_out) = (Vec::new(), 0);
    for coordinator in led {
        // One that leads no more tells nothing here, and the next leader does.
        let Ok((offsets, others)) = coordinator.all_offsets(OFFSETS_MAX - all.len()).await else {
            continue;
        };
        all.extend(offsets);
        left_out += others;
    }
    (all, left_out)
}
