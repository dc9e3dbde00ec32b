//! Which partitions librdkafka fetches: those with credit, and no input partition while the memory budget is used up (I5), which
//! is then said (I6). Retry lanes read to their end always. The consumer is polled all the same.

use std::time::{Duration, Instant};

use longshore_core::Lane;

use super::gate::Standing;
use super::pairs::{Pair, Place, State, named};
use super::poll::Poll;
use crate::ffi::PartitionList;

/// Input waits this long before it is said: that it stops for a moment is how a slow sink slows it down.
const SAY_AFTER: Duration = Duration::from_secs(2);
/// It is said at most so often.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// How long room is kept for a large record that does not come: it may be gone from the log by now.
const KEEP_ROOM: Duration = Duration::from_secs(60);

/// Whether input stands still because the budget is used up, and what was said of input that waits for memory.
#[derive(Debug, Default)]
pub(super) struct Squeeze {
    on: bool,
    /// Since when input waits, be it all of it or a single large record.
    since: Option<Instant>,
    /// Of this wait, or of one before.
    said: Option<Instant>,
    saying: bool,
}

/// What there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Waits,
    /// It goes on after so long.
    GoesOn(Duration),
}

impl Squeeze {
    fn word(&mut self, waits: bool, now: Instant) -> Option<Word> {
        if !waits {
            let since = self.since.take()?;
            return std::mem::take(&mut self.saying).then(|| Word::GoesOn(now.duration_since(since)));
        }
        let since = *self.since.get_or_insert(now);
        let due = self.said.is_none_or(|said| now.duration_since(said) >= SAY_EVERY);
        if now.duration_since(since) < SAY_AFTER || !due {
            return None;
        }
        self.said = Some(now);
        self.saying = true;
        Some(Word::Waits)
    }
}

impl Poll<'_> {
    /// Tells librdkafka which pairs to fetch.
    pub(super) fn set_flow(&mut self) {
        let now = Instant::now();
        let squeezed = self.squeeze(now);
        let holding = self.holding();
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        self.crowded = false;
        for pair in self.pairs.iter_mut() {
            if pair.room.as_ref().is_some_and(|(_, since)| now.duration_since(*since) >= KEEP_ROOM) {
                pair.room = None;
            }
            let allowed = !squeezed || pair.lane == Lane::Retry || pair.room.is_some();
            let wanted = pair.wants_flow(&holding, now) && allowed;
            if wanted != pair.credit.flowing {
                pair.credit.flowing = wanted;
                if wanted { &mut resume } else { &mut pause }.push(pair.place());
            }
            self.crowded |= pair.wants_rest(&holding);
        }
        self.pause(&pause);
        if resume.is_empty() {
            return;
        }
        if let Some(list) = PartitionList::of(named(&resume))
            && let Err(code) = self.client().resume(&list)
        {
            tracing::warn!(?code, "resume failed");
        }
        self.client().wake_brokers();
    }

    /// Whether the budget is used up, or kept for a large record; told to the metrics, and now and then to the log.
    fn squeeze(&mut self, now: Instant) -> bool {
        let budget = &self.options.budget;
        let enough = if self.squeeze.on { budget.limit() / 8 } else { 0 };
        let squeezed = budget.available() <= enough || self.gate.holds_back();
        self.squeeze.on = squeezed;
        crate::ffi::bound_freed(budget.available());
        budget.note_full(squeezed);
        let (used_bytes, budget_bytes) = (budget.used(), budget.limit());
        let large_records_waiting = self.gate.waiting();
        if large_records_waiting > 0 {
            self.thrift.large(now);
        }
        self.thrift.turn(now);
        match self.squeeze.word(squeezed || large_records_waiting > 0, now) {
            None => {}
            Some(Word::Waits) => tracing::warn!(
                used_bytes,
                budget_bytes,
                large_records_waiting,
                "input waits for memory: the part of limits.memory that is for records is used up until some of them settle"
            ),
            Some(Word::GoesOn(after)) => tracing::info!(
                waited_ms = after.as_millis() as u64,
                "input goes on: there is memory for records again"
            ),
        }
        squeezed
    }

    /// Sends those whose turn it is at the gate back to their large record, with the room for it.
    pub(super) fn let_in(&mut self) {
        let now = Instant::now();
        let pairs = &mut self.pairs;
        let entered =
            self.gate.turn(now, |waiting| match pairs.lane(&waiting.pair, waiting.epoch, waiting.lane) {
                // A retry lane may have been sent to another copy meanwhile.
                Some(pair) if pair.lane == Lane::Retry && pair.wanted != Some(waiting.offset) => {
                    Standing::Gone
                }
                Some(pair) if pair.state == State::InLine => {
                    if pair.credit.is_left() {
                        Standing::Ready
                    } else {
                        Standing::Busy
                    }
                }
                Some(_) | None => Standing::Gone,
            });
        for (waiting, charge) in entered {
            if let Some(pair) = self.pairs.lane(&waiting.pair, waiting.epoch, waiting.lane) {
                pair.state = State::Starting(waiting.offset);
                pair.room = Some((charge, now));
            }
        }
    }

    pub(super) fn pause(&self, places: &[Place]) {
        if places.is_empty() {
            return;
        }
        if let Some(list) = PartitionList::of(named(places))
            && let Err(code) = self.client().pause(&list)
        {
            tracing::warn!(?code, "pause failed");
        }
    }

    /// Whether the loop has to look again soon for the sake of the flow.
    pub(super) fn flow_is_restless(&mut self) -> bool {
        let restless = |pair: &mut Pair| match pair.state {
            State::Starting(_) => true,
            State::Flowing => pair.credit.waits(),
            State::Looking(_) | State::Waiting | State::InLine | State::Resting => false,
        };
        self.squeeze.on || self.gate.waiting() > 0 || self.pairs.iter_mut().any(restless)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: the budget is used up for moments, then for minutes, again and again. Guarantee: moments are not worth a line,
    /// a longer wait is said once, its end is said if it was, and no more than one wait a minute.
    #[test]
    fn a_wait_is_said_once_and_so_is_its_end() {
        let began = Instant::now();
        let at = |seconds: f64| began + Duration::from_secs_f64(seconds);
        let mut squeeze = Squeeze::default();
        for second in 0..10 {
            assert_eq!(squeeze.word(true, at(f64::from(second))), None);
            assert_eq!(squeeze.word(false, at(f64::from(second) + 0.9)), None);
        }
        assert_eq!(squeeze.word(true, at(10.0)), None);
        assert_eq!(squeeze.word(true, at(12.0)), Some(Word::Waits));
        assert_eq!(squeeze.word(true, at(30.0)), None);
        assert_eq!(squeeze.word(false, at(40.0)), Some(Word::GoesOn(Duration::from_secs(30))));
        assert_eq!(squeeze.word(true, at(41.0)), None);
        assert_eq!(squeeze.word(true, at(50.0)), None, "less than a minute since the last line");
        assert_eq!(squeeze.word(false, at(51.0)), None, "what was not said does not end");
        assert_eq!(squeeze.word(true, at(52.0)), None);
        assert_eq!(squeeze.word(true, at(72.0)), Some(Word::Waits));
        assert_eq!(squeeze.word(true, at(132.0)), Some(Word::Waits), "still so a minute later");
    }
}
