//! The offset tracker: what was received, what is settled, and how far a commit may go.
//!
//! Only offsets that were really received count. A gap (compaction, a transaction marker) belongs to the record behind
//! it: each record owns its **span**, from behind the record received before it up to itself. So gaps cost nothing,
//! and a million settled neighbours behind one open record are one run.
//!
//! What is finished but waits in an open segment is *not* settled; the pair keeps those tickets.

use crate::{Epoch, Offset, RunSet};

/// The right and the duty to settle some received offsets: not `Clone`, consumed by [`Tracker::settle`]. It can be split
/// and joined, so a batch needs one ticket and not one for each record. A ticket that is forgotten stalls the watermark
/// visibly; skipping one does not compile.
#[must_use = "a ticket that is not settled stalls the partition"]
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket {
    epoch: Epoch,
    spans: RunSet,
}

impl Ticket {
    /// A ticket for nothing, to join others to.
    pub fn empty(epoch: Epoch) -> Self {
        Self { epoch, spans: RunSet::default() }
    }

    /// The spans it stands for.
    pub fn spans(&self) -> &RunSet {
        &self.spans
    }

    /// Takes another ticket of the same epoch in; one of another epoch is void and vanishes.
    pub fn join(&mut self, other: Self) {
        if other.epoch == self.epoch {
            self.spans.union(&other.spans);
        }
    }

    /// Takes the part out that stands for `spans`. What of them this ticket does not hold is not in the new one.
    pub fn split(&mut self, spans: &RunSet) -> Self {
        // Nearly always everything asked for is there; only then the intersection need not be made.
        let all = spans.iter().all(|(first, end)| self.spans.end_of_run(first) >= end);
        let taken = if all { spans.clone() } else { self.spans.intersection(spans) };
        self.spans.subtract(&taken);
        Self { epoch: self.epoch, spans: taken }
    }
}

/// Tracks the offsets of one lane under one ownership.
#[derive(Debug)]
pub struct Tracker {
    epoch: Epoch,
    position: Offset,
    open: RunSet,
    ahead: RunSet,
}

impl Tracker {
    /// Begins at `start`; `settled` are the offsets beyond it that the commit metadata calls settled.
    pub fn new(epoch: Epoch, start: Offset, settled: RunSet) -> Self {
        Self { epoch, position: start, open: RunSet::default(), ahead: settled }
    }

    /// Admits the next received offset and adds the ticket for its span to `ticket`; returns where the span begins. None
    /// for an offset that was received before: Kafka may give it again, and its ticket is out already.
    pub fn admit(&mut self, offset: Offset, ticket: &mut Ticket) -> Option<Offset> {
        if offset < self.position || ticket.epoch != self.epoch {
            return None;
        }
        // What was settled before is settled, also where its records are gone by now; else the watermark would fall.
        let (first, end) = (self.ahead.end_of_run(self.position), offset.next());
        self.position = end;
        self.open.insert_range(first, end);
        ticket.spans.insert_range(first, end);
        Some(first)
    }

    /// Notes that an offset was received that is settled already, so it needs no ticket.
    pub fn pass(&mut self, offset: Offset) {
        self.position = self.position.max(offset.next());
    }

    /// Notes that no record is left below `offset`.
    pub fn pass_to(&mut self, offset: Offset) {
        self.position = self.position.max(offset);
    }

    /// Whether the commit metadata called the offset settled when the ownership began.
    pub fn was_settled(&self, offset: Offset) -> bool {
        self.ahead.contains(offset)
    }

    /// Settles what the ticket stands for and returns how many offsets that were, gaps included. A ticket of an old
    /// epoch settles nothing.
    pub fn settle(&mut self, ticket: Ticket) -> u64 {
        if ticket.epoch != self.epoch {
            return 0;
        }
        self.open.subtract(&ticket.spans);
        ticket.spans.len()
    }

    /// Everything below is settled: what may be committed.
    pub fn watermark(&self) -> Offset {
        match self.open.first() {
            Some(open) => open,
            None => self.ahead.end_of_run(self.position),
        }
    }

    /// The offset behind the last one received.
    pub fn position(&self) -> Offset {
        self.position
    }

    /// Offsets received and not settled, gaps before them included.
    pub fn open(&self) -> &RunSet {
        &self.open
    }

    /// How many offsets that are still to be read were settled before this ownership began.
    pub fn settled_ahead(&self) -> u64 {
        self.ahead.clipped(self.position, Offset(i64::MAX)).len()
    }

    /// The settled runs beyond an offset that is to be committed, which travel in its metadata. Where the commit stays below the
    /// watermark, its own offset is not among them: the metadata has no words for that.
    pub fn settled_beyond(&self, committed: Offset) -> RunSet {
        let watermark = self.watermark();
        let from = if committed < watermark { committed.next() } else { watermark };
        let mut settled = RunSet::of(from, self.position);
        settled.subtract(&self.open);
        settled.union(&self.ahead.clipped(self.position.max(from), Offset(i64::MAX)));
        settled
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_million_settled_behind_one_open_cost_one_run() {
        let mut tracker = Tracker::new(Epoch(1), Offset(0), RunSet::default());
        let (mut head, mut rest) = (Ticket::empty(Epoch(1)), Ticket::empty(Epoch(1)));
        tracker.admit(Offset(0), &mut head).unwrap();
        for offset in 1..1_000_000 {
            // Every second offset is missing, as after compaction.
            tracker.admit(Offset(offset * 2), &mut rest).unwrap();
        }
        assert_eq!(rest.spans().run_count(), 1);
        tracker.settle(rest);
        assert_eq!(tracker.watermark(), Offset(0));
        assert_eq!((tracker.open().run_count(), tracker.settled_beyond(Offset(0)).run_count()), (1, 1));
        tracker.settle(head);
        assert_eq!(tracker.watermark(), Offset(1_999_999));
    }

    #[test]
    fn a_ticket_of_an_old_epoch_settles_nothing() {
        let mut old = Tracker::new(Epoch(1), Offset(5), RunSet::default());
        let mut stale = Ticket::empty(Epoch(1));
        old.admit(Offset(5), &mut stale).unwrap();
        let mut fresh = Tracker::new(Epoch(2), Offset(5), RunSet::default());
        let mut ticket = Ticket::empty(Epoch(2));
        fresh.admit(Offset(5), &mut ticket).unwrap();
        assert_eq!(fresh.settle(stale), 0);
        assert_eq!(fresh.watermark(), Offset(5));
        assert_eq!(fresh.settle(ticket), 1);
        assert_eq!(fresh.watermark(), Offset(6));
    }

    /// Scenario: more is asked of a ticket than it stands for, in part or as a whole. Guarantee: nobody gets the right to settle what is another's.
    #[test]
    fn a_ticket_gives_no_more_than_it_has() {
        let mut tracker = Tracker::new(Epoch(1), Offset(0), RunSet::default());
        let (mut ours, mut theirs) = (Ticket::empty(Epoch(1)), Ticket::empty(Epoch(1)));
        for offset in [0, 1, 4, 5] {
            tracker.admit(Offset(offset), &mut ours).unwrap();
        }
        tracker.admit(Offset(6), &mut theirs).unwrap();
        let part = ours.split(&RunSet::collect(vec![(1, 2), (5, 9)]));
        assert_eq!(part.spans(), &RunSet::collect(vec![(1, 2), (5, 6)]));
        assert_eq!(ours.spans(), &RunSet::collect(vec![(0, 1), (2, 5)]));
        assert_eq!(tracker.settle(part), 2);
        assert_eq!(tracker.settle(ours.split(&RunSet::of(Offset(6), Offset(9)))), 0);
        assert_eq!(tracker.settle(ours), 4);
        assert_eq!(tracker.watermark(), Offset(6));
        assert_eq!(tracker.settle(theirs), 1);
    }

    proptest! {
        /// Scenario: a log with gaps, read from a commit with settled runs ahead, settled in any order. Guarantee: the
        /// watermark is the lowest unsettled record, and the runs beyond it, or beyond a commit that stays behind, name settled
        /// records alone.
        #[test]
        fn agrees_with_a_plain_map(
            gaps in proptest::collection::vec(0..4i64, 1..40),
            ahead in proptest::collection::btree_set(0..80i64, 0..10),
            picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let ahead_runs = RunSet::collect(ahead.iter().map(|o| (*o, o + 1)).collect());
            let mut tracker = Tracker::new(Epoch(1), Offset(0), ahead_runs);
            let mut tickets = BTreeMap::new();
            let mut settled: BTreeSet<i64> = ahead.clone();
            let (mut offset, mut received) = (-1, BTreeSet::new());
            for gap in gaps {
                offset += 1 + gap;
                received.insert(offset);
                if tracker.was_settled(Offset(offset)) {
                    tracker.pass(Offset(offset));
                } else {
                    let mut ticket = Ticket::empty(Epoch(1));
                    tracker.admit(Offset(offset), &mut ticket).unwrap();
                    tickets.insert(offset, ticket);
                }
                prop_assert!(tracker.admit(Offset(offset), &mut Ticket::empty(Epoch(1))).is_none());
            }
            for pick in picks {
                let Some(chosen) = (!tickets.is_empty()).then(|| *pick.get(&tickets.keys().copied().collect::<Vec<_>>())) else {
                    break;
                };
                tracker.settle(tickets.remove(&chosen).unwrap());
                settled.insert(chosen);
                let watermark = tracker.watermark();
                let (beyond, beyond_start) = (tracker.settled_beyond(watermark), tracker.settled_beyond(Offset(0)));
                for open in tickets.keys() {
                    prop_assert!(watermark <= Offset(*open));
                    prop_assert!(!beyond.contains(Offset(*open)) && !beyond_start.contains(Offset(*open)));
                }
                // What the metadata called settled and is no longer there (compacted away) may lie in another's span.
                let there = |o: &&i64| Offset(**o) >= tracker.position() || received.contains(*o);
                for done in settled.iter().filter(there) {
                    prop_assert!(Offset(*done) < watermark || beyond.contains(Offset(*done)));
                    prop_assert!(*done == 0 || beyond_start.contains(Offset(*done)));
                }
            }
        }
    }
}
