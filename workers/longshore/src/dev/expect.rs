//! What must become of a published record, judged from its bytes by rules of its own: plain serde_json and a few
//! comparisons, none of the workers' code. So the account does not ask the accused.

use serde::{Deserialize, Serialize};

/// The final place of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    /// A row in the files.
    File,
    /// Filtered, with the reason.
    Filtered(String),
    /// A dead letter, with the reason code.
    Dead(String),
}

/// The demo's pipelines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Demo {
    /// Log lines.
    Logs,
    /// Documents.
    Documents,
}

/// Documents shorter than this many characters are filtered by the demo's pipeline.
pub(crate) const SHORT_DOCUMENT_CHARS: usize = 200;
/// The name that the demo's filter of quiet levels counts under.
pub(crate) const QUIET: &str = "quiet";

impl Demo {
    /// Where a record with this value must end, and what its row's text must say (none where a step may change it).
    pub(crate) fn expect(self, value: Option<&[u8]>) -> (Place, Option<String>) {
        let Some(value) = value else { return (Place::Filtered("tombstone".to_owned()), None) };
        if value.iter().all(u8::is_ascii_whitespace) {
            return (Place::Dead("decode.empty".to_owned()), None);
        }
        let Ok(text) = std::str::from_utf8(value) else {
            return (Place::Dead("decode.utf8".to_owned()), None);
        };
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
        let Some(Ok(first)) = values.next() else { return (Place::Dead("decode.json".to_owned()), None) };
        if values.next().is_some() {
            return (Place::Dead("decode.trailing".to_owned()), None);
        }
        match self {
            Self::Logs => log(&first),
            Self::Documents => document(&first),
        }
    }
}

fn log(line: &serde_json::Value) -> (Place, Option<String>) {
    if line["level"] == "debug" {
        return (Place::Filtered(QUIET.to_owned()), None);
    }
    (Place::File, line["message"].as_str().map(str::to_owned))
}

fn document(document: &serde_json::Value) -> (Place, Option<String>) {
    let Some(text) = document["text"].as_str() else { return (Place::Dead("decode.shape".to_owned()), None) };
    // Text outside ASCII may be changed by normalisation, in content and in length; the demo leaves documents near
    // the limit to the ASCII case.
    if text.is_ascii() && text.len() < SHORT_DOCUMENT_CHARS || text.chars().count() < SHORT_DOCUMENT_CHARS {
        return (Place::Filtered("length.short".to_owned()), None);
    }
    (Place::File, text.is_ascii().then(|| text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_line_has_its_place() {
        let place = |bytes: &[u8]| Demo::Logs.expect(Some(bytes)).0;
        assert_eq!(place(br#"{"level":"info","message":"m"}"#), Place::File);
        assert_eq!(place(br#"{"level":"debug"}"#), Place::Filtered(QUIET.to_owned()));
        assert_eq!(place(b""), Place::Dead("decode.empty".to_owned()));
        assert_eq!(place(br#"{"level":"#), Place::Dead("decode.json".to_owned()));
        assert_eq!(place(b"{} and then some"), Place::Dead("decode.trailing".to_owned()));
        assert_eq!(place(b"{\"a\":\"\xff\"}"), Place::Dead("decode.utf8".to_owned()));
    }
}
