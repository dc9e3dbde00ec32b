//! Reads YAML into values, with the place of every key and value.
//!
//! Strict on purpose: no anchors (a few lines of them can unfold to gigabytes), no tags, no second document, no
//! duplicate keys, bounded size and depth.

use std::ops::Range;

use config::{Value, ValueKind};
use granit_parser::{Event, Parser, ScalarStyle, Span};

use crate::path::Path;
use crate::report::{Code, Finding};
use crate::source::{FieldPlace, Place, SourceId};

/// The largest pipeline file. Real ones take a few kilobytes.
pub(crate) const MAX_FILE_BYTES: usize = 256 * 1024;
/// The deepest nesting.
const MAX_DEPTH: usize = 32;

type Table = config::Map<String, Value>;

/// What was read, as far as it could be.
pub(crate) struct Document {
    /// The value; none when the text is not YAML.
    pub(crate) root: Option<Value>,
    /// Where everything stands.
    pub(crate) places: Vec<(Path, FieldPlace)>,
    /// What is wrong with the text itself.
    pub(crate) findings: Vec<Finding>,
    /// Secrets that are no part of the value: those of fields given twice.
    pub(crate) hidden: Vec<Place>,
}

/// Reads one document. `origin` is noted in every value; `offset` is where the text begins in its source.
pub(crate) fn read(text: &str, source: SourceId, origin: &str, offset: usize, at: Path) -> Document {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        source,
        origin: origin.to_owned(),
        offset,
        text,
        length: text.len(),
        places: Vec::new(),
        findings: Vec::new(),
        hidden: Vec::new(),
    };
    let root = match reader.document(&at) {
        Ok(root) => root,
        Err(Stop(finding)) => {
            reader.findings.push(*finding);
            None
        }
    };
    Document { root, places: reader.places, findings: reader.findings, hidden: reader.hidden }
}

/// A mistake after which nothing more can be read.
struct Stop(Box<Finding>);

struct Reader<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    source: SourceId,
    origin: String,
    offset: usize,
    text: &'a str,
    length: usize,
    places: Vec<(Path, FieldPlace)>,
    findings: Vec<Finding>,
    hidden: Vec<Place>,
}

impl<'a> Reader<'a> {
    fn document(&mut self, at: &Path) -> Result<Option<Value>, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => return Ok(root),
                _ if root.is_some() => {
                    return Err(self.stop(Code::Yaml, "a second document: a pipeline file holds one", &span));
                }
                event => {
                    let (value, place) = self.node(event, span, at, 0)?;
                    self.places.push((at.clone(), FieldPlace { key: None, value: place }));
                    root = Some(value);
                }
            }
        }
    }

    /// The next event; a syntax error ends everything.
    fn next(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, span)),
            Some(Err(error)) => {
                let at = self.offset + error.marker().byte_offset().unwrap_or(self.length).min(self.length);
                let place = Place { source: self.source, span: at..at + 1 };
                let mut finding =
                    Finding::new(Code::Yaml, place, format!("this is not YAML: {}", error.info()));
                if let Some(help) = self.help(at - self.offset) {
                    finding = finding.help(help);
                }
                Err(Stop(Box::new(finding)))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(
        &mut self,
        event: Event<'a>,
        span: Span,
        at: &Path,
        depth: usize,
    ) -> Result<(Value, Place), Stop> {
        if depth > MAX_DEPTH {
            return Err(self.stop(Code::Yaml, format!("nested deeper than {MAX_DEPTH} levels"), &span));
        }
        self.refuse_references(&event, &span)?;
        let start = span;
        let (kind, place) = match event {
            Event::Scalar(text, style, ..) => (scalar(&text, style), self.place(&span)),
            Event::SequenceStart(..) => self.sequence(start, at, depth)?,
            Event::MappingStart(..) => self.mapping(start, at, depth)?,
            _ => return Err(self.stop(Code::Yaml, "expected a value here", &span)),
        };
        Ok((Value::new(Some(&self.origin), kind), place))
    }

    fn sequence(&mut self, start: Span, at: &Path, depth: usize) -> Result<(ValueKind, Place), Stop> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok((ValueKind::Array(items), self.between(&start, &span)));
            }
            let path = at.index(items.len());
            let (value, place) = self.node(event, span, &path, depth + 1)?;
            self.places.push((path, FieldPlace { key: None, value: place }));
            items.push(value);
        }
    }

    fn mapping(&mut self, start: Span, at: &Path, depth: usize) -> Result<(ValueKind, Place), Stop> {
        let mut table = Table::new();
        let mut first_places: Vec<(String, Place)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok((ValueKind::Table(table), self.between(&start, &span)));
            }
            self.refuse_references(&event, &span)?;
            let key_place = self.place(&span);
            let Event::Scalar(key, ..) = event else {
                return Err(self.stop(Code::Yaml, "a field's name must be a plain word", &span));
            };
            let path = at.key(&key);
            let (event, span) = self.next()?;
            let known = self.places.len();
            let (value, place) = self.node(event, span, &path, depth + 1)?;
            if let Some((_, first)) = first_places.iter().find(|(name, _)| *name == key.as_ref()) {
                let first = first.clone();
                // The first one counts from here on, so the places of the second are forgotten.
                let dropped = self.places.drain(known..).filter(|(path, _)| path.is_sensitive());
                self.hidden.extend(dropped.map(|(_, place)| place.value));
                if path.is_secret() {
                    self.hidden.push(place);
                }
                self.findings.push(
                    Finding::new(Code::Duplicate, key_place, format!("`{key}` is given twice"))
                        .at(&path)
                        .context(first, "the first one"),
                );
                continue;
            }
            first_places.push((key.to_string(), key_place.clone()));
            self.places.push((path, FieldPlace { key: Some(key_place), value: place }));
            table.insert(key.into_owned(), value);
        }
    }

    /// What people stumble over on the line of a syntax error.
    fn help(&self, at: usize) -> Option<&'static str> {
        let begin = self.text.get(..at)?.rfind('\n').map_or(0, |found| found + 1);
        let line = self.text.get(begin..)?.lines().next()?;
        if line.trim_start_matches(' ').starts_with('\t') {
            return Some("YAML indents with spaces, never with tabs");
        }
        if line.contains("${") {
            return Some("inside { } and [ ] put a text with `${...}` in quotes");
        }
        if line.contains(['[', '{']) {
            return Some("is a bracket left open? A text with `[`, `{`, `,` or `: ` in it needs quotes");
        }
        line.contains(": ").then_some("is the line indented too far? A text with `: ` in it needs quotes")
    }

    /// Anchors, aliases and tags.
    fn refuse_references(&self, event: &Event<'_>, span: &Span) -> Result<(), Stop> {
        if matches!(event, Event::Alias(_) | Event::UnresolvedAlias(_)) {
            return Err(self.stop(
                Code::Yaml,
                "aliases (`*name`) are not allowed: write the value out",
                span,
            ));
        }
        if event.anchor_id().is_some_and(|id| id != 0) {
            return Err(self.stop(
                Code::Yaml,
                "anchors (`&name`) are not allowed: write the value out",
                span,
            ));
        }
        if event.tag().is_some() {
            return Err(self.stop(Code::Yaml, "tags (`!name`) are not allowed", span));
        }
        Ok(())
    }

    fn stop(&self, code: Code, message: impl Into<String>, span: &Span) -> Stop {
        Stop(Box::new(Finding::new(code, self.place(span), message)))
    }

    fn place(&self, span: &Span) -> Place {
        let range = span.byte_range().unwrap_or(self.length..self.length);
        self.shifted(range)
    }

    fn between(&self, start: &Span, end: &Span) -> Place {
        let from = start.byte_range().map_or(0, |range| range.start);
        let to = end.byte_range().map_or(self.length, |range| range.end);
        self.shifted(from..to.max(from))
    }

    fn shifted(&self, range: Range<usize>) -> Place {
        Place { source: self.source, span: range.start + self.offset..range.end + self.offset }
    }
}

/// The value of a scalar by the YAML 1.2 core schema: `yes` and `on` are texts.
fn scalar(text: &str, style: ScalarStyle) -> ValueKind {
    if style == ScalarStyle::Plain { plain(text) } else { ValueKind::String(text.to_owned()) }
}

/// The value of an unquoted scalar.
pub(crate) fn plain(text: &str) -> ValueKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return ValueKind::Nil,
        "true" | "True" | "TRUE" => return ValueKind::Boolean(true),
        "false" | "False" | "FALSE" => return ValueKind::Boolean(false),
        _ => {}
    }
    if let Some(integer) = integer(text) {
        return integer;
    }
    let digits = text.trim_start_matches(['+', '-']);
    let numeric = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    match text.parse::<f64>() {
        Ok(float) if numeric => ValueKind::Float(float),
        _ => ValueKind::String(text.to_owned()),
    }
}

fn integer(text: &str) -> Option<ValueKind> {
    let radix = |digits: &str, radix| i64::from_str_radix(digits, radix).ok().map(ValueKind::I64);
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    if let Ok(number) = text.parse::<i64>() {
        return Some(ValueKind::I64(number));
    }
    text.parse::<u64>().ok().map(ValueKind::U64)
}
