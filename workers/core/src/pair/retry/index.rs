//! What waits: one entry for each record, whatever the number of its copies. A million of them may wait, so an entry is small: with its
//! places among what is due and what is parked at most [`Index::ENTRY_BYTES`].

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

use crate::rules::Rule;
use crate::scheduler::Entry;
use crate::{KeyHash, Lane, Moment, Offset, SinkMask};

use super::leaves::{Keyed, Leaves};
use super::payloads::IN_TOPIC;
use super::strays::Proof;

/// Copies that wait come due in steps of this, so that those of about the same time are tried as one unit (with order by key,
/// as one for each of the scheduler's lanes): a unit costs as much for one record as for many, and a wait is random anyway
/// (full jitter).
const DUE_STEP: Duration = Duration::from_millis(10);

/// The one copy of a record that counts, in 56 bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::pair) struct Copy {
    origin: Offset,
    /// Its offset in the retry partition.
    pub(in crate::pair) offset: Offset,
    key: KeyHash,
    due_us: u64,
    /// What it has in common with its record, where the input lane is still to come to that.
    pub(in crate::pair) proof: Proof,
    stale_s: u32,
    /// Where its payload is, in the lane's own count of chunks.
    chunk: u32,
    index: u16,
    attempt: u16,
    replays: u16,
    pub(in crate::pair) state: CopyState,
    marks: Marks,
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
    /// A copy that waits and whose payload is in the topic. Numbers beyond 65,535 count as that: no pipeline allows so many attempts.
    pub(in crate::pair) fn new(origin: Offset, offset: Offset, attempt: u32, replays: u32) -> Self {
        Self {
            origin,
            offset,
            key: KeyHash(0),
            due_us: 0,
            proof: Proof::NONE,
            stale_s: 0,
            chunk: IN_TOPIC,
            index: 0,
            attempt: saturated(attempt),
            replays: saturated(replays),
            state: CopyState::Waits,
            marks: Marks::default(),
        }
    }

    /// It may be tried in so long, and is old enough to be carried forward at `stale`, rounded up to seconds.
    ///
    /// The one rule for the time it is due: a wait ends with a whole [`DUE_STEP`], and never before its time. Who does not wait is due
    /// now, which is rounded *down*: rounded up it would count as due later, and careful mode, which ends when nothing is due any
    /// more, would end before it was tried.
    pub(in crate::pair) fn timed(self, now: Moment, wait: Duration, stale: Moment) -> Self {
        let due = if wait.is_zero() { now } else { now.after(wait).rounded_up(DUE_STEP) };
        Self { due_us: micros(due), stale_s: seconds(stale), ..self }
    }

    pub(in crate::pair) fn keyed(self, key: Option<KeyHash>) -> Self {
        let marks = self.marks.with(Marks::KEY, key.is_some());
        Self { key: key.unwrap_or(KeyHash(0)), marks, ..self }
    }

    pub(in crate::pair) fn proven(self, proof: Proof) -> Self {
        Self { proof, ..self }
    }

    /// Whether the record has failed for so long that the next try is its last.
    pub(in crate::pair) fn is_last(&self) -> bool {
        self.marks.has(Marks::LAST)
    }

    pub(in crate::pair) fn as_last(self, last: bool) -> Self {
        Self { marks: self.marks.with(Marks::LAST, last), ..self }
    }

    /// Its record.
    pub(in crate::pair) fn origin(&self) -> Offset {
        self.origin
    }

    /// Its payload is at this place of a chunk of the lane's own count. One so far behind that its place is no number here is read from the
    /// topic instead; the source makes no such chunks.
    pub(in crate::pair) fn placed(self, chunk: u32, index: u32) -> Self {
        match u16::try_from(index) {
            Ok(index) => Self { chunk, index, ..self },
            Err(_) => self.unplaced(),
        }
    }

    /// Nobody asks it for its payload any more.
    pub(in crate::pair) fn unplaced(self) -> Self {
        Self { chunk: IN_TOPIC, index: 0, ..self }
    }

    /// Whether its payload was fetched to be tried, and waits for that.
    pub(in crate::pair) fn is_fetched(&self) -> bool {
        self.marks.has(Marks::FETCHED)
    }

    pub(in crate::pair) fn as_fetched(self, fetched: bool) -> Self {
        Self { marks: self.marks.with(Marks::FETCHED, fetched), ..self }
    }

    pub(in crate::pair) fn is_due(&self, now: Moment) -> bool {
        Duration::from_micros(self.due_us) <= now.0
    }

    pub(in crate::pair) fn is_stale(&self, now: Moment) -> bool {
        Duration::from_secs(self.stale_s.into()) <= now.0
    }

    pub(in crate::pair) fn key(&self) -> Option<KeyHash> {
        self.marks.has(Marks::KEY).then_some(self.key)
    }

    pub(in crate::pair) fn chunk(&self) -> u32 {
        self.chunk
    }

    pub(in crate::pair) fn index(&self) -> u32 {
        self.index.into()
    }

    pub(in crate::pair) fn attempt(&self) -> u32 {
        self.attempt.into()
    }

    pub(in crate::pair) fn replays(&self) -> u32 {
        self.replays.into()
    }

    /// So many tries were made of the record.
    pub(in crate::pair) fn tried_often(&mut self, attempt: u32) {
        self.attempt = saturated(attempt);
    }

    /// Takes the place of a copy whose payload is with the steps; when that one is given back untried, it is this one that waits.
    pub(in crate::pair) fn stands_for(&mut self, other: &Self) {
        (self.offset, self.attempt, self.replays) = (other.offset, other.attempt, other.replays);
        (self.chunk, self.index) = (other.chunk, other.index);
        self.marks = self.marks.with(Marks::LAST, other.is_last());
    }

    /// Of two copies of one record the higher counts: by replay number, then attempts, then the later one in the log.
    pub(in crate::pair) fn outranks(&self, other: &Self) -> bool {
        let offset = |copy: &Self| if Rule::LaterCopyCounts.holds() { copy.offset } else { Offset(0) };
        let replays = |copy: &Self| if Rule::ReplayOutranks.holds() { copy.replays } else { 0 };
        let rank = |copy: &Self| (replays(copy), copy.attempt, offset(copy));
        rank(self) > rank(other)
    }

    /// The record of a copy as the scheduler and the letters know it, under its origin.
    pub(in crate::pair) fn entry(&self) -> Entry {
        Entry {
            first: self.origin,
            offset: self.origin,
            lane: Lane::Retry,
            key: self.key(),
            chunk: self.chunk,
            index: self.index(),
            held: SinkMask::NONE,
            attempt: self.attempt(),
            lettered: false,
        }
    }

    pub(in crate::pair) fn is_waiting(&self) -> bool {
        matches!(self.state, CopyState::Waits | CopyState::Carried)
    }
}

impl Keyed for Copy {
    type Key = Offset;

    fn key(&self) -> Offset {
        self.origin
    }
}

/// Three truths in one byte.
#[derive(Clone, Copy, Debug, Default)]
struct Marks(u8);

impl Marks {
    /// It has a key.
    const KEY: u8 = 1;
    /// Its next try is its last.
    const LAST: u8 = 2;
    /// Its payload was fetched.
    const FETCHED: u8 = 4;

    fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }

    fn with(self, mark: u8, set: bool) -> Self {
        Self(if set { self.0 | mark } else { self.0 & !mark })
    }
}

fn saturated(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

fn micros(moment: Moment) -> u64 {
    u64::try_from(moment.0.as_micros()).unwrap_or(u64::MAX)
}

fn seconds(moment: Moment) -> u32 {
    u32::try_from(moment.0.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}

/// The copies that wait, by origin, and when the next ones are due.
#[derive(Debug, Default)]
pub(in crate::pair) struct Index {
    copies: Leaves<Copy>,
    /// Times in microseconds with their origins; those of copies that are gone or were replaced stay until their time.
    due: BinaryHeap<Reverse<(u64, Offset)>>,
    /// Due, but the input lane has not passed their origin yet.
    early: BTreeSet<Offset>,
}

impl Index {
    /// What an entry takes in memory, its places among what is due and parked included (a test measures it).
    pub(in crate::pair) const ENTRY_BYTES: u64 = 104;

    pub(in crate::pair) fn get(&self, origin: Offset) -> Option<&Copy> {
        self.copies.get(origin)
    }

    pub(in crate::pair) fn get_mut(&mut self, origin: Offset) -> Option<&mut Copy> {
        self.copies.get_mut(origin)
    }

    pub(in crate::pair) fn insert(&mut self, copy: Copy) {
        self.copies.insert(copy);
    }

    /// Forgets a record, and gives its copy back.
    pub(in crate::pair) fn remove(&mut self, origin: Offset) -> Option<Copy> {
        let copy = self.copies.remove(origin)?;
        self.early.remove(&origin);
        Some(copy)
    }

    pub(in crate::pair) fn len(&self) -> u64 {
        self.copies.len() as u64
    }

    pub(in crate::pair) fn is_empty(&self) -> bool {
        self.copies.len() == 0
    }

    /// The highest origin that waits.
    pub(in crate::pair) fn highest(&self) -> Option<Offset> {
        self.copies.last().map(|copy| copy.origin)
    }

    /// The first origin that waits from this one on.
    pub(in crate::pair) fn first_from(&self, origin: Offset) -> Option<Offset> {
        self.copies.first_from(origin).map(|copy| copy.origin)
    }

    pub(in crate::pair) fn iter(&self) -> impl Iterator<Item = (Offset, &Copy)> {
        self.copies.iter().map(|copy| (copy.origin, copy))
    }

    /// Those from this origin on.
    pub(in crate::pair) fn iter_from(&self, origin: Offset) -> impl Iterator<Item = (Offset, &Copy)> {
        self.copies.iter_from(origin).map(|copy| (copy.origin, copy))
    }

    /// The record may be tried when its time has come.
    pub(in crate::pair) fn offer(&mut self, origin: Offset) {
        let Some(copy) = self.copies.get(origin).filter(|copy| copy.is_waiting()) else { return };
        let due = Reverse((copy.due_us, origin));
        if self.due.len() == self.due.capacity() {
            self.make_room();
        }
        self.due.push(due);
    }

    /// Lets go of times that are none any more, and has room for a few more: doubling it would take more than the entries.
    fn make_room(&mut self) {
        if self.due.len() as u64 > 2 * self.len() + 64 {
            let copies = &self.copies;
            self.due.retain(|Reverse((due_us, origin))| is_due_then(copies, *origin, *due_us));
            self.due.shrink_to_fit();
        }
        self.due.reserve_exact(self.due.len() / 32 + 16);
    }

    /// Takes the next record whose time has come and whose origin the input lane (at `position`) has passed.
    pub(in crate::pair) fn take_due(&mut self, now: Moment, position: Offset) -> Option<Offset> {
        if let Some(origin) = self.early.first().copied().filter(|origin| *origin < position) {
            self.early.remove(&origin);
            return Some(origin);
        }
        while let Some(&Reverse((due_us, origin))) = self.due.peek() {
            if Duration::from_micros(due_us) > now.0 {
                return None;
            }
            self.due.pop();
            // Of a copy that was replaced since, the time is another one, and it stands here a second time.
            if !is_due_then(&self.copies, origin, due_us) {
                continue;
            }
            if origin < position {
                return Some(origin);
            }
            self.early.insert(origin);
        }
        None
    }

    /// Whether a record is due that the input lane has to pass first.
    pub(in crate::pair) fn awaits_input(&self) -> bool {
        !self.early.is_empty()
    }

    /// When the next record is due, or one was that is gone.
    pub(in crate::pair) fn next_due(&self) -> Option<Moment> {
        self.due.peek().map(|Reverse((due_us, _))| Moment(Duration::from_micros(*due_us)))
    }

    /// What lies on the heap, in bytes.
    #[cfg(test)]
    fn heap_bytes(&self) -> usize {
        self.copies.heap_bytes() + self.due.capacity() * size_of::<Reverse<(u64, Offset)>>()
    }
}

fn is_due_then(copies: &Leaves<Copy>, origin: Offset, due_us: u64) -> bool {
    copies.get(origin).is_some_and(|copy| copy.due_us == due_us && copy.is_waiting())
}

#[cfg(test)]
mod tests {
    use super::super::Parking;
    use super::*;

    const RECORDS: i64 = 1_000_000;

    /// Bytes for each of a million records that wait, one of `keys` keys each; `order` says in which order their copies are read.
    fn bytes_each(keys: Option<i64>, order: impl Fn(i64) -> i64) -> f64 {
        let (mut index, mut parking) = (Index::default(), Parking::default());
        for place in 0..RECORDS {
            // Every third record of the partition waits.
            let (number, origin) = (order(place), Offset(order(place) * 3));
            let key =
                keys.map(|keys| KeyHash((number % keys).unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            let due = Duration::from_millis(place.unsigned_abs() % 3_600_000);
            let stale = Moment(due);
            index.insert(
                Copy::new(origin, Offset(place), 1, 0)
                    .timed(Moment::default(), due, stale)
                    .keyed(key)
                    .placed(7, 9),
            );
            if key.is_none_or(|key| parking.park(key, origin)) {
                index.offer(origin);
            }
        }
        (index.heap_bytes() + parking.heap_bytes()) as f64 / RECORDS as f64
    }

    /// Scenario: a million records wait: without order, of few keys, of as many keys as records; read in order, and a little out of it.
    /// Guarantee: each takes no more memory than is counted for it.
    #[test]
    fn an_entry_takes_no_more_than_is_counted_for_it() {
        // Units end out of order, so hand-overs do as well, by some hundred records.
        let shuffled = |place: i64| place / 512 * 512 + (place % 512) * 211 % 512;
        let in_order = |place: i64| place;
        let measured = [
            bytes_each(None, in_order),
            bytes_each(Some(5_000), in_order),
            bytes_each(Some(RECORDS), in_order),
            bytes_each(None, shuffled),
            bytes_each(Some(5_000), shuffled),
            bytes_each(Some(RECORDS), shuffled),
        ];
        assert!(measured.iter().all(|bytes| *bytes <= Index::ENTRY_BYTES as f64), "{measured:?}");
    }

    fn due_in(origin: i64, wait: Duration) -> Copy {
        Copy::new(Offset(origin), Offset(0), 1, 0).timed(Moment::default(), wait, Moment::default())
    }

    /// Guarantee: a copy is due when its wait is over and not before; what is said of it twice stays true.
    #[test]
    fn a_copy_is_due_when_its_wait_is_over() {
        let second = Duration::from_secs(1);
        let copy = due_in(1, second).keyed(Some(KeyHash(7))).keyed(Some(KeyHash(7)));
        assert!(!copy.is_due(Moment::default()) && copy.is_due(Moment(second)));
        assert!(due_in(1, Duration::ZERO).is_due(Moment::default()));
        assert_eq!(Copy::key(&copy), Some(KeyHash(7)));
        assert!(copy.as_last(true).as_last(true).is_last() && !copy.as_last(true).as_last(false).is_last());
    }

    /// Scenario: copies are due before the input lane has passed their records. Guarantee: each is taken as soon as the lane has, none before; what is gone by
    /// then is waited for by nobody.
    #[test]
    fn what_is_due_waits_for_the_input() {
        let mut index = Index::default();
        for origin in [5, 7, 9] {
            index.insert(due_in(origin, Duration::ZERO));
            index.offer(Offset(origin));
        }
        assert_eq!((index.first_from(Offset(6)), index.first_from(Offset(10))), (Some(Offset(7)), None));
        let now = Moment::default();
        assert!(!index.awaits_input());
        assert_eq!((index.take_due(now, Offset(5)), index.awaits_input()), (None, true));
        assert_eq!(index.take_due(now, Offset(6)), Some(Offset(5)));
        assert_eq!((index.take_due(now, Offset(7)), index.awaits_input()), (None, true));
        index.remove(Offset(7));
        assert_eq!((index.take_due(now, Offset(10)), index.awaits_input()), (Some(Offset(9)), false));
    }

    /// Scenario: copies of one record replace each other, each due long after. Guarantee: their times do not pile up.
    #[test]
    fn times_of_copies_that_are_gone_do_not_pile_up() {
        let mut index = Index::default();
        for place in 0..100_000 {
            let due = Duration::from_secs(3_600 + place);
            index.insert(Copy::new(Offset(1), Offset(place as i64), 1, 0).timed(
                Moment::default(),
                due,
                Moment(due),
            ));
            index.offer(Offset(1));
        }
        assert!(index.due.len() < 200, "{}", index.due.len());
    }
}
