//! The sinks: a list of maps with one key each, the kind of sink.

use longshore_core::client::Compression;
use longshore_sinks::StdoutOptions;
use longshore_sinks::files::FilesOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ObjectsSinkOptions, PostgresSinkOptions};

/// One sink: its kind's options, and what all kinds share.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Wire", into = "Wire")]
#[schemars(with = "Wire")]
pub struct SinkEntry {
    /// Its name in logs, metrics and dead letters: unique in the pipeline; that of the kind when left out, and for a
    /// topic the topic's.
    pub name: String,
    /// The condition (CEL) for a record to come here; all records when left out.
    pub when: Option<String>,
    /// The kind and its options.
    pub kind: SinkKind,
}

/// The kind of a sink and its options.
#[derive(Clone, Debug)]
pub enum SinkKind {
    /// Files with a ledger: each record once.
    Files(FilesOptions),
    /// An object store with a ledger: each record once.
    Objects(Box<ObjectsSinkOptions>),
    /// A Postgres table with a ledger: each record once.
    Postgres(Box<PostgresSinkOptions>),
    /// A Kafka topic: at least once.
    Topic(TopicSinkOptions),
    /// JSON lines on standard output: at least once.
    Stdout(StdoutOptions),
}

impl SinkKind {
    /// The word in the pipeline file.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Files(_) => "files",
            Self::Objects(_) => "objects",
            Self::Postgres(_) => "postgres",
            Self::Topic(_) => "topic",
            Self::Stdout(_) => "stdout",
        }
    }
}

/// Writes records to a Kafka topic, at least once, each with the header `longshore.source`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicSinkOptions {
    /// The topic.
    #[schemars(length(min = 1, max = 249))]
    pub name: String,
    /// How the payload is written.
    #[serde(default)]
    pub format: TopicFormat,
    /// Compression of batches.
    #[serde(default)]
    pub compression: Compression,
    /// A CEL condition: only records that meet it go here. Judged before the sink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// How a payload is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TopicFormat {
    /// The record as one JSON object.
    #[default]
    Json,
    /// The body alone, as bytes.
    Raw,
    /// Avro in the Confluent wire format, with the newest schema of this subject in the schema store.
    Avro(String),
}

/// A sink as the file writes it.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Wire {
    /// Writes records to files, each record once.
    Files(Named<FilesOptions>),
    /// Writes records to an object store or a folder as Parquet or JSON lines, each record once.
    Objects(Box<ObjectsSinkOptions>),
    /// Writes records to a Postgres table, each record once.
    Postgres(Box<PostgresSinkOptions>),
    /// Writes records to a Kafka topic, at least once.
    Topic(TopicSinkOptions),
    /// Writes records to standard output, at least once.
    Stdout(Named<StdoutOptions>),
}

/// Options of a sink with a name beside them.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
// What is flattened closes nothing by itself, and a field that nobody knows would be passed over.
#[schemars(extend("additionalProperties" = false))]
struct Named<T> {
    /// The sink's name in logs, metrics and dead letters, unique in the pipeline; that of its kind when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    name: Option<String>,
    #[serde(flatten)]
    options: T,
}

impl From<Wire> for SinkEntry {
    fn from(wire: Wire) -> Self {
        match wire {
            Wire::Files(Named { name, options }) => Self {
                name: name.unwrap_or_else(|| "files".to_owned()),
                when: options.when.clone(),
                kind: SinkKind::Files(options),
            },
            Wire::Objects(mut options) => Self {
                name: options.name.take().unwrap_or_else(|| "objects".to_owned()),
                when: options.when.clone(),
                kind: SinkKind::Objects(options),
            },
            Wire::Postgres(mut options) => Self {
                name: options.name.take().unwrap_or_else(|| "postgres".to_owned()),
                when: options.when.clone(),
                kind: SinkKind::Postgres(options),
            },
            Wire::Topic(options) => Self {
                name: options.name.clone(),
                when: options.when.clone(),
                kind: SinkKind::Topic(options),
            },
            Wire::Stdout(Named { name, options }) => Self {
                name: name.unwrap_or_else(|| "stdout".to_owned()),
                when: options.when.clone(),
                kind: SinkKind::Stdout(options),
            },
        }
    }
}

impl From<SinkEntry> for Wire {
    fn from(entry: SinkEntry) -> Self {
        match entry.kind {
            SinkKind::Files(options) => Self::Files(Named { name: Some(entry.name), options }),
            SinkKind::Objects(mut options) => {
                options.name = Some(entry.name);
                Self::Objects(options)
            }
            SinkKind::Postgres(mut options) => {
                options.name = Some(entry.name);
                Self::Postgres(options)
            }
            SinkKind::Topic(options) => Self::Topic(options),
            SinkKind::Stdout(options) => Self::Stdout(Named { name: Some(entry.name), options }),
        }
    }
}
