//! The coordinator of a group as a member knows it, and what it says of the offsets.

use std::collections::BTreeMap;

use crate::client::{self, Failure};
use crate::history::{Body, Edn, Kind, Pending, int, text};
use crate::workload::home::Home;
use crate::workload::session::{Extra, Session};

/// See the module.
pub struct Coordinator {
    pub group: &'static str,
    pub home: Home,
}

impl Coordinator {
    pub fn of(group: &'static str) -> Coordinator {
        Coordinator { group, home: Home::of_group(group) }
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
            self.home.ask(session, |to, patience| client::committed_offsets(to, group, patience));
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
