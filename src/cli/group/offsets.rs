//! `quorate group reset-offsets` and `delete-offsets`: where a group reads on.

use std::str::FromStr;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::topic::text;
use crate::percent;
use crate::terminal::{
    Admin, Failure, Format, HttpServers, Table, line, note, print_json, printable,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct ResetOptions {
    /// The group's name. One that does not exist begins with the topics named.
    group: String,
    /// A topic, or some of its partitions; may be given several times [default: all that the group has an offset of].
    #[arg(long, short, value_name = "TOPIC[:PARTITION,...]")]
    topic: Vec<Partitions>,
    #[command(flatten)]
    to: Target,
    /// Only show what the offsets would be.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    servers: HttpServers,
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// An offset outside of what is kept of a partition becomes the nearest that is.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// To the first record that is kept.
    #[arg(long)]
    to_earliest: bool,
    /// Behind the last record.
    #[arg(long)]
    to_latest: bool,
    /// To this offset, or the nearest that there is.
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<u64>,
    /// To the first record of that time or later: RFC 3339, or milliseconds since 1970.
    #[arg(long, value_name = "TIME")]
    to_time: Option<String>,
    /// By so many records, backwards if negative.
    #[arg(long, value_name = "RECORDS", allow_negative_numbers = true)]
    shift_by: Option<i64>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DeleteOptions {
    /// The group's name.
    group: String,
    /// A topic, or some of its partitions; may be given several times.
    #[arg(long, short, value_name = "TOPIC[:PARTITION,...]", required = true)]
    topic: Vec<Partitions>,
    #[command(flatten)]
    servers: HttpServers,
}

/// A topic, or some of its partitions.
#[derive(Debug, Clone)]
struct Partitions {
    topic: String,
    partitions: Option<Vec<u32>>,
}

impl FromStr for Partitions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A topic's name has no colon.
        let Some((topic, numbers)) = text.split_once(':') else {
            return Ok(Self { topic: text.to_owned(), partitions: None });
        };
        let numbers = numbers.split(',').map(|number| number.parse().ok());
        let partitions = numbers.collect::<Option<Vec<u32>>>();
        let wrong = "expected a topic, or as in orders:0,2 a topic and numbers of partitions";
        let partitions = partitions.ok_or_else(|| wrong.to_owned())?;
        Ok(Self { topic: topic.to_owned(), partitions: Some(partitions) })
    }
}

impl Target {
    /// As the HTTP interface takes it.
    fn body(&self) -> Value {
        match (self.to_offset, &self.to_time, self.shift_by) {
            (Some(offset), ..) => json!({ "offset": offset }),
            (_, Some(time), _) => match time.parse::<u64>() {
                Ok(ms) => json!({ "time_ms": ms }),
                Err(_) => json!({ "time": time }),
            },
            (.., Some(by)) => json!({ "shift": by }),
            _ => json!(if self.to_earliest { "earliest" } else { "latest" }),
        }
    }
}

pub(super) async fn reset(options: ResetOptions) -> Result<(), Failure> {
    let mut body = json!({ "to": options.to.body(), "dry_run": options.dry_run });
    if !options.topic.is_empty() {
        let topic = |it: &Partitions| match &it.partitions {
            Some(partitions) => json!({ "topic": it.topic, "partitions": partitions }),
            None => json!({ "topic": it.topic }),
        };
        body["topics"] = options.topic.iter().map(topic).collect();
    }
    let path = format!("/v1/groups/{}/offsets", percent::encoded(&options.group));
    let reset = Admin::new(options.servers.http).post(&path, &body).await?;
    if options.format == Format::Json {
        return print_json(&reset);
    }
    let mut table = Table::new(["TOPIC", "PARTITION", "OLD", "NEW", "ERROR"]);
    for offset in reset["offsets"].as_array().unwrap_or(&Vec::new()) {
        let columns = ["topic", "partition", "old_offset", "new_offset", "error"];
        table.row(columns.map(|column| text(&offset[column])));
    }
    table.print()?;
    if options.dry_run {
        note("nothing was changed; without --dry-run it is")?;
    }
    Ok(())
}

pub(super) async fn delete(options: DeleteOptions) -> Result<(), Failure> {
    let admin = Admin::new(options.servers.http);
    let path = format!("/v1/groups/{}/offsets", percent::encoded(&options.group));
    for it in &options.topic {
        let topic = format!("{path}?topic={}", percent::encoded(&it.topic));
        match &it.partitions {
            None => drop(admin.delete(&topic).await?),
            Some(partitions) => {
                for partition in partitions {
                    admin.delete(&format!("{topic}&partition={partition}")).await?;
                }
            }
        }
        let [group, topic] = [&options.group, &it.topic].map(|name| printable(name));
        line(&format!("the offsets of {group} in {topic} are deleted"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_written_behind_their_topic() {
        let read = |text: &str| {
            let it: Partitions = text.parse().ok()?;
            Some((it.topic, it.partitions))
        };
        assert_eq!(read("orders"), Some(("orders".to_owned(), None)));
        assert_eq!(read("orders:0,12"), Some(("orders".to_owned(), Some(vec![0, 12]))));
        for wrong in ["orders:", "orders:0,", "orders:-1", "orders:a"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
