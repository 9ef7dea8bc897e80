//! Why a command failed, what to do next, and the exit code that says which kind of failure it was.

use std::fmt;
use std::process::ExitCode;

use crate::client::ClientError;
use crate::config::ConfigError;

const ERROR: u8 = 1;
const USAGE: u8 = 2;

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
    hint: Option<String>,
    /// The reader of our output went away, which is how `quorate consume ... | head` ends: no failure.
    quiet: bool,
}

impl Failure {
    /// Something went wrong.
    pub fn error(message: impl Into<String>) -> Self {
        Self { code: ERROR, message: message.into(), hint: None, quiet: false }
    }

    /// The command or the configuration is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, ..Self::error(message) }
    }

    /// A failure of the kind that exit code stands for.
    pub fn with_code(code: u8, message: impl Into<String>) -> Self {
        Self { code, ..Self::error(message) }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn code(&self) -> u8 {
        self.code
    }

    /// Prints the failure to standard error and returns its exit code.
    #[expect(clippy::print_stderr, reason = "this is where a failed command says so")]
    pub fn report(&self) -> ExitCode {
        if self.quiet {
            return ExitCode::SUCCESS;
        }
        eprintln!("error: {self}");
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(out, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let quiet = error.kind() == std::io::ErrorKind::BrokenPipe;
        Self { quiet, ..Self::error(error.to_string()) }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let failure = Self::error(error.to_string());
        match error {
            ClientError::Connect { .. } => {
                failure.hint("is a broker running there? `quorate demo` starts some; --server HOST:PORT asks others")
            }
            ClientError::Broker { code: crate::client::ErrorCode(3), .. } => {
                failure.hint("`quorate topic list` shows what there is, `quorate topic create NAME` makes one")
            }
            ClientError::NoLeader { .. } | ClientError::GaveUp { .. } => {
                failure.hint("`quorate cluster status` shows what is wrong")
            }
            _ => failure,
        }
    }
}
