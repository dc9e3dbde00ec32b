//! Record grain: a queue for every active key, one record of a key at a time.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry as Place, HashMap};

use foldhash::fast::FixedState;

use super::{Entry, Group};

/// Active groups with what waits behind their record at work, and records that may go at once.
#[derive(Debug, Default)]
pub(super) struct Keys {
    active: HashMap<Group, VecDeque<Entry>, FixedState>,
    ready: VecDeque<Entry>,
}

impl Keys {
    pub(super) fn push_back(&mut self, group: Group, entry: Entry) {
        match (group, self.active.entry(group)) {
            (Group::Solo(_), _) => self.ready.push_back(entry),
            (_, Place::Occupied(mut behind)) => behind.get_mut().push_back(entry),
            (_, Place::Vacant(place)) => {
                place.insert(VecDeque::new());
                self.ready.push_back(entry);
            }
        }
    }

    /// A record of an active group goes before all others.
    pub(super) fn push_front(&mut self, entry: Entry) {
        self.ready.push_front(entry);
    }

    pub(super) fn take(&mut self) -> Option<Entry> {
        self.ready.pop_front()
    }

    /// All that waited.
    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.ready.into_iter().chain(self.active.into_values().flatten()).collect()
    }

    /// The group's record at work is through; `behind` stood behind it while it was frozen.
    pub(super) fn release(&mut self, group: Group, mut behind: VecDeque<Entry>) {
        let Place::Occupied(mut place) = self.active.entry(group) else {
            return self.ready.extend(behind);
        };
        if !behind.is_empty() {
            behind.append(place.get_mut());
            *place.get_mut() = behind;
        }
        // Mostly nothing was frozen: the queue stays where it is, however long it is.
        match place.get_mut().pop_front() {
            Some(next) => self.ready.push_back(next),
            None => {
                place.remove();
            }
        }
    }
}
