//! Layers: `--set` over the environment over the file, merged by the crate `config`.

use std::collections::BTreeMap;

use config::{Config, ConfigError, Source, Value, ValueKind};

use crate::document;
use crate::nearest::nearest;
use crate::path::{Path, Segment};
use crate::report::{Code, Finding};
use crate::schema;
use crate::source::{FILE, FieldPlace, Place, SourceId, SourceMap, SourceText};

/// The beginning of the variables that override settings.
pub(crate) const PREFIX: &str = "LONGSHORE_";

type Table = config::Map<String, Value>;

/// One override, understood.
struct Override {
    path: Path,
    value: Value,
    /// Where the parts of a map or list stand in the override's text.
    places: Vec<(Path, FieldPlace)>,
}

/// The file as a layer. It replaces the whole cache, since `config` would read a dot in a name as a path.
#[derive(Clone, Debug)]
struct FileLayer(Value);

impl Source for FileLayer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Table, ConfigError> {
        self.0.clone().into_table()
    }

    fn collect_to(&self, cache: &mut Value) -> Result<(), ConfigError> {
        *cache = self.0.clone();
        Ok(())
    }
}

/// Overrides as a layer: each a path such as `sinks[0].files.path` with its value.
#[derive(Clone, Debug)]
struct OverrideLayer(Table);

impl Source for OverrideLayer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Table, ConfigError> {
        Ok(self.0.clone())
    }
}

/// Merges everything; mistakes in overrides go to `findings`, and the override is left out.
pub(crate) fn merge(
    file: Value,
    environment: &BTreeMap<String, String>,
    sets: &[String],
    sources: &mut SourceMap,
    findings: &mut Vec<Finding>,
) -> Value {
    let mut merged = file;
    for (name, text) in environment {
        let Some(segments) = environment_segments(name) else { continue };
        let id = sources.add_text(SourceText::new("environment", format!("{name}={text}")));
        apply(
            &mut merged,
            Entry { id, name_len: name.len(), text, segments, origin: name },
            sources,
            findings,
        );
    }
    for set in sets {
        let id = sources.add_text(SourceText::new("--set", set.as_str()));
        let Some((name, text)) = set.split_once('=') else {
            let place = Place { source: id, span: 0..set.len() };
            let finding = Finding::new(Code::Override, place, "expected NAME=VALUE");
            findings.push(finding.help("for example --set limits.memory=512MiB"));
            continue;
        };
        let segments = name.split('.').map(str::to_owned).collect();
        apply(
            &mut merged,
            Entry { id, name_len: name.len(), text, segments, origin: "--set" },
            sources,
            findings,
        );
    }
    merged
}

/// What is known of an override before it is placed.
struct Entry<'a> {
    id: SourceId,
    name_len: usize,
    text: &'a str,
    segments: Vec<String>,
    origin: &'a str,
}

fn apply(merged: &mut Value, entry: Entry<'_>, sources: &mut SourceMap, findings: &mut Vec<Finding>) {
    let key = Place { source: entry.id, span: 0..entry.name_len };
    let value_start = entry.name_len + 1;
    let value = Place { source: entry.id, span: value_start..value_start + entry.text.len() };
    match understand(merged, &entry) {
        Ok(placed) => {
            for (path, place) in placed.places.iter().cloned() {
                sources.put(path, place);
            }
            sources.put(placed.path.clone(), FieldPlace { key: Some(key), value });
            if let Err(error) = lay_over(merged, placed) {
                let place = Place { source: entry.id, span: 0..entry.name_len };
                findings.push(Finding::new(Code::Override, place, error.to_string()));
            }
        }
        Err((message, help)) => {
            // Where it belongs is not known, so it may be a secret under a mistyped name.
            sources.cover_place(&value);
            let mut finding = Finding::new(Code::Override, key, message);
            finding.helps.extend(help);
            findings.push(finding);
        }
    }
}

/// `LONGSHORE_KAFKA__CLIENT__LINGER_MS` as `kafka`, `client`, `linger_ms`. Other programs of ours use variables with the
/// same beginning, so one without `__` counts only when it names a field of the file.
fn environment_segments(name: &str) -> Option<Vec<String>> {
    let rest = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
    let segments: Vec<String> = rest.split("__").map(str::to_owned).collect();
    let known = || schema::fields(schema::root()).iter().any(|(field, _)| *field == rest);
    (segments.len() > 1 || known()).then_some(segments)
}

type Refusal = (String, Option<String>);

/// Finds the place an override means and gives its text the type that the place wants.
fn understand(merged: &Value, entry: &Entry<'_>) -> Result<Override, Refusal> {
    let path = place_of(merged, &entry.segments, entry.origin != "--set")?;
    let (value, places) = typed_in(entry.text, &path, entry.origin, (entry.id, entry.name_len + 1));
    Ok(Override { path, value, places })
}

fn place_of(merged: &Value, segments: &[String], from_environment: bool) -> Result<Path, Refusal> {
    let mut path = Path::root();
    let mut node = Some(merged);
    let mut here = Some(schema::root());
    for (position, segment) in segments.iter().enumerate() {
        if segment.is_empty() {
            return Err((
                "an empty name in the path".to_owned(),
                Some("write for example sinks.0.files.path".to_owned()),
            ));
        }
        if let Some(ValueKind::Array(items)) = node.map(|node| &node.kind) {
            let index = list_index(segment, items.len(), &path)?;
            path = path.index(index);
            node = items.get(index);
            here = here.and_then(schema::items);
            continue;
        }
        if let Some(free) = here.filter(|here| schema::fields(here).is_empty()).and_then(schema::free_names) {
            // Names in such a map hold dots themselves; variables of the environment cannot, so `_` stands for them.
            let rest = segments[position..].join(".");
            let name = if from_environment { rest.replace('_', ".") } else { rest };
            let _ = free;
            return Ok(path.key(&name));
        }
        if let Some(schema) = here {
            let known = schema::fields(schema);
            if !known.iter().any(|(name, _)| name == segment) {
                let help = nearest(segment, known.iter().map(|(name, _)| *name))
                    .map(|name| format!("did you mean `{name}`?"));
                return Err((format!("there is no `{}`", path.key(segment)), help));
            }
        }
        let down = Segment::Key(segment.clone());
        here = here.and_then(|here| schema::child(here, &down));
        node = node.and_then(|node| match &node.kind {
            ValueKind::Table(table) => table.get(segment.as_str()),
            _ => None,
        });
        path = path.key(segment);
    }
    Ok(path)
}

fn list_index(segment: &str, length: usize, path: &Path) -> Result<usize, Refusal> {
    let index: usize = segment.parse().map_err(|_| {
        (
            format!("`{path}` is a list: expected a number, found `{segment}`"),
            Some("the first entry is 0".to_owned()),
        )
    })?;
    if index < length {
        return Ok(index);
    }
    let noun = if length == 1 { "entry" } else { "entries" };
    Err((
        format!("`{path}` has {length} {noun}, there is no number {index}"),
        Some("the first entry is 0".to_owned()),
    ))
}

/// The value of an override's or a filled text: read as YAML, but left a text where the place takes texts and not what
/// was read. So a password of digits stays a password.
pub(crate) fn typed(text: &str, path: &Path, origin: &str) -> Value {
    typed_in(text, path, origin, (FILE, 0)).0
}

/// The same, with the places of its parts; the text begins at a byte of a source.
fn typed_in(
    text: &str,
    path: &Path,
    origin: &str,
    start: (SourceId, usize),
) -> (Value, Vec<(Path, FieldPlace)>) {
    let origin = origin.to_owned();
    let as_text = || (Value::new(Some(&origin), ValueKind::String(text.to_owned())), Vec::new());
    let document = document::read(text, start.0, &origin, start.1, path.clone());
    let Some(value) = document.root.filter(|_| document.findings.is_empty()) else { return as_text() };
    let wanted = schema::of(path).map(schema::types).unwrap_or_default();
    let takes_text = wanted.contains(&"string");
    let misfit =
        takes_text && (!wanted.contains(&crate::walk::type_of(&value)) || reads_otherwise(&value, text));
    if misfit { as_text() } else { (value, document.places) }
}

/// Whether a number would be written differently than it was: `007` is a name, not seven.
fn reads_otherwise(value: &Value, text: &str) -> bool {
    match &value.kind {
        ValueKind::I64(number) => number.to_string() != text.trim(),
        ValueKind::U64(number) => number.to_string() != text.trim(),
        ValueKind::Float(number) => number.to_string() != text.trim(),
        _ => false,
    }
}

fn lay_over(merged: &mut Value, over: Override) -> Result<(), ConfigError> {
    let mut value = over.value;
    let mut segments = over.path.segments();
    // `config` reads paths of plain names; from the first other name on, the rest is wrapped into maps.
    let plain = |segment: &Segment| match segment {
        Segment::Index(_) => true,
        Segment::Key(key) => key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')),
    };
    let cut = segments.iter().position(|segment| !plain(segment)).unwrap_or(segments.len());
    for segment in segments[cut..].iter().rev() {
        if let Segment::Key(key) = segment {
            let origin = value.origin().map(str::to_owned);
            let table = Table::from_iter([(key.clone(), value)]);
            value = Value::new(origin.as_ref(), ValueKind::Table(table));
        }
    }
    segments = &segments[..cut];
    let expression = segments.iter().fold(String::new(), |path, segment| match segment {
        Segment::Key(key) if path.is_empty() => key.clone(),
        Segment::Key(key) => format!("{path}.{key}"),
        Segment::Index(index) => format!("{path}[{index}]"),
    });
    let layer = OverrideLayer(Table::from_iter([(expression, value)]));
    let config = Config::builder().add_source(FileLayer(merged.clone())).add_source(layer).build()?;
    *merged = config.cache;
    Ok(())
}
