//! The demo's two pipelines, as files that anybody can read, change and run again.

use std::path::{Path, PathBuf};

use longshore_core::human::Share;

use crate::exit::End;

use super::Into;
use super::database::Database;
use super::expect::{Demo, FLOODED, QUIET, REJECT_SEED, RETRY_SEED, Rehearsal, SHORT_DOCUMENT_CHARS};

/// One of the demo's pipelines, before it runs.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) name: &'static str,
    pub(crate) demo: Demo,
    pub(crate) topic: &'static str,
    pub(crate) letters: &'static str,
    pub(crate) retry: &'static str,
    /// Which records fail on purpose.
    pub(crate) rehearsal: Option<Rehearsal>,
    /// The pipeline file.
    pub(crate) file: PathBuf,
    /// Where its rows go, relative to the run's folder.
    pub(crate) files: PathBuf,
    /// Whether they go there as Parquet.
    pub(crate) parquet: bool,
    /// Where they go instead.
    pub(crate) table: Option<Table>,
    /// While this file is there, a rehearsal's steps reject every record.
    pub(crate) mistake: PathBuf,
}

/// A table for the rows of a demo.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Its name, with the schema.
    pub(crate) name: String,
    /// The sink in the pipeline file, a line for each field.
    sink: String,
}

/// The table's columns, and what the pipeline file writes to them.
fn columns(demo: Demo) -> (&'static str, &'static str) {
    match demo {
        Demo::Logs => (
            "seen timestamptz, service text, severity integer, body text",
            "{ seen: time, service: 'attributes[\"service\"]', severity: severity_number, body: body }",
        ),
        Demo::Documents => ("source text, text text", "{ source: source, text: text }"),
    }
}

impl Table {
    /// Makes the table.
    fn make(database: &Database, name: &str, demo: Demo) -> Result<Self, End> {
        let (made, written) = columns(demo);
        let name = format!("{}.{name}", super::database::SCHEMA);
        database.sql(&format!("create table {name} ({made}, whole jsonb not null)"))?;
        let (host, port) = (quoted(Path::new(&database.host)), database.port);
        let (user, database_name) = (&database.user, &database.name);
        // The worker reads the password from its environment, so it is in no file.
        let password =
            if std::env::var_os("PGPASSWORD").is_some() { "\n      password: \"${PGPASSWORD}\"" } else { "" };
        let sink = format!(
            "  - postgres:
      host: {host}
      port: {port}
      database: \"{database_name}\"
      user: \"{user}\"{password}
      table: {name}
      columns: {written}
      record: whole
"
        );
        Ok(Self { name, sink })
    }
}

/// Writes both pipeline files into the run's folder.
pub(crate) fn write(
    dir: &Path,
    brokers: &str,
    rehearsal: Option<Rehearsal>,
    into: &Into,
) -> Result<Vec<Prepared>, End> {
    let folder = dir.join("pipelines");
    std::fs::create_dir_all(&folder)?;
    let table = |name, demo| match into {
        Into::Tables(database) => Table::make(database, name, demo).map(Some),
        Into::Files | Into::Parquet => Ok(None),
    };
    let parquet = matches!(into, Into::Parquet);
    let logs = Prepared {
        name: "demo-logs",
        demo: Demo::Logs,
        topic: "demo.logs",
        letters: "demo.logs.demo-logs.dlq",
        retry: "demo.logs.demo-logs.retry",
        rehearsal,
        file: folder.join("logs.yaml"),
        files: PathBuf::from("out/logs"),
        parquet,
        table: table("logs", Demo::Logs)?,
        mistake: folder.join("logs.mistake"),
    };
    let documents = Prepared {
        name: "demo-documents",
        demo: Demo::Documents,
        topic: "demo.documents",
        letters: "demo.documents.demo-documents.dlq",
        retry: "demo.documents.demo-documents.retry",
        rehearsal,
        file: folder.join("documents.yaml"),
        files: PathBuf::from("out/documents"),
        parquet,
        table: table("documents", Demo::Documents)?,
        mistake: folder.join("documents.mistake"),
    };
    let prepared = vec![logs, documents];
    for pipeline in &prepared {
        pipeline.write(dir, brokers, rehearsal)?;
    }
    Ok(prepared)
}

impl Prepared {
    /// Writes the pipeline's file, with or without the rehearsal.
    pub(crate) fn write(&self, dir: &Path, brokers: &str, fails: Option<Rehearsal>) -> std::io::Result<()> {
        let text = match self.demo {
            Demo::Logs => logs_yaml(self, dir, brokers, fails),
            Demo::Documents => documents_yaml(self, dir, brokers, fails),
        };
        std::fs::write(&self.file, text)
    }
}

/// The steps that fail records on purpose, first of all, and waits that are short enough to look on.
fn failing(pipeline: &Prepared, fails: Option<Rehearsal>) -> (String, String) {
    let Some(Rehearsal { retry, reject }) = fails else { return Default::default() };
    let (retry, reject) = (Share::millionths(retry), Share::millionths(reject));
    let mistake = quoted(&pipeline.mistake);
    let steps = format!(
        "  - fail: {{ ratio: {retry}, times: 1, seed: {RETRY_SEED} }}
  - fail: {{ ratio: {reject}, class: reject, seed: {REJECT_SEED} }}
  - fail: {{ class: reject, reason: {FLOODED}, while: {mistake} }}
"
    );
    let retry = "retry: { first: 50ms, cap: 50ms, in_place: 1ms }";
    (steps, format!("failure: {{ {retry}, flood: {{ min: 20, window: 2s }} }}\n"))
}

/// The pipeline's sink, as it stands in the file.
fn sink(pipeline: &Prepared, dir: &Path) -> String {
    let files = quoted(&dir.join(&pipeline.files));
    let to_files = || {
        let place = match pipeline.parquet {
            true => format!("objects: {{ url: {files}"),
            false => format!("files: {{ path: {files}, format: jsonl.zst"),
        };
        format!("  - {place}, roll: {{ bytes: 4MiB, age: 2s }} }}\n")
    };
    pipeline.table.as_ref().map_or_else(to_files, |table| table.sink.clone())
}

fn logs_yaml(pipeline: &Prepared, dir: &Path, brokers: &str, fails: Option<Rehearsal>) -> String {
    let (name, topic, sink) = (pipeline.name, pipeline.topic, sink(pipeline, dir));
    let (fail_steps, failure) = failing(pipeline, fails);
    format!(
        "pipeline: {name}
kind: logs
kafka: {{ brokers: \"{brokers}\" }}
input: {{ topics: [{topic}], order: key }}
steps:
{fail_steps}  - parse: {{ format: json }}
  - set: {{ fleet: '\"demo\"' }}
  - filter: {{ drop: 'severity_number < 9', name: {QUIET} }}
sinks:
{sink}{failure}limits: {{ memory: 128MiB }}
"
    )
}

fn documents_yaml(pipeline: &Prepared, dir: &Path, brokers: &str, fails: Option<Rehearsal>) -> String {
    let (name, topic, sink) = (pipeline.name, pipeline.topic, sink(pipeline, dir));
    let (fail_steps, failure) = failing(pipeline, fails);
    format!(
        "pipeline: {name}
kind: dataset
kafka: {{ brokers: \"{brokers}\" }}
input: {{ topics: [{topic}], order: key }}
steps:
{fail_steps}  - accept: {{}}
  - normalize: {{ form: nfc }}
  - length: {{ min: {SHORT_DOCUMENT_CHARS}, unit: chars }}
  - fingerprint: {{}}
sinks:
{sink}{failure}limits: {{ memory: 128MiB }}
"
    )
}

/// A path as a YAML string.
fn quoted(path: &Path) -> String {
    serde_json::Value::String(path.display().to_string()).to_string()
}
