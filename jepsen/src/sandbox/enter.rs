//! Into the sandbox: the program executes itself again under `unshare`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use rustix::process::{Resource, Rlimit};

/// Tells the program that it is inside; its value is the network namespace it came from.
pub(crate) const MARK: &str = "JEPSEN_OUTSIDE";
const NETWORK: &str = "/proc/self/ns/net";
/// `--kill-child` is what makes everything end with the outer process: the inner one is the first of its process
/// namespace, and with it the kernel ends all others.
const UNSHARE: [&str; 6] =
    ["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"];

/// Whether this process is in a sandbox.
pub fn inside() -> bool {
    std::env::var_os(MARK).is_some() && std::process::id() == 1
}

/// Returns inside the sandbox; outside, this process becomes the sandbox's and ends with its exit code.
///
/// Call it before any thread is started.
pub fn enter() -> anyhow::Result<()> {
    if inside() {
        return prepare();
    }
    let mut command = wrapped(std::env::args_os().skip(1).collect())?;
    Err(command.exec()).context("run unshare")
}

/// For tests: runs this very test again in a sandbox of its own. True inside, where the test has to do its work;
/// outside it returns false once that has succeeded, and panics if it has not.
pub fn within(test: &str) -> bool {
    if inside() {
        prepare().expect("the sandbox is prepared");
        return true;
    }
    let args = ["--exact", test, "--nocapture", "--test-threads=1"].map(OsString::from);
    let status = wrapped(args.to_vec()).and_then(|mut command| Ok(command.status()?));
    match status {
        Ok(status) => assert!(status.success(), "{test} in its sandbox: {status}"),
        Err(error) => panic!("{error:#}"),
    }
    false
}

/// This program under `unshare`.
fn wrapped(args: Vec<OsString>) -> anyhow::Result<Command> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the sandbox needs root, for its networks and mounts (nothing outside of it is changed): \
         run it again with sudo"
    );
    for (program, package) in [
        ("unshare", "util-linux"),
        ("prlimit", "util-linux"),
        ("ip", "iproute2"),
        ("mount", "mount"),
    ] {
        let known = Command::new(program).arg("--version").output();
        let known = known.or_else(|_| Command::new(program).arg("-V").output());
        ensure!(known.is_ok(), "{program} is missing: install the package {package}");
    }
    ensure!(
        Path::new("/dev/net/tun").exists(),
        "/dev/net/tun is missing: the sandbox's network needs a kernel with CONFIG_TUN"
    );
    let outside = std::fs::read_link(NETWORK).context(NETWORK)?;
    let mut command = Command::new("unshare");
    command.args(UNSHARE).arg("--").arg(std::env::current_exe()?).args(args).env(MARK, outside);
    Ok(command)
}

/// Proves that this is a sandbox, and gives it what a fresh one lacks.
fn prepare() -> anyhow::Result<()> {
    let outside = std::env::var_os(MARK).unwrap_or_default();
    if std::fs::read_link(NETWORK)?.as_os_str() == outside {
        bail!("unshare gave no network of its own");
    }
    // Hundreds of connections to every broker; each side of a run has thousands.
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(Resource::Nofile, raised).context("raise the limit of files")?;
    // The first process of a process namespace ignores every signal without a handler, Ctrl-C included.
    let mut signals = signal_hook::iterator::Signals::new([
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}
