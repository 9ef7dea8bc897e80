//! A program that is asked line by line, and what it says.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::cluster::SOON;
use super::process::Process;

/// How long it may take over an answer.
const LIMIT: Duration = Duration::from_secs(120);

pub struct Asked {
    name: &'static str,
    process: Process,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Asked {
    pub fn start(name: &'static str, mut command: Command) -> Asked {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::spawn(command);
        let input = process.stdin().unwrap();
        let said = BufReader::new(process.stdout().unwrap());
        let complaints = BufReader::new(process.stderr().unwrap());
        thread::spawn(move || complaints.lines().for_each(|line| eprintln!("{}", line.unwrap())));
        let (tell, lines) = channel();
        thread::spawn(move || said.lines().try_for_each(|line| tell.send(line.unwrap())));
        Asked { name, process, input, lines }
    }

    pub fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
        self.input.flush().unwrap();
    }

    /// The next line that it says.
    pub fn hear(&mut self) -> String {
        match self.lines.recv_timeout(LIMIT) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("{} says nothing for {LIMIT:?}", self.name),
            Err(RecvTimeoutError::Disconnected) => panic!("{} has ended", self.name),
        }
    }

    /// Fails unless it answers so.
    pub fn ask(&mut self, line: &str, answer: &str) {
        self.say(line);
        let said = self.hear();
        assert_eq!(said, answer, "{} on {:.100}", self.name, line);
    }

    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Has it end, which it has to do well.
    pub fn stop(self) {
        let Asked { name, mut process, input, lines } = self;
        drop(input);
        let status = process.wait_exit("the program has ended", SOON);
        assert!(status.success(), "{name}: {status}, at last it said {:?}", lines.iter().last());
    }
}
