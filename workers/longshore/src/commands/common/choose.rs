//! Which open letters a person means: time, reason, and a condition over the letter and the record in it.

use longshore_codec::json::{self, Limits};
use longshore_conditions::{Condition, LetterValues};
use longshore_core::headers::is_ours;
use longshore_core::item::Content;
use longshore_core::journal::Filter;
use longshore_core::letter::is_foreign;
use longshore_core::{ChunkBuilder, Epoch, Failure, Item, Lane, Map, Offset, PairId, RecordRef, Value};

use super::found::Found;
use super::{when, words};
use crate::cli::dlq::LetterFilter;
use crate::exit::{End, Exit};

/// Judges letters.
pub(crate) struct Choice {
    filter: Filter,
    condition: Option<Condition>,
}

impl Choice {
    /// From what was typed.
    pub(crate) fn of(arguments: &LetterFilter, reasons: &[String]) -> Result<Self, End> {
        let now = when::now_ms();
        let moment = |flag, text: &Option<String>| {
            text.as_deref().map(|text| when::parse(flag, text, now)).transpose()
        };
        let filter = Filter {
            condition: arguments.condition.clone(),
            since_ms: moment("--since", &arguments.since)?,
            until_ms: moment("--until", &arguments.until)?,
            reasons: reasons.to_vec(),
            limit: arguments.limit,
        };
        let condition = arguments.condition.as_deref().map(|text| {
            Condition::compile_for_letters(text).map_err(|error| {
                // The place is shown under the text, as a pipeline file's report does.
                let caret = " ".repeat(text[..error.offset.min(text.len())].chars().count());
                End::new(Exit::Usage, format!("--where: {error}\n  {text}\n  {caret}^"))
            })
        });
        Ok(Self { filter, condition: condition.transpose()? })
    }

    /// What was asked for, for the journal.
    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Whether the letter is meant.
    ///
    /// # Errors
    /// The condition failed on it.
    pub(crate) fn takes(&self, found: &Found<'_>) -> Result<bool, Failure> {
        let time = found.record.timestamp_ms();
        let late = self.filter.since_ms.is_none_or(|since| time >= since);
        let early = self.filter.until_ms.is_none_or(|until| time < until);
        let reason = found.letter.reason();
        let named = self.filter.reasons.is_empty()
            || self.filter.reasons.iter().any(|wanted| wanted.as_bytes() == reason);
        if !(late && early && named) {
            return Ok(false);
        }
        let Some(condition) = &self.condition else { return Ok(true) };
        let letter = LetterItem::of(found);
        condition.matches_letter(&letter.item, letter.values())
    }
}

/// A letter as conditions and transforms see it.
pub(crate) struct LetterItem {
    /// The record in it: its payload's fields where that is a JSON object.
    pub(crate) item: Item,
    said: Map,
    payload: Option<Vec<u8>>,
}

impl LetterItem {
    pub(crate) fn of(found: &Found<'_>) -> Self {
        let record = &found.record;
        let (topic, partition, offset) =
            found.place.map_or((found.topic, record.partition(), record.offset()), |place| {
                (place.topic, place.partition, place.offset)
            });
        let headers = found.letter.headers().ok().flatten();
        let time = headers.as_ref().map(|said| said.origin_timestamp_ms).filter(|time| *time >= 0);
        let mut builder = ChunkBuilder::new(PairId::new(topic, partition), Lane::Input, Epoch(0));
        builder.record(Offset(offset), time.unwrap_or(record.timestamp_ms()), record.key(), record.value());
        record.headers(|name, value| {
            if !is_ours(name) && !is_foreign(name) {
                builder.header(name, value);
            }
        });
        let chunk = builder.build(None);
        let source = match RecordRef::new(&chunk, 0) {
            Some(source) => source,
            None => unreachable!("the chunk was built with one record"),
        };
        let mut item = Item::new(source);
        if let Some(Ok(Value::Object(fields))) =
            record.value().map(|payload| json::parse(payload, &Limits::default()))
        {
            item.content = Content::Fields(fields);
        }
        Self { item, said: said(found), payload: record.value().map(<[u8]>::to_vec) }
    }

    pub(crate) fn values(&self) -> LetterValues<'_> {
        LetterValues { letter: &self.said, payload: self.payload.as_deref() }
    }

    /// The item to change, beside the values.
    pub(crate) fn parts(&mut self) -> (&mut Item, LetterValues<'_>) {
        (&mut self.item, LetterValues { letter: &self.said, payload: self.payload.as_deref() })
    }
}

/// What the headers say, as the variable `letter`.
fn said(found: &Found<'_>) -> Map {
    let letter = &found.letter;
    let mut map = Map::with_capacity(16);
    let mut put = |name: &str, value: Value| map.push(name, value);
    let text = |bytes: &[u8], most: usize| Value::from(words(bytes, most).as_str());
    put("kind", Value::from(letter.kind().word()));
    put("reason", text(letter.reason(), 128));
    put("at", text(letter.at(), 128));
    put("detail", text(letter.detail(), 512));
    put("version", text(letter.pipeline(), 128));
    put("replays", Value::Int(i64::from(found.replays)));
    put("replayed", Value::Int(i64::from(letter.replayed())));
    put("topic", Value::from(found.topic));
    put("partition", Value::Int(i64::from(found.record.partition())));
    put("offset", Value::Int(found.record.offset()));
    put("time", Value::Int(found.record.timestamp_ms()));
    if let Ok(Some(headers)) = letter.headers() {
        put("origin", Value::from(headers.origin.to_string().as_str()));
        put("attempt", Value::Int(i64::from(headers.attempt)));
        put("not_before", Value::Int(headers.not_before_ms.unwrap_or(0)));
        put("first_failed", Value::Int(headers.first_failed_ms));
        put("last_failed", Value::Int(headers.last_failed_ms));
    }
    map
}
