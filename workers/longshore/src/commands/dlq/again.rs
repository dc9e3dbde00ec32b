//! The record that a letter becomes.

use std::sync::Arc;

use longshore_core::headers::{self, LetterHeaders, is_kept, is_ours};
use longshore_core::journal::Target;
use longshore_core::letter::{LetterRef, is_foreign};
use longshore_core::trace::{self, TRACEPARENT};
use longshore_kafka::RecordView;
use longshore_telemetry::trace::Story;

use super::batch::{Batch, Place};
use super::send::Sender;
use crate::commands::common::choose::LetterItem;
use crate::commands::common::found::{Found, State};

impl Sender<'_> {
    /// Adds the record that a letter becomes. After one that cannot become one nothing more is added.
    pub(super) fn take(&self, topic: &Arc<str>, record: RecordView<'_>, batch: &mut Batch) {
        if batch.failed.is_none() {
            batch.failed = self.add(topic, record, batch).err();
        }
    }

    fn add(&self, topic: &Arc<str>, record: RecordView<'_>, batch: &mut Batch) -> Result<(), String> {
        let (mut letter, mut own) = (LetterRef::default(), Vec::new());
        record.headers(|name, value| {
            letter.take(name, value);
            // No dead-letter handling's, which would grow with every round.
            if is_kept(name, value) && !is_foreign(name) {
                own.push((name, value));
            }
        });
        let place = letter.place().ok().flatten();
        let target = self
            .run
            .target
            .as_ref()
            .and_then(|target| self.inputs.target(target, place).map(|topic| (target, topic)));
        let Some((target, to)) = target else {
            return Err(format!("letter {}/{} has lost its origin", record.partition(), record.offset()));
        };
        let replays = letter.replays().unwrap_or(0);
        let again = match target {
            Target::Retry => {
                let said = letter.said().ok().flatten().ok_or("its headers cannot be read")?;
                let next = LetterHeaders { replays: said.replays.saturating_add(1), ..said };
                Some(LetterHeaders { attempt: 0, not_before_ms: None, ..next })
            }
            Target::Input | Target::Topic(_) => None,
        };
        let partition = again.as_ref().map(|again| again.origin.partition.0);
        let stands = format!("{topic}/{}/{}", record.partition(), record.offset());
        let here: Place = (Arc::clone(topic), record.partition(), record.offset());
        let told = here.clone();
        match &self.transform {
            None => batch.begin(to, here, (partition, record.key(), record.value())),
            Some(transform) => {
                let found = Found { topic, record, letter, place, replays, state: State::Open };
                let mut seen = LetterItem::of(&found);
                let (item, values) = seen.parts();
                let changed = transform.apply(item, values);
                // It went well when the plan was made, and the same bytes give the same result.
                let changed = changed.map_err(|failure| failure.detail().to_owned())?;
                let key = changed.key.as_deref().or(record.key());
                let value = changed.payload.as_deref().or(record.value());
                batch.begin(to, here, (partition, key, value));
            }
        }
        let story = self.story(&letter, &own);
        // A new record has a count of its own.
        own.retain(|(name, _)| again.is_some() || !is_ours(name));
        own.into_iter().for_each(|(name, value)| batch.records.header(name, value));
        if let Some(trace) = story.as_ref().and_then(Story::header) {
            batch.records.header(TRACEPARENT.as_bytes(), Some(trace.to_string().as_bytes()));
        }
        batch.stories.extend(story.map(|story| (told, story)));
        batch.records.header(headers::REPLAY_ID.as_bytes(), Some(self.run.id.as_bytes()));
        batch.records.header(headers::REPLAY_LETTER.as_bytes(), Some(stands.as_bytes()));
        match again {
            Some(again) => batch.say(&again),
            None => {
                let of = place.map_or_else(|| format!("{stands}/0"), |place| place.to_origin().to_string());
                batch.records.header(headers::REPLAY_OF.as_bytes(), Some(of.as_bytes()));
                let times =
                    headers::replayed_text(replays.saturating_add(letter.replayed()).saturating_add(1));
                batch.records.header(headers::REPLAYED.as_bytes(), Some(times.as_bytes()));
            }
        }
        Ok(())
    }

    /// The trace that goes on with a letter: that of its headers, or that of the record which it was.
    fn story(&self, letter: &LetterRef<'_>, own: &[(&[u8], Option<&[u8]>)]) -> Option<Story> {
        let tracer = self.spans.tracer()?;
        tracer.carried(trace::carried(own.iter().copied()), || {
            let said = letter.said().ok().flatten();
            let origin = said.map(|said| (said.origin, said.origin_timestamp_ms));
            origin.map_or_else(
                || tracer.new_trace(),
                |(origin, at_ms)| {
                    trace::trace_of(origin.topic.as_str(), origin.partition.0, origin.offset.0, at_ms)
                },
            )
        })
    }
}
