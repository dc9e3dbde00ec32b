//! One pass over letters, from the first that is still there to the ends taken at the start. Nothing is copied.

use std::time::Duration;

use longshore_core::RunSet;
use longshore_core::headers::HeaderError;
use longshore_core::journal::Marks;
use longshore_core::letter::{LetterRef, Place, Seen};
use longshore_kafka::{ReadFrom, ReadUntil, Reader, RecordView};

use super::scope::Scope;
use crate::commands::common::found::{Found, State};
use crate::commands::common::watch::Watch;
use crate::exit::End;
use crate::output::Output;

/// How long one look for records takes.
const LOOK: Duration = Duration::from_millis(500);

/// What a pass met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) open: u64,
    pub(super) handled: u64,
    pub(super) copies: u64,
    /// Letters whose headers cannot be read; each counts as itself.
    pub(super) unreadable: u64,
    /// Whether there were too many to tell all copies.
    pub(super) overfull: bool,
}

/// Goes over all letters of these topics; `each` may end it by an error.
pub(super) fn scan(
    scope: &Scope,
    handled: &Marks,
    output: &Output,
    each: &mut dyn FnMut(&Found<'_>) -> Result<(), End>,
) -> Result<Totals, End> {
    let mut pass = Pass { seen: scope.seen(), totals: Totals::default(), ended: None };
    for topic in &scope.topics {
        let mut reader = Reader::open(&scope.options, topic, ReadFrom::Start, ReadUntil::EndNow)?;
        let marks: Vec<(i32, RunSet)> =
            handled.partitions(topic).map(|(partition, runs)| (partition, runs.clone())).collect();
        pass.topic(&mut reader, topic, &marks, output, each)?;
    }
    pass.totals.overfull = pass.seen.is_full();
    Ok(pass.totals)
}

struct Pass {
    seen: Seen,
    totals: Totals,
    /// Why `each` ended it.
    ended: Option<End>,
}

impl Pass {
    fn topic(
        &mut self,
        reader: &mut Reader,
        topic: &str,
        marks: &[(i32, RunSet)],
        output: &Output,
        each: &mut dyn FnMut(&Found<'_>) -> Result<(), End>,
    ) -> Result<(), End> {
        let mut watch = Watch::new(topic, reader.offsets_at_open(), "letters", output);
        loop {
            let visited = reader.visit_batch(LOOK, &mut |record| self.record(topic, marks, record, each))?;
            if let Some(end) = self.ended.take() {
                return Err(end);
            }
            match visited {
                None => break,
                Some(records) => watch.went_on(records as u64)?,
            }
        }
        watch.finish();
        Ok(())
    }

    fn record(
        &mut self,
        topic: &str,
        marks: &[(i32, RunSet)],
        record: RecordView<'_>,
        each: &mut dyn FnMut(&Found<'_>) -> Result<(), End>,
    ) {
        if self.ended.is_some() {
            return;
        }
        let mut letter = LetterRef::default();
        record.headers(|name, value| letter.take(name, value));
        let (place, replays) = match (letter.place(), letter.replays()) {
            (Ok(place), Ok(replays)) => (place, replays),
            // Whose letter it is stands in words that are not known here; as one of its own it would be sent, or counted, twice.
            (Err(HeaderError::Newer(newer)), _) => {
                let at = format!("{topic}/{}/{}", record.partition(), record.offset());
                self.ended = Some(newer.into_failure().at(&at).into());
                return;
            }
            (Ok(_) | Err(HeaderError::Value(_)), _) => {
                self.totals.unreadable += 1;
                (None, 0)
            }
        };
        let state = self.state(marks, &record, place, replays);
        match state {
            State::Open => self.totals.open += 1,
            State::Handled => self.totals.handled += 1,
            State::Copy => self.totals.copies += 1,
        }
        self.ended = each(&Found { topic, record, letter, place, replays, state }).err();
    }

    fn state(
        &mut self,
        marks: &[(i32, RunSet)],
        record: &RecordView<'_>,
        place: Option<Place<'_>>,
        replays: u32,
    ) -> State {
        let fresh = place.is_none_or(|place| self.seen.insert(place, replays));
        let marks = marks.iter().find(|(partition, _)| *partition == record.partition());
        if marks.is_some_and(|(_, runs)| runs.contains(longshore_core::Offset(record.offset()))) {
            State::Handled
        } else if fresh {
            State::Open
        } else {
            State::Copy
        }
    }
}
