//! `quorate topic compact`, and what `topic describe` shows of compaction.

use clap::Args;
use serde_json::{Value, json};

use super::{NamedOptions, checked, text};
use crate::terminal::{Admin, Failure, Format, Table, note, print_json};

#[derive(Debug, Args)]
pub(in crate::cli) struct CompactOptions {
    /// One partition [default: all].
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    #[command(flatten)]
    named: NamedOptions,
}

/// Has leaders decide; the replicas follow. An error of one partition is the command's.
pub(super) async fn compact(wanted: CompactOptions) -> Result<(), Failure> {
    let NamedOptions { name, options } = wanted.named;
    let (topic, admin) = (checked(&name)?, Admin::new(options.servers.http));
    let asked = match wanted.partition {
        None => admin.post(&format!("/v1/topics/{topic}/compaction"), &json!({})).await?,
        Some(partition) => {
            let path = format!("/v1/topics/{topic}/partitions/{partition}/compaction");
            json!({ "topic": topic, "partitions": [admin.post(&path, &json!({})).await?] })
        }
    };
    let partitions = asked["partitions"].as_array().map_or(&[][..], Vec::as_slice);
    if options.format == Format::Json {
        print_json(&asked)?;
    } else {
        let mut table = Table::new(["PARTITION", "DECIDED", "UP TO", "COMPACTED UP TO", "ERROR"]);
        for partition in partitions {
            let columns = ["partition", "decided", "decided_upto", "compacted_upto", "error"];
            table.row(columns.map(|column| text(&partition[column])));
        }
        table.print()?;
        note(&format!(
            "the replicas compact what was decided; `quorate topic describe {topic}` shows how far"
        ))?;
    }
    let failed = partitions.iter().filter(|partition| !partition["error"].is_null()).count();
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::error(format!("nothing is known to be decided of {failed} partitions"))
        .hint("`quorate cluster status` says what is wrong; asking again is harmless"))
}

/// Adds to a topic's description how far its partitions are compacted, if they are.
pub(super) async fn add(admin: &Admin, name: &str, topic: &mut Value) -> Result<(), Failure> {
    let compaction = admin.get(&format!("/v1/topics/{name}/compaction")).await?;
    if compaction["compacted"] == true {
        topic["compaction"] = compaction["partitions"].clone();
    }
    Ok(())
}

/// Shows what was added.
pub(super) fn show(topic: &Value) -> Result<(), Failure> {
    let Some(partitions) = topic["compaction"].as_array() else { return Ok(()) };
    let mut table = Table::new([
        "PARTITION",
        "DIRTY RATIO",
        "COMPACTED UP TO",
        "OF DECIDED",
        "BYTES SAVED",
        "RUNS",
        "FAILED",
        "LAST RUN",
    ]);
    for row in partitions {
        let (partition, state) = (text(&row["partition"]), &row["compaction"]);
        let cell = |name: &str| text(&state[name]);
        let numbers = ["compacted_upto", "decided_upto", "bytes_saved", "runs", "failures"];
        let [upto, decided, saved, runs, failures] = numbers.map(cell);
        let ratio = state["dirty_ratio"].as_f64();
        let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
        table.row([partition, ratio, upto, decided, saved, runs, failures, last_run(state)]);
    }
    table.print()
}

fn last_run(state: &Value) -> String {
    if state["running"] == true {
        return "runs now".to_owned();
    }
    let last = &state["last_run"];
    let ended = last["ended"].as_str().map(|ended| format!("{ended}, {} ms", last["took_ms"]));
    match (state["paused"] == true, ended) {
        (true, ended) => {
            format!("paused (log.cleaner.enable); {}", ended.unwrap_or("-".to_owned()))
        }
        (false, ended) => ended.unwrap_or_else(|| "-".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_run_is_told_with_what_keeps_the_next_one() {
        let run = json!({ "ended": "2026-11-27T05:30:00.250Z", "took_ms": 12 });
        let said = |running: bool, paused: bool, last: &Value| {
            last_run(&json!({ "running": running, "paused": paused, "last_run": last }))
        };
        assert_eq!(said(false, false, &Value::Null), "-");
        assert_eq!(said(false, false, &run), "2026-11-27T05:30:00.250Z, 12 ms");
        assert_eq!(said(true, false, &run), "runs now");
        assert_eq!(said(false, true, &Value::Null), "paused (log.cleaner.enable); -");
        // A leader that does not answer.
        assert_eq!(last_run(&Value::Null), "-");
    }
}
