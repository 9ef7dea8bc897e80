//! Pages of documentation are run as they stand: fenced blocks marked `run`, one after the other against one cluster, each
//! followed by what it prints.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::str::Lines;

use super::clients::installed;
use super::cluster::{Cluster, SOON};
use super::process;

/// A block, and what it is to print.
pub struct Example {
    pub language: String,
    code: String,
    prints: String,
}

/// Takes the lines up to the end of a block.
fn block(lines: &mut Lines<'_>) -> String {
    lines.by_ref().take_while(|it| *it != "```").map(|it| format!("{it}\n")).collect()
}

/// Takes the blocks that are marked out of a text, with the block behind each.
pub fn examples(text: &str) -> Vec<Example> {
    let mut lines = text.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```").and_then(|it| it.strip_suffix(" run")) else {
            continue;
        };
        let code = block(&mut lines);
        let printed = block(&mut lines);
        let prints = printed.strip_prefix("```text\n");
        let prints = prints.unwrap_or_else(|| panic!("what does this print?\n{code}")).to_owned();
        found.push(Example { language: language.to_owned(), code, prints });
    }
    found
}

impl Example {
    /// Runs it against the cluster, in a directory for its files; fails unless it prints what it is to print. `before` is done
    /// in each shell first.
    pub fn run(&self, cluster: &Cluster, dir: &Path, before: &str) {
        let mut code = self.code.clone();
        // The ports of `make run`, none of which a port of the test may be taken for.
        let ports = (0..)
            .zip(cluster.brokers())
            .flat_map(|(n, broker)| [(8080 + n, broker.http), (9092 + n, broker.kafka)]);
        let ports: Vec<(String, String, u16)> =
            ports.map(|(shown, port)| (shown.to_string(), format!("<{shown:x}>"), port)).collect();
        for (shown, mark, _) in &ports {
            code = code.replace(shown, mark);
        }
        for (_, mark, port) in &ports {
            code = code.replace(mark, &port.to_string());
        }
        let mut command = self.command(dir, &format!("{before}{code}"));
        command.current_dir(dir);
        let said = process::run(command, SOON);
        let errors = &said.stderr;
        assert_eq!((said.code, &said.stdout), (Some(0), &self.prints), "{code}\n{errors}");
    }

    /// The command that runs it, with files in `dir`.
    fn command(&self, dir: &Path, code: &str) -> Command {
        match self.language.as_str() {
            "sh" => {
                let mut command = process::command("bash");
                command.args(["-euo", "pipefail", "-c", code]);
                command
            }
            "python" => {
                let mut command = process::command(installed("python/bin/python"));
                command.args(["-c", code]);
                command
            }
            "java" => {
                let file = dir.join("Example.java");
                fs::write(&file, code).unwrap();
                let mut command = process::command("java");
                command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]);
                command.arg(installed("java").join("lib").join("*")).arg(file);
                command
            }
            other => panic!("nothing runs {other}"),
        }
    }
}
