//! Watching a demo's brokers: waiting for them to come up, saying when one ends or comes back, stopping all.

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::process::Child;
use tokio::time::sleep;

use super::broker::signal_to;
use super::{DemoBroker, Layout};
use crate::terminal::{Admin, Failure, line};

/// How often processes are looked at. Only a child's end is announced by the system; that of a broker started by
/// hand is not, so all are looked at in the same way.
const LOOK: Duration = Duration::from_millis(200);
/// How long brokers may take to stop before they are killed, which loses nothing.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// The brokers this process started, by id, as long as they run.
#[derive(Default)]
pub(super) struct Watch {
    children: BTreeMap<u16, Child>,
}

impl Watch {
    pub(super) fn add(&mut self, id: u16, child: Child) {
        self.children.insert(id, child);
    }

    /// Waits until the broker can serve.
    pub(super) async fn wait_until_up(
        &mut self,
        broker: &DemoBroker,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let admin = Admin::new(vec![broker.http()]);
        let mut last = "it does not answer".to_owned();
        while Instant::now() < deadline {
            if let Some(status) = self.ended(broker.id) {
                return Err(Failure::error(format!(
                    "broker {} ended while starting ({status})",
                    broker.id
                ))
                .hint(format!(
                    "the end of {}:\n{}",
                    broker.log_file().display(),
                    broker.log_tail()
                )));
            }
            match admin.get("/readyz").await {
                Ok(_) => return Ok(()),
                Err(failure) => last = failure.to_string(),
            }
            sleep(LOOK / 4).await;
        }
        Err(Failure::error(format!("broker {} does not get ready: {last}", broker.id))
            .hint(format!("the end of {}:\n{}", broker.log_file().display(), broker.log_tail())))
    }

    fn ended(&mut self, id: u16) -> Option<ExitStatus> {
        let status = self.children.get_mut(&id)?.try_wait().ok()??;
        self.children.remove(&id);
        Some(status)
    }

    /// Says when a broker ends and when it is back, for ever.
    pub(super) async fn report(&mut self, layout: &Layout) -> Result<(), Failure> {
        let program = layout.program();
        let mut gone = BTreeMap::new();
        loop {
            for broker in &layout.brokers {
                let child_ended = self.ended(broker.id);
                let runs = self.children.contains_key(&broker.id) || broker.running_pid().is_some();
                if !runs && gone.insert(broker.id, ()).is_none() {
                    let how = child_ended
                        .map_or_else(|| "ended".to_owned(), |status| format!("ended ({status})"));
                    let again = broker.command_line(&program);
                    line(&format!(
                        "\nbroker {} {how}. Start it again with:\n  {again}",
                        broker.id
                    ))?;
                }
                if runs && gone.remove(&broker.id).is_some() {
                    let pid = broker.running_pid().unwrap_or_default();
                    line(&format!("broker {} runs again, as process {pid}", broker.id))?;
                }
            }
            sleep(LOOK).await;
        }
    }

    /// Stops every broker of the demo, also those started by hand, and waits until they have ended.
    pub(super) async fn stop_all(&mut self, layout: &Layout) -> Result<(), Failure> {
        let running = |watch: &mut Self| -> Vec<(u16, i32)> {
            let mut running = Vec::new();
            for broker in &layout.brokers {
                if watch.ended(broker.id).is_some() {
                    continue;
                }
                let child = watch.children.get(&broker.id).and_then(Child::id);
                let child = child.and_then(|pid| i32::try_from(pid).ok());
                running.extend(child.or_else(|| broker.find_process()).map(|pid| (broker.id, pid)));
            }
            running
        };
        for (_, pid) in running(self) {
            signal_to(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_PATIENCE;
        while !running(self).is_empty() && Instant::now() < deadline {
            sleep(LOOK / 4).await;
        }
        let stubborn = running(self);
        for (_, pid) in &stubborn {
            signal_to(*pid, Signal::KILL);
        }
        for broker in &layout.brokers {
            if let Some(mut child) = self.children.remove(&broker.id) {
                child.wait().await?;
            }
        }
        if stubborn.is_empty() {
            Ok(())
        } else {
            let ids: Vec<String> = stubborn.iter().map(|(id, _)| id.to_string()).collect();
            let seconds = STOP_PATIENCE.as_secs();
            line(&format!(
                "broker {} did not stop within {seconds} s and was killed",
                ids.join(", ")
            ))
        }
    }
}
