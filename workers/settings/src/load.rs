//! From file, environment and command line to a checked pipeline, or to everything that is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path as FilePath, PathBuf};

use config::{Value, ValueKind};

use crate::document::{self, MAX_FILE_BYTES};
use crate::interpolate::Reference;
use crate::model::{Pipeline, holds_user};
use crate::path::Path;
use crate::report::{Code, Finding, Report};
use crate::source::{FILE, Place, SourceMap, SourceText, cover_by_name};
use crate::{dump, interpolate, layers, parts, rules, walk};

/// Where settings come from.
#[derive(Clone)]
pub struct Sources {
    name: String,
    content: Content,
    folder: PathBuf,
    environment: BTreeMap<String, String>,
    sets: Vec<String>,
    stand_in: bool,
}

#[derive(Clone)]
enum Content {
    Path(PathBuf),
    Bytes(Vec<u8>),
}

impl Sources {
    /// A pipeline file. Relative paths in `${file:}` begin at its folder.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let folder = path.parent().map(FilePath::to_path_buf).unwrap_or_default();
        Self::new(path.display().to_string(), Content::Path(path), folder)
    }

    /// A pipeline that is in memory already; `name` stands in findings.
    pub fn text(name: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self::new(name.into(), Content::Bytes(content.into()), PathBuf::new())
    }

    fn new(name: String, content: Content, folder: PathBuf) -> Self {
        Self { name, content, folder, environment: BTreeMap::new(), sets: Vec::new(), stand_in: false }
    }

    /// Variables for `${NAME}`, and those that begin with `LONGSHORE_` as overrides.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment.extend(variables);
        self
    }

    /// The variables of this process; those that are not UTF-8 are left out.
    #[must_use]
    pub fn process_environment(self) -> Self {
        let texts = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        self.environment(texts)
    }

    /// Looks at no secret: a text stands in for every `${file:}`, and for every `${NAME}` in a field that holds one. For who writes of a
    /// pipeline that runs elsewhere; [`Loaded::references`] says what is named.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        self.stand_in = true;
        self
    }

    /// Overrides of the form `a.b=value`, which win over everything; the last of equal ones counts.
    #[must_use]
    pub fn set(mut self, sets: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.sets.extend(sets.into_iter().map(Into::into));
        self
    }
}

/// Names alone: the environment holds secrets (I10).
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A pipeline without mistakes.
pub struct Loaded {
    /// The settings, typed.
    pub pipeline: Pipeline,
    shown: Value,
    references: Vec<Reference>,
}

/// How a dump is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpFormat {
    /// As a pipeline file.
    Yaml,
    /// As JSON.
    Json,
}

impl Loaded {
    /// The settings in force, defaults included. Secrets are `***`, and so is every value that holds something from
    /// `${NAME}` or `${file:}` (I10).
    pub fn dump(&self, format: DumpFormat) -> String {
        let mut out = String::new();
        match format {
            DumpFormat::Yaml => dump::to_yaml(&self.shown, &mut out, 0),
            DumpFormat::Json => {
                dump::to_json(&self.shown, &mut out, 0);
                out.push('\n');
            }
        }
        out
    }

    /// What the file names outside of itself, each once.
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// The pipeline's version: a short hash of what it does with records, secrets and `http` and `telemetry` left out. The
    /// same settings have the same version on every worker.
    pub fn fingerprint(&self) -> String {
        dump::fingerprint(&self.shown)
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("pipeline", &self.pipeline)
            .field("version", &self.fingerprint())
            .finish()
    }
}

/// Loads and checks a pipeline. Touches no network, and no file but the pipeline's, those of `${file:}` and the schema
/// store.
///
/// # Errors
/// Every mistake at once, in the order of the file.
pub fn load(sources: Sources) -> Result<Loaded, Report> {
    let text = read_text(&sources)?;
    let (root, mut map, mut findings) = parse(&sources.name, text)?;
    let mut merged = layers::merge(root, &sources.environment, &sources.sets, &mut map, &mut findings);
    cover_secrets(&merged, &mut map);
    let variables = interpolate::Variables {
        environment: &sources.environment,
        folder: sources.folder,
        stand_in: sources.stand_in,
    };
    let filled = interpolate::fill(&mut merged, &variables, &map);
    findings.extend(filled.findings);
    findings.extend(walk::check(&merged, &map, &filled.unknown));
    cover_strangers(&findings, &mut map);
    let parts = parts::read(&merged, &map, &filled.secret, &mut findings);
    findings.extend(rules::check(&parts, &merged, &map, &filled.secret, &sources.environment));
    if !findings.is_empty() {
        return Err(Report::new(map, findings));
    }
    let Some(pipeline) = parts.into_pipeline() else {
        return Err(Report::of_file(&sources.name, Code::File, "a part of the file could not be read"));
    };
    let effective = dump::with_defaults(&merged, &Path::root());
    let shown = dump::redacted(&effective, &Path::root(), &filled.secret);
    Ok(Loaded { pipeline, shown, references: filled.references.into_iter().collect() })
}

/// The file as text, or why it is none.
fn read_text(sources: &Sources) -> Result<String, Report> {
    let refuse = |message: String| Report::of_file(&sources.name, Code::File, message);
    let too_large = || refuse(format!("larger than {} KiB: this is no pipeline file", MAX_FILE_BYTES / 1024));
    let bytes = match &sources.content {
        Content::Bytes(bytes) => bytes.clone(),
        Content::Path(path) => {
            let unreadable = |error: std::io::Error| {
                refuse(format!("cannot read the file: {}", interpolate::plain(&error)))
            };
            let metadata = std::fs::metadata(path).map_err(unreadable)?;
            if metadata.is_dir() {
                return Err(refuse("this is a folder, expected a pipeline file".to_owned()));
            }
            if metadata.len() > MAX_FILE_BYTES as u64 {
                return Err(too_large());
            }
            std::fs::read(path).map_err(unreadable)?
        }
    };
    if bytes.len() > MAX_FILE_BYTES {
        return Err(too_large());
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(refuse("this is UTF-16: save it as UTF-8".to_owned()));
    }
    // A byte-order mark is invisible in editors and means nothing in UTF-8.
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).map(<[u8]>::to_vec).unwrap_or(bytes);
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
        let (line, column) = SourceText::new("", before).position(valid);
        refuse(format!("not UTF-8 at line {line}, column {column}"))
    })
}

/// The document and its places; a report when there is nothing to go on with.
fn parse(name: &str, text: String) -> Result<(Value, SourceMap, Vec<Finding>), Report> {
    let document = document::read(&text, FILE, name, 0, Path::root());
    let mut source = SourceText::new(name, text);
    for place in document.hidden {
        source.cover(place.span);
    }
    let Some(root) = document.root else {
        cover_by_name(&mut source);
        let mut findings = document.findings;
        if findings.is_empty() {
            findings.push(empty());
        }
        return Err(Report::new(SourceMap::new(source), findings));
    };
    let mut map = SourceMap::new(source);
    let is_map = matches!(root.kind, ValueKind::Table(_));
    if !is_map {
        let finding = match root.kind {
            ValueKind::Nil => empty(),
            _ => Finding::new(
                Code::Type,
                map.holder(&Path::root()),
                "a pipeline file is a map: expected lines such as `pipeline: my-logs`",
            ),
        };
        return Err(Report::new(map, vec![finding]));
    }
    for (path, place) in document.places {
        map.put(path, place);
    }
    Ok((root, map, document.findings))
}

fn empty() -> Finding {
    let place = Place { source: FILE, span: 0..0 };
    Finding::new(Code::File, place, "the file is empty")
        .help("`longshore init logs DIR` writes a pipeline to start from")
}

/// Covers in every text what stands under a secret name. A `${...}` alone is no secret, and its place is worth showing.
fn cover_secrets(merged: &Value, map: &mut SourceMap) {
    let secret: BTreeSet<Path> = map
        .paths()
        .into_iter()
        .filter(|path| path.is_secret() || holds_user(&merged_text(merged, path)))
        .filter(|path| match parts::get(merged, path).map(|value| &value.kind) {
            Some(ValueKind::String(text)) => {
                !(text.starts_with("${") && text.find('}') == Some(text.len() - 1))
            }
            Some(ValueKind::Table(_) | ValueKind::Array(_)) => false,
            _ => true,
        })
        .collect();
    for path in &secret {
        map.cover(path);
    }
}

fn merged_text(merged: &Value, path: &Path) -> String {
    match parts::get(merged, path).map(|value| &value.kind) {
        Some(ValueKind::String(text)) => text.clone(),
        _ => String::new(),
    }
}

/// Covers the values of unknown fields among credentials: a mistyped `pasword` holds a password.
fn cover_strangers(findings: &[Finding], map: &mut SourceMap) {
    let strangers =
        findings.iter().filter(|finding| finding.code == Code::UnknownField && finding.path.is_sensitive());
    for finding in strangers {
        map.cover(&finding.path);
    }
}
