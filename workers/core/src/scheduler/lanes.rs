//! Batch grain: a few lanes by key hash, each with at most one unit in flight.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use crate::pair::Order;

use super::{Entry, Frozen, Group, group_of};

#[derive(Debug)]
struct Lane {
    queue: VecDeque<Entry>,
    running: usize,
    most: usize,
}

/// The lanes; the last one is for records that wait for nobody.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    turn: usize,
}

impl Lanes {
    pub(super) fn new(order: Order, most_units: usize) -> Self {
        let ordered = match order {
            Order::None => 0,
            Order::Key => most_units,
            Order::Partition => 1,
        };
        let lane = |most| Lane { queue: VecDeque::new(), running: 0, most };
        let mut lanes: Vec<Lane> = (0..ordered).map(|_| lane(1)).collect();
        if order != Order::Partition {
            lanes.push(lane(most_units));
        }
        Self { lanes, turn: 0 }
    }

    fn lane_of(&mut self, entry: &Entry) -> &mut VecDeque<Entry> {
        let last = self.lanes.len() - 1;
        let lane = match entry.key {
            // The upper half by multiplication: an even spread over any count without a division.
            Some(key) => (((key.0 >> 32) * last as u64) >> 32) as usize,
            None => last,
        };
        &mut self.lanes[lane].queue
    }

    pub(super) fn push_back(&mut self, entry: Entry) {
        self.lane_of(&entry).push_back(entry);
    }

    pub(super) fn push_front(&mut self, entry: Entry) {
        self.lane_of(&entry).push_front(entry);
    }

    pub(super) fn done(&mut self, lane: usize) {
        self.lanes[lane].running -= 1;
    }

    /// Fills `entries` from the next lane that may send; what belongs to a frozen group is put behind it on the way.
    pub(super) fn take(
        &mut self,
        order: Order,
        frozen: &mut HashMap<Group, Frozen, FixedState>,
        most: usize,
        entries: &mut Vec<Entry>,
    ) -> Option<usize> {
        for step in 0..self.lanes.len() {
            let at = (self.turn + step) % self.lanes.len();
            let lane = &mut self.lanes[at];
            if lane.running >= lane.most || lane.queue.is_empty() {
                continue;
            }
            if frozen.is_empty() {
                let count = most.min(lane.queue.len());
                entries.extend(lane.queue.drain(..count));
            } else {
                lane.take_thawed(order, frozen, most, entries);
            }
            if !entries.is_empty() {
                lane.running += 1;
                self.turn = at + 1;
                return Some(at);
            }
        }
        None
    }

    /// Empties all lanes, as if nothing were in flight, and gives back what waited.
    pub(super) fn clear(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for lane in &mut self.lanes {
            entries.extend(lane.queue.drain(..));
            lane.running = 0;
        }
        entries
    }
}

impl Lane {
    fn take_thawed(
        &mut self,
        order: Order,
        frozen: &mut HashMap<Group, Frozen, FixedState>,
        most: usize,
        entries: &mut Vec<Entry>,
    ) {
        while entries.len() < most
            && let Some(entry) = self.queue.pop_front()
        {
            match frozen.get_mut(&group_of(order, &entry)) {
                Some(frozen) => frozen.queue.push_back(entry),
                None => entries.push(entry),
            }
        }
    }
}
