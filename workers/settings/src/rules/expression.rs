//! What helps against the commonest mistakes in conditions.

use crate::model::Kind;

/// What to write instead, for a mistake at a place of a condition's text.
pub(crate) fn help(text: &str, at: usize, message: &str, kind: Option<Kind>) -> Option<String> {
    let rest = text.get(at..)?;
    if rest.starts_with('=') && !rest.starts_with("==") && !text.get(..at)?.ends_with(['=', '!', '<', '>']) {
        return Some("equal is written `==`".to_owned());
    }
    if message.starts_with("unknown variable") && !message.contains("did you mean") {
        let name: String =
            rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
        let holder = match kind {
            Some(Kind::Dataset) => "metadata",
            Some(Kind::Logs) | None => "attributes",
        };
        return Some(format!(
            "a field of the record is `{holder}[\"{name}\"]`, a text stands in quotes: `\"{name}\"`"
        ));
    }
    None
}
