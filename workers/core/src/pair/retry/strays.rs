//! Strays: copies of the retry partition that name a record of the input which is not theirs. A retry topic restored from a
//! backup has such copies, and so has one that outlived its input topic. A record that comes to stand at the offset they name
//! must not be taken for theirs (I1).
//!
//! A copy of what was committed when the pair became ours is believed, and so is a replay of what the input lane has passed:
//! only the fleet writes copies. Otherwise it has to be shown:
//!
//! - What this owner has passed and not handed over needs no copy: it is through, or in work. Of what was handed over the copy
//!   must be the same as the record was.
//! - Where the input lane meets a record whose copy waits, both must be the same: bytes and timestamp, of a replay's copy, which
//!   may have been mended, the timestamp alone; of a value that was left in the topic the length stands for it. An offset keeps its record for ever, so what differs is a stray.
//! - A copy whose origin lies at or beyond the end of the input as it is known waits aside, and the source is asked for the end
//!   anew. What was written before its origin was is nobody's copy. A former owner's copies pass: it had read their records.
//!
//! A stray becomes a dead letter, `retry.stray`, under its own coordinate. Until its offset is committed, the input's commit
//! stays at its origin: a later owner must meet that record again, or it would believe the copy.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::quality::FixedState;

use crate::pair::letters::Flying;
use crate::pair::{Action, Pair, Phase};
use crate::rules::Rule;
use crate::{Chunk, Failure, Moment, Offset, Reason, RecordRef, RunSet};

use super::fetch::Why;
use super::{Copy, RetryLane};

/// How long nothing is asked after an answer that left copies undecided.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// What a copy and its record have in common: a hash in two halves, since the value of a large copy may be left in the topic
/// when this is asked. The upper half knows the value's length alone, the lower one is of the value; the lowest bits say of what both
/// are, and whether the value was there.
#[derive(Clone, Copy, Debug)]
pub(in crate::pair) struct Proof(u64);

impl Proof {
    /// Nothing is to be compared: the input lane has passed the record.
    pub(in crate::pair) const NONE: Self = Self(0);
    const WHOLE: u64 = 1;
    const BYTES: u64 = 2;
    const TIME: u64 = 3;
    const PART: u64 = 3;
    const VALUE: u64 = 4;
    const LOWER: u64 = u32::MAX as u64 & !7;

    /// Of a copy, with its replay number.
    pub(super) fn of(copy: &RecordRef, replays: u32) -> Self {
        let part = match (replays, copy.timestamp_ms()) {
            (0, _) => Self::WHOLE,
            // Made from another tool's letter that told no time.
            (_, ..0) => Self::BYTES,
            (_, 0..) => Self::TIME,
        };
        Self::of_part(part, copy)
    }

    fn of_part(part: u64, record: &RecordRef) -> Self {
        let state = FixedState::default();
        let (bytes, time) = ((record.key(), record.value_len()), record.timestamp_ms());
        let upper = match part {
            Self::WHOLE => state.hash_one((bytes, time)),
            Self::BYTES => state.hash_one(bytes),
            _ => state.hash_one(time),
        };
        let lower = if part == Self::TIME || record.is_left() {
            0
        } else {
            state.hash_one(record.value()) & Self::LOWER | Self::VALUE
        };
        Self(upper >> 32 << 32 | lower | part)
    }

    /// Whether two copies are of one record, as far as both can tell.
    fn is_same(self, other: Self) -> bool {
        let beyond = Self::LOWER | Self::VALUE;
        let both = self.0 & other.0 & Self::VALUE != 0;
        let looked_at = if both { u64::MAX } else { !beyond };
        (self.0 ^ other.0) & looked_at == 0
    }

    /// Whether the record is the one that the copy was made of.
    fn fits(self, record: &RecordRef) -> bool {
        let part = self.0 & Self::PART;
        part == 0 || !Rule::CompareCopies.holds() || self.is_same(Self::of_part(part, record))
    }
}

/// Copies that have to be shown to be their record's, and those that turned out not to be.
#[derive(Debug, Default)]
pub(in crate::pair) struct Strays {
    /// Copies that are not in the index, by origin and own offset, until the input lane has come to their origin or the
    /// input's end is known.
    aside: BTreeMap<(Offset, Offset), Copy>,
    /// Records of the input lane whose copy is on its way: what it will have in common with them.
    handed: BTreeMap<Offset, Proof>,
    /// The highest origin of a copy that the input lane had not passed when it was read.
    unmet: Offset,
    /// The input's end is asked for; the answer is about copies below this offset of the retry partition.
    asked: Option<Offset>,
    /// When it may be asked for again.
    again: Option<Moment>,
    /// Strays whose own offset is not committed, by the origin they name and their offset.
    found: BTreeSet<(Offset, Offset)>,
    /// Those that a commit tells of beyond its offset, also one of an owner before: each later one has to tell of them as well.
    told: RunSet,
    /// The last commit had no room for all of them.
    crowded: bool,
}

/// What is known of a copy when it is read.
pub(super) enum Standing {
    /// It counts, or will be compared when the input lane comes to its origin.
    Counts,
    /// Nothing can be said yet.
    Aside,
    /// Its record needs no copy.
    Spare,
    /// It is nobody's copy.
    Stray,
}

impl Strays {
    /// Those of the owner before that its last commit tells of. The input's commit may be past their records, so whoever reads one of them again
    /// believes it.
    pub(super) fn inherited(told: RunSet) -> Self {
        Self { told, ..Self::default() }
    }

    /// Copies that wait aside.
    pub(in crate::pair) fn waiting(&self) -> u64 {
        self.aside.len() as u64
    }

    /// Records of the input lane whose copy is on its way, or stands in the topic and was not read yet.
    pub(in crate::pair) fn handed_over(&self) -> u64 {
        self.handed.len() as u64
    }

    /// The input's commit stays at `origin` until this copy is committed.
    pub(super) fn keep_in_mind(&mut self, origin: Offset, copy: Offset) {
        self.found.insert((origin, copy));
    }

    /// Notes which strays are committed: below an offset, or as strays beyond it. True when the input's commit may go on.
    pub(in crate::pair) fn committed(&mut self, below: Offset, strays: &RunSet) -> bool {
        let before = self.found.len();
        self.found.retain(|(_, copy)| *copy >= below && !strays.contains(*copy));
        // In the runs that it was told in: single offsets of them would take the room of many.
        self.told.union(strays);
        self.told.forget_below(below);
        self.found.len() < before || self.crowded
    }

    /// A commit that has to tell of these tells of those.
    pub(in crate::pair) fn note_room(&mut self, wanted: &RunSet, told: &RunSet) {
        self.crowded = wanted.intersection(told) != *wanted;
    }

    /// The strays that a commit has to tell of before anything else where they are settled: the input's commit waits for it, and copies of what
    /// comes behind wait for that one in turn. Where the runs took all the room, both stood still.
    pub(in crate::pair) fn to_be_told(&self) -> RunSet {
        if self.found.is_empty() {
            return self.told.clone();
        }
        let mut all = RunSet::collect(self.found.iter().map(|(_, copy)| (copy.0, copy.next().0)).collect());
        all.union(&self.told);
        all
    }

    /// Those of them that come first: of these the input's commit is past.
    pub(in crate::pair) fn told(&self) -> &RunSet {
        &self.told
    }

    fn lies_beyond(&self, end: Offset) -> bool {
        self.aside.last_key_value().is_some_and(|((origin, _), _)| *origin >= end)
    }
}

impl RetryLane {
    /// The highest origin that the input lane, which ends at `end`, has to come to before its copy can be tried or judged.
    pub(in crate::pair) fn highest_awaited(&self, end: Offset) -> Option<Offset> {
        let aside = self.strays.aside.range(..(end, Offset(i64::MIN))).next_back().map(|((o, _), _)| *o);
        self.index.highest().max(aside)
    }

    /// The input's commit must not pass this offset: a copy that names it is not shown to be a record's, or is a stray that
    /// the next owner would read again. `position` is where the input lane stands.
    ///
    /// Where the retry lane's commit has no room for all strays, those are passed that are settled and whose records every sink has `held`: the
    /// ledgers drop them. Copies of
    /// what comes behind wait for the input's commit, and hold back the retry lane's; where both waited for room, none would come.
    pub(in crate::pair) fn commit_bound(
        &self,
        position: Offset,
        held: impl Fn(Offset) -> bool,
    ) -> Option<Offset> {
        if !Rule::CommitBehindStrays.holds() {
            return None;
        }
        // A stray that holds another record is that record's last trace until its letter is acknowledged.
        let passes = |origin, copy| self.strays.crowded && held(origin) && !self.open.spans().contains(copy);
        let mut found = self.strays.found.iter();
        let found = found.find(|(origin, copy)| !passes(*origin, *copy)).map(|(origin, _)| *origin);
        let aside = self.strays.aside.range((position, Offset(i64::MIN))..).next().map(|((o, _), _)| *o);
        let unmet = if position <= self.strays.unmet { self.index.first_from(position) } else { None };
        [found, aside, unmet].into_iter().flatten().min()
    }
}

impl Pair {
    /// The offset behind the input's last record, as far as it is known.
    pub(in crate::pair) fn input_end(&self) -> Offset {
        self.own.input_end.max(self.own.tracker.position())
    }

    /// What is known of a copy when it is read.
    pub(super) fn standing(&mut self, origin: Offset, copy: &Copy) -> Standing {
        if origin >= self.own.tracker.position() {
            let doubtful = self.is_doubtful(origin, copy);
            if let Some(lane) = &mut self.own.retry {
                lane.strays.unmet = lane.strays.unmet.max(origin);
            }
            return if doubtful { Standing::Aside } else { Standing::Counts };
        }
        let ours = self.has_begun_at(origin) && copy.replays() == 0 && Rule::CompareCopies.holds();
        let Some(lane) = self.own.retry.as_mut().filter(|_| ours) else { return Standing::Counts };
        let known = lane.index.get(origin);
        // It is here, also where a replay of its record was read before it.
        let expected = lane.strays.handed.get(&origin).map(|proof| proof.is_same(copy.proof));
        if expected == Some(true) {
            lane.strays.handed.remove(&origin);
        }
        match (known.filter(|known| known.replays() == 0).map(|known| known.proof), known) {
            (Some(proof), _) if proof.is_same(copy.proof) => Standing::Counts,
            (Some(_), _) => Standing::Stray,
            (None, Some(_)) => Standing::Counts,
            (None, None) => match expected {
                Some(true) => Standing::Counts,
                Some(false) => Standing::Stray,
                None if Rule::SupersedeAtWork.holds() => Standing::Spare,
                None => Standing::Counts,
            },
        }
    }

    /// Whether the offset was not committed when the pair became ours.
    fn has_begun_at(&self, offset: Offset) -> bool {
        let assignment = &self.own.assignment;
        offset >= assignment.committed.as_ref().map_or(assignment.start, |position| position.offset)
    }

    /// A record of the input lane goes to the retry topic.
    pub(super) fn expect_copy(&mut self, origin: Offset, record: &RecordRef) {
        if let Some(lane) = &mut self.own.retry {
            lane.strays.handed.insert(origin, Proof::of(record, 0));
        }
    }

    /// The retry topic has refused it.
    pub(super) fn expect_no_copy(&mut self, origin: Offset) {
        if let Some(lane) = &mut self.own.retry {
            lane.strays.handed.remove(&origin);
        }
    }

    /// Whether more has to be known before anything is done for the sake of a copy of what is still to come.
    fn is_doubtful(&self, origin: Offset, copy: &Copy) -> bool {
        let (own, Some(lane)) = (&self.own, &self.own.retry) else { return false };
        if origin >= self.input_end() && Rule::AskBeyondEnd.holds() {
            return true;
        }
        // Otherwise it waits in the index, to be compared there. But a decided letter would be sent again at once; and of two
        // that differ one is a stray.
        let decided = own.decider.and_then(|sink| own.sinks[sink].view.holdings.letter(origin));
        let decided = decided.is_some_and(|replays| replays >= copy.replays());
        decided || lane.index.get(origin).is_some_and(|known| !known.proof.is_same(copy.proof))
    }

    /// Keeps a copy until more is known.
    pub(super) fn set_copy_aside(&mut self, origin: Offset, copy: Copy) {
        if let Some(lane) = &mut self.own.retry {
            lane.payloads.need(copy.chunk(), 1);
            lane.strays.aside.insert((origin, copy.offset), copy);
        }
    }

    /// The input lane comes to a record: the copies that name it are compared with it.
    pub(in crate::pair) fn meet(
        &mut self,
        chunk: &std::sync::Arc<Chunk>,
        index: u32,
        actions: &mut Vec<Action>,
    ) {
        let offset = chunk.offset(index);
        let Some(lane) = &self.own.retry else { return };
        let aside = lane.strays.aside.first_key_value().is_some_and(|((origin, _), _)| *origin <= offset);
        let waits = offset <= lane.strays.unmet && lane.index.get(offset).is_some();
        let Some(record) = RecordRef::new(chunk, index).filter(|_| aside || waits) else { return };
        self.sort_passed(offset, actions);
        if let Some(lane) = &mut self.own.retry
            && let Some(copy) = lane.index.get(offset).copied()
            && !copy.proof.fits(&record)
        {
            lane.index.remove(offset);
            lane.release_key(offset, copy.key());
            self.stray(offset, &copy, "holds another record", actions);
        }
        for copy in self.take_aside(offset, offset.next()).into_values() {
            if copy.proof.fits(&record) {
                self.place_copy(offset, copy, true, actions);
                self.release_copy(&copy);
            } else {
                self.stray(offset, &copy, "holds another record", actions);
            }
        }
    }

    /// Copies aside whose origin the input lane has passed without a record there: compaction took it.
    pub(in crate::pair) fn sort_passed(&mut self, position: Offset, actions: &mut Vec<Action>) {
        let first = self.own.retry.as_ref().and_then(|lane| lane.strays.aside.first_key_value());
        if first.is_none_or(|((origin, _), _)| *origin >= position) {
            return;
        }
        for ((origin, _), copy) in self.take_aside(Offset(i64::MIN), position) {
            self.place_copy(origin, copy, true, actions);
            self.release_copy(&copy);
        }
    }

    /// Asks for the end of the input when a copy lies beyond it.
    pub(in crate::pair) fn find_end(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let end = self.input_end();
        let Some(lane) = self.own.retry.as_mut().filter(|_| self.phase == Phase::Running) else { return };
        let strays = &mut lane.strays;
        if strays.asked.is_none() && strays.lies_beyond(end) && strays.again.is_none_or(|due| due <= now) {
            strays.asked = Some(lane.tracker.position());
            actions.push(Action::FindEnd);
        }
    }

    /// When [`Self::find_end`] has something to do.
    pub(in crate::pair) fn next_find_end(&self) -> Option<Moment> {
        let strays = &self.own.retry.as_ref().filter(|_| self.phase == Phase::Running)?.strays;
        let waits = strays.asked.is_none() && strays.lies_beyond(self.input_end());
        if waits { strays.again } else { None }
    }

    /// The input ended there when the source was asked; none when nobody could say.
    pub(in crate::pair) fn end_found(&mut self, end: Option<Offset>, now: Moment, actions: &mut Vec<Action>) {
        let Some(lane) = self.own.retry.as_mut().filter(|_| self.phase == Phase::Running) else { return };
        let Some(asked) = lane.strays.asked.take() else { return };
        lane.strays.again = Some(now.after(ASK_AGAIN));
        let Some(end) = end else { return };
        self.own.input_end = self.own.input_end.max(end);
        let end = self.input_end();
        for ((origin, offset), copy) in self.take_aside(self.own.tracker.position(), Offset(i64::MAX)) {
            if origin >= end && offset < asked {
                self.stray(origin, &copy, "was not written when the copy was", actions);
            } else {
                self.sort_copy(origin, copy, actions);
                self.release_copy(&copy);
            }
        }
    }

    /// Takes the copies aside whose origins lie in `[from, end)`.
    fn take_aside(&mut self, from: Offset, end: Offset) -> BTreeMap<(Offset, Offset), Copy> {
        let Some(lane) = &mut self.own.retry else { return BTreeMap::new() };
        let lowest = Offset(i64::MIN);
        let mut taken = lane.strays.aside.split_off(&(from, lowest));
        lane.strays.aside.append(&mut taken.split_off(&(end, lowest)));
        taken
    }

    /// The copy does not need its payload for waiting aside any more.
    pub(super) fn release_copy(&mut self, copy: &Copy) {
        if let Some(lane) = &mut self.own.retry {
            lane.payloads.release(copy.chunk(), 1);
        }
    }

    /// The copy is nobody's: it becomes a letter under its own coordinate. Its payload was needed once, for where it waited.
    pub(super) fn stray(
        &mut self,
        origin: Offset,
        copy: &Copy,
        why: &'static str,
        actions: &mut Vec<Action>,
    ) {
        let met = origin < self.own.tracker.position();
        let Some(lane) = &mut self.own.retry else { return };
        let record = lane.payloads.record(copy.chunk(), copy.index());
        lane.leave(copy);
        lane.strays.found.insert((origin, copy.offset));
        if !met {
            // Others like it that it outranked must not be read behind the record either.
            for outranked in lane.take_uncovered(origin) {
                lane.strays.found.insert((origin, outranked));
                lane.settle_now(outranked);
            }
        }
        match record {
            Some(record) => self.send_stray(origin, copy.offset, record, why, actions),
            None => lane.fetch_of_topic(origin, copy.offset, Why::Stray(why)),
        }
    }

    pub(super) fn send_stray(
        &mut self,
        origin: Offset,
        copy: Offset,
        record: RecordRef,
        why: &str,
        actions: &mut Vec<Action>,
    ) {
        let detail = format_args!("its origin {}/{origin}/0 {why}", self.id);
        self.send(Flying::stray(record, Failure::reject(Reason::RetryStray, detail), copy), actions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChunkBuilder, Epoch, Lane, PairId};

    /// Scenario: a commit tells of strays in one run with what is settled between them. Guarantee: they are remembered as that run, until the
    /// commit is past it.
    #[test]
    fn what_was_told_is_remembered_in_its_runs() {
        let mut strays = Strays::default();
        [10, 12, 14, 30].into_iter().for_each(|copy| strays.keep_in_mind(Offset(3), Offset(copy)));
        let told = RunSet::of(Offset(10), Offset(15));
        assert!(strays.committed(Offset(5), &told));
        assert_eq!((strays.told(), strays.found.len()), (&told, 1));
        assert!(!strays.committed(Offset(12), &RunSet::default()), "no other one");
        assert_eq!(strays.told(), &RunSet::of(Offset(12), Offset(15)));
        assert!(strays.committed(Offset(31), &RunSet::default()));
        assert_eq!((strays.told(), strays.found.len()), (&RunSet::default(), 0));
    }

    fn record(key: &str, value: &str, time_ms: i64) -> RecordRef {
        let mut chunk = ChunkBuilder::new(PairId::new("in", 0), Lane::Input, Epoch(1));
        chunk.record(Offset(0), time_ms, Some(key.as_bytes()), Some(value.as_bytes()));
        RecordRef::new(&chunk.build(None), 0).unwrap()
    }

    fn left(key: &str, bytes: usize, time_ms: i64) -> RecordRef {
        let mut chunk = ChunkBuilder::new(PairId::new("in", 0), Lane::Input, Epoch(1));
        chunk.without_value(Offset(0), time_ms, Some(key.as_bytes()), bytes);
        RecordRef::new(&chunk.build(None), 0).unwrap()
    }

    /// Guarantee: a copy fits a record of the same bytes and time; a replay's, which may have been mended, one of the same time, and one of another tool's
    /// letter that told none, of the same bytes; a value that was left in the topic fits one of its length.
    #[test]
    fn a_copy_fits_its_own_record() {
        let own = record("k", "value", 5);
        let fits = |copy: RecordRef, replays| Proof::of(&copy, replays).fits(&own);
        assert!(fits(record("k", "value", 5), 0));
        assert!(!fits(record("k", "other", 5), 0) && !fits(record("o", "value", 5), 0));
        assert!(!fits(record("k", "value", 6), 0));
        assert!(fits(record("o", "mended", 5), 1) && !fits(record("k", "value", 6), 1));
        assert!(fits(record("k", "value", -1), 1) && !fits(record("k", "other", -1), 1));
        assert!(fits(left("k", 5, 5), 0) && !fits(left("k", 6, 5), 0));
        assert!(Proof::NONE.fits(&own));
    }
}
