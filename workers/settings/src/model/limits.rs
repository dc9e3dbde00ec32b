//! Bounds on memory and time.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use longshore_core::human::{Bytes, Span};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bounds on memory and time.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitOptions {
    /// All memory that records, rows and the Kafka client may take, per worker.
    pub memory: Bytes,
    /// All disk that payloads of records may take that wait for their retry and have no room in memory, per worker; 0B for none. What has
    /// no room there either is read from the retry topic again when it is due.
    pub spool: Bytes,
    /// The folder for them; the system's for temporary files when left out. It may be lost with the worker. Nobody sees files there:
    /// they have no name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool_folder: Option<PathBuf>,
    /// So many records a sink without a ledger (a topic, stdout) may be given twice when a worker is killed; shared out among its partitions, of
    /// which each may always give one.
    #[schemars(range(min = 1))]
    pub repeats: u64,
    /// How long a worker may use to finish a partition that is taken from it. Meanwhile all its partitions stand still.
    pub revoke: Span,
    /// How long a worker may use to finish what it holds after SIGTERM.
    pub drain: Span,
    /// How long a waiting step may take for one record; `off` for no bound.
    pub step: Deadline,
    /// How long a worker may stand with every partition halted or held before it ends with its exit code.
    pub halt: Span,
}

impl Default for LimitOptions {
    fn default() -> Self {
        Self {
            memory: Bytes::mebi(256),
            spool: Bytes::mebi(1024),
            spool_folder: None,
            repeats: 40_000,
            revoke: Span::seconds(1),
            drain: Span::seconds(15),
            step: Deadline::After(Span::seconds(30)),
            halt: Span::seconds(300),
        }
    }
}

/// A bound on time that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// No bound.
    Off,
    /// So long.
    After(Span),
}

impl Deadline {
    /// The bound; none when off.
    pub fn get(self) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::After(span) => Some(span.get()),
        }
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::After(span) => span.fmt(f),
        }
    }
}

impl Serialize for Deadline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Deadline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" { Ok(Self::Off) } else { text.parse().map(Self::After).map_err(de::Error::custom) }
    }
}

/// The `format` of [`Deadline`] in the JSON Schema.
pub(crate) const DEADLINE_FORMAT: &str = "longshore-deadline";

impl JsonSchema for Deadline {
    fn schema_name() -> Cow<'static, str> {
        "Deadline".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A span of time such as 30s, or off.",
            "type": "string",
            "format": DEADLINE_FORMAT,
            "pattern": r"^(off|\s*([0-9][0-9_]*(\.[0-9_]*)?\s*(us|ms|s|m|h|d)\s*)+)$|\$\{",
            "examples": ["30s", "off"]
        })
    }
}
