//! Payloads that are not in memory when they are wanted: asked of the spool, or read again from the topic.
//!
//! From the topic they are read by the lane itself, which goes back to the first one that is wanted, reads on as long as there
//! is room, and then goes on at its end. What comes by in between is known and costs nothing but the reading.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::pair::{Action, Pair, Phase, SpoolId, SpoolRead, Window};
use crate::{Chunk, Lane, Moment, Offset, RecordRef};

use super::payloads::Source;
use super::{Copy, RetryLane};

/// One part in so many of a pair's window is for payloads that stay in memory while they wait.
const STAY_SHARE: u64 = 16;
/// One part in so many is for these and for those at work together.
const WORK_SHARE: u64 = 8;
/// The spool is asked for one part in so many of that at once.
const PARTS: u64 = 8;
/// What is farther ahead than so many records is sought instead of being read up to.
const FAR: i64 = 1_000;
/// The lane stays at its end for so long before it goes back again.
const AT_THE_END: Duration = Duration::from_millis(200);
/// And is away from there for about so long at most: what comes meanwhile is not known.
const AWAY: Duration = Duration::from_secs(10);
/// What was to be read again and has not come is asked for once more.
const AGAIN: Duration = Duration::from_secs(60);
/// So often.
const TRIES: u32 = 3;

/// Why a payload is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pair) enum Why {
    /// The record is to be tried.
    Try,
    /// The copy is to be carried forward.
    Carry,
    /// What is to become of the copy needs its payload.
    Sort,
    /// Its record runs again to tell why its letter was decided.
    Reletter,
    /// It is nobody's copy, for this reason, and becomes a letter.
    Stray(&'static str),
}

#[derive(Clone, Copy, Debug)]
struct Want {
    origin: Offset,
    why: Why,
    bytes: u64,
}

/// The payloads that are wanted, by the place of their copy in the retry partition.
#[derive(Debug, Default)]
pub(in crate::pair) struct Fetches {
    spool: BTreeMap<Offset, Want>,
    spool_bytes: u64,
    topic: BTreeMap<Offset, Want>,
    carries: usize,
    strays: usize,
    reading: Option<Reading>,
    /// The lane does not go back before.
    again: Moment,
    /// What is to be asked of the spool in this turn.
    reads: Vec<SpoolRead>,
    /// The next record that is due waits for room.
    pub(in crate::pair) starved: bool,
}

/// The lane went back.
#[derive(Clone, Copy, Debug)]
struct Reading {
    from: Offset,
    since: Moment,
    /// When it left its end.
    left: Moment,
    tries: u32,
    /// Read up to here, since it came to `from`.
    to: Option<Offset>,
    /// Something came that lies behind `from`.
    passed: bool,
}

impl Fetches {
    pub(in crate::pair) fn len(&self) -> u64 {
        (self.spool.len() + self.topic.len()) as u64
    }

    /// Whether copies that are to be carried forward are waited for.
    pub(in crate::pair) fn carries(&self) -> bool {
        self.carries > 0
    }

    pub(in crate::pair) fn contains(&self, copy: Offset) -> bool {
        self.spool.contains_key(&copy) || self.topic.contains_key(&copy)
    }

    /// Whether the spool owes an answer.
    pub(in crate::pair) fn asks_spool(&self) -> bool {
        !self.spool.is_empty()
    }

    /// Whether strays are waited for, which hold back the input's commit.
    pub(in crate::pair) fn awaits_strays(&self) -> bool {
        self.strays > 0
    }

    /// The first copy that is wanted of the topic. Without room it is a stray, which is a letter at once: it stays nowhere, and
    /// records at work may wait for the commit that it holds back.
    fn first(&self, room: bool) -> Option<Offset> {
        if room {
            return self.topic.first_key_value().map(|(copy, _)| *copy);
        }
        if self.strays == 0 {
            return None;
        }
        self.topic.iter().find(|(_, want)| matches!(want.why, Why::Stray(_))).map(|(copy, _)| *copy)
    }

    fn ask_spool(&mut self, id: SpoolId, copy: &Copy, want: Want) {
        self.spool_bytes += want.bytes;
        self.note(copy.offset, want, false);
        self.reads.push(SpoolRead { id, index: copy.index(), copy: copy.offset });
    }

    fn note(&mut self, copy: Offset, want: Want, topic: bool) {
        self.count(&want, 1);
        let wants = if topic { &mut self.topic } else { &mut self.spool };
        if let Some(before) = wants.insert(copy, want) {
            self.count(&before, -1);
        }
    }

    fn take(&mut self, copy: Offset) -> Option<Want> {
        let want = match self.spool.remove(&copy) {
            Some(want) => {
                self.spool_bytes -= want.bytes;
                want
            }
            None => self.topic.remove(&copy)?,
        };
        self.count(&want, -1);
        Some(want)
    }

    fn count(&mut self, want: &Want, by: isize) {
        match want.why {
            Why::Carry => self.carries = self.carries.saturating_add_signed(by),
            Why::Stray(_) => self.strays = self.strays.saturating_add_signed(by),
            Why::Try | Why::Sort | Why::Reletter => {}
        }
    }

    /// A chunk from below the lane's end came.
    fn came_by(&mut self, first: Offset, end: Offset) {
        let Some(reading) = &mut self.reading else { return };
        if reading.to.is_some() || (first <= reading.from && reading.from < end) {
            reading.to = Some(end);
        } else if first > reading.from {
            reading.passed = true;
        }
    }

    fn go_back(&mut self, to: Offset, tries: u32, now: Moment, actions: &mut Vec<Action>) {
        let left = self.reading.map_or(now, |reading| reading.left);
        self.reading = Some(Reading { from: to, since: now, left, tries, to: None, passed: false });
        actions.push(Action::Start { lane: Lane::Retry, offset: to });
    }
}

impl RetryLane {
    /// Whether a payload of so many bytes may come into memory beside those that are there.
    pub(in crate::pair) fn has_room(&self, window: Window, bytes: u64) -> bool {
        let taken = self.payloads.staying_bytes() + self.fetches.spool_bytes;
        let fits = taken + bytes <= window.bytes / WORK_SHARE;
        // Otherwise one at a time, when nothing of what was tried is on its way any more.
        fits || (self.payloads.holds() == 0 && self.fetches.spool.is_empty())
    }

    /// Whether what is due waits for room: copies that the spool or memory has, or those for which the lane would be sent back.
    pub(in crate::pair) fn waits_for_room(&self, window: Window) -> bool {
        let to_read = self.fetches.reading.is_none() && !self.fetches.topic.is_empty();
        self.fetches.starved || (to_read && !self.has_room(window, 1))
    }

    /// Records with the steps, and those that go there as soon as the spool has answered.
    pub(in crate::pair) fn in_work(&self) -> u64 {
        self.at_work + self.fetches.spool.len() as u64
    }

    /// Whether what just came may stay in memory.
    pub(in crate::pair) fn may_stay(&self, window: Window) -> bool {
        self.payloads.staying_bytes() <= window.bytes / STAY_SHARE
    }

    /// Asks for the payload of a copy that is not in memory; false without room for it.
    pub(in crate::pair) fn fetch(&mut self, origin: Offset, copy: &Copy, why: Why, window: Window) -> bool {
        match self.payloads.source(copy.chunk()) {
            Source::Held | Source::Memory | Source::Leaving => {}
            Source::Spool(id, bytes) => {
                if !self.has_room(window, bytes) {
                    return false;
                }
                self.fetches.ask_spool(id, copy, Want { origin, why, bytes });
            }
            Source::Topic => self.fetches.note(copy.offset, Want { origin, why, bytes: 0 }, true),
        }
        true
    }

    /// Has a copy that is not in the index read from the topic again. Few are, so the spool is not asked for them.
    pub(in crate::pair) fn fetch_of_topic(&mut self, origin: Offset, copy: Offset, why: Why) {
        self.fetches.note(copy, Want { origin, why, bytes: 0 }, true);
    }

    /// Forgets what is wanted first, as long as its copy does not wait any more. What is wanted behind it comes to be first in its turn.
    fn forget_stale(&mut self) {
        while let Some((&copy, want)) = self.fetches.topic.first_key_value() {
            let waits = |known: &&Copy| known.offset == copy && known.is_waiting();
            if !matches!(want.why, Why::Try | Why::Carry)
                || self.index.get(want.origin).filter(waits).is_some()
            {
                return;
            }
            self.fetches.take(copy);
        }
    }
}

impl Pair {
    /// The spool has a chunk, or does not take it.
    pub(in crate::pair) fn spooled(&mut self, id: SpoolId, taken: bool) {
        if let Some(lane) = &mut self.own.retry {
            lane.payloads.spooled(id, taken);
        }
    }

    /// The spool gave payloads back, and could not give others.
    pub(in crate::pair) fn fetched(
        &mut self,
        chunk: Option<Arc<Chunk>>,
        lost: &[SpoolRead],
        wall_ms: i64,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(lane) = &mut self.own.retry else { return };
        for read in lost {
            lane.payloads.fell(read.id);
            if let Some(want) = lane.fetches.take(read.copy) {
                lane.fetches.note(read.copy, Want { bytes: 0, ..want }, true);
            }
        }
        if let Some(chunk) = chunk.filter(|_| self.phase == Phase::Running) {
            self.chunk_came(&chunk, wall_ms, now, actions);
        }
    }

    /// The first `known` records of a chunk were read before, and few of them may be wanted: those get a chunk of their own, or the
    /// others would stay in memory with them.
    pub(in crate::pair) fn payloads_came(
        &mut self,
        chunk: &Arc<Chunk>,
        place: u32,
        known: u32,
        wall_ms: i64,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(lane) = &mut self.own.retry else { return };
        let wanted = (0..known).filter(|index| lane.fetches.contains(chunk.offset(*index)));
        let wanted = wanted.filter_map(|index| RecordRef::new(chunk, index));
        let wanted: Vec<RecordRef> = wanted.filter(|record| !record.is_left()).collect();
        let bytes: usize = wanted.iter().map(RecordRef::bytes).sum();
        if bytes * 2 > chunk.bytes() {
            for index in 0..known {
                self.payload_came(chunk, place, index, wall_ms, now, actions);
            }
        } else if !wanted.is_empty() {
            self.chunk_came(&chunk.picked(&wanted), wall_ms, now, actions);
        }
    }

    /// A chunk came of records that were read before.
    fn chunk_came(&mut self, chunk: &Arc<Chunk>, wall_ms: i64, now: Moment, actions: &mut Vec<Action>) {
        let Some(lane) = &mut self.own.retry else { return };
        let place = lane.payloads.insert(chunk);
        for index in 0..chunk.len() as u32 {
            self.payload_came(chunk, place, index, wall_ms, now, actions);
        }
        if let Some(lane) = &mut self.own.retry {
            lane.payloads.sorted(place);
        }
    }

    /// A record came that was read before: its payload may be wanted.
    fn payload_came(
        &mut self,
        chunk: &Arc<Chunk>,
        place: u32,
        index: u32,
        wall_ms: i64,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(lane) = self.own.retry.as_mut().filter(|_| !chunk.is_left(index)) else { return };
        let offset = chunk.offset(index);
        let Some(want) = lane.fetches.take(offset) else { return };
        match want.why {
            Why::Sort => return self.sort_read(chunk, place, index, wall_ms, now, actions),
            Why::Reletter => return self.reletter_read(chunk, place, index, wall_ms, now),
            Why::Stray(why) => {
                let Some(record) = RecordRef::new(chunk, index) else { return };
                return self.send_stray(want.origin, offset, record, why, actions);
            }
            Why::Try | Why::Carry => {}
        }
        let waits = |copy: &&mut Copy| copy.offset == offset && copy.is_waiting();
        let Some(copy) = lane.index.get_mut(want.origin).filter(waits) else { return };
        let before = *copy;
        *copy = copy.placed(place, index).as_fetched(want.why == Why::Try);
        let copy = *copy;
        lane.payloads.need(copy.chunk(), 1);
        lane.leave(&before);
        if !copy.is_fetched() {
            return self.carry(want.origin, copy, actions);
        }
        lane.payloads.fetched_for(copy.chunk());
        lane.index.offer(want.origin);
    }

    /// A chunk came whose first record was read before.
    pub(in crate::pair) fn came_by(&mut self, first: Offset, end: Offset) {
        if let Some(lane) = &mut self.own.retry {
            lane.fetches.came_by(first, end);
        }
    }

    /// Asks the spool for what is wanted of it, and tells it what it may forget. What is asked for at once comes as one chunk, and stays as
    /// long as one record of it is at work: so that a slow one does not keep the whole share, a part of that is asked for at a time.
    pub(in crate::pair) fn ask_spool(&mut self, actions: &mut Vec<Action>) {
        let most = self.options.window.bytes / WORK_SHARE / PARTS;
        let Some(lane) = &mut self.own.retry else { return };
        let unneeded = lane.payloads.take_unneeded();
        let (mut part, mut bytes) = (Vec::new(), 0);
        for read in std::mem::take(&mut lane.fetches.reads) {
            let more = lane.fetches.spool.get(&read.copy).map_or(0, |want| want.bytes);
            if !part.is_empty() && bytes + more > most {
                actions.push(Action::Fetch(std::mem::take(&mut part)));
                bytes = 0;
            }
            bytes += more;
            part.push(read);
        }
        if !part.is_empty() {
            actions.push(Action::Fetch(part));
        }
        // What was asked for just now is still needed.
        if !unneeded.is_empty() {
            actions.push(Action::Forget(unneeded));
        }
    }

    /// Sends the lane back to payloads that only the topic has, and to its end again.
    pub(in crate::pair) fn read_again(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let (window, awaits_commit) = (self.options.window, self.awaits_commit());
        let Some(lane) = &mut self.own.retry else { return };
        if !lane.is_caught_up() || (lane.fetches.reading.is_none() && lane.fetches.topic.is_empty()) {
            return;
        }
        lane.forget_stale();
        let (end, room) = (lane.tracker.position(), lane.has_room(window, 1));
        let fetches = &mut lane.fetches;
        let Some(reading) = fetches.reading else {
            if let Some(first) = fetches.first(room).filter(|_| fetches.again <= now) {
                fetches.go_back(first, 0, now, actions);
            }
            return;
        };
        // Not before something came, or a slow broker would see it go to and fro for ever.
        let back = reading.to.is_some() && reading.left.after(AWAY) <= now;
        let Some(first) = fetches.first(room || reading.to.is_none()).filter(|_| !back) else {
            fetches.reading = None;
            fetches.again = now.after(AT_THE_END);
            // It may have come to its end by reading on.
            if reading.to != Some(end) {
                actions.push(Action::Start { lane: Lane::Retry, offset: end });
            }
            return;
        };
        match reading.to {
            Some(to) if (to..=Offset(to.0 + FAR)).contains(&first) => {}
            Some(_) => fetches.go_back(first, 0, now, actions),
            None if reading.since.after(AGAIN) > now => {}
            None if reading.passed && reading.tries >= TRIES && awaits_commit => {}
            None if reading.passed && reading.tries >= TRIES => {
                // The copy is gone from the topic: what is there is found out anew.
                self.phase = Phase::Reassigning;
                actions.push(Action::Reassign);
            }
            None => fetches.go_back(first, reading.tries + u32::from(reading.passed), now, actions),
        }
    }

    /// When [`Self::read_again`] has something to do.
    pub(in crate::pair) fn next_reading(&self) -> Option<Moment> {
        let lane = self.own.retry.as_ref().filter(|lane| lane.is_caught_up())?;
        match lane.fetches.reading {
            Some(reading) => reading.to.is_none().then(|| reading.since.after(AGAIN)),
            None if lane.fetches.topic.is_empty() => None,
            None => {
                let room = lane.has_room(self.options.window, 1);
                (room || lane.fetches.strays > 0).then_some(lane.fetches.again)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::RetryAssignment;
    use crate::{Epoch, TopicName};

    const STRAY: Why = Why::Stray("holds another record");

    fn want(why: Why, bytes: u64) -> Want {
        Want { origin: Offset(1), why, bytes }
    }

    fn copy(offset: i64) -> Copy {
        Copy::new(Offset(1), Offset(offset), 1, 0)
    }

    /// Guarantee: what is wanted counts once, for what it is wanted last, until it is taken; and of the spool with its bytes.
    #[test]
    fn what_is_wanted_counts_until_it_is_taken() {
        let mut fetches = Fetches::default();
        let told = |fetches: &Fetches| (fetches.len(), fetches.carries(), fetches.awaits_strays());
        assert_eq!(told(&fetches), (0, false, false));
        fetches.note(Offset(7), want(Why::Carry, 0), true);
        assert_eq!(told(&fetches), (1, true, false));
        fetches.note(Offset(7), want(STRAY, 0), true);
        assert_eq!(told(&fetches), (1, false, true));
        fetches.ask_spool(SpoolId(1), &copy(8), want(Why::Carry, 10));
        fetches.ask_spool(SpoolId(2), &copy(9), want(Why::Try, 5));
        assert_eq!((told(&fetches), fetches.spool_bytes), ((3, true, true), 15));
        assert!(fetches.take(Offset(7)).is_some() && fetches.take(Offset(7)).is_none());
        assert_eq!(told(&fetches), (2, true, false));
        assert!(fetches.take(Offset(8)).is_some() && fetches.contains(Offset(9)));
        assert_eq!((told(&fetches), fetches.spool_bytes), ((1, false, false), 5));
    }

    /// Scenario: the lane went back to an offset. Guarantee: it is there when a chunk comes that has it, whatever came before it; a chunk from behind it
    /// tells that it was passed over; once there, the lane has read to the end of what came last.
    #[test]
    fn the_lane_is_back_when_what_it_went_for_came() {
        let came = |chunks: &[(i64, i64)]| {
            let mut fetches = Fetches::default();
            fetches.go_back(Offset(10), 0, Moment::default(), &mut Vec::new());
            chunks.iter().for_each(|(first, end)| fetches.came_by(Offset(*first), Offset(*end)));
            fetches.reading.map(|reading| (reading.to, reading.passed))
        };
        assert_eq!(came(&[(5, 10)]), Some((None, false)), "it ends before");
        assert_eq!(came(&[(5, 11)]), Some((Some(Offset(11)), false)));
        assert_eq!(came(&[(10, 12), (12, 15)]), Some((Some(Offset(15)), false)));
        assert_eq!(came(&[(11, 12)]), Some((None, true)), "it begins behind");
    }

    /// Guarantee: what is due waits for room where it was found to, or where the lane would be sent back for it, has not been, and there is none.
    #[test]
    fn what_is_wanted_of_the_topic_waits_for_room_until_the_lane_goes() {
        let topic = TopicName::new("in.p.retry");
        let end = Offset(0);
        let assignment = RetryAssignment { topic, committed: None, log_start: end, log_end: end };
        let mut lane = RetryLane::new(Epoch(1), &assignment, false);
        let window = Window { records: 10, bytes: 80 };
        assert!(!lane.waits_for_room(window));
        lane.fetches.note(Offset(7), want(Why::Try, 0), true);
        assert!(!lane.waits_for_room(window), "there is room");
        lane.at_work = 2;
        lane.fetches.ask_spool(SpoolId(1), &copy(8), want(Why::Try, 10));
        assert!(lane.waits_for_room(window));
        assert_eq!(lane.in_work(), 3);
        lane.fetches.go_back(Offset(7), 0, Moment::default(), &mut Vec::new());
        assert!(!lane.waits_for_room(window), "it is on its way");
        lane.fetches.starved = true;
        assert!(lane.waits_for_room(window));
    }
}
