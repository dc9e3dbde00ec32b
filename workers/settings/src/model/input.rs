//! What is read.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use longshore_core::pair::Order;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What is read, and in which order it takes effect.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputOptions {
    /// The topics to read.
    #[schemars(length(min = 1))]
    pub topics: Vec<String>,
    /// Which records wait for each other: those of one `key` (the default), of one `partition`, or `none`.
    #[serde(default)]
    pub order: Order,
    /// The consumer group; `longshore.<pipeline>` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249))]
    pub group: Option<String>,
    /// Where to begin in a partition that the group has no offset for: `earliest` (the default), `latest`, or a time.
    #[serde(default)]
    pub start: Start,
}

/// Where to begin without a committed offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record.
    #[default]
    Earliest,
    /// At the end.
    Latest,
    /// At the first record of this time or later, in milliseconds since 1970 (UTC), as brokers count.
    Time(i64),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            text => {
                text.parse::<jiff::Timestamp>().map(|time| Self::Time(time.as_millisecond())).map_err(|_| {
                    "expected `earliest`, `latest`, or a time with its zone such as 2026-01-31T00:00:00Z"
                        .to_owned()
                })
            }
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::Time(millis) => match jiff::Timestamp::from_millisecond(*millis) {
                Ok(time) => write!(f, "{time}"),
                Err(_) => write!(f, "{millis}"),
            },
        }
    }
}

impl Serialize for Start {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The `format` of [`Start`] in the JSON Schema.
pub(crate) const START_FORMAT: &str = "longshore-start";

impl JsonSchema for Start {
    fn schema_name() -> Cow<'static, str> {
        "Start".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "earliest, latest, or a time with its zone such as 2026-01-31T00:00:00Z.",
            "type": "string",
            "format": START_FORMAT,
            "pattern": r"^(earliest|latest|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].*)$|\$\{",
            "examples": ["earliest", "latest", "2026-01-31T00:00:00Z"]
        })
    }
}
