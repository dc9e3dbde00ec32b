//! Commands from the outside: what they say and how they end.

use std::process::Command;
use std::time::Duration;

use longshore_tests::harness::{Longshore, binary};

/// What a command said and how it ended.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// `longshore ARGUMENTS...`, to its end.
pub(crate) fn longshore(arguments: &[&str]) -> Said {
    let mut command = Command::new(binary());
    command.args(arguments).env_remove("KAFKA_BOOTSTRAP");
    let mut process = Longshore::start_command(command);
    let status = process.wait(Duration::from_secs(120));
    let code = status.code().unwrap_or_else(|| panic!("{status}\n{}", process.transcript()));
    Said { code, out: process.stdout(), err: process.stderr() }
}

impl Said {
    /// The same, checked to have ended well.
    #[track_caller]
    pub(crate) fn well(self) -> Self {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self
    }

    /// The rows of `-o json`.
    #[track_caller]
    pub(crate) fn rows(&self) -> Vec<serde_json::Value> {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// The one document of `-o json`.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// The lines of `-o ndjson`.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
        let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.out.lines().map(read).collect()
    }
}
