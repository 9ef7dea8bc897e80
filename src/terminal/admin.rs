//! The administrative commands' view of a cluster: its HTTP interface, through whichever broker answers.

use serde_json::Value;

use super::Failure;
use crate::client::http_agent;
use crate::config::HostPort;

const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A cluster's HTTP interface.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    servers: Vec<HostPort>,
    /// Keeps its connections.
    agent: ureq::Agent,
}

enum Method {
    Get,
    Post(Value),
    Put(Value),
    Patch(Value),
    Delete,
}

impl Admin {
    pub(crate) fn new(servers: Vec<HostPort>) -> Self {
        Self { servers, agent: http_agent() }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(path, || Method::Get).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(path, || Method::Post(body.clone())).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(path, || Method::Put(body.clone())).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(path, || Method::Patch(body.clone())).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.ask(path, || Method::Delete).await
    }

    /// Asks the brokers in turn until one takes the connection; what that one says is the answer.
    async fn ask(&self, path: &str, method: impl Fn() -> Method) -> Result<Value, Failure> {
        let mut silent = Vec::new();
        for server in &self.servers {
            let (url, method) = (format!("http://{server}{path}"), method());
            let agent = self.agent.clone();
            // The HTTP client blocks, so it gets a thread of the blocking pool.
            let asked = tokio::task::spawn_blocking(move || call(&agent, &url, method)).await;
            match asked.map_err(|error| Failure::error(error.to_string()))? {
                Ok((status, answer)) => return verdict(status, answer),
                Err(error) if unreached(&error) => silent.push(format!("http://{server}: {error}")),
                // The request may have been carried out, so it is not sent to another broker as well.
                Err(error) => return Err(Failure::error(format!("http://{server}: {error}"))),
            }
        }
        Err(Failure::error(format!("no broker answers ({})", silent.join("; ")))
            .hint("is one running? `quorate demo` starts some; --http HOST:PORT asks others"))
    }
}

fn unreached(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => true,
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => true,
        ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        _ => false,
    }
}

fn call(agent: &ureq::Agent, url: &str, method: Method) -> Result<(u16, Value), ureq::Error> {
    let mut response = match method {
        Method::Get => agent.get(url).call()?,
        Method::Post(body) => agent.post(url).send_json(body)?,
        Method::Put(body) => agent.put(url).send_json(body)?,
        Method::Patch(body) => agent.patch(url).send_json(body)?,
        Method::Delete => agent.delete(url).call()?,
    };
    let status = response.status().as_u16();
    let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

fn verdict(status: u16, answer: Value) -> Result<Value, Failure> {
    if (200..300).contains(&status) {
        return Ok(answer);
    }
    let failure = Failure::error(reason(status, &answer));
    Err(match answer["hint"].as_str() {
        Some(hint) => failure.hint(hint),
        None => failure,
    })
}

/// Says why: in the words of a problem document, of a readiness answer, or of whatever else stands in between.
fn reason(status: u16, answer: &Value) -> String {
    const WORDS_MAX: usize = 500;
    if let (Some(detail), Some(code)) = (answer["detail"].as_str(), answer["code"].as_str()) {
        return format!("{detail} ({code}, status {status})");
    }
    let listed = answer["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let listed = listed.collect::<Vec<_>>().join("; ");
    let said = if listed.is_empty() { answer.as_str().unwrap_or_default().trim() } else { &listed };
    match said.chars().take(WORDS_MAX).collect::<String>() {
        words if words.is_empty() => format!("status {status} without a reason"),
        words => format!("{words} (status {status})"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_form_a_refusal_has_its_reason_is_told() {
        let said = |status, answer: Value| verdict(status, answer).unwrap_err().to_string();
        let problem = json!({"detail": "there is no topic x", "code": "unknown_topic"});
        assert!(said(404, problem).contains("there is no topic x (unknown_topic, status 404)"));
        let unready = json!({"ready": false, "reasons": ["3 of 5 replicas run", "fenced"]});
        assert!(said(503, unready).contains("3 of 5 replicas run; fenced (status 503)"));
        assert!(said(502, json!("<p>Bad Gateway</p>\n")).contains("Bad Gateway</p> (status 502)"));
        assert!(said(500, json!("")).contains("status 500 without a reason"));
    }
}
