//! Which letters of a run have arrived without its journal knowing.

use std::time::{Duration, Instant};

use longshore_core::headers;
use longshore_core::journal::{Marks, Run};
use longshore_kafka as kafka;
use longshore_kafka::{ReadFrom, ReadUntil, Reader, RecordView};

use crate::commands::common::journal::{SILENCE, unanswered};
use crate::exit::End;

/// How long one look for records takes.
const LOOK: Duration = Duration::from_millis(500);

/// Finds the letters of a run that arrived in its target topics although the journal does not know it.
pub(super) fn arrived(options: &kafka::KafkaOptions, run: &Run) -> Result<Marks, End> {
    let mut found = Marks::default();
    for (topic, ends) in &run.sent_behind {
        let places = kafka::Admin::new(options)?.offsets(topic)?;
        let from: Vec<(i32, i64)> = places
            .iter()
            .map(|place| {
                let at =
                    usize::try_from(place.partition).ok().and_then(|at| ends.get(at)).copied().unwrap_or(0);
                (place.partition, at.max(place.start))
            })
            .collect();
        let mut reader = Reader::open(options, topic, ReadFrom::At(from), ReadUntil::EndNow)?;
        let mut silent = Instant::now();
        let mut look = |record: RecordView<'_>| {
            if let Some((topic, partition, offset)) = letter_of(&record, &run.id) {
                found.insert(&topic, partition, offset);
            }
        };
        while let Some(records) = reader.visit_batch(LOOK, &mut look)? {
            if records > 0 {
                silent = Instant::now();
            } else if silent.elapsed() >= SILENCE {
                return Err(unanswered(topic));
            }
        }
    }
    Ok(found)
}

/// The letter that a record of this run was made from.
fn letter_of(record: &RecordView<'_>, run: &str) -> Option<(String, i32, i64)> {
    let (mut id, mut letter) = (None, None);
    record.headers(|name, value| {
        if name == headers::REPLAY_ID.as_bytes() {
            id = value;
        } else if name == headers::REPLAY_LETTER.as_bytes() {
            letter = value;
        }
    });
    if id? != run.as_bytes() {
        return None;
    }
    let mut parts = std::str::from_utf8(letter?).ok()?.split('/');
    let place = (parts.next()?.to_owned(), parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(place)
}
