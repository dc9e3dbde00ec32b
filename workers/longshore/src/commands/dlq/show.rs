//! `longshore dlq show ID`: one letter, for people.

use std::time::Duration;

use longshore_core::headers::{self, LetterHeaders};
use longshore_core::journal::{Journal, Run};
use longshore_core::letter::{LetterKind, LetterRef, is_foreign};
use longshore_core::{Origin, Reason};
use longshore_kafka::{ReadFrom, ReadRecord, ReadUntil, Reader, RecordView};
use serde_json::json;

use super::scope::Scope;
use crate::cli::Format;
use crate::cli::dlq::Show;
use crate::commands::common::journal::unanswered;
use crate::commands::common::value::{self, View};
use crate::commands::common::watch::Watch;
use crate::commands::common::{when, words};
use crate::exit::{End, Exit};
use crate::output::Output;

const LOOK: Duration = Duration::from_millis(500);
/// How long one letter may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(arguments: &Show, output: &Output) -> Result<(), End> {
    let mut scope = Scope::of_connection(&arguments.topics.connection, output)?;
    let id = Id::parse(&arguments.id)?;
    match &arguments.topics.topic {
        Some(topic) => scope.topics = vec![topic.clone()],
        // Without a pipeline the id itself says which topic is meant.
        None if scope.pipeline.is_none() => scope.topics = vec![id.topic.clone()],
        None => {}
    }
    let view = if arguments.raw { View::Raw } else { View::Masked };
    let (letter, journal) = look(&scope, &id, view, Room::ALL, output)?;
    match output.format() {
        Format::Table => letter.print(&journal, output),
        Format::Json => output.json(&letter.json(&journal))?,
        Format::Ndjson => output.line(letter.json(&journal)),
    }
    if view == View::Masked {
        output.note("texts and numbers are masked, since they may be secret; --raw shows them");
    }
    Ok(())
}

/// A letter, and the journal that says what was done with it.
pub(super) fn look(
    scope: &Scope,
    id: &Id,
    view: View,
    room: Room,
    output: &Output,
) -> Result<(Letter, Journal), End> {
    let (topic, record, later) = find(scope, id, output)?;
    Ok((Letter { topic, record, later, view, room }, scope.journal(output)?))
}

/// How much of a letter is shown.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// Bytes of the payload, about.
    pub(super) payload: usize,
    /// Bytes of the key and of each header, about.
    pub(super) small: usize,
    /// Headers of the record's own.
    pub(super) headers: usize,
    /// Whether also what the person said who handled it.
    pub(super) words: bool,
}

impl Room {
    /// All of it.
    const ALL: Self = Self { payload: usize::MAX, small: usize::MAX, headers: usize::MAX, words: true };
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Id {
    topic: String,
    partition: i32,
    offset: i64,
    /// Given only for a record's origin.
    index: Option<u32>,
}

impl Id {
    pub(super) fn parse(text: &str) -> Result<Self, End> {
        let wrong = || {
            let words = "expected TOPIC/PARTITION/OFFSET of a letter, or of the record it was made from";
            End::new(Exit::Usage, format!("{text}: {words}"))
        };
        let slashes = text.matches('/').count();
        let whole = if slashes == 2 { format!("{text}/0") } else { text.to_owned() };
        let origin: Origin = whole.parse().map_err(|_| wrong())?;
        Ok(Self {
            topic: origin.topic.as_str().to_owned(),
            partition: origin.partition.0,
            offset: origin.offset.0,
            index: (slashes == 3).then_some(origin.index),
        })
    }
}

/// The letter, its topic, and how many letters of the same record came before it.
fn find(scope: &Scope, id: &Id, output: &Output) -> Result<(String, ReadRecord, usize), End> {
    if id.index.is_none() && scope.topics.contains(&id.topic) {
        let record = at(scope, id)?;
        return Ok((id.topic.clone(), record, 0));
    }
    let mut found: Option<(String, ReadRecord)> = None;
    let mut count = 0;
    for topic in &scope.topics {
        let mut reader = Reader::open(&scope.options, topic, ReadFrom::Start, ReadUntil::EndNow)?;
        let mut watch = Watch::new(topic, reader.offsets_at_open(), "letters", output);
        let mut look = |record: RecordView<'_>| {
            let mut letter = LetterRef::default();
            record.headers(|name, value| letter.take(name, value));
            let Ok(Some(place)) = letter.place() else { return };
            let same =
                place.topic == id.topic && place.partition == id.partition && place.offset == id.offset;
            if same && id.index.is_none_or(|index| index == place.index) {
                count += 1;
                found = Some((topic.clone(), record.to_record()));
            }
        };
        while let Some(records) = reader.visit_batch(LOOK, &mut look)? {
            watch.went_on(records as u64)?;
        }
        watch.finish();
    }
    let (topic, record) = found.ok_or_else(|| {
        let topics = scope.topics.join(", ");
        let place = format!("{}/{}/{}", id.topic, id.partition, id.offset);
        End::new(Exit::Failed, format!("no letter of {place} in {topics}"))
    })?;
    Ok((topic, record, count - 1))
}

fn at(scope: &Scope, id: &Id) -> Result<ReadRecord, End> {
    let gone = || {
        let place = format!("{}/{}/{}", id.topic, id.partition, id.offset);
        End::new(
            Exit::Failed,
            format!("no letter at {place}: never written, or gone by retention or `dlq trim`"),
        )
    };
    let admin = longshore_kafka::Admin::new(&scope.options)?;
    let places = admin.offsets(&id.topic)?;
    let place = places.iter().find(|place| place.partition == id.partition).ok_or_else(gone)?;
    if id.offset < place.start || id.offset >= place.end {
        return Err(gone());
    }
    let from = ReadFrom::At(vec![(id.partition, id.offset)]);
    let mut reader = Reader::open(&scope.options, &id.topic, from, ReadUntil::EndNow)?;
    match reader.next_batch(PATIENCE)? {
        Some(records) if records.is_empty() => Err(unanswered(&id.topic)),
        Some(records) => {
            records.into_iter().next().filter(|found| found.offset == id.offset).ok_or_else(gone)
        }
        None => Err(gone()),
    }
}

/// A letter as people see it.
pub(super) struct Letter {
    topic: String,
    record: ReadRecord,
    /// Earlier letters of the same record.
    later: usize,
    view: View,
    room: Room,
}

impl Letter {
    fn head(&self) -> LetterRef<'_> {
        LetterRef::of(self.record.headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref())))
    }

    fn id(&self) -> String {
        format!("{}/{}/{}", self.topic, self.record.partition, self.record.offset)
    }

    /// Headers that are no dead-letter handling's.
    fn own_headers(&self) -> impl Iterator<Item = (String, Option<&[u8]>)> {
        let own = |name: &[u8]| !headers::is_ours(name) && !is_foreign(name);
        self.record
            .headers
            .iter()
            .filter(move |(name, _)| own(name))
            .map(|(name, value)| (words(name, 64), value.as_deref()))
    }

    fn handled<'a>(&self, journal: &'a Journal) -> Option<&'a Run> {
        journal.handled_by(&self.topic, self.record.partition, self.record.offset)
    }

    /// Ours holds no payload; others' messages often quote it.
    fn detail(&self) -> String {
        let head = self.head();
        if head.kind() == LetterKind::Longshore || self.view == View::Raw {
            words(head.detail(), 512)
        } else {
            value::small(Some(head.detail()), self.view)
        }
    }

    fn print(&self, journal: &Journal, output: &Output) {
        let head = self.head();
        let line = |name: &str, text: &str| {
            if !text.is_empty() {
                output.line(format_args!("{name:<13} {text}"));
            }
        };
        line("letter", &self.id());
        line("state", &state(self.handled(journal), self.room.words));
        match head.headers() {
            Ok(Some(said)) => self.print_said(&said, line),
            Ok(None) => {
                line("origin", "no header says where this record stood; it is known by its own place")
            }
            Err(error) => line("origin", &format!("{error}; the record is known by its own place")),
        }
        line("reason", &reason(&words(head.reason(), 128)));
        line("failed at", &words(head.at(), 128));
        line("detail", &self.detail());
        line("failed by", &words(head.pipeline(), 128));
        match head.is_bare() {
            true => line("key", "left out, and the record's own headers: too large for this topic"),
            false => line("key", &value::small(self.record.key.as_deref(), self.view)),
        }
        for (name, value) in self.own_headers() {
            line("header", &format!("{name}: {}", value::small(value, self.view)));
        }
        match head.is_without_payload() {
            true => line("payload", "left out: too large for this topic; the record stands at its origin"),
            false => {
                line("payload", &payload_size(self.record.value.as_deref()));
                output.line(value::shown(self.record.value.as_deref(), self.view));
            }
        }
    }

    fn print_said(&self, said: &LetterHeaders, line: impl Fn(&str, &str)) {
        let kind = self.head().kind();
        line("origin", &said.origin.to_string());
        if said.origin_timestamp_ms >= 0 {
            line("published", &when::shown(said.origin_timestamp_ms));
        }
        if kind == LetterKind::Longshore {
            line("first failed", &when::shown(said.first_failed_ms));
            line("last failed", &when::shown(said.last_failed_ms));
            let earlier =
                if self.later > 0 { format!(" ({} earlier here)", self.later) } else { String::new() };
            line("attempts", &said.attempt.to_string());
            let before = match self.head().replayed() {
                0 => String::new(),
                times => format!(", and {times} before it was published anew"),
            };
            line("replays", &format!("{}{before}{earlier}", said.replays));
        } else {
            line("written by", kind.word());
        }
    }

    pub(super) fn json(&self, journal: &Journal) -> serde_json::Value {
        let head = self.head();
        let said = head.headers().ok().flatten();
        let payload = value::shown_within(self.record.value.as_deref(), self.view, self.room.payload);
        let small = |bytes| value::small_within(bytes, self.view, self.room.small);
        let own: Vec<_> = self
            .own_headers()
            .take(self.room.headers)
            .map(|(name, value)| json!({"name": name, "value": small(value)}))
            .collect();
        let code = words(head.reason(), 128);
        json!({
            "id": self.id(),
            "kind": head.kind().word(),
            "handled_by": self.handled(journal).map(|run| run.id.clone()),
            "state": state(self.handled(journal), self.room.words),
            "time_ms": self.record.timestamp_ms,
            "origin": said.as_ref().map(|said| said.origin.to_string()),
            "origin_timestamp_ms": said.as_ref().map(|said| said.origin_timestamp_ms),
            "attempt": said.as_ref().map(|said| said.attempt),
            "replays": said.as_ref().map(|said| said.replays),
            "replayed": head.replayed(),
            "first_failed_ms": said.as_ref().map(|said| said.first_failed_ms),
            "last_failed_ms": said.as_ref().map(|said| said.last_failed_ms),
            "reason": code,
            "reason_words": Reason::from_code(&code).map(Reason::words),
            "at": words(head.at(), 128),
            "detail": self.detail(),
            "version": words(head.pipeline(), 128),
            "key": small(self.record.key.as_deref()),
            "headers": own,
            "payload": payload,
            "payload_bytes": self.record.value.as_ref().map(Vec::len),
            "payload_omitted": head.is_without_payload(),
            "key_and_headers_omitted": head.is_bare(),
            "masked": self.view == View::Masked,
        })
    }
}

pub(super) fn state(handled: Option<&Run>, with_words: bool) -> String {
    match handled {
        None => "open".to_owned(),
        Some(run) => {
            let words =
                run.words.as_ref().filter(|_| with_words).map_or(String::new(), |words| format!(": {words}"));
            format!(
                "handled by {} {}, {} ({}){words}",
                run.kind.word(),
                run.id,
                run.who,
                when::shown(run.started_ms)
            )
        }
    }
}

fn reason(code: &str) -> String {
    match Reason::from_code(code) {
        Some(reason) => format!("{code}: {} (docs/reasons.md)", reason.words()),
        None if code.is_empty() => "no header says why".to_owned(),
        None => code.to_owned(),
    }
}

fn payload_size(payload: Option<&[u8]>) -> String {
    payload.map_or("null".to_owned(), |payload| format!("{} bytes", payload.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_letters_or_origins() {
        let id = Id::parse("in.p.dlq/3/42").unwrap();
        assert_eq!((id.topic.as_str(), id.partition, id.offset, id.index), ("in.p.dlq", 3, 42, None));
        assert_eq!(Id::parse("in/3/42/1").unwrap().index, Some(1));
        for bad in ["", "in", "in/3", "in/x/1", "in/1/-1", "in/1/2/3/4"] {
            assert_eq!(Id::parse(bad).unwrap_err().code, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn reasons_are_said_in_words() {
        let words = reason("decode.json");
        assert_eq!(words, "decode.json: The payload is not valid JSON. (docs/reasons.md)");
        assert_eq!(reason("com.acme.Bad"), "com.acme.Bad");
    }
}
