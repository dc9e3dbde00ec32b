//! The `objects` sink. Plain data, so that `longshore check` opens no connection.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use longshore_core::human::{Bytes, Span};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Secret, StepOptions};

/// Writes records to an object store or a folder as Parquet or JSON lines, each record once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectsSinkOptions {
    /// The sink's name in logs, metrics, dead letters and the ledger, unique in the pipeline; `objects` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub name: Option<String>,
    /// Where to: `s3://BUCKET/PREFIX`, or a folder that all workers see, as a path or `file:///FOLDER`; in builds with the features `gcp` and `azure`
    /// also `gs://BUCKET/PREFIX` and `az://CONTAINER/PREFIX`.
    #[schemars(length(min = 1))]
    pub url: String,
    /// The address of a store with S3's protocol that is not Amazon's, such as `https://minio:9000`. Without it that of `AWS_ENDPOINT_URL_S3` or
    /// `AWS_ENDPOINT_URL`, else Amazon's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The bucket's region. Without it that of `AWS_REGION`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The access key's id. Without it the `AWS_*` variables, or the role of the machine or container, say who we are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// The access key's secret. Write `${NAME}` or `${file:/path}` rather than the secret itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<Secret>,
    /// Whether the bucket stands in the path of an address instead of the host's name; yes with an `endpoint`, else no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// What the objects hold.
    #[serde(default)]
    pub format: ObjectsFormat,
    /// The columns of Parquet: what a record is taken for. Without it a log where a step parses logs, a document where one accepts
    /// documents, else a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<ObjectsRows>,
    /// Columns of one's own choice instead, by their names and in this order.
    #[serde(default, skip_serializing_if = "ObjectsColumns::is_empty")]
    pub columns: ObjectsColumns,
    /// Folders for objects by values of their records, the outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub partition: Vec<ObjectsPartition>,
    /// The zstd level.
    #[serde(default = "default_level")]
    #[schemars(range(min = 1, max = 19))]
    pub level: i32,
    /// Bytes of rows, before they are compressed, that make a row group of Parquet.
    #[serde(default = "default_row_group")]
    pub row_group: Bytes,
    /// When objects are finished and appear.
    #[serde(default)]
    pub roll: ObjectsRoll,
    /// A folder of this machine for what is not uploaded yet; the system's temporary folder when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging: Option<PathBuf>,
    /// A CEL condition: only records that meet it go here. Judged before the sink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

impl ObjectsSinkOptions {
    /// What `url` names.
    ///
    /// # Errors
    /// Why it names nothing that this sink writes to.
    pub fn place(&self) -> Result<ObjectsPlace, &'static str> {
        for (scheme, store, nameless) in STORES {
            let Some(rest) = self.url.strip_prefix(scheme) else { continue };
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(nameless);
            }
            let (bucket, prefix) = (bucket.to_owned(), prefix.trim_matches('/').to_owned());
            return Ok(ObjectsPlace::Bucket { store, bucket, prefix });
        }
        let folder = match self.url.strip_prefix("file://") {
            Some(path) if path.starts_with('/') => path,
            Some(_) => return Err("expected `file:///FOLDER`, with three slashes"),
            None if self.url.contains("://") => {
                return Err(
                    "expected `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`, `file:///FOLDER` or a folder",
                );
            }
            None => &self.url,
        };
        if folder.is_empty() {
            Err("expected a place")
        } else {
            Ok(ObjectsPlace::Folder(PathBuf::from(folder)))
        }
    }

    /// What the columns of Parquet are made for: as `rows` says, else by what the steps make of a record.
    pub fn rows<'a>(&self, steps: impl Iterator<Item = &'a StepOptions>) -> ObjectsRows {
        self.rows.unwrap_or_else(|| ObjectsRows::of_steps(steps))
    }
}

fn default_level() -> i32 {
    3
}

fn default_row_group() -> Bytes {
    Bytes::mebi(16)
}

/// What an `objects` sink's `url` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectsPlace {
    /// A folder that all workers see.
    Folder(PathBuf),
    /// A bucket, and what all names in it begin with (without slashes at its ends).
    Bucket {
        /// Whose it is.
        store: ObjectsStore,
        /// The bucket.
        bucket: String,
        /// What all names begin with; may be empty.
        prefix: String,
    },
}

/// The protocol of a bucket's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectsStore {
    /// Amazon's, which many others speak.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage, where buckets are called containers.
    Azure,
}

/// How addresses begin, and what is said where no name follows.
const STORES: [(&str, ObjectsStore, &str); 3] = [
    ("s3://", ObjectsStore::S3, "expected the bucket's name behind `s3://`"),
    ("gs://", ObjectsStore::Google, "expected the bucket's name behind `gs://`"),
    ("az://", ObjectsStore::Azure, "expected the container's name behind `az://`"),
];

/// What the objects hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ObjectsFormat {
    /// Parquet, compressed with zstd.
    #[default]
    #[serde(rename = "parquet")]
    Parquet,
    /// JSON lines in zstd frames; `zstdcat` reads them.
    #[serde(rename = "jsonl.zst")]
    JsonlZst,
}

/// What the columns of Parquet are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ObjectsRows {
    /// A column for each field of a log (OpenTelemetry log data model).
    Log,
    /// A column for each field of a document (Dolma).
    Document,
    /// The whole record as JSON in one column.
    Record,
}

impl ObjectsRows {
    /// What these steps make of a record.
    fn of_steps<'a>(mut steps: impl Iterator<Item = &'a StepOptions>) -> Self {
        let found = steps.find_map(|step| match step {
            StepOptions::Parse(_) => Some(Self::Log),
            StepOptions::Accept(_) => Some(Self::Document),
            _ => None,
        });
        found.unwrap_or(Self::Record)
    }

    /// The names of its columns, without those that every file has.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Log => &[
                "time",
                "time_unix_nano",
                "observed_time_unix_nano",
                "trace_id",
                "span_id",
                "trace_flags",
                "severity_text",
                "severity_number",
                "body",
                "attributes",
                "resource",
                "event_name",
                "_extra",
            ],
            Self::Document => {
                &["id", "text", "messages", "source", "added", "created", "metadata", "attributes", "_extra"]
            }
            Self::Record => &["record"],
        }
    }
}

/// The columns that every Parquet file has.
pub const OBJECTS_OWN_COLUMNS: [&str; 6] =
    ["_origin", "_topic", "_partition", "_offset", "_timestamp", "_key"];

/// Columns by their names, in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectsColumns(pub Vec<(String, ObjectsColumn)>);

impl ObjectsColumns {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectsColumn {
    /// The expression (CEL) whose value is written to it.
    pub value: String,
    /// What it holds.
    #[serde(rename = "type", default)]
    pub kind: ObjectsType,
}

/// What a column holds. A value that it cannot hold makes its record a dead letter, `encode.value`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ObjectsType {
    /// Text; what is none is written as JSON.
    #[default]
    Text,
    /// Any value as JSON text.
    Json,
    /// A whole number of 64 bits, also as text.
    Int,
    /// A number as a double, also as text.
    Float,
    /// True or false, also as text.
    Bool,
    /// A time: milliseconds since 1970, nanoseconds when the number has more than fourteen digits, or RFC 3339.
    Time,
    /// Bytes, or a text as UTF-8.
    Bytes,
}

/// One level of folders: `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectsPartition {
    /// The name before the equals sign.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// The expression (CEL) of the value behind it.
    pub value: String,
    /// How the value is written.
    #[serde(rename = "as", default)]
    pub kind: ObjectsPartitionKind,
}

/// How a folder's value is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ObjectsPartitionKind {
    /// As it is.
    #[default]
    Text,
    /// A time as its day in UTC, `2026-01-31`.
    Date,
    /// A time as its hour in UTC, `2026-01-31T07`.
    Hour,
}

/// When objects are finished and appear: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectsRoll {
    /// Bytes as stored, of all objects of a partition together.
    pub bytes: Bytes,
    /// Time since the first record.
    pub age: Span,
    /// Records, those that a filter took out included.
    pub rows: u64,
}

impl Default for ObjectsRoll {
    fn default() -> Self {
        Self { bytes: Bytes::mebi(64), age: Span::seconds(60), rows: 1_000_000 }
    }
}

impl<'de> Deserialize<'de> for ObjectsColumns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ColumnsVisitor)
    }
}

struct ColumnsVisitor;

impl<'de> Visitor<'de> for ColumnsVisitor {
    type Value = ObjectsColumns;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping of names to columns")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ObjectsColumns, A::Error> {
        let mut columns: Vec<(String, ObjectsColumn)> = Vec::new();
        while let Some((name, column)) = map.next_entry::<String, ObjectsColumn>()? {
            if columns.iter().any(|(known, _)| *known == name) {
                return Err(de::Error::custom(format_args!("`{name}` stands twice")));
            }
            columns.push((name, column));
        }
        Ok(ObjectsColumns(columns))
    }
}

impl Serialize for ObjectsColumns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, column)| (name, column)))
    }
}

impl JsonSchema for ObjectsColumns {
    fn schema_name() -> Cow<'static, str> {
        "ObjectsColumns".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let column = generator.subschema_for::<ObjectsColumn>();
        json_schema!({ "type": "object", "additionalProperties": column })
    }
}
