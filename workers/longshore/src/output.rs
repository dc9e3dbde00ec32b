//! The one place that prints: data on standard output, messages on standard error.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::cli::{Colour, Format};
use crate::exit::{End, Exit};

/// Prints in the format that was asked for.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
    wanted: Colour,
    colour: bool,
    broken: AtomicBool,
    kept: Option<Kept>,
}

/// What a request of the console leaves instead of a print.
#[derive(Debug, Default)]
struct Kept {
    notes: Mutex<Vec<String>>,
    until: Option<Instant>,
    /// Set when the worker stops, and nobody waits any more.
    stop: Arc<AtomicBool>,
}

/// What somebody hears whose worker stops.
pub(crate) const STOPPING: &str = "this worker stops; ask another one";

/// The most messages that are kept, and the most letters of one.
const KEPT_MAX: usize = 20;
const KEPT_LETTERS: usize = 500;

impl Output {
    pub(crate) fn new(format: Format, wanted: Colour) -> Self {
        let colour = match wanted {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => std::io::stderr().is_terminal() && not_refused(),
        };
        Self { format, wanted, colour, broken: AtomicBool::new(false), kept: None }
    }

    /// Whether data may use colour.
    pub(crate) fn data_colour(&self) -> bool {
        match self.wanted {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => std::io::stdout().is_terminal() && not_refused(),
        }
    }

    /// For who asks a worker over HTTP: messages are kept instead of printed, and passes over topics end when their time is up, or the
    /// worker stops.
    pub(crate) fn kept(within: Option<Duration>, stop: Arc<AtomicBool>) -> Self {
        let until = within.map(|within| Instant::now() + within);
        let kept = Kept { notes: Mutex::default(), until, stop };
        Self {
            format: Format::Json,
            wanted: Colour::Never,
            colour: false,
            broken: AtomicBool::new(false),
            kept: Some(kept),
        }
    }

    /// The messages that were kept.
    pub(crate) fn notes(&self) -> Vec<String> {
        let kept = self.kept.as_ref();
        kept.map_or_else(Vec::new, |kept| kept.notes.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Whether it is for who asks a worker: what is remembered meanwhile lies beside the worker's own records, so it is bounded (I5).
    pub(crate) fn in_worker(&self) -> bool {
        self.kept.is_some()
    }

    /// How long whoever asked still waits; as long as it takes when none is said.
    pub(crate) fn left(&self) -> Option<Duration> {
        let until = self.kept.as_ref().and_then(|kept| kept.until);
        until.map(|until| until.saturating_duration_since(Instant::now()))
    }

    /// Whether whoever asked waits no longer.
    pub(crate) fn time_is_up(&self) -> bool {
        self.is_stopping() || self.left().is_some_and(|left| left.is_zero())
    }

    /// Ends a pass over a topic that nobody waits for any more.
    pub(crate) fn go_on(&self, topic: &str) -> Result<(), End> {
        if self.is_stopping() {
            return Err(End::new(Exit::Temporary, STOPPING));
        }
        if self.time_is_up() {
            let words = "longer than one request may; ask the command `longshore`, which takes its time";
            return Err(End::new(Exit::Temporary, format!("to read {topic} takes {words}")));
        }
        Ok(())
    }

    /// Whether the worker that was asked stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.stop.load(Ordering::Acquire))
    }

    /// The format that was asked for.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Whether messages may use colour.
    pub(crate) fn colour(&self) -> bool {
        self.colour
    }

    /// A line of data.
    pub(crate) fn line(&self, line: impl fmt::Display) {
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{line}").is_err() {
            // A closed pipe (`| head`) is the reader's right; callers stop when they ask `closed`.
            self.broken.store(true, Ordering::Relaxed);
        }
    }

    /// Bytes of data as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) {
        let mut out = std::io::stdout().lock();
        if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
            self.broken.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the reader of our standard output has gone.
    pub(crate) fn closed(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// A message for people.
    pub(crate) fn note(&self, line: impl fmt::Display) {
        if let Some(kept) = &self.kept {
            let mut notes = kept.notes.lock().unwrap_or_else(PoisonError::into_inner);
            if notes.len() < KEPT_MAX {
                notes.push(line.to_string().chars().take(KEPT_LETTERS).collect());
            }
            return;
        }
        // Without a standard error there is nobody to tell.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }

    /// The last word of a command that failed.
    pub(crate) fn failed(&self, end: &End) {
        if !end.message.is_empty() {
            self.note(format_args!("{} {}", self.red("error:"), end.message));
        }
    }

    /// Text in red where colour is on.
    pub(crate) fn red(&self, text: &str) -> String {
        self.paint(text, "31")
    }

    /// Text in green where colour is on.
    pub(crate) fn green(&self, text: &str) -> String {
        self.paint(text, "32")
    }

    /// Text in bold where colour is on.
    pub(crate) fn bold(&self, text: &str) -> String {
        self.paint(text, "1")
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Rows as a table of at most 80 columns where the cells allow, or as JSON objects.
    pub(crate) fn rows<T: Serialize>(
        &self,
        titles: &[&str],
        rows: &[T],
        cells: impl Fn(&T) -> Vec<String>,
    ) -> Result<(), End> {
        match self.format {
            Format::Table => {
                for line in table(titles, rows.iter().map(cells)) {
                    self.line(line);
                }
            }
            Format::Json => self.json(&rows)?,
            Format::Ndjson => {
                for row in rows {
                    self.line(to_json(row)?);
                }
            }
        }
        Ok(())
    }

    /// Before rows that are printed again and again: on a terminal they stand where the last ones stood, elsewhere a line is left out.
    pub(crate) fn begin_screen(&self) {
        let terminal = std::io::stdout().is_terminal();
        match self.format {
            Format::Table if terminal => self.bytes(b"\x1b[H\x1b[J"),
            Format::Table => self.line(""),
            Format::Json | Format::Ndjson => {}
        }
    }

    /// One JSON document.
    pub(crate) fn json<T: Serialize>(&self, value: &T) -> Result<(), End> {
        let text = serde_json::to_string_pretty(value).map_err(|error| End::new(Exit::Internal, error))?;
        self.line(text);
        Ok(())
    }

    /// One JSON document, on one line where lines are wanted.
    pub(crate) fn document<T: Serialize>(&self, value: &T) -> Result<(), End> {
        match self.format {
            Format::Ndjson => self.line(to_json(value)?),
            Format::Table | Format::Json => self.json(value)?,
        }
        Ok(())
    }

    /// A progress bar on a terminal; elsewhere the bar is silent and [`Progress::tick`] prints a line now and then.
    pub(crate) fn progress(&self, what: &str, total: Option<u64>, unit: &'static str) -> Progress {
        Progress::new(what, total, unit, self.kept.is_some())
    }
}

/// Whether nobody refused colour (no-color.org); an empty variable says nothing.
fn not_refused() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|refused| refused.is_empty())
}

fn to_json<T: Serialize>(value: &T) -> Result<String, End> {
    serde_json::to_string(value).map_err(|error| End::new(Exit::Internal, error))
}

/// Columns padded to their widest cell; numbers to the right.
fn table(titles: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Vec<String> {
    let rows: Vec<Vec<String>> = rows.collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([titles[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let number = |cell: &str| cell.chars().next().is_some_and(|c| c.is_ascii_digit() || c == '-');
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| {
            if number(cell) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head: Vec<String> = titles.iter().map(|title| (*title).to_owned()).collect();
    std::iter::once(line(&head)).chain(rows.iter().map(|row| line(row))).collect()
}

/// Shows that something long goes on.
pub(crate) struct Progress {
    bar: ProgressBar,
    what: String,
    unit: &'static str,
    started: Instant,
    last: Instant,
    /// No line is printed: there is a terminal with the bar, or nobody.
    silent: bool,
}

impl Progress {
    fn new(what: &str, total: Option<u64>, unit: &'static str, nobody: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !nobody;
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        bar.set_draw_target(if terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        });
        let template = match total {
            Some(_) => "{msg:<26} {bar:24} {pos}/{len} {per_sec}",
            None => "{msg:<26} {spinner} {pos} {per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        let now = Instant::now();
        Self { bar, what: what.to_owned(), unit, started: now, last: now, silent: terminal || nobody }
    }

    /// How far it is.
    pub(crate) fn tick(&mut self, done: u64) {
        self.bar.set_position(done);
        if !self.silent && self.last.elapsed() >= Duration::from_secs(2) {
            self.last = Instant::now();
            // Without a standard error there is nobody to tell.
            let _ =
                writeln!(std::io::stderr().lock(), "{}: {} {} so far", self.what, grouped(done), self.unit);
        }
    }

    /// Ends it and gives the time it took.
    pub(crate) fn finish(self) -> Duration {
        self.bar.finish_and_clear();
        self.started.elapsed()
    }
}

/// A number with thin groups of three, as people read it: `200_000` becomes `200,000`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with its noun, in the plural where it has to be: `1 record`, `2,000 records`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", grouped(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(200_000), "200,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn one_thing_is_no_plural() {
        assert_eq!(counted(1, "record"), "1 record");
        assert_eq!(counted(0, "record"), "0 records");
        assert_eq!(counted(2_000, "record"), "2,000 records");
    }

    #[test]
    fn a_table_pads_words_left_and_numbers_right() {
        let lines = table(&["TOPIC", "LAG"], [vec!["a".to_owned(), "10".to_owned()]].into_iter());
        assert_eq!(lines, ["TOPIC  LAG", "a       10"]);
    }
}
