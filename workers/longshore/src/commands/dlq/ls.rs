//! `longshore dlq ls`: open letters, counted in groups or listed one by one.

use std::collections::HashMap;

use longshore_core::journal::Marks;
use longshore_core::letter::LetterKind;
use serde::Serialize;
use serde_json::json;

use super::scan::{Totals, scan};
use super::scope::Scope;
use crate::cli::Format;
use crate::cli::dlq::{By, Ls};
use crate::commands::common::found::{Found, State};
use crate::commands::common::{when, words};
use crate::exit::{End, Exit};
use crate::output::{Output, counted, grouped};

/// The most groups that are told apart; the others are counted together.
const GROUPS_MAX: usize = 10_000;
/// The name of what lies beyond.
pub(super) const OTHERS: &str = "(others)";
/// The name of the letters that say nothing there.
pub(super) const NONE: &str = "(none)";
/// What counts of a group's name, bytes: what is shown of it, and no more of a header as long as a letter is kept.
const NAME_BYTES: usize = 512;
/// The widest name in a table of 80 columns with a count and two times.
const NAME_WIDTH: usize = 26;
/// How many bytes of lines are gathered before they are written.
const LINES_BYTES: usize = 64 * 1024;

pub(crate) fn run(arguments: &Ls, output: &Output) -> Result<(), End> {
    let scope = Scope::of(&arguments.topics, output)?;
    let handled = scope.handled(output)?;
    if output.format() == Format::Ndjson {
        let mut lines = Lines { output, bytes: Vec::new() };
        let totals = scan(&scope, &handled, output, &mut |found| lines.take(found))?;
        lines.flush();
        told(&scope, totals, output);
        return Ok(());
    }
    let (rows, totals) = groups(&scope, &handled, arguments.by, output)?;
    output.rows(&[title(arguments.by), "OPEN", "FIRST", "LAST"], &rows, |row| {
        vec![cut(&row.value), row.open.to_string(), when::shown(row.first_ms), when::shown(row.last_ms)]
    })?;
    told(&scope, totals, output);
    Ok(())
}

/// Open letters counted in groups, the largest first; hours in their order.
pub(super) fn groups(
    scope: &Scope,
    handled: &Marks,
    by: By,
    output: &Output,
) -> Result<(Vec<Row>, Totals), End> {
    let mut groups = Groups::new(by);
    let totals = scan(scope, handled, output, &mut |found| {
        groups.take(found);
        Ok(())
    })?;
    Ok((groups.rows(), totals))
}

fn title(by: By) -> &'static str {
    match by {
        By::Reason => "REASON",
        By::Step => "STEP",
        By::Version => "VERSION",
        By::Topic => "TOPIC",
        By::Hour => "HOUR",
    }
}

/// The end of a long name tells more than its beginning: exceptions are named from the package down.
fn cut(name: &str) -> String {
    let letters = name.chars().count();
    if letters <= NAME_WIDTH {
        return name.to_owned();
    }
    let end: String = name.chars().skip(letters - NAME_WIDTH + 1).collect();
    format!("\u{2026}{end}")
}

/// Says how many letters there are, and what is not certain about it.
pub(super) fn told(scope: &Scope, totals: Totals, output: &Output) {
    let topics = match scope.topics.as_slice() {
        [topic] => topic.clone(),
        topics => counted(topics.len() as u64, "topic"),
    };
    let mut line = format!("{} in {topics}", counted(totals.open, "open letter"));
    if totals.handled > 0 {
        line.push_str(&format!(", {} handled", grouped(totals.handled)));
    }
    if totals.copies > 0 {
        let noun = if totals.copies == 1 { "copy" } else { "copies" };
        line.push_str(&format!(", {} {noun}", grouped(totals.copies)));
    }
    output.note(line);
    if totals.unreadable > 0 {
        let words = "with headers that cannot be read; each counts as a letter of its own";
        output.note(format_args!("{} {words}", counted(totals.unreadable, "letter")));
    }
    if totals.overfull {
        output.note("there are too many letters to tell all copies: some may count twice");
    }
}

/// A group as it is printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub(super) value: String,
    open: u64,
    first_ms: i64,
    last_ms: i64,
}

/// Open letters by one of their properties.
struct Groups {
    by: By,
    places: HashMap<Box<[u8]>, usize>,
    rows: Vec<Row>,
    /// The group met last: letters of one failure mostly come in a row.
    last: Option<(Box<[u8]>, usize)>,
}

impl Groups {
    fn new(by: By) -> Self {
        Self { by, places: HashMap::new(), rows: Vec::new(), last: None }
    }

    fn take(&mut self, found: &Found<'_>) {
        if found.state != State::Open {
            return;
        }
        let time = found.record.timestamp_ms();
        let hour = time.div_euclid(3_600_000).to_be_bytes();
        let name: &[u8] = match self.by {
            By::Reason => found.letter.reason(),
            By::Step => found.letter.at(),
            By::Version => found.letter.pipeline(),
            By::Topic => found.letter.origin_topic(),
            By::Hour => &hour,
        };
        let at = self.place(name);
        let row = &mut self.rows[at];
        row.open += 1;
        row.first_ms = if row.first_ms < 0 { time } else { row.first_ms.min(time) };
        row.last_ms = row.last_ms.max(time);
    }

    fn place(&mut self, name: &[u8]) -> usize {
        let name = &name[..name.len().min(NAME_BYTES)];
        if let Some((last, at)) = &self.last
            && **last == *name
        {
            return *at;
        }
        let known = self.places.get(name).copied();
        let at = known.unwrap_or_else(|| self.make(name));
        self.last = Some((name.into(), at));
        at
    }

    fn make(&mut self, name: &[u8]) -> usize {
        let full = self.places.len() >= GROUPS_MAX;
        let (key, value) = if full {
            (OTHERS.as_bytes(), OTHERS.to_owned())
        } else if self.by == By::Hour {
            let hours = name.try_into().map(i64::from_be_bytes).unwrap_or(-1);
            (name, when::hour(hours.saturating_mul(3_600_000)))
        } else if name.is_empty() {
            (name, NONE.to_owned())
        } else {
            (name, words(name, 128))
        };
        *self.places.entry(key.into()).or_insert_with(|| {
            self.rows.push(Row { value, open: 0, first_ms: -1, last_ms: -1 });
            self.rows.len() - 1
        })
    }

    /// The largest first; hours in their order.
    fn rows(mut self) -> Vec<Row> {
        if self.by == By::Hour {
            self.rows.sort_by(|a, b| a.value.cmp(&b.value));
        } else {
            self.rows.sort_by(|a, b| b.open.cmp(&a.open).then_with(|| a.value.cmp(&b.value)));
        }
        self.rows
    }
}

/// A letter in a list: without key, payload and own headers.
pub(super) fn line(found: &Found<'_>) -> serde_json::Value {
    let (record, letter) = (&found.record, &found.letter);
    let ours = letter.kind() == LetterKind::Longshore;
    json!({
        "id": format!("{}/{}/{}", found.topic, record.partition(), record.offset()),
        "time_ms": record.timestamp_ms(),
        "kind": letter.kind().word(),
        "origin": found.place.map(|place| place.to_origin().to_string()),
        "replays": found.replays,
        "replayed": found.letter.replayed(),
        "reason": words(letter.reason(), 128),
        "at": words(letter.at(), 128),
        // Others' messages often quote the payload.
        "detail": ours.then(|| words(letter.detail(), 512)),
        "version": words(letter.pipeline(), 128),
        "payload_bytes": record.value().map(<[u8]>::len),
        "payload_omitted": letter.is_without_payload(),
    })
}

/// Open letters one by one, as JSON lines.
struct Lines<'a> {
    output: &'a Output,
    bytes: Vec<u8>,
}

impl Lines<'_> {
    fn take(&mut self, found: &Found<'_>) -> Result<(), End> {
        if found.state != State::Open {
            return Ok(());
        }
        serde_json::to_writer(&mut self.bytes, &line(found))
            .map_err(|error| End::new(Exit::Internal, error))?;
        self.bytes.push(b'\n');
        if self.bytes.len() >= LINES_BYTES {
            self.flush();
        }
        // Nobody reads any more (`| head`): the rest need not be read either.
        if self.output.closed() { Err(End::new(Exit::Ok, "")) } else { Ok(()) }
    }

    fn flush(&mut self) {
        if !self.bytes.is_empty() {
            self.output.bytes(&self.bytes);
            self.bytes.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(cut("decode.json"), "decode.json");
        let name = cut("org.apache.kafka.connect.errors.DataException");
        assert_eq!((name.chars().count(), name.as_str()), (NAME_WIDTH, "\u{2026}nect.errors.DataException"));
    }

    /// Bad input: reasons as long as a letter. Guarantee: no more of them is kept than is told apart.
    #[test]
    fn long_names_are_kept_in_part() {
        let mut groups = Groups::new(By::Reason);
        let long = |end: &str| format!("{}{end}", "x".repeat(NAME_BYTES)).into_bytes();
        assert_eq!(groups.place(&long("a")), groups.place(&long("b")));
        assert_ne!(groups.place(&long("a")), groups.place(b"x"));
        assert!(groups.places.keys().all(|name| name.len() <= NAME_BYTES));
    }

    #[test]
    fn groups_beyond_the_bound_are_counted_together() {
        let mut groups = Groups::new(By::Reason);
        for number in 0..GROUPS_MAX + 5 {
            let at = groups.place(number.to_string().as_bytes());
            groups.rows[at].open += 1;
        }
        assert_eq!(groups.rows.len(), GROUPS_MAX + 1);
        assert_eq!(groups.rows.iter().find(|row| row.value == OTHERS).map(|row| row.open), Some(5));
    }
}
