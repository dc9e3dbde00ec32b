//! Where the payloads of copies are: in memory, within a share of the pair's window; else with the runtime's spool; and always in
//! the topic, which is the truth. What the spool does not take, or cannot give back, is read again from there.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::pair::SpoolId;
use crate::rules::Rule;
use crate::{Chunk, RecordRef};

/// The chunk number of a copy whose payload was not read: it is in the topic alone.
pub(in crate::pair) const IN_TOPIC: u32 = u32::MAX;

/// The chunks of the copies that wait or are at work, by number, so that a copy costs no counted reference.
///
/// A copy that waits *needs* its chunk, wherever that is. Whoever asks for the record itself again *holds* it, so that memory keeps it: an
/// entry of the scheduler, a row that may be refused, a letter. One hands its hold to the next, and the last one lets go.
#[derive(Debug, Default)]
pub(in crate::pair) struct Payloads {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// Slots that nobody holds any more, or that came just now: they may leave memory.
    idle: Vec<u32>,
    /// Holds of all slots.
    holds: u64,
    /// Slots that the spool has, or is to have.
    spooled: HashMap<SpoolId, u32, FixedState>,
    last_id: u64,
    /// Bytes in memory.
    bytes: u64,
    /// Those of them that the spool was asked to take.
    asked_bytes: u64,
    /// Bytes with the spool.
    spooled_bytes: u64,
    /// Copies whose payloads were to be in the spool and are in the topic alone.
    fallen: u64,
    /// What the spool has and nobody needs any more.
    unneeded: Vec<SpoolId>,
}

#[derive(Debug)]
struct Slot {
    place: Place,
    bytes: u64,
    records: u32,
    /// By how many copies that wait, and by how many holds.
    needed: u64,
    /// By how many holds, and copies that it was fetched for.
    held: u64,
}

impl Slot {
    /// Whether memory keeps it, wherever else it may be as well.
    fn stays(&self) -> bool {
        self.held > 0 && Rule::HeldStays.holds()
    }
}

#[derive(Debug)]
enum Place {
    Memory(Arc<Chunk>),
    /// The spool was asked to take it.
    Asked(Arc<Chunk>, SpoolId),
    Spooled(SpoolId),
    Topic,
}

/// Where one copy's payload is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pair) enum Source {
    /// In memory, which keeps them.
    Held,
    Memory,
    /// In memory, and on their way to the spool.
    Leaving,
    /// With the spool: so many bytes, about.
    Spool(SpoolId, u64),
    Topic,
}

impl Payloads {
    /// Keeps a chunk until it was looked through: [`Self::sorted`].
    pub(in crate::pair) fn insert(&mut self, chunk: &Arc<Chunk>) -> u32 {
        let bytes = chunk.bytes() as u64;
        self.bytes += bytes;
        let place = Place::Memory(Arc::clone(chunk));
        let slot = Some(Slot { place, bytes, records: chunk.len() as u32, needed: 1, held: 0 });
        match self.free.pop() {
            Some(place) => {
                self.slots[place as usize] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        }
    }

    /// A chunk that came was looked through: what nobody holds of it may leave.
    pub(in crate::pair) fn sorted(&mut self, place: u32) {
        self.idle.push(place);
        self.release(place, 1);
    }

    /// One more needs the record itself.
    pub(in crate::pair) fn hold(&mut self, place: u32) {
        if let Some(Some(slot)) = self.slots.get_mut(place as usize) {
            slot.held += 1;
            self.holds += 1;
            self.need(place, 1);
        }
    }

    /// So many do not need the record itself any more.
    pub(in crate::pair) fn let_go(&mut self, place: u32, holds: usize) {
        if let Some(Some(slot)) = self.slots.get_mut(place as usize) {
            slot.held -= holds as u64;
            self.holds -= holds as u64;
            if slot.held == 0 {
                self.idle.push(place);
            }
            self.release(place, holds);
        }
    }

    /// A chunk was fetched for a copy that needs it: it stays until that one is tried.
    pub(in crate::pair) fn fetched_for(&mut self, place: u32) {
        if let Some(Some(slot)) = self.slots.get_mut(place as usize) {
            slot.held += 1;
        }
    }

    /// That copy is tried, or does not wait any more.
    pub(in crate::pair) fn fetched_for_no_more(&mut self, place: u32) {
        if let Some(Some(slot)) = self.slots.get_mut(place as usize) {
            slot.held -= 1;
            if slot.held == 0 {
                self.idle.push(place);
            }
        }
    }

    /// Whoever holds a record is with the steps, in a segment, or a letter.
    pub(in crate::pair) fn holds(&self) -> u64 {
        self.holds
    }

    /// More records need the chunk.
    pub(in crate::pair) fn need(&mut self, place: u32, records: usize) {
        if let Some(Some(slot)) = self.slots.get_mut(place as usize) {
            slot.needed += records as u64;
            if matches!(slot.place, Place::Topic) {
                self.fallen += records as u64;
            }
        }
    }

    /// So many records do not need it any more.
    pub(in crate::pair) fn release(&mut self, place: u32, records: usize) {
        let Some(kept) = self.slots.get_mut(place as usize) else { return };
        let Some(slot) = kept else { return };
        slot.needed -= records as u64;
        let (bytes, needed) = (slot.bytes, slot.needed);
        match slot.place {
            Place::Topic => self.fallen -= records as u64,
            _ if needed > 0 => return,
            Place::Memory(_) => self.bytes -= bytes,
            // The spool's answer comes yet.
            Place::Asked(_, id) => {
                self.bytes -= bytes;
                self.asked_bytes -= bytes;
                self.spooled.remove(&id);
            }
            Place::Spooled(id) => {
                self.spooled_bytes -= bytes;
                self.spooled.remove(&id);
                self.unneeded.push(id);
            }
        }
        if needed == 0 {
            self.slots[place as usize] = None;
            self.free.push(place);
        }
    }

    /// The bytes of a whole chunk.
    pub(in crate::pair) fn bytes_of(&self, place: u32) -> u64 {
        self.slots.get(place as usize).and_then(Option::as_ref).map_or(0, |slot| slot.bytes)
    }

    /// The record at a place of a chunk that is in memory.
    pub(in crate::pair) fn record(&self, place: u32, index: u32) -> Option<RecordRef> {
        match &self.slots.get(place as usize)?.as_ref()?.place {
            Place::Memory(chunk) | Place::Asked(chunk, _) => RecordRef::new(chunk, index),
            Place::Spooled(_) | Place::Topic => None,
        }
    }

    /// Where the payloads of a chunk are.
    pub(in crate::pair) fn source(&self, place: u32) -> Source {
        let Some(Some(slot)) = self.slots.get(place as usize) else { return Source::Topic };
        match slot.place {
            Place::Memory(_) | Place::Asked(..) if slot.held > 0 => Source::Held,
            Place::Memory(_) => Source::Memory,
            Place::Asked(..) => Source::Leaving,
            Place::Spooled(id) => Source::Spool(id, slot.bytes / u64::from(slot.records.max(1))),
            Place::Topic => Source::Topic,
        }
    }

    /// The next slot that may leave memory, perhaps.
    pub(in crate::pair) fn next_idle(&mut self) -> Option<u32> {
        self.idle.pop()
    }

    /// Has the spool take a chunk that only waits.
    pub(in crate::pair) fn spool(&mut self, place: u32) -> Option<(SpoolId, Arc<Chunk>)> {
        let slot = self.slots.get_mut(place as usize)?.as_mut().filter(|slot| !slot.stays())?;
        let Place::Memory(chunk) = &slot.place else { return None };
        self.last_id += 1;
        let (id, chunk) = (SpoolId(self.last_id), Arc::clone(chunk));
        slot.place = Place::Asked(Arc::clone(&chunk), id);
        self.asked_bytes += slot.bytes;
        self.spooled.insert(id, place);
        Some((id, chunk))
    }

    /// The spool has a chunk, or does not take it.
    pub(in crate::pair) fn spooled(&mut self, id: SpoolId, taken: bool) {
        let known = self.spooled.get(&id).copied();
        let slot = known.and_then(|place| self.slots.get_mut(place as usize)).and_then(Option::as_mut);
        let Some(slot) = slot else {
            // Nobody needs it any more.
            self.unneeded.extend(taken.then_some(id));
            return;
        };
        let Place::Asked(chunk, _) = &slot.place else { return };
        self.asked_bytes -= slot.bytes;
        if slot.stays() {
            slot.place = Place::Memory(Arc::clone(chunk));
            self.spooled.remove(&id);
            self.unneeded.extend(taken.then_some(id));
            return;
        }
        self.bytes -= slot.bytes;
        if taken {
            slot.place = Place::Spooled(id);
            self.spooled_bytes += slot.bytes;
        } else {
            slot.place = Place::Topic;
            self.fallen += slot.needed;
            self.spooled.remove(&id);
        }
    }

    /// The spool cannot give a chunk back.
    pub(in crate::pair) fn fell(&mut self, id: SpoolId) {
        let known = self.spooled.remove(&id);
        let slot = known.and_then(|place| self.slots.get_mut(place as usize)).and_then(Option::as_mut);
        let Some(slot) = slot.filter(|slot| matches!(slot.place, Place::Spooled(_))) else { return };
        slot.place = Place::Topic;
        self.spooled_bytes -= slot.bytes;
        self.fallen += slot.needed;
        self.unneeded.push(id);
    }

    /// What the spool may forget.
    pub(in crate::pair) fn take_unneeded(&mut self) -> Vec<SpoolId> {
        std::mem::take(&mut self.unneeded)
    }

    /// Bytes on their way to the spool.
    pub(in crate::pair) fn asked_bytes(&self) -> u64 {
        self.asked_bytes
    }

    /// Bytes that stay in memory.
    pub(in crate::pair) fn staying_bytes(&self) -> u64 {
        self.bytes - self.asked_bytes
    }

    /// Bytes with the spool.
    pub(in crate::pair) fn spooled_bytes(&self) -> u64 {
        self.spooled_bytes
    }

    /// Copies that the spool did not take or lost.
    pub(in crate::pair) fn fallen(&self) -> u64 {
        self.fallen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChunkBuilder, Epoch, Lane, Offset, PairId};

    fn chunk() -> Arc<Chunk> {
        let mut chunk = ChunkBuilder::new(PairId::new("in", 0), Lane::Retry, Epoch(1));
        chunk.record(Offset(0), 5, None, Some(b"value"));
        chunk.build(None)
    }

    /// What may leave memory goes to the spool.
    fn put_away(payloads: &mut Payloads) -> Vec<SpoolId> {
        let mut ids = Vec::new();
        while let Some(place) = payloads.next_idle() {
            ids.extend(payloads.spool(place).map(|(id, _)| id));
        }
        ids
    }

    /// Scenario: a chunk was fetched for a copy that waits for its turn, and another one needs it as well. Guarantee: it stays in memory until the first one
    /// is tried, and then goes to the spool.
    #[test]
    fn what_was_fetched_stays_until_it_is_tried() {
        let mut payloads = Payloads::default();
        let place = payloads.insert(&chunk());
        payloads.need(place, 2);
        assert_eq!(payloads.source(place), Source::Memory);
        payloads.fetched_for(place);
        assert_eq!(payloads.source(place), Source::Held);
        payloads.sorted(place);
        assert_eq!(put_away(&mut payloads), []);
        payloads.hold(place);
        payloads.fetched_for_no_more(place);
        assert_eq!(put_away(&mut payloads), [], "it is tried");
        payloads.let_go(place, 1);
        let [id] = put_away(&mut payloads)[..] else { panic!("it may leave") };
        let bytes = payloads.bytes_of(place);
        assert_eq!((payloads.asked_bytes(), payloads.staying_bytes()), (bytes, 0));
        assert_eq!(payloads.source(place), Source::Leaving);
        payloads.spooled(id, true);
        assert_eq!(payloads.source(place), Source::Spool(id, bytes));
        assert_eq!((payloads.asked_bytes(), payloads.spooled_bytes(), payloads.holds()), (0, bytes, 0));
        payloads.release(place, 2);
        assert_eq!((payloads.take_unneeded(), payloads.spooled_bytes()), (vec![id], 0));
        let place = payloads.insert(&chunk());
        assert!(payloads.bytes_of(place) == bytes && payloads.staying_bytes() == bytes);
        payloads.sorted(place);
        assert_eq!(payloads.staying_bytes(), 0, "nobody needs it");
    }

    /// Scenario: a chunk that was fetched is wanted no more before its copy was tried; another one is needed by nobody when the spool has not answered. Guarantee: the first one
    /// goes to the spool, and the second one counts nowhere.
    #[test]
    fn what_is_wanted_no_more_leaves() {
        let mut payloads = Payloads::default();
        let place = payloads.insert(&chunk());
        payloads.need(place, 1);
        payloads.fetched_for(place);
        payloads.sorted(place);
        assert_eq!(put_away(&mut payloads), []);
        payloads.fetched_for_no_more(place);
        assert_eq!(put_away(&mut payloads).len(), 1);
        payloads.release(place, 1);
        assert_eq!((payloads.asked_bytes(), payloads.staying_bytes(), payloads.bytes_of(place)), (0, 0, 0));
    }

    /// Scenario: the spool loses a chunk that two copies need. Guarantee: both count as being in the topic alone until they do not need it, and nothing of it
    /// counts as the spool's.
    #[test]
    fn what_the_spool_loses_is_in_the_topic_alone() {
        let mut payloads = Payloads::default();
        let place = payloads.insert(&chunk());
        payloads.need(place, 2);
        payloads.sorted(place);
        let [id] = put_away(&mut payloads)[..] else { panic!("it may leave") };
        payloads.spooled(id, true);
        payloads.fell(id);
        assert_eq!((payloads.spooled_bytes(), payloads.fallen()), (0, 2));
        assert_eq!((payloads.source(place), payloads.take_unneeded()), (Source::Topic, vec![id]));
        payloads.release(place, 2);
        assert_eq!((payloads.fallen(), payloads.bytes_of(place)), (0, 0));
    }
}
