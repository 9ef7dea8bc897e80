//! Which brokers a demo has, where they listen, where their data is, and whether all that is free.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use super::{DemoBroker, DemoOptions};
use crate::terminal::Failure;

/// A demo before it runs.
pub(crate) struct Layout {
    pub(crate) directory: PathBuf,
    pub(crate) brokers: Vec<DemoBroker>,
}

/// Returns where demos keep their data when nobody says otherwise.
pub(crate) fn default_data_dir() -> Result<PathBuf, Failure> {
    let from = |variable: &str| {
        std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
    };
    let data = from("XDG_DATA_HOME").or_else(|| from("HOME").map(|home| home.join(".local/share")));
    data.map(|data| data.join("quorate/demo")).ok_or_else(|| {
        Failure::usage("there is no HOME to keep data in").hint("give --data-dir DIR")
    })
}

impl Layout {
    pub(crate) fn new(options: &DemoOptions) -> Result<Self, Failure> {
        let directory = match &options.data_dir {
            Some(directory) => directory.clone(),
            None => default_data_dir()?,
        };
        // Absolute, so that a printed line works from any directory.
        let directory = std::path::absolute(&directory)?;
        for (flag, first) in [
            ("--kafka-port", options.kafka_port),
            ("--http-port", options.http_port),
            ("--peer-port", options.peer_port),
        ] {
            let ends = first == 0 || first.checked_add(options.brokers - 1).is_none();
            if ends {
                return Err(Failure::usage(format!(
                    "{flag} {first} leaves no room for {} ports",
                    options.brokers
                )));
            }
        }
        let peers: Vec<u16> = (0..options.brokers).map(|place| options.peer_port + place).collect();
        let broker = |place: u16| DemoBroker {
            id: place + 1,
            directory: directory.join(format!("broker-{}", place + 1)),
            kafka_port: options.kafka_port + place,
            http_port: options.http_port + place,
            peer_port: options.peer_port + place,
            // A broker with an emptied directory must not form a cluster of its own; so each is told of the others.
            join: peers.iter().copied().filter(|port| *port != options.peer_port + place).collect(),
        };
        Ok(Self { brokers: (0..options.brokers).map(broker).collect(), directory })
    }

    /// Checks that nothing of this demo runs already and that its ports are free. Changes nothing.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        for broker in &self.brokers {
            if let Some(pid) = broker.find_process() {
                return Err(Failure::error(format!(
                    "broker {} of this demo runs already, as process {pid}",
                    broker.id
                ))
                .hint(format!(
                    "stop it with `kill {pid}`, or give another --data-dir and other ports"
                )));
            }
        }
        self.check_number()?;
        let mut taken = Vec::new();
        for broker in &self.brokers {
            taken.push((broker.kafka_port, "--kafka-port"));
            taken.push((broker.http_port, "--http-port"));
            taken.push((broker.peer_port, "--peer-port"));
        }
        for (place, (port, flag)) in taken.iter().enumerate() {
            if let Some((_, other)) = taken[..place].iter().find(|(other, _)| other == port) {
                return Err(Failure::usage(format!("{other} and {flag} overlap at port {port}")));
            }
            // Bound and closed again at once. Another process may still take it; then the broker says so.
            if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, *port)) {
                return Err(Failure::error(format!("port {port} cannot be used: {error}"))
                    .hint(format!("choose others with {flag} PORT")));
            }
        }
        Ok(())
    }

    /// A cluster of three started with one broker has no majority and would wait for ever.
    fn check_number(&self) -> Result<(), Failure> {
        let next = self.directory.join(format!("broker-{}", self.brokers.len() + 1));
        if !next.join("db").exists() {
            return Ok(());
        }
        let directory = self.directory.display();
        Err(Failure::usage(format!(
            "the data in {directory} is of more than {} brokers",
            self.brokers.len()
        ))
        .hint("start as many with --brokers N, or give another --data-dir"))
    }

    /// Returns whether no broker has data yet, so that the first one forms the cluster.
    pub(crate) fn is_fresh(&self) -> bool {
        !self.brokers.iter().any(|broker| broker.directory.join("db").exists())
    }

    /// Returns how this program is called: by name if that is how it was found, else by its path.
    pub(crate) fn program(&self) -> String {
        let called = std::env::args().next().unwrap_or_default();
        if !called.is_empty() && Path::new(&called).components().count() == 1 {
            return quoted(&called);
        }
        let path = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("quorate"));
        quoted(&path.to_string_lossy())
    }
}

/// The text as one word of a shell.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | ':' | ',' | '=' | '+')
    };
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
