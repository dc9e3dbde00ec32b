//! Replays that are read while older bytes of their record are under way: with the steps, or in a segment that is not published.
//!
//! A replay may have been corrected, so its number must not go to the older bytes, and what becomes of those is not what becomes of it. A row
//! makes it superfluous. Behind a dead letter or a next copy of the older bytes it counts. So it waits here, unsettled, until that is known.

use std::collections::BTreeMap;

use crate::pair::segments::SinkState;
use crate::pair::{Action, Pair};
use crate::scheduler::Entry;
use crate::{Offset, RunSet};

use super::{Copy, RetryLane};

/// Replays that wait for the end of their record's older bytes.
#[derive(Debug, Default)]
pub(in crate::pair) struct Later {
    /// By origin and own offset.
    copies: BTreeMap<(Offset, Offset), Copy>,
    /// Records whose end may be known by now.
    ended: Vec<Offset>,
    /// Records whose rows sinks without a ledger refused, and which wait for other sinks: a row there is not the replay's.
    refused: RunSet,
}

impl Later {
    /// Copies that wait here.
    pub(super) fn len(&self) -> u64 {
        self.copies.len() as u64
    }

    /// Whether something is to be looked at again.
    pub(super) fn is_due(&self) -> bool {
        !self.ended.is_empty()
    }

    fn of(&self, origin: Offset) -> impl Iterator<Item = &Copy> {
        let lowest = Offset(i64::MIN);
        self.copies.range((origin, lowest)..(origin.next(), lowest)).map(|(_, copy)| copy)
    }

    fn take(&mut self, origin: Offset) -> Vec<Copy> {
        let taken: Vec<Copy> = self.of(origin).copied().collect();
        taken.iter().for_each(|copy| {
            self.copies.remove(&(origin, copy.offset));
        });
        taken
    }
}

impl RetryLane {
    /// Keeps a replay until it is known what becomes of its record's older bytes.
    pub(super) fn keep_for_later(&mut self, origin: Offset, copy: Copy) {
        self.payloads.need(copy.chunk(), 1);
        self.later.copies.insert((origin, copy.offset), copy);
    }

    /// A sink that does not remember it has refused a record's row.
    pub(in crate::pair) fn note_refused(&mut self, origin: Offset) {
        self.later.refused.insert(origin);
    }

    /// Whether such records wait for other sinks.
    pub(in crate::pair) fn has_refused(&self) -> bool {
        !self.later.refused.is_empty()
    }

    /// These records wait for no sink any more.
    pub(in crate::pair) fn forget_refused(&mut self, origins: &RunSet) {
        self.later.refused.subtract(origins);
    }

    /// Something came of the bytes of a record that were under way. They stood for the gap before it as well: a replay of what compaction took
    /// from there waited for them too.
    pub(in crate::pair) fn note_end(&mut self, entry: &Entry) {
        let lowest = Offset(i64::MIN);
        let waiting = self.later.copies.range((entry.first, lowest)..(entry.offset.next(), lowest));
        let mut origins: Vec<Offset> = waiting.map(|((origin, _), _)| *origin).collect();
        origins.dedup();
        self.later.ended.append(&mut origins);
    }
}

impl Pair {
    /// Looks again at replays whose record has come to an end.
    pub(in crate::pair) fn sort_later(&mut self, actions: &mut Vec<Action>) {
        let Some(lane) = self.own.retry.as_mut().filter(|lane| lane.later.is_due()) else { return };
        for origin in std::mem::take(&mut lane.later.ended) {
            let Some(lane) = &mut self.own.retry else { return };
            for copy in lane.later.take(origin) {
                self.place_copy(origin, copy, true, actions);
                self.release_copy(&copy);
            }
        }
    }

    /// Records have passed: in one sink, or with nothing to wait for. Where none else lacks them, a replay of theirs settles with them. A sink
    /// without a ledger does not remember what it has, so this is not found out later.
    pub(in crate::pair) fn replays_passed(&mut self, passed: [&RunSet; 2]) {
        let own = &mut self.own;
        let Some(lane) = own.retry.as_mut().filter(|lane| lane.later.len() > 0) else { return };
        let mut origins: Vec<Offset> = lane.later.copies.keys().map(|(origin, _)| *origin).collect();
        origins.dedup();
        for origin in origins.into_iter().filter(|origin| passed.iter().any(|of| of.contains(*origin))) {
            lane.later.ended.push(origin);
            let lacks =
                |sink: &SinkState| sink.awaits(origin) || (sink.ledger && !sink.view.holdings.holds(origin));
            let refused = lane.later.refused.contains(origin);
            if refused || own.letters.is_flying(origin, 0) || own.sinks.iter().any(lacks) {
                continue;
            }
            for copy in lane.later.take(origin) {
                lane.join(origin, copy.offset);
                lane.payloads.release(copy.chunk(), 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::RetryAssignment;
    use crate::{Epoch, TopicName};

    /// Guarantee: a refused record is remembered until it waits for no sink.
    #[test]
    fn what_was_refused_is_remembered_until_its_end() {
        let (topic, end) = (TopicName::new("in.p.retry"), Offset(0));
        let assignment = RetryAssignment { topic, committed: None, log_start: end, log_end: end };
        let mut lane = RetryLane::new(Epoch(1), &assignment, false);
        assert!(!lane.has_refused());
        lane.note_refused(Offset(5));
        lane.forget_refused(&RunSet::of(Offset(6), Offset(9)));
        assert!(lane.has_refused());
        lane.forget_refused(&RunSet::of(Offset(4), Offset(6)));
        assert!(!lane.has_refused());
    }
}
