//! Numbers with what they mean and the conditions they hold under.

use serde::Serialize;
use serde_json::Value;

use super::Common;
use crate::terminal::{Failure, Format, Table, line, print_json};

/// One number.
#[derive(Debug, Serialize)]
pub(super) struct Measurement {
    name: String,
    value: f64,
    unit: &'static str,
}

/// The numbers of a run and its conditions.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    conditions: Vec<(String, String)>,
    measurements: Vec<Measurement>,
}

impl Report {
    /// Begins with the conditions every run has.
    pub(super) async fn new(common: &Common) -> Result<Self, Failure> {
        let cluster = common.admin().get("/v1/cluster").await?;
        let number = |name: &str| cluster[name].as_u64().unwrap_or(0).to_string();
        let mut report = Self::of_machine();
        report.condition("version", env!("CARGO_PKG_VERSION"));
        report.condition("brokers", number("brokers"));
        report.condition("replication", common.replication);
        report.condition("partitions of the cluster", number("partitions"));
        Ok(report)
    }

    /// Begins with what is known without asking a cluster.
    pub(super) fn of_machine() -> Self {
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let mut report = Self { conditions: Vec::new(), measurements: Vec::new() };
        report.condition("cores, shared with this benchmark if the brokers run here", cores);
        report.condition("load of this machine before, 1 minute", load_average());
        report
    }

    pub(super) fn condition(&mut self, name: &str, value: impl ToString) {
        self.conditions.push((name.to_owned(), value.to_string()));
    }

    pub(super) fn number(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.measurements.push(Measurement { name: name.into(), value, unit });
    }

    pub(super) fn print(&self, format: Format) -> Result<(), Failure> {
        if format == Format::Json {
            let conditions: serde_json::Map<String, Value> = self
                .conditions
                .iter()
                .map(|(name, value)| (name.clone(), Value::String(value.clone())))
                .collect();
            return print_json(
                &serde_json::json!({ "conditions": conditions, "measurements": self.measurements }),
            );
        }
        let mut table = Table::new(["MEASURED", "", ""]);
        for Measurement { name, value, unit } in &self.measurements {
            table.row([name.clone(), format!("{value:>12.3}"), (*unit).to_owned()]);
        }
        table.print()?;
        line("")?;
        let mut table = Table::new(["UNDER THESE CONDITIONS", ""]);
        for (name, value) in &self.conditions {
            table.row([name.clone(), value.clone()]);
        }
        table.print()
    }
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}
