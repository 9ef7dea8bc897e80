//! From the three sources to one validated configuration.
//!
//! Later sources win: file, then environment, then flags. Every refusal names the setting, the place it came
//! from, and what is allowed there, so that it can be put right without another look at the manual.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::table::Setting;
use super::value::Shape;
use super::{Config, SECTIONS};

/// The largest configuration file read; a longer one is some other file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Variables with our prefix that are no settings of a broker.
const OTHER_VARIABLES: [&str; 3] = ["QUORATE_CONFIG", "QUORATE_FAILPOINT", "QUORATE_SYNCED_WAL"];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Default,
    File(PathBuf),
    Environment(String),
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("the default"),
            Self::File(path) => write!(out, "file {}", path.display()),
            Self::Environment(variable) => write!(out, "environment variable {variable}"),
            Self::Flag(flag) => write!(out, "flag {flag}"),
        }
    }
}

/// Why a configuration was refused. Nothing has been started or written.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("unknown setting {key} in {place}{}", hint(.near.as_deref()))]
    Unknown { key: String, place: String, near: Option<String> },
    #[error("{key} = {value} in {source_name} is not allowed: expected {allowed}")]
    Bad { key: String, value: String, source_name: Source, allowed: String },
    #[error("cannot read configuration {path}: {reason}")]
    File { path: PathBuf, reason: String },
    #[error("{first} does not go with {second}: {reason}")]
    Conflict { first: String, second: String, reason: &'static str },
}

fn hint(near: Option<&str>) -> String {
    match near {
        Some(near) => format!("; did you mean {near}? `quorate config` lists all settings"),
        None => "; `quorate config` lists all settings".to_owned(),
    }
}

/// A setting given on the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The setting, such as `kafka.listen`.
    pub key: String,
    /// The flag as typed, such as `--kafka`.
    pub flag: &'static str,
    pub value: String,
}

/// A configuration and where each of its values came from.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    pub config: Config,
    sources: BTreeMap<String, Source>,
}

impl Resolved {
    /// Returns where the value of a setting such as `kafka.listen` came from.
    pub fn source(&self, key: &str) -> Source {
        self.sources.get(key).cloned().unwrap_or(Source::Default)
    }

    /// Returns the settings that are not the defaults, each with where it came from.
    pub fn changes(&self) -> Vec<String> {
        let described = |(name, source): (&String, &Source)| {
            format!("{} (from {source})", shown(&self.config, name))
        };
        self.sources.iter().map(described).collect()
    }

    fn set(&mut self, setting: &Setting, text: &str, source: Source) -> Result<(), ConfigError> {
        if !(setting.set)(&mut self.config, text, &setting.allowed) {
            return Err(bad(setting, text, source));
        }
        self.sources.insert(setting.name(), source);
        Ok(())
    }
}

impl Config {
    /// Reads the file (if any), the environment and the flags, in this order, and checks the whole.
    ///
    /// Blocking: reads one small file.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[Flag],
    ) -> Result<Resolved, ConfigError> {
        let mut resolved = Resolved::default();
        if let Some(path) = file {
            load_file(&mut resolved, path)?;
        }
        load_environment(&mut resolved, environment)?;
        for flag in flags {
            let setting =
                find(&flag.key).ok_or_else(|| unknown(&flag.key, &Source::Flag(flag.flag)))?;
            resolved.set(setting, &flag.value, Source::Flag(flag.flag))?;
        }
        check_together(&resolved)?;
        check_storage(&resolved)?;
        Ok(resolved)
    }
}

fn load_file(resolved: &mut Resolved, path: &Path) -> Result<(), ConfigError> {
    let refuse = |reason: String| ConfigError::File { path: path.to_owned(), reason };
    let length = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.len();
    if length > FILE_BYTES_MAX {
        return Err(refuse(format!("{length} bytes, at most {FILE_BYTES_MAX} are read")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    let document: toml::Table =
        text.parse().map_err(|error: toml::de::Error| refuse(error.to_string()))?;
    let source = || Source::File(path.to_owned());
    for (section, content) in &document {
        if !SECTIONS.iter().any(|known| known.name == section) {
            return Err(unknown(section, &source()));
        }
        let toml::Value::Table(content) = content else {
            return Err(refuse(format!(
                "{section} is a section: write [{section}] on a line of its own"
            )));
        };
        for (key, value) in content {
            let name = format!("{section}.{key}");
            let setting = find(&name).ok_or_else(|| unknown(&name, &source()))?;
            let text = text_of(value, setting.shape)
                .ok_or_else(|| bad(setting, &value.to_string(), source()))?;
            resolved.set(setting, &text, source())?;
        }
    }
    Ok(())
}

/// Returns the value as text when it has the TOML type the setting wants.
fn text_of(value: &toml::Value, shape: Shape) -> Option<String> {
    match (shape, value) {
        (Shape::Number, toml::Value::Integer(number)) => Some(number.to_string()),
        (Shape::Boolean, toml::Value::Boolean(flag)) => Some(flag.to_string()),
        (Shape::Text | Shape::List, toml::Value::String(text)) => Some(text.clone()),
        (Shape::List, toml::Value::Array(items)) => {
            let items: Option<Vec<_>> = items.iter().map(toml::Value::as_str).collect();
            items.map(|items| items.join(","))
        }
        _ => None,
    }
}

fn load_environment(
    resolved: &mut Resolved,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(), ConfigError> {
    let settings = || SECTIONS.iter().flat_map(|section| section.settings);
    for (variable, value) in environment {
        if !variable.starts_with("QUORATE_")
            || OTHER_VARIABLES.contains(&variable.as_str())
            || made_by_orchestrator(&variable, &value)
        {
            continue;
        }
        let source = Source::Environment(variable.clone());
        let Some(setting) = settings().find(|setting| setting.variable() == variable) else {
            let near = nearest(&variable, settings().map(Setting::variable));
            return Err(ConfigError::Unknown {
                key: variable,
                place: "the environment".to_owned(),
                near,
            });
        };
        resolved.set(setting, &value, source)?;
    }
    Ok(())
}

/// Kubernetes services and Docker links called `quorate`, `quorate-http` and so on are announced to every container
/// by variables that begin like ours; these are not meant for us. Only their exact shapes are passed over, so that
/// a person who writes `QUORATE_KAFKA_PORT=9092` is told that there is no such setting.
fn made_by_orchestrator(variable: &str, value: &str) -> bool {
    let service = variable.ends_with("_SERVICE_HOST")
        || variable.ends_with("_SERVICE_PORT")
        || variable.contains("_SERVICE_PORT_");
    // `QUORATE_PORT=tcp://10.0.0.1:9092`, `QUORATE_NAME=/web/quorate`, `QUORATE_ENV_PATH=/bin`.
    let link = (variable.ends_with("_PORT") && value.contains("://"))
        || (variable.ends_with("_NAME") && value.starts_with('/'))
        || variable.contains("_ENV_");
    service || link || variable.split("_PORT_").skip(1).any(is_linked_port)
}

/// What follows `_PORT_` in the names made for one port: `9092_TCP`, `53_UDP_ADDR`, `9092_TCP_PORT_END`.
fn is_linked_port(rest: &str) -> bool {
    let Some((number, rest)) = rest.split_once('_') else { return false };
    let (protocol, part) = rest.split_once('_').unwrap_or((rest, ""));
    number.parse::<u16>().is_ok()
        && ["TCP", "UDP", "SCTP"].contains(&protocol)
        && ["", "ADDR", "PORT", "PROTO", "START", "END", "PORT_START", "PORT_END"].contains(&part)
}

fn check_together(resolved: &Resolved) -> Result<(), ConfigError> {
    let config = &resolved.config;
    let conflict =
        |first: &str, second: &str, reason: &'static str| conflict(resolved, first, second, reason);
    let interfaces = [
        ("kafka", config.kafka.listen, config.kafka.advertised.as_ref()),
        ("http", config.http.listen, config.http.advertised.as_ref()),
        ("peer", config.peer.listen, config.peer.advertised.as_ref()),
    ];
    for (name, listen, advertised) in interfaces {
        if let Some(told) = advertised.filter(|told| told.is_unspecified()) {
            let name = format!("{name}.advertised");
            let setting = find(&name).ok_or_else(|| unknown(&name, &Source::Default))?;
            return Err(bad(setting, &told.to_string(), resolved.source(&name)));
        }
        if listen.ip().is_unspecified() && advertised.is_none() {
            return conflict(
                &format!("{name}.listen"),
                &format!("{name}.advertised"),
                "listening on every address, the broker must be told which one others can reach",
            );
        }
    }
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        if interfaces[one].1 == interfaces[other].1 && interfaces[one].1.port() != 0 {
            let name = |server: usize| format!("{}.listen", interfaces[server].0);
            return conflict(&name(one), &name(other), "two interfaces cannot share one address");
        }
        if interfaces[one].2.is_some() && interfaces[one].2 == interfaces[other].2 {
            let name = |server: usize| format!("{}.advertised", interfaces[server].0);
            return conflict(&name(one), &name(other), "two interfaces cannot share one address");
        }
    }
    if config.raft.dead_after_ms < 3 * config.raft.ping_interval_ms {
        return conflict(
            "raft.dead_after_ms",
            "raft.ping_interval_ms",
            "it must be at least three times as long, or one late ping kills a broker",
        );
    }
    if config.raft.fence_after_ms < config.raft.dead_after_ms {
        return conflict(
            "raft.fence_after_ms",
            "raft.dead_after_ms",
            "only a broker taken for dead can be fenced",
        );
    }
    if config.topics.message_bytes_max >= config.kafka.request_bytes_max {
        return conflict(
            "topics.message_bytes_max",
            "kafka.request_bytes_max",
            "a request must be able to hold a batch of the largest size",
        );
    }
    if config.kafka.request_bytes_max > config.kafka.requests_bytes_max {
        return conflict(
            "kafka.request_bytes_max",
            "kafka.requests_bytes_max",
            "one request must fit in the memory for all",
        );
    }
    Ok(())
}

fn check_storage(resolved: &Resolved) -> Result<(), ConfigError> {
    let config = &resolved.config;
    if config.storage.stall_end_ms < 2 * config.storage.stall_step_aside_ms {
        return conflict(
            resolved,
            "storage.stall_end_ms",
            "storage.stall_step_aside_ms",
            "it must be at least twice as long, or others have no time to lead before the broker ends",
        );
    }
    if let (Some(min), Some(resume)) =
        (config.storage.free_bytes_min, config.storage.free_bytes_resume)
        && resume < min
    {
        return conflict(
            resolved,
            "storage.free_bytes_resume",
            "storage.free_bytes_min",
            "records are taken again when more is free than when they are refused",
        );
    }
    Ok(())
}

fn conflict(
    resolved: &Resolved,
    first: &str,
    second: &str,
    reason: &'static str,
) -> Result<(), ConfigError> {
    let described =
        |name: &str| format!("{} (from {})", shown(&resolved.config, name), resolved.source(name));
    Err(ConfigError::Conflict { first: described(first), second: described(second), reason })
}

fn shown(config: &Config, name: &str) -> String {
    let value = find(name).and_then(|setting| (setting.show)(config));
    format!("{name} = {}", value.as_deref().unwrap_or("(unset)"))
}

fn find(name: &str) -> Option<&'static Setting> {
    SECTIONS.iter().flat_map(|section| section.settings).find(|setting| setting.name() == name)
}

fn bad(setting: &Setting, value: &str, source_name: Source) -> ConfigError {
    ConfigError::Bad {
        key: setting.name(),
        value: value.to_owned(),
        source_name,
        allowed: setting.allowed.to_string(),
    }
}

fn unknown(key: &str, source: &Source) -> ConfigError {
    let names = SECTIONS.iter().flat_map(|section| section.settings).map(Setting::name);
    ConfigError::Unknown {
        key: key.to_owned(),
        place: source.to_string(),
        near: nearest(key, names),
    }
}

/// Returns the candidate most alike, if it is alike at all.
fn nearest(text: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    candidates
        .map(|candidate| (distance(text, &candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len() / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance: how many letters must be changed, added or left out.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
