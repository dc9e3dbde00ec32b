//! Sorting the finished records of one unit by the sinks that they wait for.

use crate::pair::Tally;
use crate::pair::outcomes::{Immediate, UNROUTED};
use crate::pair::ownership::Ownership;
use crate::scheduler::Entry;
use crate::{FilterReason, Lane, Moment, RunSet, SinkMask};

use super::{Sent, SinkState, count_reason};

/// Finished records of one unit, by the sinks they wait for. Nearly all records of a unit wait for the same sinks, so
/// spans are gathered by set of sinks.
pub(in crate::pair) struct Finished {
    ledgers: SinkMask,
    /// Sinks that may get a row twice.
    repeating: SinkMask,
    /// Sinks that may refuse rows.
    refusing: SinkMask,
    groups: Vec<Group>,
    last: usize,
    /// Records that have rows in sinks that may refuse them, with those sinks.
    sent: Vec<(Sent, SinkMask)>,
    /// Spans of the input lane's records that are on their way to the retry topic.
    handed_over: Vec<(i64, i64)>,
    /// How many records of which chunk finished, neighbours joined.
    chunks: Vec<(Lane, u32, usize)>,
}

/// Records that wait for the same sinks and ended alike.
struct Group {
    lane: Lane,
    waits: SinkMask,
    held: SinkMask,
    end: End,
    spans: Vec<(i64, i64)>,
    records: u64,
}

#[derive(Clone, PartialEq, Eq)]
enum End {
    Routed(SinkMask),
    Filtered(FilterReason),
}

impl Finished {
    pub(in crate::pair) fn new(sinks: &[SinkState]) -> Self {
        let of = |is: fn(&SinkState) -> bool| {
            let mut mask = SinkMask::NONE;
            sinks.iter().filter(|sink| is(sink)).for_each(|sink| mask.insert(sink.index));
            mask
        };
        Self {
            ledgers: of(|sink| sink.ledger),
            repeating: of(|sink| !sink.ledger),
            refusing: of(|sink| sink.refuses),
            groups: Vec::new(),
            last: 0,
            sent: Vec::new(),
            handed_over: Vec::new(),
            chunks: Vec::new(),
        }
    }

    pub(in crate::pair) fn routed(&mut self, entry: &Entry, replays: u32, sinks: SinkMask) {
        let sends = SinkMask(sinks.0 & self.refusing.0).without(entry.held);
        if !sends.is_empty() {
            self.sent.push((Sent { entry: *entry, replays }, sends));
        }
        let waits = SinkMask(self.ledgers.0 | sinks.0).without(entry.held);
        self.add(entry, waits, End::Routed(sinks));
    }

    pub(in crate::pair) fn filtered(&mut self, entry: &Entry, reason: FilterReason) {
        self.add(entry, self.ledgers.without(entry.held), End::Filtered(reason));
    }

    pub(in crate::pair) fn handed_over(&mut self, entry: &Entry) {
        if entry.lane == Lane::Input {
            self.handed_over.push(entry.span());
        }
    }

    /// The spans of those that were handed over; they are forgotten here.
    pub(in crate::pair) fn take_handed_over(&mut self) -> RunSet {
        RunSet::collect(std::mem::take(&mut self.handed_over))
    }

    fn add(&mut self, entry: &Entry, waits: SinkMask, end: End) {
        let same = |group: &Group| {
            group.lane == entry.lane && group.waits == waits && group.held == entry.held && group.end == end
        };
        if !self.groups.get(self.last).is_some_and(same) {
            self.last = match self.groups.iter().position(same) {
                Some(at) => at,
                None => {
                    let (lane, held, spans) = (entry.lane, entry.held, Vec::new());
                    self.groups.push(Group { lane, waits, held, end, spans, records: 0 });
                    self.groups.len() - 1
                }
            };
        }
        match self.chunks.last_mut() {
            Some((lane, chunk, records)) if (*lane, *chunk) == (entry.lane, entry.chunk) => *records += 1,
            _ => self.chunks.push((entry.lane, entry.chunk, 1)),
        }
        let group = &mut self.groups[self.last];
        group.records += 1;
        match group.spans.last_mut() {
            Some(last) if last.1 == entry.first.0 => last.1 = entry.offset.next().0,
            _ => group.spans.push((entry.first.0, entry.offset.next().0)),
        }
    }

    /// All finished spans of a lane; those of the retry lane are origins.
    pub(in crate::pair) fn spans(&self, lane: Lane) -> RunSet {
        self.spans_of(lane, |_| true)
    }

    /// Those of them that have rows in a sink without a ledger.
    pub(in crate::pair) fn repeatable(&self, lane: Lane) -> RunSet {
        self.spans_of(lane, |end| match end {
            End::Routed(sinks) => sinks.0 & self.repeating.0 != 0,
            End::Filtered(_) => false,
        })
    }

    fn spans_of(&self, lane: Lane, ended: impl Fn(&End) -> bool) -> RunSet {
        let groups = self.groups.iter().filter(|group| group.lane == lane && ended(&group.end));
        RunSet::collect(groups.flat_map(|group| group.spans.iter().copied()).collect())
    }

    /// Puts the records into the open segments they wait in; what waits for none is given back. Records whose rows no
    /// sink can refuse any more let go of their chunks.
    pub(in crate::pair) fn hand_out(self, own: &mut Ownership, now: Moment) -> Immediate {
        for (sent, sends) in self.sent {
            for sink in sends.iter().map(|sink| usize::from(sink.0)) {
                if sink < own.sinks.len() {
                    own.need(&sent.entry);
                    own.sinks[sink].open.sent.push(sent);
                }
            }
        }
        for (lane, chunk, records) in self.chunks {
            own.release(lane, chunk, records);
        }
        let mut immediate = Immediate::default();
        for group in self.groups {
            group.hand_out(&mut own.sinks, now, &mut immediate);
        }
        immediate
    }
}

impl Group {
    fn hand_out(self, sinks: &mut [SinkState], now: Moment, immediate: &mut Immediate) {
        // The records are counted once: by the first sink they wait for.
        let counting = self.waits.iter().next();
        let spans = RunSet::collect(self.spans);
        for sink in sinks.iter_mut().filter(|sink| self.waits.contains(sink.index)) {
            let open = &mut sink.open;
            match self.lane {
                Lane::Input => open.finished.union(&spans),
                Lane::Retry => open.retried.union(&spans),
            }
            open.records += self.records;
            open.since.get_or_insert(now);
            match &self.end {
                End::Filtered(reason) => count_reason(&mut open.filtered, reason, self.records),
                End::Routed(to) if !to.contains(sink.index) => {
                    count_reason(&mut open.filtered, &FilterReason::new(UNROUTED), self.records);
                }
                End::Routed(_) => {}
            }
            if counting == Some(sink.index) {
                tally(&mut open.tally, &self.end, self.held, self.records);
            }
        }
        if counting.is_none() {
            tally(&mut immediate.tally, &self.end, self.held, self.records);
            match self.lane {
                Lane::Input => immediate.spans.union(&spans),
                Lane::Retry => immediate.retried.union(&spans),
            }
        }
    }
}

fn tally(tally: &mut Tally, end: &End, held: SinkMask, records: u64) {
    match end {
        End::Filtered(reason) => count_reason(&mut tally.filtered, reason, records),
        End::Routed(sinks) if sinks.is_empty() && held.is_empty() => {
            count_reason(&mut tally.filtered, &FilterReason::new(UNROUTED), records);
        }
        End::Routed(sinks) if sinks.is_empty() => tally.already_held += records,
        End::Routed(_) => tally.sunk += records,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: what has rows is sunk, what nothing wanted is filtered, and where a sink has its row already it is held.
    #[test]
    fn records_are_counted_by_how_they_end() {
        let (some, mut told) = (SinkMask::first(1), Tally::default());
        for (end, held) in [
            (End::Routed(some), SinkMask::NONE),
            (End::Routed(some), some),
            (End::Routed(SinkMask::NONE), SinkMask::NONE),
            (End::Routed(SinkMask::NONE), some),
            (End::Filtered(FilterReason::new("f")), some),
        ] {
            tally(&mut told, &end, held, 2);
            tally(&mut told, &end, held, 3);
        }
        let filtered = vec![(FilterReason::new(UNROUTED), 5), (FilterReason::new("f"), 5)];
        assert_eq!(told, Tally { sunk: 10, filtered, already_held: 5, ..Tally::default() });
    }
}
