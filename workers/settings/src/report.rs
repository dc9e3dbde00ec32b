//! What is wrong with a pipeline file: all of it at once, in the order of the file.

use std::fmt;

use serde::Serialize;

use crate::path::Path;
use crate::source::{FILE, Place, SourceMap, SourceText};

/// The kind of a mistake; a stable word for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The file cannot be read.
    File,
    /// The text is not YAML, or uses what a pipeline file may not.
    Yaml,
    /// A field is given twice.
    Duplicate,
    /// `${...}` that cannot be filled.
    Variable,
    /// `--set` or an environment variable that leads nowhere.
    Override,
    /// A field that does not exist.
    UnknownField,
    /// A field that must be there is not.
    MissingField,
    /// A value of the wrong type.
    Type,
    /// A word that is not one of those allowed.
    UnknownWord,
    /// A value outside its range or form.
    Value,
    /// A CEL condition or expression that does not compile.
    Expression,
    /// Two settings that do not go together.
    Conflict,
}

impl Code {
    /// The word, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Yaml => "yaml",
            Self::Duplicate => "duplicate",
            Self::Variable => "variable",
            Self::Override => "override",
            Self::UnknownField => "unknown-field",
            Self::MissingField => "missing-field",
            Self::Type => "type",
            Self::UnknownWord => "unknown-word",
            Self::Value => "value",
            Self::Expression => "expression",
            Self::Conflict => "conflict",
        }
    }
}

/// One mistake.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) place: Place,
    pub(crate) path: Path,
    pub(crate) label: Option<String>,
    pub(crate) helps: Vec<String>,
    pub(crate) contexts: Vec<(Place, String)>,
}

impl Finding {
    pub(crate) fn new(code: Code, place: Place, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            place,
            path: Path::root(),
            label: None,
            helps: Vec::new(),
            contexts: Vec::new(),
        }
    }

    pub(crate) fn at(mut self, path: &Path) -> Self {
        self.path = path.clone();
        self
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.helps.push(help.into());
        self
    }

    pub(crate) fn context(mut self, place: Place, label: impl Into<String>) -> Self {
        self.contexts.push((place, label.into()));
        self
    }
}

/// Everything that is wrong with a pipeline file, in the order of the file, overrides behind it. No secret is in it
/// (I10).
#[derive(Clone)]
pub struct Report {
    pub(crate) sources: SourceMap,
    pub(crate) findings: Vec<Finding>,
}

/// One mistake as scripts see it.
#[derive(Clone, Debug, Serialize)]
pub struct FindingLine {
    /// The kind of mistake.
    pub code: Code,
    /// What is wrong, one sentence.
    pub message: String,
    /// The file, `--set`, or `environment`.
    pub source: String,
    /// The line in the file, from 1; none for overrides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column in characters, from 1; none for overrides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The field, such as `sinks[0].files.path`; empty for the whole file.
    pub path: String,
    /// What helps: the nearest known name, an example.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub help: Vec<String>,
}

impl Report {
    pub(crate) fn new(sources: SourceMap, mut findings: Vec<Finding>) -> Self {
        findings.sort_by(|a, b| {
            let order = |finding: &Finding| (finding.place.source, finding.place.span.start, finding.code);
            order(a).cmp(&order(b)).then_with(|| a.message.cmp(&b.message))
        });
        findings.dedup_by(|a, b| a.message == b.message && a.place == b.place);
        Self { sources, findings }
    }

    /// A report of one mistake about the file as a whole.
    pub(crate) fn of_file(name: &str, code: Code, message: impl Into<String>) -> Self {
        let place = Place { source: FILE, span: 0..0 };
        Self::new(SourceMap::new(SourceText::new(name, "")), vec![Finding::new(code, place, message)])
    }

    /// How many mistakes.
    pub fn len(&self) -> usize {
        self.findings.len()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// The mistakes for scripts (`-o json`): serialize them as they are.
    pub fn lines(&self) -> Vec<FindingLine> {
        self.findings.iter().map(|finding| self.line(finding)).collect()
    }

    fn line(&self, finding: &Finding) -> FindingLine {
        let text = self.sources.text(finding.place.source);
        let position = (finding.place.source == FILE && !text.text().is_empty())
            .then(|| text.position(finding.place.span.start));
        FindingLine {
            code: finding.code,
            message: finding.message.clone(),
            source: text.name.clone(),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
            path: finding.path.to_string(),
            help: finding.helps.clone(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lines().iter().map(|line| &line.message)).finish()
    }
}

impl std::error::Error for Report {}
