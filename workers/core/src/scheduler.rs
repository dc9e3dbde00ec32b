//! The key scheduler: which records go to the steps next, so that records that must not overtake each other do not.
//!
//! Two shapes. With [`Grain::Batch`] records go by their key's hash into a few lanes, each with at most one unit in
//! flight: no lookup by key on the quick way, and a unit holds many keys. With [`Grain::Record`] every active key has its
//! own queue, so a slow record holds up its own key alone. In both a key whose record waits for its next try is
//! **frozen**: what stands behind it waits with it, in order.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::pair::{Grain, Order};
use crate::{KeyHash, Moment, Offset, SinkMask, UnitId};

mod keys;
mod lanes;

use keys::Keys;
use lanes::Lanes;

/// A unit should take no longer than this, so that a revoke is answered in time and latency stays low.
const UNIT_TARGET: Duration = Duration::from_millis(5);
/// A unit is never made smaller than this by a slow steps pool: the cost of a hand-over must stay small beside it.
const UNIT_FLOOR_RECORDS: usize = 16;
/// Nor smaller than what the steps do in this time, however long units queue behind those of other pairs: smaller ones would
/// only queue in greater number.
const UNIT_FLOOR: Duration = Duration::from_micros(500);

/// One record on its way to the steps and through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where its span begins: behind the record received before it.
    pub first: Offset,
    /// Its offset.
    pub offset: Offset,
    /// The lane it came by. A record of the retry lane stands under its origin, and owns that offset alone.
    pub lane: crate::Lane,
    /// The hash of its key, none for a null key.
    pub key: Option<KeyHash>,
    /// Which chunk holds it, in the pair's own count.
    pub chunk: u32,
    /// Its place in the chunk.
    pub index: u32,
    /// Sinks that hold it already.
    pub held: SinkMask,
    /// Which try comes next, from 1.
    pub attempt: u32,
    /// It was decided to be a dead letter before a restart; the steps run only to tell why.
    pub lettered: bool,
}

impl Entry {
    /// The offsets that settle with it, as a run `[first, end)`.
    pub(crate) fn span(&self) -> (i64, i64) {
        (self.first.0, self.offset.next().0)
    }

    /// Whether it comes to stand before a copy in the retry lane when it goes there itself.
    fn comes_before(&self, copy: &Self) -> bool {
        let lanes = (self.lane, copy.lane) == (crate::Lane::Input, crate::Lane::Retry);
        lanes && !copy.lettered && self.key.is_some() && self.key == copy.key && self.offset < copy.offset
    }
}

/// Records that wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Group {
    /// Those of one key.
    Key(KeyHash),
    /// A record that waits for nobody.
    Solo(Offset),
    /// All of the partition.
    All,
}

/// A group that waits for its first record.
#[derive(Debug)]
struct Frozen {
    queue: VecDeque<Entry>,
    state: Frost,
}

/// What a frozen group waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frost {
    /// The moment of the next try; the record stands first in the queue.
    Until(Moment),
    /// The end of the try; the record is in a unit.
    Trying,
    /// The word of the pair ([`Scheduler::complete`]); the record is with the pair.
    Held,
}

#[derive(Debug)]
enum Shape {
    Batch(Lanes),
    Record(Keys),
}

#[derive(Debug)]
struct Running {
    entries: Vec<Entry>,
    lane: Option<usize>,
    sent: Moment,
}

/// Decides which records go to the steps next. Purely in memory; its queue is bounded by the pair's intake window.
#[derive(Debug)]
pub struct Scheduler {
    order: Order,
    shape: Shape,
    most_units: usize,
    most_records: usize,
    unit_records: usize,
    frozen: HashMap<Group, Frozen, FixedState>,
    due: BTreeSet<(Moment, Group)>,
    running: HashMap<UnitId, Running, FixedState>,
    deferred: Vec<Entry>,
    next_id: u64,
    queued: usize,
    running_records: usize,
}

impl Scheduler {
    /// An empty scheduler. `most_records` bounds a unit (one with [`Grain::Record`]), `most_units` those in flight.
    pub fn new(order: Order, grain: Grain, most_records: usize, most_units: usize) -> Self {
        let most_units = most_units.max(1);
        let (shape, most_records) = match grain {
            Grain::Batch => (Shape::Batch(Lanes::new(order, most_units)), most_records.max(1)),
            Grain::Record => (Shape::Record(Keys::default()), 1),
        };
        Self {
            order,
            shape,
            most_units,
            most_records,
            unit_records: most_records,
            frozen: HashMap::default(),
            due: BTreeSet::new(),
            running: HashMap::default(),
            deferred: Vec::new(),
            next_id: 0,
            queued: 0,
            running_records: 0,
        }
    }

    /// Whether the hash of the key is needed in [`Entry::key`].
    pub fn needs_keys(&self) -> bool {
        self.order == Order::Key
    }

    /// Queues a record behind all others it must not overtake.
    pub fn push(&mut self, entry: Entry) {
        self.queued += 1;
        match &mut self.shape {
            Shape::Batch(lanes) => lanes.push_back(entry),
            Shape::Record(keys) => keys.push_back(group_of(self.order, &entry), entry),
        }
    }

    /// Takes the next unit of at most `room` records, none when nothing may go. Its records: [`Self::entries`]. Without
    /// room one record that waits for its next try may still go: others may be waiting for it.
    pub fn next_unit(&mut self, now: Moment, room: usize) -> Option<UnitId> {
        self.take_unit(now, room, None::<fn(&Entry) -> bool>, &mut Vec::new())
    }

    /// The same, but only of records that `may_go`. Those that may not are given back in `aside`, untried, and are the
    /// scheduler's no more: what stands behind them goes on.
    pub fn next_unit_of(
        &mut self,
        now: Moment,
        room: usize,
        may_go: impl Fn(&Entry) -> bool,
        aside: &mut Vec<Entry>,
    ) -> Option<UnitId> {
        self.take_unit(now, room, Some(may_go), aside)
    }

    fn take_unit(
        &mut self,
        now: Moment,
        room: usize,
        may_go: Option<impl Fn(&Entry) -> bool>,
        aside: &mut Vec<Entry>,
    ) -> Option<UnitId> {
        let most = self.unit_records.min(room);
        if self.running.len() >= self.most_units || self.queued == 0 {
            return None;
        }
        let mut entries = Vec::new();
        self.take_due(now, most.max(1), &mut entries);
        let mut lane = None;
        if entries.is_empty() && most > 0 {
            match &mut self.shape {
                Shape::Batch(lanes) => lane = lanes.take(self.order, &mut self.frozen, most, &mut entries),
                Shape::Record(keys) => entries.extend(keys.take()),
            }
        }
        if let Some(may_go) = may_go {
            self.put_aside(&mut entries, may_go, aside);
        }
        if entries.is_empty() {
            // All that was taken was put aside: the lane is free again.
            if let (Shape::Batch(lanes), Some(lane)) = (&mut self.shape, lane) {
                lanes.done(lane);
            }
            return None;
        }
        self.queued -= entries.len();
        self.running_records += entries.len();
        let id = UnitId(self.next_id);
        self.next_id += 1;
        self.running.insert(id, Running { entries, lane, sent: now });
        Some(id)
    }

    /// Sorts out what may not go; whoever stands behind it may.
    fn put_aside(
        &mut self,
        entries: &mut Vec<Entry>,
        may_go: impl Fn(&Entry) -> bool,
        aside: &mut Vec<Entry>,
    ) {
        if entries.iter().all(&may_go) {
            return;
        }
        let from = aside.len();
        entries.retain(|entry| {
            // A copy that came first of its key does so no more when a record of the input before it follows into the retry lane.
            let goes = may_go(entry) && !aside[from..].iter().any(|before| before.comes_before(entry));
            if !goes {
                aside.push(*entry);
            }
            goes
        });
        self.queued -= aside.len() - from;
        for entry in &aside[from..] {
            self.complete(entry);
        }
    }

    /// The records of a unit in flight.
    pub fn entries(&self, unit: UnitId) -> &[Entry] {
        self.running.get(&unit).map_or(&[], |running| &running.entries)
    }

    /// Ends a unit that was with the steps for `steps` of the time (zero: not known) and gives its records back, none for a
    /// unit that is not in flight. Each record must then be given to [`Self::complete`], [`Self::retry`] or [`Self::defer`],
    /// in order, and [`Self::end_unit`] follows.
    pub fn done(&mut self, unit: UnitId, steps: Duration, now: Moment) -> Option<Vec<Entry>> {
        let running = self.running.remove(&unit)?;
        self.running_records -= running.entries.len();
        if let (Shape::Batch(lanes), Some(lane)) = (&mut self.shape, running.lane) {
            lanes.done(lane);
            self.adapt(running.entries.len(), steps, now.since(running.sent));
        }
        Some(running.entries)
    }

    /// The record is through, whatever came of it: what stands behind it may go.
    pub fn complete(&mut self, entry: &Entry) {
        if self.frozen.is_empty() && matches!(self.shape, Shape::Batch(_)) {
            return;
        }
        let group = group_of(self.order, entry);
        let behind = match self.frozen.get(&group) {
            Some(frozen) if !matches!(frozen.state, Frost::Until(_)) => {
                self.frozen.remove(&group).map(|frozen| frozen.queue)
            }
            _ => None,
        };
        match &mut self.shape {
            Shape::Batch(lanes) => {
                for entry in behind.into_iter().flatten().rev() {
                    lanes.push_front(entry);
                }
            }
            Shape::Record(keys) => keys.release(group, behind.unwrap_or_default()),
        }
    }

    /// The record is to be tried again at `due`; what stands behind it waits.
    pub fn retry(&mut self, entry: Entry, due: Moment) {
        self.queued += 1;
        let group = group_of(self.order, &entry);
        self.freeze(group, Frost::Until(due)).push_front(entry);
        self.due.insert((due, group));
    }

    /// The record is through, but what stands behind it must wait until [`Self::complete`] is called for it.
    pub fn hold(&mut self, entry: &Entry) {
        self.freeze(group_of(self.order, entry), Frost::Held);
    }

    fn freeze(&mut self, group: Group, state: Frost) -> &mut VecDeque<Entry> {
        let frozen = self.frozen.entry(group).or_insert_with(|| Frozen { queue: VecDeque::new(), state });
        if let Frost::Until(due) = frozen.state {
            self.due.remove(&(due, group));
        }
        frozen.state = state;
        &mut frozen.queue
    }

    /// The record was not tried: it goes back to where it stood.
    pub fn defer(&mut self, entry: Entry) {
        let group = group_of(self.order, &entry);
        match self.frozen.get_mut(&group) {
            Some(frozen) if frozen.state == Frost::Trying => self.retry(entry, Moment::default()),
            // The group froze in this very unit, so only what stood before this record is in its queue.
            Some(frozen) => {
                self.queued += 1;
                frozen.queue.push_back(entry);
            }
            None => {
                self.queued += 1;
                self.deferred.push(entry);
            }
        }
    }

    /// All records of a unit were told: deferred ones take their old places.
    pub fn end_unit(&mut self) {
        while let Some(entry) = self.deferred.pop() {
            match &mut self.shape {
                Shape::Batch(lanes) => lanes.push_front(entry),
                Shape::Record(keys) => keys.push_front(entry),
            }
        }
    }

    /// Forgets everything, in flight too, and gives the records back, in no order; answers to them are none of ours any
    /// more.
    pub fn clear(&mut self) -> Vec<Entry> {
        let mut entries = match &mut self.shape {
            Shape::Batch(lanes) => lanes.clear(),
            Shape::Record(keys) => std::mem::take(keys).into_entries(),
        };
        entries.extend(self.frozen.drain().flat_map(|(_, frozen)| frozen.queue));
        entries.extend(self.running.drain().flat_map(|(_, running)| running.entries));
        entries.append(&mut self.deferred);
        self.due.clear();
        self.queued = 0;
        self.running_records = 0;
        entries
    }

    /// Records that wait, frozen ones included.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Records with the steps.
    pub fn running_records(&self) -> usize {
        self.running_records
    }

    /// Units with the steps.
    pub fn running_units(&self) -> usize {
        self.running.len()
    }

    /// Whether nothing waits and nothing runs.
    pub fn is_idle(&self) -> bool {
        self.queued == 0 && self.running.is_empty()
    }

    /// How many records the next unit may hold, after what earlier ones took.
    pub fn unit_records(&self) -> usize {
        self.unit_records
    }

    /// When the next frozen group is due, if a unit is free for it.
    pub fn next_due(&self) -> Option<Moment> {
        if self.running.len() >= self.most_units {
            return None;
        }
        self.due.first().map(|(due, _)| *due)
    }

    /// The first records of frozen groups whose time has come, each of another group.
    fn take_due(&mut self, now: Moment, most: usize, entries: &mut Vec<Entry>) {
        while entries.len() < most {
            let Some(&(due, group)) = self.due.first() else { return };
            if due > now {
                return;
            }
            self.due.pop_first();
            if let Some(frozen) = self.frozen.get_mut(&group)
                && let Some(entry) = frozen.queue.pop_front()
            {
                frozen.state = Frost::Trying;
                entries.push(entry);
            }
        }
    }

    /// Sizes the next units by one of so many records that was with the steps for `steps` and came back after `took`.
    fn adapt(&mut self, records: usize, steps: Duration, took: Duration) {
        let size = self.unit_records;
        let wanted = if took > UNIT_TARGET {
            (size / 2).max(fitting(records, UNIT_TARGET, took)).min(size)
        } else if took < UNIT_TARGET / 2 && records >= size {
            size * 2
        } else {
            size
        };
        let floor = if steps.is_zero() { 0 } else { fitting(records, UNIT_FLOOR, steps).min(size * 2) };
        let least = floor.max(UNIT_FLOOR_RECORDS).min(self.most_records);
        self.unit_records = wanted.clamp(least, self.most_records);
    }
}

/// How many records fit into `time` when so many took `took`.
fn fitting(records: usize, time: Duration, took: Duration) -> usize {
    (records as f64 * time.as_secs_f64() / took.as_secs_f64()) as usize
}

fn group_of(order: Order, entry: &Entry) -> Group {
    match (order, entry.key) {
        (Order::Partition, _) => Group::All,
        (Order::Key, Some(key)) => Group::Key(key),
        (Order::Key, None) | (Order::None, _) => Group::Solo(entry.offset),
    }
}

#[cfg(test)]
mod tests;
