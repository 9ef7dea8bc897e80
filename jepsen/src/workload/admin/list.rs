//! The topics as one broker tells them.

use super::PREFIX;
use crate::client;
use crate::history::{Body, Edn, Kind, int, map, text};
use crate::workload::session::{Extra, Session};

/// Name, id and number of partitions.
pub type Row = (String, String, i64);

/// Asks a broker for all topics and records what it says; nothing if it does not answer. A list after all changes is
/// marked as final.
pub fn list(session: &mut Session, broker: u64, last: bool) -> anyhow::Result<Option<Vec<Row>>> {
    let body = |topics: Edn| {
        let value = map([
            ("broker", int(i64::try_from(broker).unwrap_or(-1))),
            ("final", Edn::Boolean(last)),
            ("topics", topics),
        ]);
        Body::Other("list-topics".to_owned(), value)
    };
    let pending = session.invoke(body(Edn::Nil), Extra::new())?;
    let patience = session.client.patience();
    let seen = session.client.to(broker).and_then(|to| client::metadata(to, None, patience));
    let seen = match seen {
        Ok(seen) => seen,
        Err(failure) => {
            session.client.disconnect(broker);
            // It changed nothing.
            let extra = Extra::from([("error".to_owned(), text(failure.to_string()))]);
            session.complete(pending, Kind::Fail, body(Edn::Nil), extra)?;
            return Ok(None);
        }
    };
    let ours = seen.topics.into_iter().filter(|(name, _)| name.starts_with(PREFIX));
    let rows: Vec<Row> = ours
        .map(|(name, topic)| {
            (name, format!("{:032x}", topic.id), i64::try_from(topic.partitions.len()).unwrap_or(0))
        })
        .collect();
    let row = |(name, id, count): &Row| {
        Edn::Vector(vec![text(name.as_str()), text(id.as_str()), int(*count)])
    };
    let topics = Edn::Vector(rows.iter().map(row).collect());
    session.complete(pending, Kind::Ok, body(topics), Extra::new())?;
    Ok(Some(rows))
}
