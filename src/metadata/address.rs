//! Where a broker is reached.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A host name or IP address and a port, as it is told to others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HostPort {
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
}

impl HostPort {
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// Whether this is 0.0.0.0 or [::]: one can listen there, and nobody else can connect to it.
    pub(crate) fn is_unspecified(&self) -> bool {
        self.host.parse().is_ok_and(|address: IpAddr| address.is_unspecified())
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.ip().to_string(), address.port())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

/// The text is not `HOST:PORT`, or names port 0, which nobody can connect to.
#[derive(Debug, thiserror::Error)]
#[error("expected HOST:PORT with a port from 1 to 65535, such as 127.0.0.1:9092 or [::1]:9092")]
pub struct NotHostPort;

impl FromStr for HostPort {
    type Err = NotHostPort;

    fn from_str(text: &str) -> Result<Self, NotHostPort> {
        let (host, port) = text.trim().rsplit_once(':').ok_or(NotHostPort)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let unfit =
            |c: char| c.is_whitespace() || c == '/' || c == '[' || (bare.is_none() && c == ':');
        // 253 bytes is the longest name DNS can hold.
        if host.is_empty() || host.len() > 253 || host.contains(unfit) {
            return Err(NotHostPort);
        }
        let port: NonZeroU16 = port.parse().map_err(|_| NotHostPort)?;
        Ok(Self::new(host, port.get()))
    }
}
