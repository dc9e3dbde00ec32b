//! The facts in sentences.

use longshore_core::Origin;
use longshore_core::headers::LetterHeaders;
use longshore_settings::Pipeline;
use serde_json::json;

use super::computed::Computed;
use super::facts::{Facts, FileSeen, SinkSeen};
use crate::commands::common::{value, when};
use crate::output::{Output, counted, grouped};

/// The most of a key that is shown, bytes.
const KEY_BYTES: usize = 64 * 1024;

/// What is shown of the record itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Show {
    pub(super) key: bool,
    pub(super) payload: bool,
}

/// What is said about a record.
pub(super) struct Told {
    origin: String,
    /// What was asked for, when it was a copy or a letter.
    of: Option<&'static str>,
    /// Whether the record is somewhere.
    pub(super) found: bool,
    /// Where it is now.
    now: Vec<String>,
    /// What happened, by time (milliseconds).
    life: Vec<(i64, String)>,
    published: Option<String>,
    key: Option<String>,
    payload: Option<String>,
    committed: Option<i64>,
    end: i64,
    settled: bool,
    computed: Option<String>,
}

impl Told {
    pub(super) fn of(
        origin: &Origin,
        of: Option<&'static str>,
        facts: &Facts,
        pipeline: &Pipeline,
        show: Show,
    ) -> Self {
        let (now, found) = Judge { origin, facts, pipeline }.now();
        let record = facts.record.as_ref();
        let key_view = if show.key { value::View::Raw } else { value::View::Masked };
        let payload = record.map(|record| match (&record.value, show.payload) {
            (value, true) => value::shown(value.as_deref(), value::View::Raw),
            (Some(value), false) => format!("{} bytes", value.len()),
            (None, false) => "a tombstone".to_owned(),
        });
        Self {
            origin: format!("{}/{}/{}", origin.topic, origin.partition, origin.offset),
            of,
            found,
            now,
            life: life(facts),
            published: record.map(|record| when::shown(record.timestamp_ms)),
            key: record.map(|record| value::small_within(record.key.as_deref(), key_view, KEY_BYTES)),
            payload,
            committed: facts.committed,
            end: facts.log.end,
            settled: facts.settled,
            computed: facts.computed.as_ref().map(computed_words),
        }
    }

    pub(super) fn print(&self, output: &Output) {
        let line = |name: &str, text: &str| output.line(format_args!("{name:<10} {text}"));
        line("record", &self.origin);
        if let Some(of) = self.of {
            line("", &format!("(what was asked for is a {of} of it)"));
        }
        match (&self.published, &self.key, &self.payload) {
            (Some(published), Some(key), Some(payload)) => {
                line("published", published);
                line("key", key);
                line("payload", payload);
            }
            _ => line("published", "the record itself is not in the log"),
        }
        for (place, text) in self.now.iter().enumerate() {
            line(if place == 0 { "now" } else { "" }, text);
        }
        for (place, (ms, text)) in self.life.iter().enumerate() {
            line(if place == 0 { "life" } else { "" }, &format!("{} {text}", when::shown(*ms)));
        }
        let committed = self.committed.map_or_else(|| "nothing".to_owned(), |offset| offset.to_string());
        let settled = if self.settled { "settled" } else { "not settled" };
        line("group", &format!("committed {committed} of {}; this record is {settled}", self.end));
        if let Some(computed) = &self.computed {
            line("steps", &format!("{computed} (computed now)"));
        }
    }

    pub(super) fn json(&self) -> serde_json::Value {
        json!({
            "record": self.origin,
            "asked_for": self.of.unwrap_or("record"),
            "found": self.found,
            "now": self.now,
            "life": self.life.iter().map(|(ms, what)| json!({"time_ms": ms, "what": what})).collect::<Vec<_>>(),
            "published": self.published,
            "key": self.key,
            "payload": self.payload,
            "committed": self.committed,
            "end": self.end,
            "settled": self.settled,
            "computed_now": self.computed,
        })
    }
}

/// What happened, in the order of time.
fn life(facts: &Facts) -> Vec<(i64, String)> {
    let mut life = Vec::new();
    for copy in &facts.copies {
        let said = &copy.said;
        let failed = || format!("attempt {}{} failed: {}", said.attempt, replay(said), failure(said));
        let (what, time) = match (said.reason.as_str(), said.attempt, said.replays) {
            ("retry.parked", 0, _) => {
                ("parked behind an earlier record of its key".to_owned(), copy.landed_ms)
            }
            // The reason that it carries is the letter's; it has not failed since.
            (_, 0, 1..) => (format!("sent again as replay {}", said.replays), copy.landed_ms),
            _ if said.last_failed_ms > 0 => (failed(), said.last_failed_ms),
            _ => (failed(), copy.landed_ms),
        };
        life.push((time, format!("{what}; to {}", copy.at)));
    }
    for letter in &facts.letters {
        let said = &letter.said;
        let what = format!("dead letter after attempt {}{}: {}", said.attempt, replay(said), failure(said));
        life.push((letter.landed_ms, format!("{what}; {}", letter.at)));
        if let Some(run) = &letter.handled {
            life.push((
                run.started_ms,
                format!("{} {} of {}: {}", run.kind.word(), run.id, run.who, letter.at),
            ));
        }
    }
    life.sort_by_key(|(time, _)| *time);
    life
}

fn replay(said: &LetterHeaders) -> String {
    if said.replays > 0 { format!(" of replay {}", said.replays) } else { String::new() }
}

fn failure(said: &LetterHeaders) -> String {
    let at = if said.at.is_empty() { String::new() } else { format!(" at {}", said.at) };
    let detail = if said.detail.is_empty() { String::new() } else { format!(": {}", said.detail) };
    format!("{}{at}{detail}", said.reason)
}

fn computed_words(computed: &Computed) -> String {
    match computed {
        Computed::Filtered { step, rule } => format!("filtered by {rule} (step {step})"),
        Computed::Failed { at, reason, detail } => format!("refused by {at}: {reason}: {detail}"),
        Computed::Routed { sinks, waits } => {
            let to = if sinks.is_empty() {
                "to no sink: no `when` takes it".to_owned()
            } else {
                format!("to {}", sinks.join(", "))
            };
            if waits.is_empty() { to } else { format!("{to}; without {}, which waits", waits.join(", ")) }
        }
    }
}

/// Finds out where the record is.
struct Judge<'a> {
    origin: &'a Origin,
    facts: &'a Facts,
    pipeline: &'a Pipeline,
}

impl Judge<'_> {
    /// The sentences, and whether the record is somewhere.
    fn now(&self) -> (Vec<String>, bool) {
        let mut now: Vec<String> = self.facts.sinks.iter().flat_map(|sink| self.sink(sink)).collect();
        let held = self.current().any(|file| file.holds);
        now.extend(self.letter());
        if !held {
            now.extend(self.waiting());
        }
        if now.is_empty() && self.facts.settled {
            now.push(self.settled_elsewhere());
        }
        let earlier = self.earlier();
        if !now.is_empty() {
            now.extend(earlier);
            return (now, true);
        }
        (vec![self.nowhere()].into_iter().chain(earlier).collect(), false)
    }

    fn current(&self) -> impl Iterator<Item = &FileSeen> {
        let generation = self.pipeline.generation;
        let files = self.facts.sinks.iter().filter_map(|sink| sink.files.as_ref()).flatten();
        files.filter(move |file| file.generation == generation)
    }

    fn sink(&self, sink: &SinkSeen) -> Vec<String> {
        let files = sink.files.iter().flatten().filter(|file| file.generation == self.pipeline.generation);
        files.filter(|file| file.holds).map(|file| self.held(&sink.name, file)).collect()
    }

    fn held(&self, name: &str, file: &FileSeen) -> String {
        let path = &file.path;
        let late = if file.also { ", after a retry or replay" } else { "" };
        let lines = file.lines.as_deref().unwrap_or_default();
        match lines {
            [line] => return format!("in sink {name}: {path}, line {line}{late}"),
            [first, .., last] => {
                let rows = counted(lines.len() as u64, "row");
                return format!("in sink {name}: {path}, {rows} from line {first} to {last}{late}");
            }
            [] => {}
        }
        match &self.facts.computed {
            Some(Computed::Filtered { step, rule }) => {
                format!("filtered by {rule} (step {step}, computed now); counted without a row in {path}")
            }
            Some(Computed::Routed { sinks, .. }) if !sinks.iter().any(|sink| sink == name) => {
                format!("not for sink {name}: its `when` does not take it (computed now); counted in {path}")
            }
            Some(Computed::Routed { .. }) if file.lines.is_none() => {
                format!("in sink {name}: {path}, as its ledger says")
            }
            Some(Computed::Routed { .. }) => format!(
                "held by sink {name} without a row in {path}; its steps would make one now, so they or their settings \
                 have changed since"
            ),
            Some(Computed::Failed { at, reason, .. }) => {
                format!("held by sink {name} without a row in {path}; now {at} would refuse it: {reason}")
            }
            None if self.facts.record.is_some() => {
                format!("held by sink {name} without a row in {path}: filtered, or not for this sink")
            }
            None => format!(
                "held by sink {name} without a row in {path}: filtered, or not for this sink; the record is gone, so by \
                 which rule cannot be computed"
            ),
        }
    }

    /// The newest letter, and one that was decided and is not there.
    fn letter(&self) -> Option<String> {
        let newest = self.facts.letters.iter().max_by_key(|letter| (letter.said.replays, letter.landed_ms));
        let Some(letter) = newest else {
            let file = self.current().find(|file| file.dead.is_some() && !file.holds)?;
            return Some(format!(
                "a dead letter, decided in {}; it is not in the dead-letter topic: on its way, or gone by retention or \
                 `dlq trim`",
                file.path
            ));
        };
        let state = match &letter.handled {
            Some(run) => format!("handled by {} {} of {}", run.kind.word(), run.id, run.who),
            None => "open".to_owned(),
        };
        Some(format!("dead letter {} ({state}): {}", letter.at, failure(&letter.said)))
    }

    fn waiting(&self) -> Option<String> {
        let open = self.facts.copies.iter().filter(|copy| !copy.settled);
        let copy = open.max_by_key(|copy| (copy.said.replays, copy.said.attempt, copy.landed_ms))?;
        let wait = copy.said.not_before_ms.unwrap_or(0) - when::now_ms();
        let due = if wait > 0 {
            format!("due in {}", when::span(wait))
        } else if copy.said.reason == "retry.parked" {
            "when the earlier records of its key are through".to_owned()
        } else {
            "due now".to_owned()
        };
        let attempts = self.pipeline.failure.retry.attempts;
        Some(format!("waits in {}: {due} ({} of {attempts} attempts made)", copy.at, copy.said.attempt))
    }

    /// Settled, and no ledger, letter or copy that can be read from here says where.
    fn settled_elsewhere(&self) -> String {
        let silent: Vec<&str> = self
            .facts
            .sinks
            .iter()
            .filter(|sink| sink.files.is_none())
            .map(|sink| sink.name.as_str())
            .collect();
        match &self.facts.computed {
            Some(Computed::Filtered { step, rule }) => {
                format!("settled, and filtered by {rule} (step {step}, computed now)")
            }
            Some(Computed::Routed { sinks, .. }) if sinks.iter().any(|sink| silent.contains(&sink.as_str())) => format!(
                "settled, so it was written to {} (computed now); no ledger of it can be read from here",
                sinks.join(", ")
            ),
            Some(Computed::Routed { .. } | Computed::Failed { .. }) | None => {
                "settled, but nothing that can be read from here says where it went (a sink's folder on another machine, a \
                 letter that retention took)"
                    .to_owned()
            }
        }
    }

    /// What earlier and later generations say.
    fn earlier(&self) -> Vec<String> {
        let mut told = Vec::new();
        for sink in &self.facts.sinks {
            let other = |file: &&FileSeen| file.generation != self.pipeline.generation && file.holds;
            for file in sink.files.iter().flatten().filter(other) {
                let rows = if file.lines.as_ref().is_some_and(Vec::is_empty) { "without a row " } else { "" };
                told.push(format!(
                    "also {rows}in generation {} of {}: {}",
                    file.generation, sink.name, file.path
                ));
            }
        }
        told
    }

    fn nowhere(&self) -> String {
        let (offset, log) = (self.origin.offset.0, self.facts.log);
        if offset >= log.end {
            return format!("nowhere: it was not written yet, the partition ends at {}", log.end);
        }
        if offset < log.start {
            let start = log.start;
            return format!(
                "nowhere: deleted from the log, which begins at {start}, and nothing else knows it"
            );
        }
        if self.facts.record.is_none() {
            return "nowhere: there is no record at this offset (compacted, or a transaction's marker)"
                .to_owned();
        }
        let from = self.facts.committed.unwrap_or(log.start).max(log.start);
        let before = grouped(u64::try_from(offset - from).unwrap_or(0));
        match self.facts.committed {
            Some(committed) => format!(
                "nowhere yet: not processed, or at work; the group has committed {committed} of {}, {before} before it",
                log.end
            ),
            None => format!("nowhere yet: the group has committed nothing here; {before} before it"),
        }
    }
}
