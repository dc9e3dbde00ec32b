//! From the index to the steps: which copy is tried next, and what its record's end means for the lane.

use crate::pair::suspects::{Due, Tryable};
use crate::pair::{Pair, Phase, Window};
use crate::rules::Rule;
use crate::scheduler::Entry;
use crate::{Moment, Offset, RecordRef};

use super::fetch::Why;
use super::payloads::Source;
use super::{Copy, CopyState, RetryLane};

impl Pair {
    /// Gives records whose time has come to the scheduler, each behind what is at work of its key; of a parked key only the
    /// first one (design section 4, ordered retry, rule 4). At most half of the window, so that the input lane goes on.
    pub(in crate::pair) fn queue_due(&mut self, now: Moment) {
        let window = self.options.window;
        let most = (window.records / 2).max(1);
        let (tryable, position) = (self.own.careful.tryable(), self.tryable_below());
        let own = &mut self.own;
        let all = crate::SinkMask::first(own.sinks.len());
        loop {
            let Some(lane) = &mut own.retry else { return };
            lane.fetches.starved = false;
            if !lane.is_caught_up() || lane.busy() >= most {
                return;
            }
            let next = match tryable {
                Tryable::All => lane.index.take_due(now, position),
                Tryable::Of(due) => lane.next_of(due, position),
                Tryable::None => None,
            };
            let Some(origin) = next else { return };
            let Some(copy) = lane.index.get(origin).copied() else { continue };
            if !lane.comes_first(origin, &copy) {
                lane.want_no_more(&copy);
                continue;
            }
            let held = own.held_by(origin);
            let Some(lane) = &mut own.retry else { return };
            if held == all && !held.is_empty() {
                // Another copy's try was published since.
                lane.through(origin, copy.key());
                lane.settle(origin, copy.offset, own.commits.acknowledged());
                lane.leave(&copy);
                continue;
            }
            match lane.turn_of(origin, &copy, window) {
                Turn::Comes => {}
                Turn::Starves => {
                    if matches!(tryable, Tryable::All) {
                        lane.index.offer(origin);
                    }
                    lane.fetches.starved = true;
                    return;
                }
                Turn::Goes(copy) => {
                    if matches!(tryable, Tryable::Of(due) if due.is_behind(origin)) {
                        own.careful.heads += 1;
                    }
                    lane.take_up(origin, &copy);
                    own.scheduler.push(Entry { held, attempt: copy.attempt() + 1, ..copy.entry() });
                }
            }
        }
    }

    /// When [`Self::queue_due`] has something to do, or old copies are looked for.
    pub(in crate::pair) fn next_retry_due(&self) -> Option<Moment> {
        let lane = self.own.retry.as_ref()?;
        let most = (self.options.window.records / 2).max(1);
        if self.phase != Phase::Running || !lane.is_caught_up() {
            return None;
        }
        // With the window full, the next answer makes room; what has to wait after a crash is let go by what is tried before it.
        let tryable = self.own.careful.tryable();
        let may_go = matches!(tryable, Tryable::All);
        // So it does where there was no room, unless the last one that had it went in this very turn, after what is due was looked at.
        let in_use = lane.payloads.holds() > 0 || lane.fetches.asks_spool();
        let starves = lane.fetches.starved && in_use;
        let free = may_go && lane.busy() < most && !starves;
        let of_trial = matches!(tryable, Tryable::Of(_)) && lane.fetches.starved && !in_use;
        if lane.later.is_due() || of_trial {
            return Some(Moment::default());
        }
        let due = lane.index.next_due().filter(|_| free);
        due.into_iter().chain(self.next_sweep()).chain(self.next_reading()).min()
    }

    /// The scheduler gave a record back untried, because another one of its key comes first now.
    pub(in crate::pair) fn put_back(&mut self, entry: &Entry) {
        let Some(lane) = &mut self.own.retry else { return };
        lane.at_work -= 1;
        lane.payloads.let_go(entry.chunk, 1);
        lane.note_end(entry);
        if let Some(copy) = lane.index.get_mut(entry.offset) {
            copy.state = CopyState::Waits;
        }
    }

    /// A record is at its end in this lane: its copy joins what the record still waits for. The entry's hold goes to that as well. Returns the
    /// replay number of the bytes that were tried.
    pub(in crate::pair) fn tried(&mut self, entry: &Entry, releases: bool) -> Option<u32> {
        let lane = self.own.retry.as_mut()?;
        lane.at_work -= 1;
        lane.note_end(entry);
        if entry.lettered {
            return lane.relettering.remove(&entry.offset);
        }
        let copy = lane.index.remove(entry.offset)?;
        lane.leave(&copy);
        lane.join(entry.offset, copy.offset);
        if releases {
            lane.release_key(entry.offset, copy.key());
        }
        Some(copy.replays())
    }
}

/// What becomes of a copy that is due.
enum Turn {
    /// It goes to the steps, and its payload is there.
    Goes(Copy),
    /// Its payload was asked for.
    Comes,
    /// There is no room for its payload.
    Starves,
}

impl RetryLane {
    /// The first of these copies that can be tried and is not fetched already.
    fn next_of(&self, due: Due, position: Offset) -> Option<Offset> {
        let mut copies = self.of(due, position);
        copies.find(|(_, copy)| !self.fetches.contains(copy.offset)).map(|(origin, _)| origin)
    }

    fn turn_of(&mut self, origin: Offset, copy: &Copy, window: Window) -> Turn {
        match self.payloads.source(copy.chunk()) {
            Source::Held => Turn::Goes(*copy),
            // Its bytes are there and counted; from now on they stay.
            Source::Memory if self.has_room(window, 0) => Turn::Goes(*copy),
            Source::Leaving => match self.payloads.record(copy.chunk(), copy.index()) {
                Some(record) if self.has_room(window, record.bytes() as u64) => {
                    self.pick(copy.chunk(), &[origin]);
                    Turn::Goes(self.index.get(origin).copied().unwrap_or(*copy))
                }
                Some(_) | None => Turn::Starves,
            },
            Source::Memory => Turn::Starves,
            Source::Spool(..) | Source::Topic => {
                let comes = self.fetches.contains(copy.offset) || self.fetch(origin, copy, Why::Try, window);
                if comes { Turn::Comes } else { Turn::Starves }
            }
        }
    }

    /// A copy goes to the scheduler, whose entry holds its payload from now on.
    fn take_up(&mut self, origin: Offset, copy: &Copy) {
        self.payloads.hold(copy.chunk());
        self.want_no_more(copy);
        self.at_work += 1;
        if let Some(copy) = self.index.get_mut(origin) {
            copy.state = CopyState::Tried;
        }
    }

    /// Gives copies of a chunk in memory one of their own, so that the rest can leave.
    pub(in crate::pair) fn pick(&mut self, from: u32, origins: &[Offset]) {
        let mut records = Vec::new();
        for origin in origins {
            let copy = self.index.get(*origin).filter(|copy| copy.chunk() == from && copy.is_waiting());
            let record = copy.and_then(|copy| self.payloads.record(from, copy.index()));
            records.extend(record.map(|record| (*origin, record)));
        }
        let (origins, records): (Vec<Offset>, Vec<RecordRef>) = records.into_iter().unzip();
        let Some(first) = records.first() else { return };
        let place = self.payloads.insert(&first.chunk().picked(&records));
        for (index, origin) in (0..).zip(origins) {
            if let Some(copy) = self.index.get_mut(origin) {
                *copy = copy.placed(place, index);
                self.payloads.need(copy.chunk(), 1);
                self.payloads.release(from, 1);
            }
        }
        self.payloads.sorted(place);
    }

    /// A copy does not need its payload any more.
    pub(in crate::pair) fn leave(&mut self, copy: &Copy) {
        if copy.is_fetched() {
            self.payloads.fetched_for_no_more(copy.chunk());
        }
        self.payloads.release(copy.chunk(), 1);
    }

    /// What was fetched for a copy that waits need not stay for its sake.
    pub(in crate::pair) fn want_no_more(&mut self, copy: &Copy) {
        if copy.is_fetched() {
            self.payloads.fetched_for_no_more(copy.chunk());
            if let Some(copy) = self.index.get_mut(copy.origin()) {
                *copy = copy.as_fetched(false);
            }
        }
    }

    /// Whether no other record of its key comes before this one.
    pub(in crate::pair) fn comes_first(&self, origin: Offset, copy: &Copy) -> bool {
        copy.key().is_none_or(|key| self.parking.head(key) == Some(origin)) || !Rule::HeadOnly.holds()
    }

    /// A record does not wait any more.
    pub(super) fn through(&mut self, origin: Offset, key: Option<crate::KeyHash>) {
        self.index.remove(origin);
        self.release_key(origin, key);
    }

    /// The next record of the key may be tried.
    pub(in crate::pair) fn release_key(&mut self, origin: Offset, key: Option<crate::KeyHash>) {
        self.staying.note_released(key);
        if let Some(next) = key.and_then(|key| self.parking.release(key, origin)) {
            self.index.offer(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::retry::tests::with_copies;
    use crate::{ChunkBuilder, Epoch, Lane, PairId};

    const ORIGIN: Offset = Offset(4);

    /// A lane with a copy in memory, and the chunk of another one that somebody may be at work on.
    fn lane(busy: bool) -> (RetryLane, Copy) {
        let mut lane = with_copies(2, false);
        let mut chunk = ChunkBuilder::new(PairId::new("in", 0), Lane::Retry, Epoch(1));
        chunk.record(Offset(0), 5, None, Some(&[b'x'; 1_000]));
        let chunk = chunk.build(None);
        if busy {
            let other = lane.payloads.insert(&chunk);
            lane.payloads.hold(other);
        }
        let place = lane.payloads.insert(&chunk);
        let copy = Copy::new(ORIGIN, Offset(0), 1, 0).placed(place, 0);
        lane.index.insert(copy);
        lane.payloads.need(place, 1);
        lane.payloads.sorted(place);
        (lane, copy)
    }

    /// Guarantee: a copy whose payload is in memory, or on its way to the spool, goes where what stays in memory for work has its part of the window; and without that where
    /// nothing is at work.
    #[test]
    fn what_is_in_memory_goes_where_there_is_room() {
        for leaving in [false, true] {
            for (bytes, busy, goes) in [(80_000, true, true), (100, true, false), (100, false, true)] {
                let (mut lane, copy) = lane(busy);
                if leaving {
                    assert!(lane.payloads.spool(copy.chunk()).is_some());
                }
                let turn = lane.turn_of(ORIGIN, &copy, Window { records: 1_000, bytes });
                assert_eq!(
                    matches!(turn, Turn::Goes(_)),
                    goes,
                    "leaving {leaving}, {bytes} bytes, busy {busy}"
                );
                assert_eq!(matches!(turn, Turn::Starves), !goes);
            }
        }
    }

    /// Guarantee: what was fetched for a copy stays in memory until it is not wanted any more.
    #[test]
    fn what_was_fetched_need_not_stay_when_it_is_not_wanted() {
        let (mut lane, copy) = lane(false);
        let fetched = copy.as_fetched(true);
        lane.index.insert(fetched);
        lane.payloads.fetched_for(copy.chunk());
        assert!(matches!(lane.payloads.source(copy.chunk()), Source::Held));
        lane.want_no_more(&fetched);
        assert!(matches!(lane.payloads.source(copy.chunk()), Source::Memory));
        assert!(lane.index.get(ORIGIN).is_some_and(|copy| !copy.is_fetched()));
    }
}
