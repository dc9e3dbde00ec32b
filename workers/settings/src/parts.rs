//! The document as typed parts. Each part is read by itself, so that a mistake in one does not hide those in others.

use std::collections::BTreeSet;
use std::path::PathBuf;

use config::{ConfigError, Value, ValueKind};
use serde::de::DeserializeOwned;

use crate::model::{
    FailureOptions, HttpOptions, InputOptions, KafkaOptions, Kind, LimitOptions, Pipeline, ScaleOptions,
    SinkEntry, StepOptions, TelemetryOptions,
};
use crate::path::{Path, Segment};
use crate::report::{Code, Finding};
use crate::source::SourceMap;

/// What could be read. A part with a mistake is missing here and has a finding.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) pipeline: Option<String>,
    pub(crate) kind: Option<Kind>,
    pub(crate) kafka: Option<KafkaOptions>,
    pub(crate) input: Option<InputOptions>,
    pub(crate) steps: Vec<Option<StepOptions>>,
    pub(crate) sinks: Vec<Option<SinkEntry>>,
    pub(crate) generation: Option<u32>,
    pub(crate) schemas: Option<PathBuf>,
    pub(crate) failure: Option<FailureOptions>,
    pub(crate) limits: Option<LimitOptions>,
    pub(crate) http: Option<HttpOptions>,
    pub(crate) scale: Option<ScaleOptions>,
    pub(crate) telemetry: Option<TelemetryOptions>,
}

impl Parts {
    /// The whole pipeline, when every part is there.
    pub(crate) fn into_pipeline(self) -> Option<Pipeline> {
        Some(Pipeline {
            pipeline: self.pipeline?,
            kind: self.kind?,
            kafka: self.kafka?,
            input: self.input?,
            steps: self.steps.into_iter().collect::<Option<_>>()?,
            sinks: self.sinks.into_iter().collect::<Option<_>>()?,
            generation: self.generation?,
            schemas: self.schemas,
            failure: self.failure?,
            limits: self.limits?,
            http: self.http?,
            scale: self.scale?,
            telemetry: self.telemetry?,
        })
    }
}

/// Reads all parts that `findings` has nothing against; adds what serde has.
pub(crate) fn read(
    document: &Value,
    sources: &SourceMap,
    secret: &BTreeSet<Path>,
    findings: &mut Vec<Finding>,
) -> Parts {
    let mut reader = Reader { document, sources, secret, findings };
    let top = |name: &str| Path::root().key(name);
    Parts {
        pipeline: reader.part(&top("pipeline")),
        kind: reader.part(&top("kind")),
        kafka: reader.part(&top("kafka")),
        input: reader.part(&top("input")),
        steps: reader.list(&top("steps")),
        sinks: reader.list(&top("sinks")),
        generation: reader.part_or(&top("generation"), || longshore_core::Generation::FIRST.0),
        schemas: reader.part(&top("schemas")),
        failure: reader.part_or_default(&top("failure")),
        limits: reader.part_or_default(&top("limits")),
        http: reader.part_or_default(&top("http")),
        scale: reader.part_or_default(&top("scale")),
        telemetry: reader.part_or_default(&top("telemetry")),
    }
}

/// The value at a place.
pub(crate) fn get<'a>(document: &'a Value, path: &Path) -> Option<&'a Value> {
    path.segments().iter().try_fold(document, |value, segment| match (&value.kind, segment) {
        (ValueKind::Table(table), Segment::Key(key)) => table.get(key),
        (ValueKind::Array(items), Segment::Index(index)) => items.get(*index),
        _ => None,
    })
}

struct Reader<'a> {
    document: &'a Value,
    sources: &'a SourceMap,
    secret: &'a BTreeSet<Path>,
    findings: &'a mut Vec<Finding>,
}

impl Reader<'_> {
    fn part<T: DeserializeOwned>(&mut self, path: &Path) -> Option<T> {
        let value = get(self.document, path)?.clone();
        if self.findings.iter().any(|finding| finding.path.is_in(path)) {
            return None;
        }
        match value.try_deserialize() {
            Ok(part) => Some(part),
            Err(error) => {
                let (place, message) = self.explain(path, error);
                self.findings.push(Finding::new(Code::Value, self.sources.value(&place), message).at(&place));
                None
            }
        }
    }

    fn part_or<T: DeserializeOwned>(&mut self, path: &Path, default: impl FnOnce() -> T) -> Option<T> {
        match get(self.document, path) {
            Some(_) => self.part(path),
            None => Some(default()),
        }
    }

    fn part_or_default<T: DeserializeOwned + Default>(&mut self, path: &Path) -> Option<T> {
        self.part_or(path, T::default)
    }

    fn list<T: DeserializeOwned>(&mut self, path: &Path) -> Vec<Option<T>> {
        let length = match get(self.document, path).map(|value| &value.kind) {
            Some(ValueKind::Array(items)) => items.len(),
            _ => 0,
        };
        (0..length).map(|index| self.part(&path.index(index))).collect()
    }

    /// Where and why serde refused a value that the schema accepts: a rule of its own type.
    fn explain(&self, path: &Path, error: ConfigError) -> (Path, String) {
        let (key, message) = innermost(error);
        let place = path.join(&key);
        let hidden = self.secret.iter().any(|secret| secret.is_in(path));
        // Such a message may repeat the value.
        let message = if hidden { "this value is not accepted".to_owned() } else { message };
        (place, message)
    }
}

/// The field and the reason, without the value that was found.
fn innermost(error: ConfigError) -> (String, String) {
    match error {
        ConfigError::At { error, key, .. } => {
            let (inner, message) = innermost(*error);
            let key = key.unwrap_or_default();
            (if inner.is_empty() { key } else { format!("{key}.{inner}") }, message)
        }
        ConfigError::Type { expected, key, .. } => (key.unwrap_or_default(), format!("expected {expected}")),
        ConfigError::Message(message) => (String::new(), message),
        other => (String::new(), other.to_string()),
    }
}
