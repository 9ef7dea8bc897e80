//! Many seeds, each in a process of its own.

use std::io::Read;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use parking_lot::Mutex;

use crate::Shape;

/// Real time a seed may take: some hundred times what it does.
const LONGEST: Duration = Duration::from_secs(300);
/// How often to look whether a process has ended.
const LOOK: Duration = Duration::from_millis(5);
/// Seeds between two lines of progress.
const PROGRESS: u64 = 100;

/// Which seeds.
#[derive(Args)]
pub struct Sweep {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many.
    #[arg(long)]
    count: u64,
    /// Processes at a time.
    #[arg(long, default_value_t = 2)]
    jobs: u64,
    /// Stop after so many seeds failed.
    #[arg(long, default_value_t = 3)]
    failures: usize,
    #[command(flatten)]
    shape: Shape,
}

/// A seed that failed, and the last line it said.
type Failure = (u64, String);

impl Sweep {
    /// Runs them; fails if one did.
    #[expect(clippy::print_stdout, reason = "a command line speaks")]
    pub fn run(&self) -> ExitCode {
        let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
        let failed: Mutex<Vec<Failure>> = Mutex::default();
        let started = Instant::now();
        thread::scope(|scope| {
            for _ in 0..self.jobs.clamp(1, 64) {
                scope.spawn(|| self.work(&next, &done, &failed, started));
            }
        });
        let mut failed = failed.into_inner();
        failed.sort();
        for (seed, what) in &failed {
            println!("{what}\n  replay: quorate-sim trace --seed {seed}{}", self.options());
        }
        let (done, took) = (done.into_inner(), started.elapsed().as_secs());
        println!("{done} seeds from {} in {took} s, {} failed", self.from, failed.len());
        ExitCode::from(u8::from(!failed.is_empty()))
    }

    #[expect(clippy::print_stderr, reason = "a command line speaks")]
    fn work(
        &self,
        next: &AtomicU64,
        done: &AtomicU64,
        failed: &Mutex<Vec<Failure>>,
        started: Instant,
    ) {
        loop {
            let offset = next.fetch_add(1, Ordering::Relaxed);
            if offset >= self.count || failed.lock().len() >= self.failures {
                return;
            }
            let seed = self.from + offset;
            if let Err(what) = self.one(seed) {
                eprintln!("{what}");
                failed.lock().push((seed, what));
            }
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(PROGRESS) {
                let failures = failed.lock().len();
                let took = started.elapsed().as_secs();
                eprintln!("{done} of {} seeds in {took} s, {failures} failed", self.count);
            }
        }
    }

    /// Runs a seed; its last line if it failed.
    fn one(&self, seed: u64) -> Result<(), String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.arg("run").args(["--seed", &seed.to_string()]);
        command.args(self.options().split_whitespace());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.map_err(|error| format!("seed {seed}: cannot start: {error}"))?;
        let success = wait(&mut child).map_err(|what| format!("seed {seed}: FAILED {what}"))?;
        if success {
            return Ok(());
        }
        let mut said = String::new();
        if let Some(mut output) = child.stdout.take() {
            // What it says fits into the pipe; without it the exit code has to do.
            drop(output.read_to_string(&mut said));
        }
        let line = said.lines().last().map(str::to_owned);
        Err(line.unwrap_or_else(|| format!("seed {seed}: FAILED without a word")))
    }

    /// The options that make a seed the same run again.
    fn options(&self) -> String {
        let mut options = format!(" --ticks {}", self.shape.ticks);
        if self.shape.wrong {
            options += " --wrong";
        }
        let name = self.shape.control.and_then(|control| control.to_possible_value());
        if let Some(name) = name {
            options += &format!(" --control {}", name.get_name());
        }
        options
    }
}

/// Waits for the end of a process, not for ever. True: it succeeded.
fn wait(child: &mut Child) -> Result<bool, String> {
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Err(error) => return Err(error.to_string()),
            Ok(None) if started.elapsed() > LONGEST => {
                // It may have ended this instant, which is as good.
                drop(child.kill());
                drop(child.wait());
                return Err(format!("it did not end within {LONGEST:?}"));
            }
            Ok(None) => thread::park_timeout(LOOK),
        }
    }
}
