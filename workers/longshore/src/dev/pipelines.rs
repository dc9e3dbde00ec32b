//! The demo's two pipelines, as files that anybody can read, change and run again.

use std::path::{Path, PathBuf};

use longshore_core::human::Share;

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
    /// While this file is there, a rehearsal's steps reject every record.
    pub(crate) mistake: PathBuf,
}

/// Writes both pipeline files into the run's folder.
pub(crate) fn write(
    dir: &Path,
    brokers: &str,
    rehearsal: Option<Rehearsal>,
) -> std::io::Result<Vec<Prepared>> {
    let folder = dir.join("pipelines");
    std::fs::create_dir_all(&folder)?;
    let logs = Prepared {
        name: "demo-logs",
        demo: Demo::Logs,
        topic: "demo.logs",
        letters: "demo.logs.demo-logs.dlq",
        retry: "demo.logs.demo-logs.retry",
        rehearsal,
        file: folder.join("logs.yaml"),
        files: PathBuf::from("out/logs"),
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

fn logs_yaml(pipeline: &Prepared, dir: &Path, brokers: &str, fails: Option<Rehearsal>) -> String {
    let (name, topic, files) = (pipeline.name, pipeline.topic, quoted(&dir.join(&pipeline.files)));
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
  - files: {{ path: {files}, format: jsonl.zst, roll: {{ bytes: 4MiB, age: 2s }} }}
{failure}limits: {{ memory: 128MiB }}
"
    )
}

fn documents_yaml(pipeline: &Prepared, dir: &Path, brokers: &str, fails: Option<Rehearsal>) -> String {
    let (name, topic, files) = (pipeline.name, pipeline.topic, quoted(&dir.join(&pipeline.files)));
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
  - files: {{ path: {files}, format: jsonl.zst, roll: {{ bytes: 4MiB, age: 2s }} }}
{failure}limits: {{ memory: 128MiB }}
"
    )
}

/// A path as a YAML string.
fn quoted(path: &Path) -> String {
    serde_json::Value::String(path.display().to_string()).to_string()
}
