//! From the index to the steps: which copy is tried next, and what its record's end means for the lane.

use crate::pair::{Pair, Phase};
use crate::rules::Rule;
use crate::scheduler::Entry;
use crate::{Moment, Offset};

use super::fetch::Why;
use super::{Copy, CopyState, RetryLane};

impl Pair {
    /// Gives records whose time has come to the scheduler, each behind what is at work of its key; of a parked key only the
    /// first one (design section 4, ordered retry, rule 4). At most half of the window, so that the input lane goes on.
    pub(in crate::pair) fn queue_due(&mut self, now: Moment) {
        let (window, quiet) = (self.options.window, self.is_lane_quiet());
        let most = (window.records / 2).max(1);
        let now = self.last_due().map_or(now, |until| until.min(now));
        let own = &mut self.own;
        let all = crate::SinkMask::first(own.sinks.len());
        let position = if Rule::WaitForInput.holds() { own.tracker.position() } else { Offset(i64::MAX) };
        loop {
            let Some(lane) = &mut own.retry else { return };
            lane.fetches.starved = false;
            if !lane.is_caught_up() || lane.busy() >= most {
                return;
            }
            let Some(origin) = lane.index.take_due(now, position) else { return };
            let Some(copy) = lane.index.get(origin).copied().filter(|copy| lane.comes_first(origin, copy))
            else {
                continue;
            };
            let held = own.held_by(origin);
            let Some(lane) = &mut own.retry else { return };
            if held == all && !held.is_empty() {
                // Another copy's try was published since.
                lane.through(origin, copy.key());
                lane.settle(origin, copy.offset, own.commits.acknowledged());
                lane.payloads.release(copy.chunk(), 1);
                continue;
            }
            if lane.payloads.record(copy.chunk(), copy.index()).is_none() {
                if !lane.fetches.contains(copy.offset) && !lane.fetch(origin, &copy, Why::Try, window, quiet)
                {
                    lane.index.offer(origin);
                    lane.fetches.starved = true;
                    return;
                }
                continue;
            }
            lane.payloads.keep(copy.chunk());
            lane.at_work += 1;
            if let Some(copy) = lane.index.get_mut(origin) {
                copy.state = CopyState::Tried;
            }
            own.scheduler.push(Entry { held, attempt: copy.attempt() + 1, ..copy.entry() });
        }
    }

    /// When [`Self::queue_due`] has something to do, or old copies are looked for.
    pub(in crate::pair) fn next_retry_due(&self) -> Option<Moment> {
        let lane = self.own.retry.as_ref()?;
        let most = (self.options.window.records / 2).max(1);
        if self.phase != Phase::Running || !lane.is_caught_up() {
            return None;
        }
        // With the window full, the next answer makes room; what has to wait for the end of careful mode is woken by it.
        let free = lane.busy() < most && !lane.fetches.starved;
        let may_go = |due: &Moment| free && self.last_due().is_none_or(|until| *due <= until);
        let due = lane.index.next_due().filter(may_go);
        due.into_iter().chain(self.next_sweep()).chain(self.next_reading()).min()
    }

    /// The scheduler gave a record back untried, because another one of its key comes first now.
    pub(in crate::pair) fn put_back(&mut self, entry: &Entry) {
        let Some(lane) = &mut self.own.retry else { return };
        lane.at_work = lane.at_work.saturating_sub(1);
        if let Some(copy) = lane.index.get_mut(entry.offset) {
            copy.state = CopyState::Waits;
        }
    }

    /// A record is at its end in this lane: its copy joins what the record still waits for.
    pub(in crate::pair) fn tried(&mut self, entry: &Entry, releases: bool) -> Option<Copy> {
        let lane = self.own.retry.as_mut()?;
        lane.at_work = lane.at_work.saturating_sub(1);
        if entry.lettered {
            lane.relettering.remove(&entry.offset);
            return None;
        }
        let copy = lane.index.remove(entry.offset)?;
        lane.join(entry.offset, copy.offset);
        if releases {
            lane.release_key(entry.offset, copy.key());
        }
        Some(copy)
    }
}

impl RetryLane {
    /// Whether no other record of its key comes before this one.
    fn comes_first(&self, origin: Offset, copy: &Copy) -> bool {
        copy.key().is_none_or(|key| self.parking.head(key) == Some(origin)) || !Rule::HeadOnly.holds()
    }

    fn through(&mut self, origin: Offset, key: Option<crate::KeyHash>) {
        self.index.remove(origin);
        self.release_key(origin, key);
    }

    /// The next record of the key may be tried.
    pub(in crate::pair) fn release_key(&mut self, origin: Offset, key: Option<crate::KeyHash>) {
        if let Some(next) = key.and_then(|key| self.parking.release(key, origin)) {
            self.index.offer(next);
        }
    }
}
