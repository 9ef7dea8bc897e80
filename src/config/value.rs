//! The types a setting may have, and how each is read from text and written to TOML.
//!
//! Every source ends in text (a TOML number is printed again), so that a value means the same thing and is
//! refused with the same words wherever it stands.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::metadata::HostPort;

/// What a value may be; printed in documents and errors.
pub(super) enum Allowed {
    /// A whole number within both bounds.
    Between(i64, i64),
    OneOf(&'static [&'static str]),
    /// Anything the type reads; the words say what that looks like.
    Form(&'static str),
}

impl fmt::Display for Allowed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between(low, i64::MAX) => write!(out, "a whole number, at least {low}"),
            Self::Between(low, high) => write!(out, "a whole number from {low} to {high}"),
            Self::OneOf(words) => out.write_str(&words.join(" or ")),
            Self::Form(words) => out.write_str(words),
        }
    }
}

/// The TOML type a value is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Number,
    Boolean,
    Text,
    List,
}

pub(super) trait Value: Sized {
    const SHAPE: Shape;
    fn parse(text: &str, allowed: &Allowed) -> Option<Self>;
    fn show(&self) -> Option<String>;
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Value for $type {
            const SHAPE: Shape = Shape::Number;
            fn parse(text: &str, allowed: &Allowed) -> Option<Self> {
                let number: i64 = text.trim().parse().ok()?;
                match allowed {
                    Allowed::Between(low, high) if (low..=high).contains(&&number) => Self::try_from(number).ok(),
                    _ => None,
                }
            }
            fn show(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}
number!(u64, i64, usize, i32, i16);

impl Value for bool {
    const SHAPE: Shape = Shape::Boolean;
    fn parse(text: &str, _: &Allowed) -> Option<Self> {
        text.trim().parse().ok()
    }
    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl<T: Value> Value for Option<T> {
    const SHAPE: Shape = T::SHAPE;
    fn parse(text: &str, allowed: &Allowed) -> Option<Self> {
        T::parse(text, allowed).map(Some)
    }
    fn show(&self) -> Option<String> {
        self.as_ref().and_then(T::show)
    }
}

impl Value for PathBuf {
    const SHAPE: Shape = Shape::Text;
    fn parse(text: &str, _: &Allowed) -> Option<Self> {
        (!text.is_empty()).then(|| Self::from(text))
    }
    fn show(&self) -> Option<String> {
        Some(quoted(&self.to_string_lossy()))
    }
}

impl Value for String {
    const SHAPE: Shape = Shape::Text;
    fn parse(text: &str, _: &Allowed) -> Option<Self> {
        (!text.trim().is_empty()).then(|| text.trim().to_owned())
    }
    fn show(&self) -> Option<String> {
        Some(quoted(self))
    }
}

impl Value for SocketAddr {
    const SHAPE: Shape = Shape::Text;
    /// `localhost` is read as 127.0.0.1; other names are not resolved, so that a listener never depends on DNS.
    fn parse(text: &str, _: &Allowed) -> Option<Self> {
        match text.trim().strip_prefix("localhost:") {
            Some(port) => Some(Self::from((Ipv4Addr::LOCALHOST, port.parse().ok()?))),
            None => text.trim().parse().ok(),
        }
    }
    fn show(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

impl Value for HostPort {
    const SHAPE: Shape = Shape::Text;
    fn parse(text: &str, _: &Allowed) -> Option<Self> {
        text.parse().ok()
    }
    fn show(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

impl Value for Vec<HostPort> {
    const SHAPE: Shape = Shape::List;
    fn parse(text: &str, _: &Allowed) -> Option<Self> {
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| part.parse().ok())
            .collect()
    }
    fn show(&self) -> Option<String> {
        let parts: Vec<_> = self.iter().map(|address| quoted(&address.to_string())).collect();
        Some(format!("[{}]", parts.join(", ")))
    }
}

/// The form of a logged event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl Value for LogFormat {
    const SHAPE: Shape = Shape::Text;
    fn parse(text: &str, _: &Allowed) -> Option<Self> {
        match text.trim() {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
    fn show(&self) -> Option<String> {
        Some(quoted(match self {
            Self::Text => "text",
            Self::Json => "json",
        }))
    }
}

/// Which events are logged: a level for all, and levels for single modules.
///
/// Read strictly: tracing's own filter takes any unknown word for a module's name and then logs everything of it,
/// so that a slip such as `inof` silences the broker without a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The text is not a level or a list of `module=level`.
#[derive(Debug, thiserror::Error)]
#[error(
    "expected off, error, warn, info, debug or trace, or a list such as info,quorate_raft=debug"
)]
pub struct NotLogFilter;

impl FromStr for LogFilter {
    type Err = NotLogFilter;

    fn from_str(text: &str) -> Result<Self, NotLogFilter> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let module = |name: &str| {
            !name.is_empty()
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
        };
        let fits = |part: &str| match part.split_once('=') {
            Some((name, level)) => module(name) && LEVELS.contains(&level),
            None => LEVELS.contains(&part),
        };
        let text = text.trim().to_ascii_lowercase();
        if text.len() <= 1_024 && text.split(',').all(fits) {
            Ok(Self(text))
        } else {
            Err(NotLogFilter)
        }
    }
}

impl Value for LogFilter {
    const SHAPE: Shape = Shape::Text;
    fn parse(text: &str, _: &Allowed) -> Option<Self> {
        text.parse().ok()
    }
    fn show(&self) -> Option<String> {
        Some(quoted(&self.0))
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
