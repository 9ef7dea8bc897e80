//! Handing leaderships over and measuring until the new leader takes writes.
//!
//! From asking for the hand-over until the acknowledgement of the first record by the new leader, which is tried
//! all the time meanwhile. No client that follows the leader waits longer than this.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Common;
use super::report::Report;
use super::statistics::{Samples, milliseconds};
use crate::client::{Client, ClientConfig, PartitionAt, Probe};
use crate::terminal::Failure;

const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Args)]
pub(crate) struct TransferOptions {
    /// Partitions of the topic; each is handed over once, one after the other.
    #[arg(long, short, default_value_t = 100)]
    partitions: u32,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(options: TransferOptions) -> Result<(), Failure> {
    if options.common.replication < 2 {
        return Err(Failure::usage(
            "a leadership is handed over between replicas: --replication 2 at least",
        ));
    }
    let topic = options.common.create_topic("transfer", options.partitions).await?;
    let mut report = Report::new(&options.common).await?;
    report.condition("partitions of the topic", options.partitions);
    report.condition("tried to write every", format!("{} ms", LOOK.as_millis()));
    let client = Client::new(ClientConfig::new(options.common.kafka.server.clone()));
    Probe::warm_up(&client, &topic).await?;
    let described = options.common.admin().get(&format!("/v1/topics/{topic}")).await?;
    let mut took = Samples::default();
    for partition in described["partitions"].as_array().into_iter().flatten() {
        let number = partition["partition"].as_i64().and_then(|number| i32::try_from(number).ok());
        let replicas = partition["replicas"].as_array().into_iter().flatten();
        let to = replicas
            .filter_map(serde_json::Value::as_u64)
            .find(|id| Some(*id) != partition["leader"].as_u64());
        let (Some(number), Some(to)) = (number, to) else { continue };
        took.add(hand_over(&options, &client, &topic, number, to).await?);
    }
    report.condition("hand-overs measured", took.count());
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        report.number(
            format!("hand-over to first write, {name}"),
            milliseconds(took.percentile(share)),
            "ms",
        );
    }
    options.common.delete_topic(&topic).await?;
    report.print(options.common.format)
}

async fn hand_over(
    options: &TransferOptions,
    client: &Client,
    topic: &str,
    partition: i32,
    to: u64,
) -> Result<Duration, Failure> {
    let unknown = || Failure::error(format!("broker {to} is not known to clients"));
    let broker = i32::try_from(to).map_err(|_| unknown())?;
    let address = client.topology().brokers.get(&broker).cloned().ok_or_else(unknown)?;
    let leader = PartitionAt { broker, address };
    let admin = options.common.admin();
    let path = format!("/v1/topics/{topic}/partitions/{partition}/leader");
    let started = Instant::now();
    let asked = tokio::spawn(async move { admin.put(&path, &json!({ "broker": to })).await });
    let probe = Probe { client, topic, partition };
    let mut last = String::new();
    while started.elapsed() < PATIENCE {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match probe.write(&leader, i64::try_from(now.as_millis()).unwrap_or(i64::MAX)).await {
            Ok(()) => {
                let took = started.elapsed();
                asked.await.map_err(|error| Failure::error(error.to_string()))??;
                return Ok(took);
            }
            Err(error) => last = error.to_string(),
        }
        sleep(LOOK).await;
    }
    Err(Failure::error(format!("broker {to} does not take writes of {topic}-{partition}: {last}")))
}
