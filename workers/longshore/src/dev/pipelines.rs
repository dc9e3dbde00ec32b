//! The demo's two pipelines, as files that anybody can read, change and run again.

use std::path::{Path, PathBuf};

use super::expect::{Demo, QUIET, SHORT_DOCUMENT_CHARS};

/// One of the demo's pipelines, before it runs.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) name: &'static str,
    pub(crate) demo: Demo,
    pub(crate) topic: &'static str,
    pub(crate) letters: &'static str,
    /// The pipeline file.
    pub(crate) file: PathBuf,
    /// Where its rows go, relative to the run's folder.
    pub(crate) files: PathBuf,
}

/// Writes both pipeline files into the run's folder.
pub(crate) fn write(dir: &Path, brokers: &str) -> std::io::Result<Vec<Prepared>> {
    let folder = dir.join("pipelines");
    std::fs::create_dir_all(&folder)?;
    let logs = Prepared {
        name: "demo-logs",
        demo: Demo::Logs,
        topic: "demo.logs",
        letters: "demo.logs.demo-logs.dlq",
        file: folder.join("logs.yaml"),
        files: PathBuf::from("out/logs"),
    };
    let documents = Prepared {
        name: "demo-documents",
        demo: Demo::Documents,
        topic: "demo.documents",
        letters: "demo.documents.demo-documents.dlq",
        file: folder.join("documents.yaml"),
        files: PathBuf::from("out/documents"),
    };
    std::fs::write(&logs.file, logs_yaml(&logs, dir, brokers))?;
    std::fs::write(&documents.file, documents_yaml(&documents, dir, brokers))?;
    Ok(vec![logs, documents])
}

fn logs_yaml(pipeline: &Prepared, dir: &Path, brokers: &str) -> String {
    let (name, topic, files) = (pipeline.name, pipeline.topic, quoted(&dir.join(&pipeline.files)));
    format!(
        "pipeline: {name}
kind: logs
kafka: {{ brokers: \"{brokers}\" }}
input: {{ topics: [{topic}], order: key }}
steps:
  - parse: {{ format: json }}
  - set: {{ fleet: '\"demo\"' }}
  - filter: {{ drop: 'severity_number < 9', name: {QUIET} }}
sinks:
  - files: {{ path: {files}, format: jsonl.zst, roll: {{ bytes: 4MiB, age: 2s }} }}
limits: {{ memory: 128MiB }}
"
    )
}

fn documents_yaml(pipeline: &Prepared, dir: &Path, brokers: &str) -> String {
    let (name, topic, files) = (pipeline.name, pipeline.topic, quoted(&dir.join(&pipeline.files)));
    format!(
        "pipeline: {name}
kind: dataset
kafka: {{ brokers: \"{brokers}\" }}
input: {{ topics: [{topic}], order: key }}
steps:
  - accept: {{}}
  - normalize: {{ form: nfc }}
  - length: {{ min: {SHORT_DOCUMENT_CHARS}, unit: chars }}
  - fingerprint: {{}}
sinks:
  - files: {{ path: {files}, format: jsonl.zst, roll: {{ bytes: 4MiB, age: 2s }} }}
limits: {{ memory: 128MiB }}
"
    )
}

/// A path as a YAML string.
fn quoted(path: &Path) -> String {
    serde_json::Value::String(path.display().to_string()).to_string()
}
