//! The coordinator of a transactional id or of a group, as a client knows it: asked again, and found anew.

use std::time::Duration;

use kafka_protocol::ResponseError;

use super::session::Session;
use crate::client::{self, Connection, Failure};

/// Finds a coordinator by name.
type Find = fn(&mut Connection, &str, Duration) -> Result<u64, Failure>;

/// Codes of a broker that is not the coordinator, or not yet.
const ELSEWHERE: [ResponseError; 3] = [
    ResponseError::NotCoordinator,
    ResponseError::CoordinatorNotAvailable,
    ResponseError::CoordinatorLoadInProgress,
];

/// See the module.
pub struct Home {
    name: String,
    find: Find,
    at: Option<u64>,
}

impl Home {
    pub fn of_transactions(id: &str) -> Home {
        Home { name: id.to_owned(), find: client::find_transaction_coordinator, at: None }
    }

    pub fn of_group(group: &str) -> Home {
        Home { name: group.to_owned(), find: client::find_coordinator, at: None }
    }

    /// It is looked for anew.
    pub fn forget(&mut self) {
        self.at = None;
    }

    /// Asks whoever is believed to be the coordinator. A request without an answer may have been received.
    pub fn ask<T>(
        &mut self,
        session: &mut Session,
        request: impl FnOnce(&mut Connection, Duration) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let patience = session.client.patience();
        let coordinator = match self.at {
            Some(coordinator) => coordinator,
            None => {
                let (broker, find) = (session.client.any_broker(), self.find);
                let to = session.client.to(broker);
                let found = to.and_then(|to| find(to, &self.name, patience));
                let found = found.map_err(|failure| {
                    session.client.disconnect(broker);
                    Failure::Unsent(format!("no coordinator: {failure}"))
                })?;
                *self.at.insert(found)
            }
        };
        let answer = session.client.to(coordinator).and_then(|to| request(to, patience));
        if let Err(failure) = &answer {
            let is_code = matches!(failure, Failure::Code(_));
            if !is_code {
                session.client.disconnect(coordinator);
            }
            if !is_code || ELSEWHERE.iter().any(|code| failure.is(*code)) {
                self.at = None;
            }
        }
        answer
    }
}
