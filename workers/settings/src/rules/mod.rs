//! Rules across fields, and those that a schema cannot say.

mod broker;
mod expression;
mod flow;
pub(crate) mod memory;
mod names;
mod objects;
mod scale;
mod schemas;
mod service;
mod sinks;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use config::Value;

use crate::parts::{Parts, get};
use crate::path::Path;
use crate::report::{Code, Finding};
use crate::source::SourceMap;

/// What the rules look at, and where they put what they find.
pub(crate) struct Context<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) document: &'a Value,
    pub(crate) sources: &'a SourceMap,
    pub(crate) secret: &'a BTreeSet<Path>,
    /// Variables that a client library would read by itself.
    pub(crate) environment: &'a BTreeMap<String, String>,
    pub(crate) findings: Vec<Finding>,
}

/// Holds the parts against every rule.
pub(crate) fn check(
    parts: &Parts,
    document: &Value,
    sources: &SourceMap,
    secret: &BTreeSet<Path>,
    environment: &BTreeMap<String, String>,
) -> Vec<Finding> {
    let mut context = Context { parts, document, sources, secret, environment, findings: Vec::new() };
    names::check(&mut context);
    broker::check(&mut context);
    let store = schemas::check(&mut context);
    steps::check(&mut context, &store);
    sinks::check(&mut context);
    flow::check(&mut context);
    scale::check(&mut context);
    service::check(&mut context);
    memory::check(&mut context);
    context.findings
}

/// The place of a field by its path: `["failure", "retry", "cap"]`.
pub(crate) fn at<const N: usize>(names: [&str; N]) -> Path {
    names.into_iter().fold(Path::root(), |path, name| path.key(name))
}

impl Context<'_> {
    /// A finding at a value.
    pub(crate) fn find(&self, code: Code, path: &Path, message: impl Into<String>) -> Finding {
        Finding::new(code, self.sources.value(path), message).at(path)
    }

    /// Adds a finding.
    pub(crate) fn push(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Whether the document says something there, rather than leaving the default.
    pub(crate) fn is_written(&self, path: &Path) -> bool {
        get(self.document, path).is_some()
    }

    /// The words of a value for a message; stars where it is not to be shown (I10).
    pub(crate) fn show(&self, path: &Path, text: &str) -> String {
        if self.secret.contains(path) { crate::model::REDACTED.to_owned() } else { text.to_owned() }
    }

    /// A mistake inside a text, such as a condition: the caret stands under the piece.
    pub(crate) fn inside(&mut self, path: &Path, text: &str, span: Option<(usize, usize)>, message: &str) {
        let place = match span {
            Some((offset, length)) => self.sources.within(path, text, offset..offset + length),
            None => self.sources.value(path),
        };
        let code = if span.is_some() { Code::Expression } else { Code::Value };
        if self.secret.contains(path) {
            self.findings.push(Finding::new(code, place, "this value is not accepted").at(path));
            return;
        }
        let finding = Finding::new(code, place, message).at(path);
        let help = span.and_then(|(at, _)| expression::help(text, at, message, self.parts.kind));
        self.findings.push(match help {
            Some(help) => finding.help(help),
            None => finding,
        });
    }
}
