//! The `postgres` sink. Plain data, so that `longshore check` opens no connection.

use std::collections::BTreeMap;
use std::path::PathBuf;

use longshore_core::human::{Bytes, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;

/// The column that a whole record is written to when nothing else is said.
pub const RECORD_COLUMN: &str = "record";

/// Writes records to a Postgres table, each record once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresSinkOptions {
    /// The sink's name in logs, metrics, dead letters and the ledger, unique in the pipeline; `postgres` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub name: Option<String>,
    /// The host, or the folder of a Unix socket.
    #[schemars(length(min = 1))]
    pub host: String,
    /// The port.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The database.
    #[schemars(length(min = 1))]
    pub database: String,
    /// The role.
    #[schemars(length(min = 1))]
    pub user: String,
    /// The role's password. Write `${NAME}` or `${file:/path}` rather than the password itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Encryption; as plain text without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<PostgresTls>,
    /// The most connections of one worker.
    #[serde(default = "default_connections")]
    #[schemars(range(min = 1, max = 64))]
    pub connections: u16,
    /// The table, with its schema if that is not `public`. The tables of the ledger are made beside it.
    #[schemars(length(min = 1))]
    pub table: String,
    /// Columns and the expressions (CEL) whose values are written to them.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
    /// A column that gets the whole record as JSON; without `columns` it is `record` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub record: Option<String>,
    /// What a record does to the table.
    #[serde(default)]
    pub mode: PostgresMode,
    /// With `mode: upsert`, the columns that say which row is meant; the table has a unique index on exactly these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// When a transaction is made of the rows that are there.
    #[serde(default)]
    pub roll: PostgresRoll,
    /// A CEL condition: only records that meet it go here. Judged before the sink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

impl PostgresSinkOptions {
    /// The column that gets the whole record, none when no column does.
    pub fn record_column(&self) -> Option<&str> {
        let fallback = self.columns.is_empty().then_some(RECORD_COLUMN);
        self.record.as_deref().or(fallback)
    }
}

fn default_port() -> u16 {
    5432
}

fn default_connections() -> u16 {
    4
}

/// What a record does to the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PostgresMode {
    /// It adds a row.
    #[default]
    Insert,
    /// It makes or changes the row of its key, unless that was written by a later record; one without a value marks the
    /// row as deleted.
    Upsert,
}

/// How the connection is encrypted.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresTls {
    /// PEM file of authorities to trust; without it the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file with our certificate, for servers that ask for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM file with our certificate's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Whether the certificate must name the host. Leave it on.
    pub verify_hostname: bool,
}

impl Default for PostgresTls {
    fn default() -> Self {
        Self { ca: None, certificate: None, key: None, verify_hostname: true }
    }
}

/// When a transaction is made of the rows that are there: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresRoll {
    /// Bytes of its rows as they are sent.
    pub bytes: Bytes,
    /// Time since its first record.
    pub age: Span,
    /// Records, those that a filter took out included.
    pub rows: u64,
}

impl Default for PostgresRoll {
    fn default() -> Self {
        Self { bytes: Bytes::mebi(8), age: Span::seconds(1), rows: 10_000 }
    }
}
