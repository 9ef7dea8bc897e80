//! One broker of a demo: its command line, its process, its pid file.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::layout::quoted;
use crate::config::HostPort;
use crate::terminal::Failure;

/// A broker that is part of a demo, running or not.
#[derive(Debug, Clone)]
pub(crate) struct DemoBroker {
    pub(crate) id: u16,
    pub(crate) directory: PathBuf,
    pub(crate) kafka_port: u16,
    pub(crate) http_port: u16,
    pub(crate) peer_port: u16,
    /// Peer ports of the others.
    pub(crate) join: Vec<u16>,
}

impl DemoBroker {
    pub(crate) fn kafka(&self) -> HostPort {
        HostPort::new("127.0.0.1", self.kafka_port)
    }

    pub(crate) fn http(&self) -> HostPort {
        HostPort::new("127.0.0.1", self.http_port)
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.directory.join("pid")
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Returns the arguments that start this broker. `forms`: it forms a new cluster instead of joining one.
    fn arguments(&self, forms: bool) -> Vec<String> {
        let mut arguments = vec![
            "serve".to_owned(),
            "--data-dir".to_owned(),
            self.directory.to_string_lossy().into_owned(),
            "--node-id".to_owned(),
            self.id.to_string(),
        ];
        for (flag, port) in
            [("--kafka", self.kafka_port), ("--http", self.http_port), ("--peer", self.peer_port)]
        {
            arguments.extend([flag.to_owned(), format!("127.0.0.1:{port}")]);
        }
        if !forms && !self.join.is_empty() {
            let others: Vec<String> =
                self.join.iter().map(|port| format!("127.0.0.1:{port}")).collect();
            arguments.extend(["--join".to_owned(), others.join(",")]);
        }
        arguments
    }

    /// Returns the line that starts this broker again in any shell.
    pub(crate) fn command_line(&self, program: &str) -> String {
        let arguments: Vec<String> =
            self.arguments(false).iter().map(|argument| quoted(argument)).collect();
        format!("{program} {}", arguments.join(" "))
    }

    /// Starts the broker with its output going to its log. It outlives this value.
    pub(crate) fn start(&self, forms: bool) -> Result<Child, Failure> {
        fs::create_dir_all(&self.directory).map_err(|error| {
            Failure::error(format!("create {}: {error}", self.directory.display()))
        })?;
        let log = OpenOptions::new().create(true).append(true).open(self.log_file())?;
        let child = Command::new(std::env::current_exe()?)
            .args(self.arguments(forms))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: a Ctrl-C in the terminal is for the demo, which then asks the brokers in order.
            .process_group(0)
            .spawn()?;
        if let Some(pid) = child.id() {
            fs::write(self.pid_file(), format!("{pid}\n"))?;
        }
        Ok(child)
    }

    /// Returns the process that runs on this broker's data, whoever started it.
    ///
    /// A pid file outlives a killed process and the number may be another process's by now, so it counts only if
    /// that process was started with this data directory.
    pub(crate) fn running_pid(&self) -> Option<i32> {
        let pid: i32 = fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        self.is_run_by(pid).then_some(pid)
    }

    /// Like [`DemoBroker::running_pid`], but looks at all processes: a broker that is just being started has not
    /// written its pid yet.
    pub(crate) fn find_process(&self) -> Option<i32> {
        self.running_pid().or_else(|| {
            let processes = fs::read_dir("/proc").ok()?.flatten();
            let pids =
                processes.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
            pids.into_iter().find(|pid| self.is_run_by(*pid))
        })
    }

    fn is_run_by(&self, pid: i32) -> bool {
        let directory = self.directory.to_string_lossy();
        let arguments = arguments_of(pid).unwrap_or_default();
        let names_it = |argument: &String| {
            argument.strip_prefix("--data-dir=").unwrap_or(argument) == directory
        };
        arguments.get(1).is_some_and(|command| command == "serve") && arguments.iter().any(names_it)
    }

    /// Returns the end of the broker's log.
    pub(crate) fn log_tail(&self) -> String {
        const LINES: usize = 10;
        let text = fs::read(self.log_file()).unwrap_or_default();
        let text =
            String::from_utf8_lossy(&text[text.len().saturating_sub(8 * 1024)..]).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..]
            .iter()
            .map(|line| format!("  | {line}"))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Returns the command line of a living process. A zombie has none.
pub(crate) fn arguments_of(pid: i32) -> Option<Vec<String>> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    (!words.is_empty()).then_some(words)
}

/// Sends a signal; a process that is gone already is none the worse.
pub(crate) fn signal_to(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}
