//! What was found, and what to do about it.

use serde::Serialize;

use crate::output::Output;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// A worker runs, and somebody should know.
    Warn,
    /// A worker would not start, would stop, or would lose what it promises.
    Error,
}

/// What was looked at, in the order in which it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Check {
    /// Whether brokers answer, and what they are.
    Broker,
    /// Partitions and settings of topics.
    Topic,
    /// What we may do with topics and the group.
    Rights,
    /// The group, and where it is.
    Group,
    /// Spans of time that have to fit each other.
    Timing,
    /// This machine's clock and the brokers'.
    Clock,
    /// Where rows go.
    Sink,
    /// The folder of payloads that wait for their retry.
    Spool,
    /// The port of the worker's pages.
    Http,
    /// Where spans go.
    Traces,
}

impl Check {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Topic => "topic",
            Self::Rights => "rights",
            Self::Group => "group",
            Self::Timing => "timing",
            Self::Clock => "clock",
            Self::Sink => "sink",
            Self::Spool => "spool",
            Self::Http => "http",
            Self::Traces => "traces",
        }
    }
}

/// What a person does next: something to type, or a setting to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Next {
    /// A command.
    Command(String),
    /// A setting of the pipeline file, or a variable, with the value that it should have or what it should be.
    Setting(String),
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) check: Check,
    /// What it is about: a topic, a sink, an address.
    pub(super) about: String,
    pub(super) found: String,
    /// None when all is well, and only then.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
}

impl Finding {
    pub(super) fn ok(check: Check, about: impl Into<String>, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, check, about: about.into(), found: found.into(), next: None }
    }

    pub(super) fn warn(check: Check, about: impl Into<String>, found: impl Into<String>, next: Next) -> Self {
        Self { level: Level::Warn, next: Some(next), ..Self::ok(check, about, found) }
    }

    pub(super) fn error(
        check: Check,
        about: impl Into<String>,
        found: impl Into<String>,
        next: Next,
    ) -> Self {
        Self { level: Level::Error, next: Some(next), ..Self::ok(check, about, found) }
    }

    /// As people read it.
    pub(super) fn lines(&self, output: &Output) -> Vec<String> {
        let level = match self.level {
            Level::Ok => output.green("ok   "),
            Level::Warn => output.bold("warn "),
            Level::Error => output.red("error"),
        };
        let mut lines = vec![format!("{level} {:<6} {}: {}", self.check.word(), self.about, self.found)];
        match &self.next {
            None => {}
            Some(Next::Command(command)) => lines.push(format!("      next: {command}")),
            Some(Next::Setting(setting)) => lines.push(format!("      set:  {setting}")),
        }
        lines
    }
}
