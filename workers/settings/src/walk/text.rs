//! Texts: words from a list, lengths, and our own formats.

use longshore_core::human::{BYTES_FORMAT, Bytes, SHARE_FORMAT, SPAN_FORMAT, Share, Span};
use serde_json::Value as Json;

use super::Walker;
use crate::model::{DEADLINE_FORMAT, LISTEN_FORMAT, Listen, START_FORMAT, Start};
use crate::nearest::{nearest, one_of};
use crate::path::Path;
use crate::report::{Code, Finding};

impl Walker<'_> {
    pub(super) fn text(&mut self, schema: &'static Json, text: &str, path: &Path) {
        let words = words(schema);
        if !words.is_empty() && !words.contains(&text) {
            return self.unknown_word(&words, text, path);
        }
        if let Some(message) =
            schema.get("format").and_then(Json::as_str).and_then(|format| misread(format, text))
        {
            return self.findings.push(Finding::new(Code::Value, self.sources.value(path), message).at(path));
        }
        let length = text.chars().count();
        if text.is_empty() && schema.get("minLength").and_then(Json::as_u64) == Some(1) {
            let finding =
                Finding::new(Code::Value, self.sources.value(path), "expected a text, found an empty one");
            return self.findings.push(finding.at(path));
        }
        self.bounds(schema, ("minLength", "maxLength"), length, "character", "characters", path);
    }

    pub(super) fn unknown_word(&mut self, words: &[&str], text: &str, path: &Path) {
        // The value itself is only repeated through the source, where secrets are covered.
        let message = format!("expected {}", one_of(words.iter().copied()));
        let mut finding = Finding::new(Code::UnknownWord, self.sources.value(path), message).at(path);
        if let Some(near) = nearest(text, words.iter().copied()) {
            finding = finding.label(format!("did you mean `{near}`?"));
        }
        self.findings.push(finding);
    }

    /// Judges a bare number where a size, a span or a share is wanted; whether it did.
    pub(super) fn bare_number(&mut self, format: &str, number: f64, path: &Path) -> bool {
        let message = match format {
            SPAN_FORMAT if number != 0.0 => "the unit is missing, write for example 10s",
            BYTES_FORMAT if number < 0.0 => "a size is never negative",
            SHARE_FORMAT if !(0.0..=1.0).contains(&number) => "expected a share from 0% to 100%, such as 5%",
            SPAN_FORMAT | BYTES_FORMAT | SHARE_FORMAT => return true,
            _ => return false,
        };
        self.findings.push(Finding::new(Code::Value, self.sources.value(path), message).at(path));
        true
    }
}

/// The words a schema allows; empty when it allows any text.
pub(super) fn words(schema: &'static Json) -> Vec<&'static str> {
    if let Some(word) = schema.get("const").and_then(Json::as_str) {
        return vec![word];
    }
    schema.get("enum").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect()
}

/// What is wanted where a bare number stands for one of our formats.
pub(super) fn wanted_form(schema: &'static Json, value: &config::Value) -> Option<String> {
    let format = schema.get("format").and_then(Json::as_str)?;
    misread(format, &value.to_string())
}

/// Why a text does not fit one of our formats.
fn misread(format: &str, text: &str) -> Option<String> {
    match format {
        BYTES_FORMAT => text.parse::<Bytes>().err().map(|error| error.to_string()),
        SPAN_FORMAT => text.parse::<Span>().err().map(|error| error.to_string()),
        SHARE_FORMAT => text.parse::<Share>().err().map(|error| error.to_string()),
        DEADLINE_FORMAT if text == "off" => None,
        DEADLINE_FORMAT => text.parse::<Span>().err().map(|error| format!("{error}, or `off`")),
        START_FORMAT => text.parse::<Start>().err(),
        LISTEN_FORMAT => text.parse::<Listen>().err(),
        _ => None,
    }
}
