//! The texts that values come from: the file, and each override. A finding points into one of them.

use std::collections::HashMap;
use std::ops::Range;

use crate::path::Path;

/// Which text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SourceId(pub(crate) usize);

/// The pipeline file.
pub(crate) const FILE: SourceId = SourceId(0);

/// A piece of one text, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) source: SourceId,
    pub(crate) span: Range<usize>,
}

/// One text. `shown` is what may be printed: every secret in it is covered by stars of the same number of bytes.
#[derive(Clone)]
pub(crate) struct SourceText {
    pub(crate) name: String,
    text: String,
    shown: Vec<u8>,
}

impl SourceText {
    pub(crate) fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let shown = text.clone().into_bytes();
        Self { name: name.into(), text, shown }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Covers a piece with stars; line breaks stay, so that line numbers do.
    pub(crate) fn cover(&mut self, span: Range<usize>) {
        let end = span.end.min(self.shown.len());
        for byte in self.shown.get_mut(span.start..end).into_iter().flatten() {
            if *byte != b'\n' && *byte != b'\r' {
                *byte = b'*';
            }
        }
    }

    /// The text as it may be printed.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }

    /// Line and column of a byte, from 1, the column in characters.
    pub(crate) fn position(&self, byte: usize) -> (usize, usize) {
        let mut byte = byte.min(self.text.len());
        while !self.text.is_char_boundary(byte) {
            byte -= 1;
        }
        let before = &self.text[..byte];
        let line_start = before.rfind('\n').map_or(0, |found| found + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// Where a field stands.
#[derive(Clone, Debug)]
pub(crate) struct FieldPlace {
    /// The field's name; none for list entries and the root.
    pub(crate) key: Option<Place>,
    /// Its value.
    pub(crate) value: Place,
}

/// All texts, and where each value of the merged document comes from.
#[derive(Clone)]
pub(crate) struct SourceMap {
    pub(crate) texts: Vec<SourceText>,
    fields: HashMap<Path, FieldPlace>,
}

impl SourceMap {
    pub(crate) fn new(file: SourceText) -> Self {
        Self { texts: vec![file], fields: HashMap::new() }
    }

    pub(crate) fn add_text(&mut self, text: SourceText) -> SourceId {
        self.texts.push(text);
        SourceId(self.texts.len() - 1)
    }

    pub(crate) fn text(&self, id: SourceId) -> &SourceText {
        // Ids are only made by `add_text`; the file is always there.
        self.texts.get(id.0).unwrap_or(&self.texts[0])
    }

    pub(crate) fn put(&mut self, path: Path, place: FieldPlace) {
        self.fields.insert(path, place);
    }

    /// The place of a value, or of the nearest field around it.
    pub(crate) fn value(&self, path: &Path) -> Place {
        self.nearest(path).map_or(Place { source: FILE, span: 0..0 }, |field| field.value.clone())
    }

    /// The place of a field's name; of its value where it has none.
    pub(crate) fn key(&self, path: &Path) -> Place {
        match self.nearest(path) {
            Some(field) => field.key.clone().unwrap_or_else(|| field.value.clone()),
            None => Place { source: FILE, span: 0..0 },
        }
    }

    /// Where to point when something is missing inside a map: its name, or its first field.
    pub(crate) fn holder(&self, path: &Path) -> Place {
        if path.is_root() {
            let len = self.texts[0].text().find('\n').unwrap_or(self.texts[0].text().len());
            return Place { source: FILE, span: 0..len };
        }
        self.key(path)
    }

    /// The place of a piece of a text value, where the text stands unescaped in its source; else of all of it.
    pub(crate) fn within(&self, path: &Path, value: &str, piece: Range<usize>) -> Place {
        let whole = self.value(path);
        let text = self.text(whole.source).text();
        let found = text.get(whole.span.clone()).and_then(|slice| slice.find(value));
        match found {
            Some(offset) if !value.is_empty() => {
                let start = whole.span.start + offset;
                let end = (start + piece.end.min(value.len())).max(start + piece.start);
                Place { source: whole.source, span: start + piece.start.min(value.len())..end }
            }
            _ => whole,
        }
    }

    fn nearest(&self, path: &Path) -> Option<&FieldPlace> {
        let mut path = path.clone();
        loop {
            if let Some(field) = self.fields.get(&path) {
                return Some(field);
            }
            path = path.parent()?;
        }
    }

    /// Covers a value with stars in its text.
    pub(crate) fn cover(&mut self, path: &Path) {
        if let Some(field) = self.fields.get(path) {
            let place = field.value.clone();
            self.cover_place(&place);
        }
    }

    /// Covers a piece of a text with stars.
    pub(crate) fn cover_place(&mut self, place: &Place) {
        if let Some(text) = self.texts.get_mut(place.source.0) {
            text.cover(place.span.clone());
        }
    }

    /// All fields with a place.
    pub(crate) fn paths(&self) -> Vec<Path> {
        self.fields.keys().cloned().collect()
    }
}

/// Covers what follows a secret name in a text that is not even YAML, so that its error can be shown: the rest of the
/// line, and the deeper lines below it.
pub(crate) fn cover_by_name(text: &mut SourceText) {
    let mut start = 0;
    let mut covered_indent = None;
    for line in text.text.clone().split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        let blank = line.trim().is_empty();
        if covered_indent.is_some_and(|covered| blank || indent > covered) {
            text.cover(start..start + line.len());
        } else {
            covered_indent = None;
            if let Some(after) = secret_in(line) {
                text.cover(start + after..start + line.len());
                covered_indent = Some(indent);
            }
        }
        start += line.len();
    }
}

/// Where the value begins that stands behind the first secret name of a line.
fn secret_in(line: &str) -> Option<usize> {
    line.match_indices([':', '=']).find_map(|(at, _)| {
        let name = line[..at].trim_end().trim_end_matches(['"', '\'']);
        let begin = name.rfind([' ', '{', ',', '\t', '"', '\'', '-', '.']).map_or(0, |found| found + 1);
        crate::model::is_secret_name(&name[begin..]).then_some(at + 1)
    })
}
