//! Small YAML files beside the pipeline file: a map of names to expressions.

use std::path::Path as FilePath;

use config::ValueKind;

use crate::document::{self, MAX_FILE_BYTES};
use crate::path::Path;
use crate::report::{Code, Finding, Report};
use crate::source::{FILE, Place, SourceMap, SourceText};

/// Reads a map of names to expressions, in its order. Numbers and booleans are expressions too.
///
/// # Errors
/// A file that cannot be read or is too large; what is no YAML, no map, or holds something else than expressions, each with
/// its line.
pub fn expressions(path: &FilePath) -> Result<Vec<(String, String)>, Report> {
    let name = path.display().to_string();
    let refuse = |message: String| Report::of_file(&name, Code::File, message);
    let metadata =
        std::fs::metadata(path).map_err(|error| refuse(format!("cannot read the file: {error}")))?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES as u64 {
        return Err(refuse(format!("expected a file of at most {} KiB", MAX_FILE_BYTES / 1024)));
    }
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| refuse(format!("cannot read the file as text: {error}")))?;
    parse(&name, text)
}

fn parse(name: &str, text: String) -> Result<Vec<(String, String)>, Report> {
    let document = document::read(&text, FILE, name, 0, Path::root());
    let mut findings = document.findings;
    let mut map = SourceMap::new(SourceText::new(name, text));
    for (path, place) in document.places {
        map.put(path, place);
    }
    let mut pairs = Vec::new();
    match document.root.map(|root| root.kind) {
        Some(ValueKind::Table(table)) => {
            for (key, value) in table {
                match value.kind {
                    ValueKind::String(text) => pairs.push((key, text)),
                    kind @ (ValueKind::Boolean(_)
                    | ValueKind::I64(_)
                    | ValueKind::I128(_)
                    | ValueKind::U64(_)
                    | ValueKind::U128(_)
                    | ValueKind::Float(_)) => pairs.push((key, kind.to_string())),
                    ValueKind::Nil | ValueKind::Table(_) | ValueKind::Array(_) => {
                        let place = map.holder(&Path::root().key(&key));
                        let words =
                            "expected an expression; a field inside another is named with a dot, `user.id`";
                        findings.push(Finding::new(Code::Type, place, words));
                    }
                }
            }
        }
        // What is wrong with the text was found already.
        None if !findings.is_empty() => {}
        Some(_) | None => {
            let place = Place { source: FILE, span: 0..0 };
            let words = "expected a map of places to expressions, such as `user.id: int(fields.user.id)`";
            findings.push(Finding::new(Code::Type, place, words));
        }
    }
    if findings.is_empty() { Ok(pairs) } else { Err(Report::new(map, findings)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        parse("t.yaml", text.to_owned()).map_err(|report| report.render(false))
    }

    #[test]
    fn expressions_keep_their_order() {
        let pairs = read("z: fields.a + 1\na.b: \"'x'\"\nn: 7\nb: true\n").unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(pairs, [("z", "fields.a + 1"), ("a.b", "'x'"), ("n", "7"), ("b", "true")]);
    }

    #[test]
    fn what_is_no_map_of_expressions_is_shown() {
        for (text, words) in [
            ("", "expected a map"),
            ("- a", "expected a map"),
            ("a: {b: 1}", "named with a dot"),
            ("a:\n", "expected an expression"),
            ("a: 1\na: 2\n", "twice"),
            ("a: [", "not YAML"),
        ] {
            let report = read(text).unwrap_err();
            assert!(report.contains(words), "{text:?}: {report}");
        }
    }
}
