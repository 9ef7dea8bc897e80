//! What brokers cost that have nothing to do.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::time::sleep;

use super::Common;
use super::report::Report;
use crate::demo::default_data_dir;
use crate::telemetry::{Usage, usage_of};
use crate::terminal::Failure;

/// What creating partitions set in motion has settled by then.
const SETTLE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Args)]
pub(crate) struct IdleOptions {
    /// Numbers of partitions to measure with, one after the other.
    #[arg(long, short, value_delimiter = ',', default_value = "3,100,1000")]
    partitions: Vec<u32>,
    /// How long to measure each.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The demo's data directory, where the brokers' pid files are [default: the demo's default].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(options: IdleOptions) -> Result<(), Failure> {
    let directory = match &options.data_dir {
        Some(directory) => directory.clone(),
        None => default_data_dir()?,
    };
    let brokers = super::failover::running_brokers(&directory)?;
    let mut report = Report::new(&options.common).await?;
    report.condition("seconds", options.seconds);
    report.condition("seconds to settle before", SETTLE.as_secs());
    report.condition("memory", "resident, with the caches that earlier load has filled");
    for partitions in &options.partitions {
        let topic = options.common.create_topic(&format!("idle-{partitions}"), *partitions).await?;
        sleep(SETTLE).await;
        let before: Vec<Usage> = brokers.iter().filter_map(|(_, pid)| usage_of(*pid)).collect();
        sleep(Duration::from_secs(options.seconds)).await;
        let after: Vec<Usage> = brokers.iter().filter_map(|(_, pid)| usage_of(*pid)).collect();
        if before.len() != brokers.len() || after.len() != brokers.len() {
            return Err(Failure::error("a broker ended while it was measured"));
        }
        for (((id, _), before), after) in brokers.iter().zip(&before).zip(&after) {
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
            let megabytes = after.resident_bytes as f64 / 1e6;
            report.number(format!("{partitions} partitions, broker {id}: memory"), megabytes, "MB");
            let used = after.cpu.saturating_sub(before.cpu).as_secs_f64();
            #[expect(clippy::cast_precision_loss, reason = "a number of seconds")]
            let share = used / options.seconds as f64 * 100.0;
            report.number(
                format!("{partitions} partitions, broker {id}: processor"),
                share,
                "% of a core",
            );
        }
        options.common.delete_topic(&topic).await?;
        options.common.wait_until_healthy().await?;
    }
    report.print(options.common.format)
}
