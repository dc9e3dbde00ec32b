//! What waits: one entry for each record, whatever the number of its copies.

use std::collections::{BTreeMap, BTreeSet};

use crate::rules::Rule;
use crate::scheduler::Entry;
use crate::{KeyHash, Lane, Moment, Offset, SinkMask};

use super::strays::Proof;

/// The one copy of a record that counts.
#[derive(Clone, Copy, Debug)]
pub(in crate::pair) struct Copy {
    /// Its offset in the retry partition.
    pub(in crate::pair) offset: Offset,
    /// When it may be tried.
    pub(in crate::pair) due: Moment,
    /// When it is old enough to be carried forward.
    pub(in crate::pair) stale: Moment,
    pub(in crate::pair) key: Option<KeyHash>,
    pub(in crate::pair) attempt: u32,
    pub(in crate::pair) replays: u32,
    /// Where its payload is, in the lane's own count of chunks.
    pub(in crate::pair) chunk: u32,
    pub(in crate::pair) index: u32,
    /// What it has in common with its record, where the input lane is still to come to that.
    pub(in crate::pair) proof: Proof,
    pub(in crate::pair) state: CopyState,
    /// The record has failed for so long that the next try is its last.
    pub(in crate::pair) last: bool,
}

/// What happens to the record of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pair) enum CopyState {
    /// It waits for its time, or for its turn.
    Waits,
    /// It waits, and the same copy is on its way to the end of the log.
    Carried,
    /// It is with the scheduler.
    Tried,
    /// It failed again and its next copy is on its way; until that one is read it stays the head of its key.
    Leaving,
}

impl Copy {
    /// Of two copies of one record the higher counts: by replay number, then attempts, then the later one in the log.
    pub(in crate::pair) fn outranks(&self, other: &Self) -> bool {
        let offset = |copy: &Self| if Rule::LaterCopyCounts.holds() { copy.offset } else { Offset(0) };
        let rank = |copy: &Self| (copy.replays, copy.attempt, offset(copy));
        rank(self) > rank(other)
    }

    /// The record of a copy as the scheduler and the letters know it, under its origin.
    pub(in crate::pair) fn entry(&self, origin: Offset) -> Entry {
        Entry {
            first: origin,
            offset: origin,
            lane: Lane::Retry,
            key: self.key,
            chunk: self.chunk,
            index: self.index,
            held: SinkMask::NONE,
            attempt: self.attempt,
            lettered: false,
        }
    }

    pub(in crate::pair) fn is_waiting(&self) -> bool {
        matches!(self.state, CopyState::Waits | CopyState::Carried)
    }
}

/// The copies that wait, by origin, and when the next ones are due.
#[derive(Debug, Default)]
pub(in crate::pair) struct Index {
    copies: BTreeMap<Offset, Copy>,
    due: BTreeSet<(Moment, Offset)>,
    /// Due, but the input lane has not passed their origin yet.
    early: BTreeSet<Offset>,
}

impl Index {
    pub(in crate::pair) fn get(&self, origin: Offset) -> Option<&Copy> {
        self.copies.get(&origin)
    }

    pub(in crate::pair) fn get_mut(&mut self, origin: Offset) -> Option<&mut Copy> {
        self.copies.get_mut(&origin)
    }

    pub(in crate::pair) fn insert(&mut self, origin: Offset, copy: Copy) -> Option<Copy> {
        self.copies.insert(origin, copy)
    }

    /// Forgets a record, and gives its copy back.
    pub(in crate::pair) fn remove(&mut self, origin: Offset) -> Option<Copy> {
        let copy = self.copies.remove(&origin)?;
        self.due.remove(&(copy.due, origin));
        self.early.remove(&origin);
        Some(copy)
    }

    pub(in crate::pair) fn len(&self) -> u64 {
        self.copies.len() as u64
    }

    pub(in crate::pair) fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }

    /// The highest origin that waits.
    pub(in crate::pair) fn highest(&self) -> Option<Offset> {
        self.copies.last_key_value().map(|(origin, _)| *origin)
    }

    /// The first origin that waits from this one on.
    pub(in crate::pair) fn first_from(&self, origin: Offset) -> Option<Offset> {
        self.copies.range(origin..).next().map(|(origin, _)| *origin)
    }

    pub(in crate::pair) fn iter(&self) -> impl Iterator<Item = (Offset, &Copy)> {
        self.copies.iter().map(|(origin, copy)| (*origin, copy))
    }

    /// The record may be tried when its time has come.
    pub(in crate::pair) fn offer(&mut self, origin: Offset) {
        if let Some(copy) = self.copies.get(&origin).filter(|copy| copy.is_waiting()) {
            self.due.insert((copy.due, origin));
        }
    }

    /// Takes the next record whose time has come and whose origin the input lane (at `position`) has passed.
    pub(in crate::pair) fn take_due(&mut self, now: Moment, position: Offset) -> Option<Offset> {
        if let Some(origin) = self.early.first().copied().filter(|origin| *origin < position) {
            self.early.remove(&origin);
            return Some(origin);
        }
        while let Some(&(due, origin)) = self.due.first() {
            if due > now {
                return None;
            }
            self.due.pop_first();
            // Of a copy that was replaced since, the time is another one, and it stands here a second time.
            let stale = self.copies.get(&origin).is_none_or(|copy| copy.due != due || !copy.is_waiting());
            if stale {
                continue;
            }
            if origin < position {
                return Some(origin);
            }
            self.early.insert(origin);
        }
        None
    }

    /// When the next record is due.
    pub(in crate::pair) fn next_due(&self) -> Option<Moment> {
        self.due.first().map(|(due, _)| *due)
    }
}
