//! Records of the input lane that stay in memory though their key is parked.
//!
//! A record too large for the retry topic becomes a letter, and its key is parked until that is decided for good (ADR 0005): some milliseconds.
//! What comes of the key meanwhile would follow it into the retry lane, be refused there as well, and be a letter without a try; and with a hot key that
//! has no end. While nothing of the key waits in the retry topic it stays here instead, and goes to the steps when the decision is durable.

use std::collections::{BTreeMap, BTreeSet};

use crate::pair::{Pair, Phase};
use crate::scheduler::Entry;
use crate::{KeyHash, Lane, Offset, RunSet};

use super::RetryLane;

/// Records that stay, by key and offset. They count against the window, as those with the scheduler do (I5).
#[derive(Debug, Default)]
pub(in crate::pair) struct Staying {
    entries: BTreeMap<(KeyHash, Offset), Entry>,
    /// Keys of which a parked record was released, so that some of these may go.
    released: Vec<KeyHash>,
    /// Those that went to the scheduler and may still be there.
    gone: BTreeSet<Offset>,
}

impl Staying {
    /// How many.
    pub(in crate::pair) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A parked record of the key is released.
    pub(super) fn note_released(&mut self, key: Option<KeyHash>) {
        if !self.entries.is_empty() {
            self.released.extend(key);
        }
    }

    /// Forgets all of them, and gives them back.
    pub(in crate::pair) fn clear(&mut self) -> impl Iterator<Item = Entry> + use<> {
        self.released.clear();
        self.gone.clear();
        std::mem::take(&mut self.entries).into_values()
    }

    /// The first record of a key below an offset.
    fn take_below(&mut self, key: KeyHash, below: Offset) -> Option<Entry> {
        let mut before = self.entries.range((key, Offset(i64::MIN))..(key, below));
        let first = *before.next()?.0;
        self.entries.remove(&first)
    }
}

impl RetryLane {
    /// Whether a record stayed and stands before all that is parked of its key now: it has not to follow that.
    pub(in crate::pair) fn stood_before(&self, key: KeyHash, offset: Offset) -> bool {
        self.staying.gone.contains(&offset) && self.parking.head(key) > Some(offset)
    }
}

impl Pair {
    /// Whether an untried record of a parked key may stay: nothing of its key that comes before `below` waits in the retry topic, or is on its way
    /// there. Behind one that waits there a record that the topic refuses is a letter: it might stay for hours, and with many of its kind stop the
    /// partition (I9).
    pub(super) fn may_stay(&self, entry: &Entry, below: Offset) -> bool {
        let lane = self.own.retry.as_ref().filter(|_| entry.lane == Lane::Input);
        let (Some(lane), Some(key)) = (lane, entry.key) else { return false };
        lane.parking.only_decides(key, below)
    }

    /// The record stays.
    pub(super) fn stay(&mut self, entry: Entry) {
        let stopped = !matches!(self.phase, Phase::Running | Phase::Draining);
        match (entry.key, &mut self.own.retry) {
            (Some(key), Some(lane)) if !stopped => {
                lane.staying.entries.insert((key, entry.offset), entry);
                lane.staying.note_released(Some(key));
            }
            // It is at work and nobody runs it any more: the next owner reads it again.
            (_, _) => self.own.chunks.release(entry.chunk, 1),
        }
    }

    /// A record that was to follow its key is refused by the retry topic, untried: it is at work again.
    pub(super) fn take_back(&mut self, entry: Entry) {
        let span = RunSet::of(entry.first, entry.offset.next());
        let ticket = self.own.finished.split(&span);
        crate::invariant!(I1, *ticket.spans() == span, "{span:?} was taken back and not finished");
        self.own.working.join(ticket);
        self.stay(entry);
        if let Some(lane) = &mut self.own.retry {
            lane.release_key(entry.offset, entry.key);
        }
    }

    /// What stays goes to the scheduler as soon as nothing of its key is parked before it, so that it stands there before copies that are parked
    /// behind it.
    pub(in crate::pair) fn wake_staying(&mut self) {
        let Some(lane) = &mut self.own.retry else { return };
        let released = std::mem::take(&mut lane.staying.released);
        if !released.is_empty() {
            let at_work = self.own.working.spans();
            lane.staying.gone.retain(|offset| at_work.contains(*offset));
        }
        for key in released {
            let head = lane.parking.head(key).unwrap_or(Offset(i64::MAX));
            while let Some(entry) = lane.staying.take_below(key, head) {
                lane.staying.gone.insert(entry.offset);
                self.own.scheduler.push(entry);
            }
        }
    }
}
