//! The coordinator of a group as a member knows it: asked again, found anew, and what it says of the offsets.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::{self, Connection, Failure};
use crate::history::{Body, Edn, Kind, Pending, int, text};
use crate::workload::session::{Extra, Session};

/// See the module.
pub struct Coordinator {
    pub group: &'static str,
    at: Option<u64>,
}

impl Coordinator {
    pub fn of(group: &'static str) -> Coordinator {
        Coordinator { group, at: None }
    }

    /// It is looked for anew.
    pub fn forget(&mut self) {
        self.at = None;
    }

    /// How far the group has read, by key.
    pub fn committed(
        &mut self,
        session: &mut Session,
    ) -> anyhow::Result<Result<BTreeMap<i64, i64>, Failure>> {
        let body = |it: Edn| Body::Other("fetch-offsets".to_owned(), it);
        let pending = session.invoke(body(Edn::Nil), Extra::new())?;
        let group = self.group;
        let found =
            self.ask(session, |to, patience| client::committed_offsets(to, group, patience));
        let found = match found {
            Ok(found) => found,
            Err(failure) => {
                not_done(session, pending, &failure)?;
                return Ok(Err(failure));
            }
        };
        let of = |key: i64| Some((key, *found.get(&session.keys.at(key))?));
        let offsets: BTreeMap<i64, i64> = (0..session.keys.active()).filter_map(of).collect();
        session.complete(pending, Kind::Ok, body(pairs(&offsets)), Extra::new())?;
        Ok(Ok(offsets))
    }

    /// Asks the coordinator, whoever that is believed to be.
    pub fn ask<T>(
        &mut self,
        session: &mut Session,
        request: impl FnOnce(&mut Connection, Duration) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let patience = session.client.patience();
        let coordinator = match self.at {
            Some(coordinator) => coordinator,
            None => {
                let broker = session.client.any_broker();
                let found = session
                    .client
                    .to(broker)
                    .and_then(|to| client::find_coordinator(to, self.group, patience));
                let found = found.map_err(|failure| {
                    session.client.disconnect(broker);
                    Failure::Unsent(format!("no coordinator: {failure}"))
                })?;
                *self.at.insert(found)
            }
        };
        let answer = session.client.to(coordinator).and_then(|to| request(to, patience));
        if answer.as_ref().is_err_and(|failure| !matches!(failure, Failure::Code(_))) {
            session.client.disconnect(coordinator);
        }
        answer
    }
}

/// Records what failed without anything that depends on it: to join twice is no harm, nor to ask.
pub fn not_done(session: &mut Session, pending: Pending, failure: &Failure) -> anyhow::Result<()> {
    let extra = Extra::from([("error".to_owned(), text(failure.to_string()))]);
    let body = pending.body.clone();
    session.complete(pending, Kind::Fail, body, extra)
}

pub fn pairs(offsets: &BTreeMap<i64, i64>) -> Edn {
    Edn::Vector(
        offsets.iter().map(|(key, offset)| Edn::Vector(vec![int(*key), int(*offset)])).collect(),
    )
}
