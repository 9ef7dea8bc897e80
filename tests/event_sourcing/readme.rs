//! What the README shows is run as it stands: fenced blocks marked `run`, one after the other against one cluster, each
//! followed by what it prints.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::str::Lines;

use crate::support::clients::installed;
use crate::support::cluster::{Cluster, SOON};
use crate::support::process;

/// A block, and what it is to print.
struct Example {
    language: String,
    code: String,
    prints: String,
}

/// Takes the lines up to the end of a block.
fn block(lines: &mut Lines<'_>) -> String {
    lines.by_ref().take_while(|it| *it != "```").map(|it| format!("{it}\n")).collect()
}

/// Takes the blocks that are marked out of a text, with the block behind each.
fn examples(text: &str) -> Vec<Example> {
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

#[test]
fn what_the_readme_shows_of_event_sourcing_is_so() {
    let cluster = Cluster::start("readme", 3);
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let examples = examples(&fs::read_to_string(text).unwrap());
    for language in ["sh", "python", "java"] {
        assert!(examples.iter().any(|example| example.language == language), "{language}");
    }
    for example in &examples {
        // The ports of `make run`, none of which a port of the test may be taken for.
        let mut code = example.code.clone();
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
        let said = process::run(example.command(&cluster.dir, &code), SOON);
        let errors = &said.stderr;
        assert_eq!((said.code, &said.stdout), (Some(0), &example.prints), "{code}\n{errors}");
    }
}
