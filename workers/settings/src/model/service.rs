//! The worker's own health, metrics and log.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Secret;

/// Where the status pages (`/livez`, `/readyz`, `/metrics`, `/fleet`, `/scale`, ...) and the console are served.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpOptions {
    /// An address such as `127.0.0.1:8080`, port 0 for a free one, or `off`. The default answers this machine alone,
    /// since metrics name topics; the image sets `LONGSHORE_HTTP__LISTEN=0.0.0.0:8080`, as a pod's probes come from outside.
    pub listen: Listen,
    /// The console, a web page at `/`.
    pub console: ConsoleOptions,
}

/// The console: a web page that shows the fleet and its dead letters, and with a token sends letters again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConsoleOptions {
    /// Whether the page and its `/api` are served.
    pub enabled: bool,
    /// Who sends it may read payloads as they are, and send letters again; nobody may when it is left out. At least 16 visible
    /// ASCII characters. Write `${file:/path}` or `${NAME}` rather than the token itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
}

impl Default for ConsoleOptions {
    fn default() -> Self {
        Self { enabled: true, token: None }
    }
}

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Serve nothing.
    Off,
    /// Serve here.
    At(SocketAddr),
}

impl Default for Listen {
    fn default() -> Self {
        Self::At(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)))
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse()
            .map(Self::At)
            .map_err(|_| "expected an address with a port such as 127.0.0.1:8080, or `off`".to_owned())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The `format` of [`Listen`] in the JSON Schema.
pub(crate) const LISTEN_FORMAT: &str = "longshore-listen";

impl JsonSchema for Listen {
    fn schema_name() -> Cow<'static, str> {
        "Listen".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An address with a port such as 127.0.0.1:8080, or off.",
            "type": "string",
            "format": LISTEN_FORMAT,
            "pattern": r"^(off|.+:[0-9]{1,5})$|\$\{",
            "examples": ["127.0.0.1:8080", "off"]
        })
    }
}

/// The worker's own log, on stderr, and its spans.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryOptions {
    /// For people (`text`) or for machines (`json`).
    pub log: LogFormat,
    /// The least severe level that is written.
    pub level: Level,
    /// Whether spans are made of records that are traced: `auto` when the environment names an OTLP endpoint (`OTEL_*`).
    pub traces: Traces,
}

/// Whether spans are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Traces {
    /// When the environment names a place to send them to.
    #[default]
    Auto,
    /// Yes; without an endpoint to the Collector on this host.
    On,
    /// No, whatever the environment says.
    Off,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The severity of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What needs a person.
    Error,
    /// What is unusual and handled.
    Warn,
    /// What happens: start, assignment, stop.
    #[default]
    Info,
    /// What a developer asks for.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// The word in the pipeline file, also that of `tracing` filters.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
