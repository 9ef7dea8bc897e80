//! Sends, and questions for the end of the log: whoever is told an offset must be told the truth, also by a broker that
//! led once and does not know that it does not any more.

use std::time::Duration;

use rand::Rng;

use super::keys::{Keys, Limits};
use super::session::{Extra, Session};
use super::work::{Step, Work};
use crate::checker::{self, Finding};
use crate::client::{At, Failure, LATEST, list_offset};
use crate::environment::Env;
use crate::history::{Body, Edn, Kind, Op, int, text};

/// Short histories, and several operations at a time for each key: that is what can be judged and finds most.
const LIMITS: Limits = Limits { active: 4, writes_min: 50, writes_max: 400 };
/// For one key's history.
const SEARCH: Duration = Duration::from_secs(20);

/// See the module.
pub struct ListOffsets;

impl Work for ListOffsets {
    fn name(&self) -> &'static str {
        "list-offsets"
    }

    fn about(&self) -> &'static str {
        "producers send, others ask brokers that lead or led for the end of the log; all answers fit one order"
    }

    fn prepare(&self, env: &Env) -> anyhow::Result<Keys> {
        Keys::prepare(env, "offsets", LIMITS)
    }

    fn process(&self, _: &mut Session) -> Step {
        Box::new(|session| {
            let key = session.keys.pick(&mut session.random);
            if session.random.random() {
                session.send(key, 1, -1).map(drop)
            } else {
                ask(session, key)
            }
        })
    }

    fn check(&self, history: &[Op]) -> Vec<Finding> {
        let mut findings = checker::queue(history, &checker::Options::default());
        findings.extend(checker::list_offsets(history, SEARCH));
        findings
    }
}

/// Asks the believed leader, or one time in three any broker, for the end of a key's partition. A question that is not
/// answered changed nothing, so it never is indeterminate.
fn ask(session: &mut Session, key: i64) -> anyhow::Result<()> {
    let body = |end: Edn| Body::Other("list-offsets".to_owned(), Edn::Vector(vec![int(key), end]));
    let pending = session.invoke(body(Edn::Nil), Extra::new())?;
    let at = session.keys.at(key);
    let (broker, answer) = match target(session, &at) {
        Ok((broker, epoch)) => {
            let patience = session.client.patience();
            let to = session.client.to(broker);
            let answer = to.and_then(|to| list_offset(to, &at, epoch, LATEST, patience));
            (Some(broker), answer)
        }
        Err(failure) => (None, Err(failure)),
    };
    let mut extra = Extra::new();
    if let Some(broker) = broker {
        extra.insert("broker".to_owned(), int(i64::try_from(broker)?));
    }
    match answer {
        Ok(end) => session.complete(pending, Kind::Ok, body(int(end)), extra),
        Err(failure) => {
            if let Some(broker) = broker {
                session.client.learn(broker, &at, &failure);
            }
            extra.insert("error".to_owned(), text(failure.to_string()));
            session.complete(pending, Kind::Fail, body(Edn::Nil), extra)
        }
    }
}

fn target(session: &mut Session, at: &At) -> Result<(u64, i32), Failure> {
    if session.random.random_ratio(1, 3) {
        return Ok((session.client.any_broker(), -1));
    }
    let leader = session.client.leader(at)?;
    // Who says which epoch it believes in is refused in any other; who does not has to be told the truth too.
    let epoch = if session.random.random() { leader.epoch } else { -1 };
    Ok((leader.broker, epoch))
}
