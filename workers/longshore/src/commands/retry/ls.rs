//! `longshore retry ls`: what waits, when it is due, and which keys are parked.

use std::collections::BTreeMap;

use longshore_core::letter::LetterRef;
use longshore_kafka::RecordView;
use serde::Serialize;
use serde_json::json;

use super::backlog::{PairKey, copy_of, pass};
use super::{Backlog, Lanes, Waiting};
use crate::cli::Format;
use crate::cli::retry::RetryLs;
use crate::commands::common::choose::Choice;
use crate::commands::common::{value, when, words};
use crate::commands::connection;
use crate::exit::{End, Exit};
use crate::output::{Output, counted, grouped};

/// Parked keys that are shown, unless `--limit` says otherwise.
const KEYS_SHOWN: usize = 20;
/// The widest reason and the widest key in a table of 80 columns.
const REASON_WIDTH: usize = 18;
const KEY_WIDTH: usize = 20;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

pub(super) fn run(arguments: &RetryLs, output: &Output) -> Result<(), End> {
    let choice = Choice::of(&arguments.meant.filter, &arguments.meant.reason)?;
    if arguments.raw && output.format() != Format::Ndjson {
        return Err(End::new(Exit::Usage, "--raw shows payloads one by one: add -o ndjson"));
    }
    let why = "its group says where its retry topic is read from";
    let (loaded, options) = connection::pipeline(&arguments.connection, why, output)?;
    let Some(lanes) = Lanes::of(&loaded.pipeline, &options) else {
        let name = &loaded.pipeline.pipeline;
        output.note(format_args!("{name} has no retry topic: its records wait in the worker"));
        return Ok(());
    };
    let now = when::now_ms();
    let backlog = Backlog::read(&lanes, &choice, now, output)?;
    // How many keys or lines are listed; what is counted is all that is meant.
    let limit = arguments.meant.filter.limit;
    let mut lines = None;
    match output.format() {
        Format::Ndjson => {
            Lines { backlog: &backlog, lanes: &lanes, now, raw: arguments.raw, output }.print(limit)?;
            lines = limit;
        }
        Format::Json => {
            let mut keys = Parked::of(&backlog);
            keys.truncate(at_most(limit, usize::MAX));
            let rows = Group::of(&backlog, now);
            let next = backlog
                .chosen(None)
                .filter(|(_, _, waiting)| !waiting.behind)
                .map(|(_, _, waiting)| waiting.due_ms)
                .min();
            output.json(&json!({
                "waiting": backlog.chosen(None).count(),
                "next_due_ms": next,
                "reasons": rows,
                "parked": keys,
                "superseded_copies": backlog.superseded,
                "strays": backlog.strays,
                "condition_failed": backlog.condition_failed,
            }))?;
        }
        Format::Table => table(&backlog, &lanes, limit, now, output)?,
    }
    told(&backlog, &lanes, lines, output);
    Ok(())
}

fn at_most(limit: Option<u64>, usual: usize) -> usize {
    limit.map_or(usual, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

fn table(backlog: &Backlog, lanes: &Lanes, limit: Option<u64>, now: i64, output: &Output) -> Result<(), End> {
    let titles = ["REASON", "WAITING", "NOW", "<1M", "<1H", "LATER", "PARKED", "NEXT DUE"];
    let groups = Group::of(backlog, now);
    output.rows(&titles, &groups, |group| {
        let numbers = [group.waiting, group.now, group.minute, group.hour, group.later, group.parked];
        let cells = numbers.map(|number| number.to_string());
        let next = group.next_due_ms.map_or_else(|| "-".to_owned(), |due| due_words(due, now));
        [cut(&group.reason, REASON_WIDTH)].into_iter().chain(cells).chain([next]).collect()
    })?;
    let keys = Parked::of(backlog);
    if keys.is_empty() {
        return Ok(());
    }
    output.line("");
    let most = at_most(limit, KEYS_SHOWN);
    let shown = &keys[..keys.len().min(most)];
    output.rows(&["KEY", "PARTITION", "BEHIND", "HEAD", "AGE", "REASON", "DUE"], shown, |key| {
        let partition = if lanes.topics.len() == 1 {
            key.partition.to_string()
        } else {
            cut(&format!("{}/{}", key.topic, key.partition), REASON_WIDTH)
        };
        vec![
            cut(&key.key, KEY_WIDTH),
            partition,
            key.behind.to_string(),
            key.head.to_string(),
            when::span(now - key.since_ms),
            cut(&key.reason, REASON_WIDTH),
            due_words(key.due_ms, now),
        ]
    })?;
    if keys.len() > most {
        output.note(format_args!(
            "{} more: --limit COUNT shows them",
            counted((keys.len() - most) as u64, "parked key")
        ));
    }
    Ok(())
}

fn told(backlog: &Backlog, lanes: &Lanes, limit: Option<u64>, output: &Output) {
    let (all, chosen) = (backlog.iter().count() as u64, backlog.chosen(limit).count() as u64);
    let topics = match lanes.topics.as_slice() {
        [(_, topic)] => topic.clone(),
        topics => counted(topics.len() as u64, "topic"),
    };
    let waits = if all == 1 { "waits" } else { "wait" };
    if chosen == all {
        output.note(format_args!("{} {waits} in {topics}", counted(all, "record")));
    } else {
        output.note(format_args!(
            "{} of {} that {waits} in {topics}",
            grouped(chosen),
            counted(all, "record")
        ));
    }
    if backlog.strays > 0 {
        let words = "that no pipeline's worker wrote; a worker makes dead letters of them (retry.stray)";
        output.note(format_args!("{} {words}", counted(backlog.strays, "record")));
    }
    failures(backlog, output);
}

/// What the condition failed on.
pub(super) fn failures(backlog: &Backlog, output: &Output) {
    for failure in &backlog.condition_failures {
        output.note(format_args!("--where: {failure}"));
    }
    if backlog.condition_failed > 0 {
        let copies = backlog.condition_failed;
        output
            .note(format_args!("--where cannot be evaluated for {}; not chosen", counted(copies, "record")));
    }
}

/// Waiting records of one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Group {
    reason: String,
    waiting: u64,
    /// Due already.
    now: u64,
    /// Due within a minute.
    minute: u64,
    /// Due within an hour, and not within a minute.
    hour: u64,
    /// Due later.
    later: u64,
    /// Behind an earlier record of their key, whatever their own time.
    parked: u64,
    next_due_ms: Option<i64>,
}

impl Group {
    /// The largest first.
    fn of(backlog: &Backlog, now: i64) -> Vec<Self> {
        let mut groups: BTreeMap<usize, Self> = BTreeMap::new();
        for (_, _, waiting) in backlog.chosen(None) {
            let group = groups.entry(waiting.reason).or_default();
            group.reason.clone_from(&backlog.reasons[waiting.reason]);
            group.waiting += 1;
            if waiting.behind {
                group.parked += 1;
                continue;
            }
            group.next_due_ms = Some(group.next_due_ms.map_or(waiting.due_ms, |due| due.min(waiting.due_ms)));
            *match waiting.due_ms.saturating_sub(now) {
                i64::MIN..=0 => &mut group.now,
                1..=MINUTE_MS => &mut group.minute,
                wait if wait <= HOUR_MS => &mut group.hour,
                _ => &mut group.later,
            } += 1;
        }
        let mut rows: Vec<Self> = groups.into_values().collect();
        rows.sort_by(|a, b| b.waiting.cmp(&a.waiting).then_with(|| a.reason.cmp(&b.reason)));
        rows
    }
}

/// A key whose records wait behind its first one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Parked {
    key: String,
    topic: String,
    partition: i32,
    /// Records behind the head.
    behind: u64,
    /// The head's offset in the input.
    head: i64,
    /// Since when the head fails, milliseconds.
    since_ms: i64,
    /// Why the head waits.
    reason: String,
    /// When the head is due, milliseconds; 0 = now.
    due_ms: i64,
}

impl Parked {
    /// The deepest first. A key counts with all that waits of it when one of its records is meant.
    fn of(backlog: &Backlog) -> Vec<Self> {
        let mut meant = std::collections::HashSet::new();
        meant.extend(backlog.chosen(None).filter_map(|(pair, _, waiting)| Some((pair, waiting.key?))));
        let mut keys: BTreeMap<(&PairKey, u64), Self> = BTreeMap::new();
        for (pair, origin, waiting) in backlog.iter() {
            let Some(key) = waiting.key.filter(|key| meant.contains(&(pair, *key))) else { continue };
            match keys.get_mut(&(pair, key.0)) {
                Some(parked) => parked.behind += 1,
                None => {
                    keys.insert((pair, key.0), Self::head(backlog, pair, origin, waiting));
                }
            }
        }
        let mut list: Vec<Self> = keys.into_values().filter(|parked| parked.behind > 0).collect();
        list.sort_by(|a, b| {
            b.behind.cmp(&a.behind).then_with(|| (a.partition, a.head).cmp(&(b.partition, b.head)))
        });
        list
    }

    fn head(backlog: &Backlog, pair: &PairKey, origin: i64, waiting: &Waiting) -> Self {
        Self {
            key: value::text(backlog.key(waiting).unwrap_or_default()),
            topic: pair.0.clone(),
            partition: pair.1,
            behind: 0,
            head: origin,
            since_ms: waiting.since_ms(),
            reason: backlog.reasons[waiting.reason].clone(),
            due_ms: waiting.due_ms,
        }
    }
}

/// Waiting records one by one, as JSON lines.
struct Lines<'a> {
    backlog: &'a Backlog,
    lanes: &'a Lanes,
    now: i64,
    raw: bool,
    output: &'a Output,
}

impl Lines<'_> {
    /// Reads what counts once more, so that nothing of it had to be kept.
    fn print(&self, limit: Option<u64>) -> Result<(), End> {
        let mut by_copy: BTreeMap<(&PairKey, i64), &Waiting> = BTreeMap::new();
        by_copy.extend(self.backlog.chosen(limit).map(|(pair, _, waiting)| ((pair, waiting.copy), waiting)));
        for (input, topic) in &self.lanes.topics {
            let from = firsts(
                by_copy.keys().filter(|(pair, _)| pair.0 == *input).map(|(pair, copy)| (pair.1, *copy)),
            );
            if from.is_empty() {
                continue;
            }
            pass(&self.lanes.options, topic, from, self.output, &mut |record| {
                let pair = (input.clone(), record.partition());
                if let Some(waiting) = by_copy.get(&(&pair, record.offset()))
                    && !self.output.closed()
                    && let Some(line) = self.line(topic, input, record, waiting)
                {
                    self.output.line(line);
                }
            })?;
        }
        Ok(())
    }

    fn line(
        &self,
        topic: &str,
        input: &str,
        record: RecordView<'_>,
        waiting: &Waiting,
    ) -> Option<serde_json::Value> {
        let mut letter = LetterRef::default();
        record.headers(|name, value| letter.take(name, value));
        let said = copy_of(&letter, input, record.partition())?;
        let mut line = json!({
            "origin": said.origin.to_string(),
            "copy": format!("{topic}/{}/{}", record.partition(), record.offset()),
            "state": state(waiting, self.now),
            "due_ms": waiting.due_ms,
            "attempt": waiting.attempt,
            "replays": waiting.replays,
            "reason": said.reason,
            "at": said.at,
            "detail": said.detail,
            "first_failed_ms": said.first_failed_ms,
            "version": words(letter.pipeline(), 128),
            "key": record.key().map(value::text),
            "payload_bytes": record.value().map(<[u8]>::len),
        });
        if self.raw
            && let Some(map) = line.as_object_mut()
        {
            map.insert("payload".to_owned(), json!(record.value().map(value::text)));
        }
        Some(line)
    }
}

/// The first offset of each partition.
pub(super) fn firsts(places: impl Iterator<Item = (i32, i64)>) -> Vec<(i32, i64)> {
    let mut firsts: BTreeMap<i32, i64> = BTreeMap::new();
    for (partition, offset) in places {
        firsts.entry(partition).and_modify(|first| *first = offset.min(*first)).or_insert(offset);
    }
    firsts.into_iter().collect()
}

/// What a record waits for, in a word.
fn state(waiting: &Waiting, now: i64) -> &'static str {
    if waiting.behind {
        "parked"
    } else if waiting.due_ms <= now {
        "due"
    } else {
        "waits"
    }
}

/// How long until then.
fn due_words(due_ms: i64, now: i64) -> String {
    if due_ms <= now { "now".to_owned() } else { format!("in {}", when::span(due_ms - now)) }
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['\u{2026}']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_cut_and_waits_are_told() {
        assert_eq!((due_words(5, 5), due_words(12_345, 345)), ("now".to_owned(), "in 12s".to_owned()));
        assert_eq!(cut("a-key-that-goes-on", 6), "a-key\u{2026}");
        assert_eq!(firsts([(1, 5), (0, 9), (1, 3)].into_iter()), [(0, 9), (1, 3)]);
    }
}
