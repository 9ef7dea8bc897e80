//! The broker's HTTP API as an operator uses it.
//!
//! Calls go out from the network of the calling thread. An answer that does not come is not an error of the cluster
//! here: it may be what a fault is meant to cause, so the caller decides.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::environment::Address;

/// Longest time for one request; brokers give up on theirs earlier.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// Talks to whichever of the brokers answers.
#[derive(Clone)]
pub struct Admin {
    brokers: Vec<Address>,
    agent: ureq::Agent,
}

/// What a broker answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: Value,
}

/// A topic as `/v1/topics/{t}` tells it.
#[derive(Clone, Debug, Deserialize)]
pub struct Topic {
    pub name: String,
    pub id: String,
    pub partitions: Vec<Partition>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Partition {
    pub partition: i32,
    pub group: u64,
    pub leader: Option<u64>,
    pub leader_epoch: Option<i32>,
    /// First the preferred leader.
    pub replicas: Vec<u64>,
    /// While they are being changed.
    pub target: Option<Vec<u64>>,
}

/// A replica as it sees itself, of `/v1/raft/groups`.
#[derive(Clone, Debug, Deserialize)]
pub struct Group {
    pub group: u64,
    pub broker: u64,
    pub partition: Option<String>,
    pub role: String,
    pub term: u64,
    pub leader: Option<u64>,
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
    pub joint: bool,
    pub last_index: Option<u64>,
    pub committed_index: Option<u64>,
    pub applied_index: Option<u64>,
    pub purged_index: Option<u64>,
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

/// A member of the cluster, of `/v1/brokers`.
#[derive(Clone, Debug, Deserialize)]
pub struct Member {
    pub id: u64,
    pub alive: bool,
    pub fenced: bool,
    pub replicas: u64,
    pub leading: u64,
}

#[derive(Deserialize)]
struct Members {
    brokers: Vec<Member>,
}

impl Reply {
    pub fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The stable code of a problem document.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The number in a header, quoted or not.
    pub fn number(&self, header: &str) -> Option<i64> {
        self.headers.get(header)?.to_str().ok()?.trim_matches('"').parse().ok()
    }

    fn success(self, what: &str) -> anyhow::Result<Value> {
        if self.ok() {
            return Ok(self.body);
        }
        bail!("{what}: {} {}", self.status, self.body)
    }
}

impl Admin {
    pub fn new(brokers: Vec<Address>) -> Admin {
        Admin::with_patience(brokers, PATIENCE)
    }

    /// One that gives up earlier on each answer.
    pub fn with_patience(brokers: Vec<Address>, patience: Duration) -> Admin {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(patience))
            .timeout_connect(Some(Duration::from_secs(2)))
            // Hosts come and go under the same addresses; a kept connection would be to a dead one.
            .max_idle_connections(0)
            .build()
            .into();
        Admin { brokers, agent }
    }

    pub fn brokers(&self) -> &[Address] {
        &self.brokers
    }

    /// One request to one broker. An error means that no answer came.
    pub fn ask(
        &self,
        broker: &Address,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Reply> {
        self.ask_with(broker, method, path, &[], body)
    }

    /// The same with further headers.
    pub fn ask_with(
        &self,
        broker: &Address,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: Option<&Value>,
    ) -> anyhow::Result<Reply> {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", broker.http))
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(body.map(Value::to_string).unwrap_or_default())?;
        let mut answer =
            self.agent.run(request).with_context(|| format!("broker {}: {path}", broker.id))?;
        let text = answer.body_mut().read_to_string()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        let headers = answer.headers().clone();
        Ok(Reply { status: answer.status().as_u16(), headers, body })
    }

    /// One request to the first broker that answers. A change may then have been made twice: ask for states, not steps.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Reply> {
        let mut last = None;
        for broker in &self.brokers {
            match self.ask(broker, method, path, body) {
                Ok(reply) => return Ok(reply),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no broker to ask")))
    }

    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.request("GET", path, None)?.success(path)
    }

    pub fn create_topic(
        &self,
        name: &str,
        partitions: u32,
        replication: u32,
        configs: &[(&str, &str)],
    ) -> anyhow::Result<Topic> {
        let configs: Value = configs.iter().map(|&(key, value)| (key, json!(value))).collect();
        let body = json!({
            "name": name, "partitions": partitions, "replication_factor": replication,
            "configs": configs,
        });
        let reply = self.request("POST", "/v1/topics", Some(&body))?;
        let topic = reply.success(&format!("create topic {name}"))?;
        Ok(serde_json::from_value(topic)?)
    }

    pub fn delete_topic(&self, name: &str) -> anyhow::Result<()> {
        let path = format!("/v1/topics/{name}");
        self.request("DELETE", &path, None)?.success(&path).map(drop)
    }

    pub fn topic(&self, name: &str) -> anyhow::Result<Topic> {
        Ok(serde_json::from_value(self.get(&format!("/v1/topics/{name}"))?)?)
    }

    /// The names of all topics.
    pub fn topics(&self) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        let mut path = "/v1/topics?limit=1000".to_owned();
        loop {
            let page = self.get(&path)?;
            let list = page["topics"].as_array().context("a list of topics")?;
            names.extend(list.iter().filter_map(|topic| topic["name"].as_str()).map(str::to_owned));
            let Some(next) = page["next"].as_str() else { return Ok(names) };
            path = format!("/v1/topics?limit=1000&after={next}");
        }
    }

    pub fn partition(&self, topic: &str, partition: i32) -> anyhow::Result<Partition> {
        let path = format!("/v1/topics/{topic}/partitions/{partition}");
        Ok(serde_json::from_value(self.get(&path)?)?)
    }

    /// Who leads a partition, as far as the brokers that answer know.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<u64> {
        self.partition(topic, partition).ok()?.leader
    }

    /// Asks for another leader; the answer says whether it leads now.
    pub fn set_leader(&self, topic: &str, partition: i32, broker: u64) -> anyhow::Result<Reply> {
        let path = format!("/v1/topics/{topic}/partitions/{partition}/leader");
        self.request("PUT", &path, Some(&json!({ "broker": broker })))
    }

    /// Asks for other replicas; they follow, see [`Partition::target`].
    pub fn set_replicas(
        &self,
        topic: &str,
        partition: i32,
        brokers: &[u64],
    ) -> anyhow::Result<Reply> {
        let path = format!("/v1/topics/{topic}/partitions/{partition}/replicas");
        self.request("PUT", &path, Some(&json!({ "brokers": brokers })))
    }

    /// Asks to forget a broker that is lost for good.
    pub fn remove_broker(&self, id: u64) -> anyhow::Result<Reply> {
        self.request("DELETE", &format!("/v1/brokers/{id}"), None)
    }

    pub fn members(&self) -> anyhow::Result<Vec<Member>> {
        Ok(serde_json::from_value::<Members>(self.get("/v1/brokers")?)?.brokers)
    }

    /// A broker's own replicas, as it sees them.
    pub fn groups(&self, broker: &Address) -> anyhow::Result<Vec<Group>> {
        let path = "/v1/raft/groups";
        let groups = self.ask(broker, "GET", path, None)?.success(path)?;
        Ok(serde_json::from_value::<Groups>(groups)?.groups)
    }

    /// The broker that leads the metadata group.
    pub fn controller(&self) -> Option<u64> {
        self.get("/v1/cluster").ok()?["controller"].as_u64()
    }

    pub fn ready(&self, broker: &Address) -> bool {
        self.ask(broker, "GET", "/readyz", None).is_ok_and(|reply| reply.ok())
    }

    /// Every broker asked says that the cluster is healthy; otherwise the reasons.
    pub fn unhealthy(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for broker in &self.brokers {
            match self.ask(broker, "GET", "/v1/cluster", None) {
                Ok(reply) if reply.body["healthy"] == true => {}
                Ok(reply) => {
                    reasons.push(format!("broker {}: {}", broker.id, reply.body["reasons"]));
                }
                Err(error) => reasons.push(format!("broker {}: {error:#}", broker.id)),
            }
        }
        reasons
    }
}

/// Whether a request that got no answer certainly never left.
pub fn is_unsent(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ureq::Error>() {
        Some(ureq::Error::Io(error)) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        Some(ureq::Error::Timeout(ureq::Timeout::Connect) | ureq::Error::ConnectionFailed) => true,
        _ => false,
    }
}

/// Waits for a state; None if it does not come in time.
pub fn wait<T>(limit: Duration, mut state: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = state() {
            return Some(value);
        }
        if started.elapsed() >= limit {
            return None;
        }
        std::thread::sleep(LOOK);
    }
}
