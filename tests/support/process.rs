//! Child processes that cannot outlive the test run. Each gets a parent-death signal, which Linux
//! ties to the *thread* that forked it; hence one thread that forks for all tests and never ends.

use std::io::{Result, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait;

type Job = (Command, SyncSender<Result<Child>>);

/// A command that dies with the test run.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// Sends a signal. Not by `kill`, which a small system has in its shells only.
pub fn send(pid: u32, signal: Signal) -> rustix::io::Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal)
}

/// A running child, killed and reaped when dropped.
pub struct Process {
    child: Child,
}

impl Process {
    pub fn spawn(command: Command) -> Process {
        static FORKER: OnceLock<Sender<Job>> = OnceLock::new();
        let forker = FORKER.get_or_init(|| {
            let (sender, jobs) = channel::<Job>();
            thread::Builder::new()
                .name("forker".into())
                .spawn(move || {
                    for (mut command, answer) in jobs {
                        let _ = answer.send(command.spawn());
                    }
                })
                .unwrap();
            sender
        });
        let what = format!("{command:?}");
        let (answer, child) = sync_channel(1);
        forker.send((command, answer)).unwrap();
        let child = child.recv().unwrap().unwrap_or_else(|error| panic!("{what}: {error}"));
        Process { child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    pub fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    pub fn stderr(&mut self) -> Option<std::process::ChildStderr> {
        self.child.stderr.take()
    }

    /// Exit status if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal).unwrap();
    }

    /// Stops it, and waits until no thread of it runs: a signal is only asked for when `kill` returns.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.pid());
        let stopped = |task: Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
            // The name before the state may hold anything, a bracket as well.
            stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
        };
        let all = || std::fs::read_dir(&tasks).unwrap().all(stopped).then_some(());
        wait::until("every thread is stopped", Duration::from_secs(30), all);
    }

    pub fn wait_exit(&mut self, what: &str, limit: Duration) -> ExitStatus {
        wait::until(what, limit, || self.ended())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// Lets this process hold the other ends of thousands of connections.
pub fn raise_open_files() {
    let own = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &own, "--nofile=16384:"]).status();
    assert!(raised.unwrap().success(), "thousands of connections need 16,384 open files");
}

/// What a finished command said.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Standard output of a command that had to succeed.
    pub fn ok(self, what: &str) -> String {
        assert_eq!(self.code, Some(0), "{what} failed\n{}\n{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs a command to its end, or kills it and fails when `limit` has passed.
pub fn run(command: Command, limit: Duration) -> Output {
    run_with(command, "", limit)
}

/// The same with something on standard input, small enough for a pipe.
pub fn run_with(mut command: Command, input: &str, limit: Duration) -> Output {
    let what = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process::spawn(command);
    let mut stdin = process.stdin().unwrap();
    let _ = stdin.write_all(input.as_bytes()); // the command may not want it
    drop(stdin);
    let stdout = reader(process.child.stdout.take().unwrap());
    let stderr = reader(process.child.stderr.take().unwrap());
    let status = wait::maybe(limit, || process.ended());
    process.kill9();
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    let Some(status) = status else {
        panic!("{what}\nstill running after {limit:?}\nstdout: {stdout}\nstderr: {stderr}");
    };
    Output { code: status.code(), stdout, stderr }
}

fn reader(mut from: impl std::io::Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
