//! What happened, line by line, and a hash over it.
//!
//! The hash is what two runs of a seed must agree on; the last lines are what a failure shows.

use std::collections::VecDeque;
use std::fmt;

use crate::ledger::mix;

/// Lines a failure shows.
const KEPT: usize = 60;

/// The trace of one run.
pub struct Trace {
    hash: u64,
    tick: u64,
    print: bool,
    last: VecDeque<String>,
}

impl Trace {
    /// An empty trace, printed as it grows if asked for.
    pub fn new(print: bool) -> Trace {
        Trace { hash: 0, tick: 0, print, last: VecDeque::new() }
    }

    /// The time of the lines that follow, in ticks.
    pub fn at(&mut self, tick: u64) {
        self.tick = tick;
    }

    /// Adds a line.
    #[expect(clippy::print_stdout, reason = "the trace is what the command is asked for")]
    pub fn line(&mut self, what: fmt::Arguments<'_>) {
        let line = format!("{:>6} {what}", self.tick);
        self.hash = mix(self.hash, line.as_bytes());
        if self.print {
            println!("{line}");
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// The last lines.
    pub fn last(&self) -> impl Iterator<Item = &String> {
        self.last.iter()
    }

    /// Hash over all lines.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}
