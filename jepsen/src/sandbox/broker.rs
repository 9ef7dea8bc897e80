//! One broker: its host, disk, shim and process.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;

use super::enter::MARK;
use super::strobe::Strobe;
use super::{Disk, Host, Process, Share, Shim, process};
use crate::admin::wait;
use crate::environment::Address;

const KAFKA: u16 = 9092;
const HTTP: u16 = 8080;
const PEER: u16 = 9192;
/// Until a signal that stops a process is seen in its state.
const SIGNAL: Duration = Duration::from_secs(5);

/// Where a broker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A place for a broker that may join.
    Spare,
    Running,
    Paused,
    /// Not running; its disk waits for it.
    Down,
    /// It will never come back; its number is not given again.
    Gone,
    /// Gone, and removed from the cluster.
    Buried,
}

/// A fault that lets a process end by itself.
pub(super) struct ExpectedExit {
    pub why: String,
    /// Parts of ERROR lines that it explains.
    pub errors: Vec<String>,
}

/// See the module.
pub struct Broker {
    pub id: u64,
    pub host: Host,
    pub disk: Disk,
    pub shim: Shim,
    pub log: PathBuf,
    pub(super) state: State,
    pub(super) process: Option<Process>,
    /// It gets only a share of the processor, in all its lives.
    strobe: Option<Strobe>,
    /// Its disk has no power.
    pub(super) unpowered: bool,
    /// Bytes of the log that were judged already.
    pub(super) judged: usize,
    /// Why the process may end by itself now.
    pub(super) excuses: Vec<ExpectedExit>,
    /// How the process last ended by itself, unless it was started again.
    pub(super) last_end: Option<String>,
    /// Where other brokers reach it; another one each time that it moves.
    peer_port: u16,
}

/// What the process of a broker is started with.
pub(super) struct Start<'a> {
    pub binary: &'a Path,
    pub join: &'a [SocketAddr],
    pub settings: &'a [(String, String)],
    /// The most files and connections it may have open, if there is a limit.
    pub descriptors: Option<u64>,
}

impl Start<'_> {
    /// The program, or one that becomes it under a limit.
    fn program(&self) -> Command {
        let Some(most) = self.descriptors else { return Command::new(self.binary) };
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={most}:{most}")).arg("--").arg(self.binary);
        command
    }
}

impl Broker {
    pub(super) fn new(id: u64, host: Host, disk: Disk, shim: Shim, dir: &Path) -> Broker {
        let log = dir.join(format!("broker-{id}.log"));
        Broker {
            id,
            host,
            disk,
            shim,
            log,
            state: State::Spare,
            process: None,
            strobe: None,
            unpowered: false,
            judged: 0,
            excuses: Vec::new(),
            last_end: None,
            peer_port: PEER,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it is a member: it has run, and may run again.
    pub fn member(&self) -> bool {
        !matches!(self.state, State::Spare | State::Gone | State::Buried)
    }

    pub fn running(&self) -> bool {
        self.state == State::Running
    }

    /// Whether its disk has power.
    pub fn powered(&self) -> bool {
        !self.unpowered
    }

    /// Whether it gets only a share of the processor, so that it may be late with anything.
    pub fn starved(&self) -> bool {
        self.strobe.is_some()
    }

    /// How the process ended by itself, if it has and was not started again.
    pub fn last_end(&self) -> Option<&str> {
        self.last_end.as_deref()
    }

    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    pub fn address(&self) -> Address {
        let at = |port| SocketAddr::from((self.host.address(), port));
        Address { id: self.id, kafka: at(KAFKA), http: at(HTTP) }
    }

    /// Where other brokers reach it.
    pub fn peer(&self) -> SocketAddr {
        SocketAddr::from((self.host.address(), self.peer_port))
    }

    /// Everything that it listens on: for Kafka's clients, for HTTP, for other brokers.
    pub fn ports(&self) -> [SocketAddr; 3] {
        let Address { kafka, http, .. } = self.address();
        [kafka, http, self.peer()]
    }

    /// From its next start on other brokers reach it at a port that it never had.
    pub(super) fn move_port(&mut self) {
        self.peer_port += 1;
    }

    /// Files and connections that its process has open.
    pub fn descriptors(&self) -> Option<usize> {
        Some(std::fs::read_dir(format!("/proc/{}/fd", self.pid()?)).ok()?.count())
    }

    /// Starts the process; does not wait until it serves.
    pub(super) fn start(&mut self, with: &Start<'_>) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "broker {} runs already", self.id);
        ensure!(self.powered(), "the disk of broker {} has no power", self.id);
        let log = File::options().create(true).append(true).open(&self.log)?;
        let address = self.address();
        let mut command = with.program();
        command
            .args(["serve", "--node-id", &self.id.to_string()])
            .args(["--kafka", &address.kafka.to_string(), "--http", &address.http.to_string()])
            .args(["--peer", &self.peer().to_string(), "--data-dir"])
            .arg(&self.disk.data);
        if !with.join.is_empty() {
            let join: Vec<String> = with.join.iter().map(SocketAddr::to_string).collect();
            command.args(["--join", &join.join(",")]);
        }
        for (key, value) in with.settings {
            command.args(["--set", &format!("{key}={value}")]);
        }
        command.envs(self.shim.environment()).env_remove(MARK);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = Process::new(self.host.spawn(&mut command)?);
        let aimed = self.strobe.as_ref().map_or(Ok(()), |strobe| strobe.aim(&process));
        self.process = Some(process);
        self.state = State::Running;
        self.last_end = None;
        aimed
    }

    fn live(&mut self) -> anyhow::Result<&mut Process> {
        let id = self.id;
        self.process.as_mut().with_context(|| format!("broker {id} does not run"))
    }

    /// SIGKILL; returns the proof.
    pub(super) fn kill(&mut self) -> anyhow::Result<String> {
        let process = self.live()?;
        let pid = process.pid();
        let status = process.kill()?;
        self.process = None;
        self.state = State::Down;
        Ok(format!("process {pid} ended with {}", process::words(status)))
    }

    /// SIGSTOP; returns the proof: the state the kernel gives it.
    pub(super) fn pause(&mut self) -> anyhow::Result<String> {
        self.hold(true);
        let process = self.live()?;
        process.signal(Signal::STOP)?;
        let stopped = wait(SIGNAL, || (process.letter() == Some('T')).then_some(process.pid()));
        let Some(pid) = stopped else { bail!("process {} does not stop", process.pid()) };
        self.state = State::Paused;
        Ok(format!("process {pid} is in state T"))
    }

    /// SIGCONT.
    pub(super) fn resume(&mut self) -> anyhow::Result<String> {
        self.hold(false);
        let process = self.live()?;
        process.signal(Signal::CONT)?;
        let runs = wait(SIGNAL, || process.letter().filter(|letter| *letter != 'T'));
        let Some(letter) = runs else { bail!("process {} does not go on", process.pid()) };
        let proof = format!("process {} is in state {letter}", process.pid());
        self.state = State::Running;
        Ok(proof)
    }

    fn hold(&self, held: bool) {
        if let Some(strobe) = &self.strobe {
            strobe.hold(held);
        }
    }

    /// From now on it gets only this share of the processor.
    pub(super) fn starve(&mut self, share: Share) -> anyhow::Result<()> {
        let paused = self.state == State::Paused;
        self.strobe = Some(Strobe::start(self.live()?, share)?);
        self.hold(paused);
        Ok(())
    }

    /// It gets what it needs again. How often it was stopped.
    pub(super) fn feed(&mut self) -> u64 {
        self.strobe.take().map_or(0, |strobe| strobe.stops())
    }

    /// Asks it to stop, as an operator does; SIGKILL if it does not.
    pub(super) fn stop(&mut self, limit: Duration) -> anyhow::Result<String> {
        if self.state == State::Paused {
            self.resume()?;
        }
        let process = self.live()?;
        process.signal(Signal::TERM)?;
        let status = process.wait_end(limit);
        let (status, by) = match status {
            Some(status) => (status, "by itself"),
            None => (process.kill()?, "by SIGKILL"),
        };
        self.process = None;
        self.state = State::Down;
        Ok(format!("{} {by}", process::words(status)))
    }

    /// How the process ended by itself, once.
    pub(super) fn take_end(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.ended()?;
        self.process = None;
        self.state = State::Down;
        self.last_end = Some(process::words(status));
        Some(status)
    }
}
