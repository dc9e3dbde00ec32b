//! One thing that a person did with letters.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    /// Letters were sent again.
    Replay,
    /// Letters were given up.
    Discard,
    /// Letters below the first open one were deleted.
    Trim,
    /// Records that waited in the retry topic were made due.
    #[serde(rename = "retry-now")]
    RetryNow,
    /// The group was sent back, to a new sink generation.
    Rewind,
}

impl RunKind {
    /// The word that people see.
    pub fn word(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
            Self::Trim => "trim",
            Self::RetryNow => "retry now",
            Self::Rewind => "rewind",
        }
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// The letters are being noted; nothing was sent yet.
    Planning,
    /// Letters are being handled, or were until the process died.
    Running,
    /// Stopped by a person, to be resumed.
    Stopped,
    /// All letters are handled.
    Done,
    /// Given up; what was handled stays handled.
    Cancelled,
}

impl RunState {
    /// The word that people see.
    pub fn word(self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether there is something left to do.
    pub fn is_open(self) -> bool {
        match self {
            Self::Running | Self::Stopped => true,
            // A run that died while it was planned has sent nothing and is no obstacle.
            Self::Planning | Self::Done | Self::Cancelled => false,
        }
    }
}

/// Where replayed letters go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The pipeline's retry topic: the same record, its identity kept.
    Retry,
    /// The input topic that each letter comes from: a new record.
    Input,
    /// This topic: a new record.
    Topic(String),
}

/// Which letters were meant, as they were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// A condition (CEL).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Arrived at or after, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// Arrived before, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// With one of these reasons; empty = any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// At most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// What became of letters, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Chosen, to be handled.
    pub selected: u64,
    /// Handled so far.
    pub handled: u64,
    /// Already in the sink's ledger, so not sent.
    pub already_held: u64,
    /// Refused: replayed too often.
    pub too_often: u64,
    /// Refused: the payload is not in the letter.
    pub without_payload: u64,
    /// Refused: the origin is no place of this pipeline's input.
    pub no_origin: u64,
    /// Refused: the transform failed.
    pub transform_failed: u64,
    /// Refused by the broker while they were sent; they stay open.
    pub refused: u64,
    /// Chosen, and gone from the topic before they were sent.
    pub gone: u64,
    /// Chosen letters by reason.
    pub by_reason: BTreeMap<String, u64>,
}

/// A replay, a discard, a trim, or waiting records made due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// [`super::VERSION`].
    pub version: u32,
    /// Its id: time and chance, letters and digits.
    pub id: String,
    /// What is done.
    pub kind: RunKind,
    /// How far it is.
    pub state: RunState,
    /// Who began it: user and machine.
    pub who: String,
    /// The process that is at it, unique; whoever finds another one here has been relieved.
    pub writer: String,
    /// The machine of that process.
    pub host: String,
    /// Its number there.
    pub process: u32,
    /// When it began, milliseconds since 1970.
    pub started_ms: i64,
    /// When this was written, milliseconds since 1970.
    pub updated_ms: i64,
    /// Which letters were meant.
    pub filter: Filter,
    /// The letter topics; the retry topics where waiting records were made due.
    pub topics: Vec<String>,
    /// Where letters go; none for a discard and a trim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// The transform: target and expression, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transform: Vec<(String, String)>,
    /// The most letters a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
    /// Why, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// The numbers.
    pub counts: Counts,
    /// The ends of each target topic's partitions before what is not yet noted as handled was sent: whoever resumes looks
    /// there for what arrived nevertheless.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sent_behind: BTreeMap<String, Vec<i64>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: a run that may have sent something and is not at its end is open; each kind and state has its own word.
    #[test]
    fn words_and_what_is_open() {
        use RunState::{Cancelled, Done, Planning, Running, Stopped};
        let states = [Planning, Running, Stopped, Done, Cancelled];
        assert_eq!(states.map(RunState::is_open), [false, true, true, false, false]);
        assert_eq!(states.map(RunState::word), ["planning", "running", "stopped", "done", "cancelled"]);
        use RunKind::{Discard, Replay, RetryNow, Rewind, Trim};
        let kinds = [Replay, Discard, Trim, RetryNow, Rewind];
        assert_eq!(kinds.map(RunKind::word), ["replay", "discard", "trim", "retry now", "rewind"]);
    }
}
