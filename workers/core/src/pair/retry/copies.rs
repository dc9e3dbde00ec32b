//! What becomes of a copy that was read from the retry partition.

use std::collections::btree_map;
use std::sync::Arc;
use std::time::Duration;

use crate::headers::{CopyHeaders, HeaderError};
use crate::pair::letters::Flying;
use crate::pair::{Action, Pair, PairId, Phase, RetryPolicy, Tally};
use crate::rules::Rule;
use crate::scheduler::Entry;
use crate::{Chunk, Class, Failure, Moment, Offset, Reason, RecordRef};

use super::fetch::Why;
use super::strays::{Proof, Standing};
use super::{Copy, CopyState, RetryLane};

impl Pair {
    /// Copies arrived; `wall_ms` is the time of day, milliseconds since 1970.
    pub(in crate::pair) fn copies_read(
        &mut self,
        chunk: &Arc<Chunk>,
        wall_ms: i64,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        // What comes after a stop began is read by the next owner.
        if self.phase != Phase::Running {
            return;
        }
        let Some(lane) = &mut self.own.retry else {
            return self
                .halt(Failure::halt(Reason::Internal, "copies for a pair without a retry lane"), actions);
        };
        lane.grants.received(chunk.len() as u64, chunk.bytes() as u64);
        let (place, end) = (lane.payloads.insert(chunk), lane.tracker.position());
        let known = (0..chunk.len() as u32).take_while(|index| chunk.offset(*index) < end).count() as u32;
        self.payloads_came(chunk, place, known, wall_ms, now, actions);
        for index in known..chunk.len() as u32 {
            self.copy_read(chunk, place, index, wall_ms, now, actions);
        }
        let last = chunk.len().checked_sub(1).map(|last| chunk.offset(last as u32));
        if let Some(last) = last.filter(|_| chunk.offset(0) < end) {
            self.came_by(chunk.offset(0), last.next());
        }
        self.pick_due(place, now);
        if let Some(lane) = &mut self.own.retry {
            lane.payloads.sorted(place);
        }
    }

    /// Of a chunk that just came few copies may be due: those get a chunk of their own where there is not room for all, or the others would
    /// stay in memory as long as those are at work.
    fn pick_due(&mut self, place: u32, now: Moment) {
        let (window, position) = (self.options.window, self.own.tracker.position());
        let Some(lane) = &mut self.own.retry else { return };
        let mut due = std::mem::take(&mut lane.due_at_once);
        if due.is_empty() || !lane.is_caught_up() || lane.may_stay(window) {
            return;
        }
        let goes = |origin: &Offset| {
            let copy = lane.index.get(*origin).filter(|copy| copy.chunk() == place && copy.is_waiting());
            *origin < position && copy.is_some_and(|copy| copy.is_due(now))
        };
        due.retain(goes);
        // A later copy of the same record may have come in the same chunk.
        due.sort_unstable();
        due.dedup();
        let copies = due.iter().filter_map(|origin| lane.index.get(*origin));
        let records = copies.filter_map(|copy| lane.payloads.record(place, copy.index()));
        let bytes = records.map(|record| record.bytes() as u64).sum::<u64>();
        if bytes > 0 && bytes * 2 <= lane.payloads.bytes_of(place) {
            lane.pick(place, &due);
        }
    }

    /// What nobody holds any more stays in memory, or goes to the spool.
    pub(in crate::pair) fn put_away(&mut self, actions: &mut Vec<Action>) {
        let (window, running) = (self.options.window, self.phase == Phase::Running);
        let Some(lane) = self.own.retry.as_mut().filter(|_| running) else { return };
        lane.due_at_once.clear();
        while let Some(place) = lane.payloads.next_idle() {
            if !lane.may_stay(window)
                && let Some((id, chunk)) = lane.payloads.spool(place)
            {
                actions.push(Action::Spool { id, chunk });
            }
        }
    }

    fn copy_read(
        &mut self,
        chunk: &Arc<Chunk>,
        place: u32,
        index: u32,
        wall_ms: i64,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(lane) = &mut self.own.retry else { return };
        if lane.admit(chunk.offset(index)) {
            self.sort_read(chunk, place, index, wall_ms, now, actions);
        }
    }

    /// Finds out what a copy is that was read for the first time, or for the first time with its payload.
    pub(in crate::pair) fn sort_read(
        &mut self,
        chunk: &Arc<Chunk>,
        place: u32,
        index: u32,
        wall_ms: i64,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        // The one before it in the chunk may have halted the pair.
        if self.phase != Phase::Running {
            return;
        }
        let Some(record) = RecordRef::new(chunk, index) else { return };
        let (offset, copy) = (chunk.offset(index), self.copy_at(&record, place, index, wall_ms, now));
        let Some(lane) = &mut self.own.retry else { return };
        match copy {
            Ok(copy) => self.sort_copy(copy.origin(), copy, actions),
            // A newer worker's copy is no stray: whoever knows its headers has to take it from here.
            Err(failure) if failure.class == Class::Halt => self.halt(failure, actions),
            Err(_) if record.is_left() => lane.fetch_of_topic(offset, offset, Why::Sort),
            Err(failure) => self.send(Flying::stray(record, failure, offset), actions),
        }
    }

    /// The copy that a record of the retry partition is.
    fn copy_at(
        &self,
        record: &RecordRef,
        place: u32,
        index: u32,
        wall_ms: i64,
        now: Moment,
    ) -> Result<Copy, Failure> {
        let headers = identify(record, &self.id)?;
        let Some(policy) = self.options.retry else {
            return Err(Failure::reject(Reason::RetryStray, "a copy for a pipeline without retries"));
        };
        let key = record.chunk().key_hash(index).filter(|_| policy.ordered);
        let copy = copy_of(&policy, record, record.lane_offset(), &headers, wall_ms, now).keyed(key);
        Ok(if record.is_left() { copy } else { copy.placed(place, index) })
    }

    /// Puts a copy where it belongs, or aside until that is known.
    pub(super) fn sort_copy(&mut self, origin: Offset, copy: Copy, actions: &mut Vec<Action>) {
        match self.standing(origin, &copy) {
            Standing::Counts => self.place_copy(origin, copy, true, actions),
            Standing::Spare => self.place_copy(origin, copy, false, actions),
            Standing::Aside => self.set_copy_aside(origin, copy),
            Standing::Stray => {
                if let Some(lane) = &mut self.own.retry {
                    lane.payloads.need(copy.chunk(), 1);
                }
                self.stray(origin, &copy, "holds another record", actions);
            }
        }
    }

    /// Finds out whether a copy's record is finished, under way, or to be tried (design section 4, the retry lane, rule 3); a copy
    /// that is not `wanted` is not tried.
    pub(super) fn place_copy(&mut self, origin: Offset, copy: Copy, wanted: bool, actions: &mut Vec<Action>) {
        let own = &mut self.own;
        let covered = own.commits.acknowledged();
        let held = own.held_by(origin);
        let waits = own.sinks.iter().any(|sink| sink.awaits(origin));
        let letter = own.decider.and_then(|sink| own.sinks[sink].view.holdings.letter(origin));
        let decided = letter.is_some_and(|replays| replays >= copy.replays()) && Rule::DecidedStands.holds();
        let letter_flies = own.letters.is_flying(origin, copy.replays());
        let at_work = own.working.spans().contains(origin)
            && !own.relettering.contains(&origin)
            && Rule::SupersedeAtWork.holds();
        let Some(lane) = &mut own.retry else { return };
        if !own.sinks.is_empty() && held == crate::SinkMask::first(own.sinks.len()) {
            lane.settle(origin, copy.offset, covered);
            actions.push(Action::Settled(Tally { already_held: 1, ..Tally::default() }));
        } else if !wanted && !lane.joined.contains_key(&origin) && Rule::CommitBehindStrays.holds() {
            // Nothing shows whose copy it is, and the input lane has the record itself, or had it until its end. Behind the input's commit
            // a later owner would believe it. Where this lane had the record, a copy of it may be the last one there is: one that was
            // carried forward and tried meanwhile. That one waits for the publish.
            // Where that commit is past the record already, nothing is left to be kept back.
            if origin >= covered {
                lane.strays.keep_in_mind(origin, copy.offset);
            }
            lane.settle_now(copy.offset);
        } else if copy.replays() > 0
            && (waits || at_work || lane.has_older_with_steps(origin, &copy))
            && Rule::ReplayWaits.holds()
        {
            lane.keep_for_later(origin, copy);
        } else if waits || letter_flies {
            if Rule::JoinAtPublish.holds() {
                lane.join(origin, copy.offset);
            } else {
                lane.settle(origin, copy.offset, covered);
            }
        } else if !wanted || (decided && lane.relettered.contains(origin)) {
            lane.settle(origin, copy.offset, covered);
        } else if letter.is_some_and(|replays| replays > copy.replays()) && decided {
            // The letter that was decided is a later replay's. Its bytes may be others, and its own copy tells of it.
            lane.settle(origin, copy.offset, covered);
        } else if decided {
            // The decision stands: whatever the steps say this time, they only tell the letter why.
            lane.join(origin, copy.offset);
            if let btree_map::Entry::Vacant(again) = lane.relettering.entry(origin) {
                again.insert(copy.replays());
                self.reletter(origin, &copy);
            }
        } else if at_work {
            // The input lane has the record itself; rule 5 holds the copy's commit back until it is through.
            lane.settle(origin, copy.offset, covered);
        } else {
            match lane.index.get(origin) {
                // While the next copy may not be there yet, nothing is settled for its sake.
                Some(known) if known.state == CopyState::Leaving && !copy.outranks(known) => {
                    match own.letters.leaving(origin) {
                        Some(letter) => letter.copies.push(copy.offset),
                        None => lane.settle(origin, copy.offset, covered),
                    }
                }
                Some(_) | None => lane.keep(origin, copy, covered),
            }
        }
    }
}

impl Pair {
    /// The record of a copy runs again to tell why its letter was decided, as soon as its payload is here.
    fn reletter(&mut self, origin: Offset, copy: &Copy) {
        let own = &mut self.own;
        let Some(lane) = &mut own.retry else { return };
        if lane.payloads.record(copy.chunk(), copy.index()).is_none() {
            return lane.fetch_of_topic(origin, copy.offset, Why::Reletter);
        }
        lane.payloads.hold(copy.chunk());
        lane.at_work += 1;
        let held = crate::SinkMask::first(own.sinks.len());
        let attempt = copy.attempt() + 1;
        own.scheduler.push(Entry { held, attempt, lettered: true, ..copy.entry() });
    }

    /// The same when its payload came.
    pub(super) fn reletter_read(
        &mut self,
        chunk: &Arc<Chunk>,
        place: u32,
        index: u32,
        wall_ms: i64,
        now: Moment,
    ) {
        let Some(record) = RecordRef::new(chunk, index) else { return };
        if let Ok(copy) = self.copy_at(&record, place, index, wall_ms, now) {
            self.reletter(copy.origin(), &copy);
        }
    }
}

impl RetryLane {
    /// Takes the next offset in; false when it was read or settled before.
    fn admit(&mut self, offset: Offset) -> bool {
        if offset < self.tracker.position() {
            return false;
        }
        // A gap is nobody's: retention, or a batch that was aborted.
        self.tracker.pass_to(offset);
        if self.tracker.was_settled(offset) {
            self.tracker.pass(offset);
            return false;
        }
        self.tracker.admit(offset, &mut self.open).is_some()
    }

    /// Whether the steps have an earlier replay of the record, or its first bytes.
    fn has_older_with_steps(&self, origin: Offset, copy: &Copy) -> bool {
        let older = |known: &Copy| known.state == CopyState::Tried && known.replays() < copy.replays();
        self.index.get(origin).is_some_and(older)
    }

    /// Puts a copy into the index, or settles the one of its record that counts less.
    fn keep(&mut self, origin: Offset, copy: Copy, covered: Offset) {
        if let Some(known) = self.index.get(origin) {
            if !copy.outranks(known) {
                return self.settle(origin, copy.offset, covered);
            }
            let superseded = *known;
            self.settle(origin, superseded.offset, covered);
            if superseded.state == CopyState::Tried {
                // The same bytes are with the steps already.
                if let Some(known) = self.index.get_mut(origin) {
                    known.stands_for(&copy);
                    self.payloads.need(copy.chunk(), 1);
                    self.payloads.release(superseded.chunk(), 1);
                }
                return;
            }
            self.index.remove(origin);
            self.leave(&superseded);
        }
        self.payloads.need(copy.chunk(), 1);
        self.index.insert(copy);
        let first = copy.key().is_none_or(|key| self.parking.park(key, origin));
        if first || !Rule::HeadOnly.holds() {
            self.index.offer(origin);
            self.due_at_once.push(origin);
        }
    }
}

/// Whose copy a record of the retry partition is. Only the fleet may write there; what does not name a record of this very
/// input partition is a stray.
fn identify<'a>(record: &'a RecordRef, pair: &PairId) -> Result<CopyHeaders<'a>, Failure> {
    let headers = record.headers().map(|header| (header.name, header.value));
    let decoded = CopyHeaders::decode(headers).map_err(|error| match error {
        HeaderError::Newer(newer) => newer.into_failure(),
        HeaderError::Value(_) => Failure::reject(Reason::RetryStray, error),
    })?;
    let Some(headers) = decoded else {
        return Err(Failure::reject(Reason::RetryStray, "no longshore.origin among its headers"));
    };
    let origin = headers.origin;
    if origin.topic != pair.topic.as_str() || origin.partition != pair.partition.0 || origin.index != 0 {
        let origin = origin.to_origin();
        let detail = format_args!("its origin {origin} is no record of {pair}");
        return Err(Failure::reject(Reason::RetryStray, detail));
    }
    Ok(headers)
}

/// A copy with its times, on the pair's clock. Nothing waits longer than was planned when its record failed, nor than the cap: a time far ahead
/// is clipped (rule 7), whatever it says.
fn copy_of(
    policy: &RetryPolicy,
    record: &RecordRef,
    offset: Offset,
    headers: &CopyHeaders<'_>,
    wall_ms: i64,
    now: Moment,
) -> Copy {
    let length = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let until = |due: i64| length(due.saturating_sub(wall_ms));
    let planned_ms = headers.not_before_ms.map_or(0, |due| due.saturating_sub(headers.last_failed_ms).max(0));
    let wait = headers.not_before_ms.map_or(Duration::ZERO, until).min(length(planned_ms)).min(policy.cap);
    let landed_ms = if record.landed_ms() < 0 { wall_ms } else { record.landed_ms() };
    let age = length(wall_ms.saturating_sub(landed_ms));
    // How long it has failed when this try is due by its plan, so that all owners judge a copy alike and no outage uses up its tries. By the
    // worker's clock and by the broker's, whichever says less: one of them that is ahead gives up no record before its time.
    let due_ms = landed_ms.saturating_add(planned_ms).min(headers.not_before_ms.unwrap_or(i64::MAX));
    let failing = length(due_ms.saturating_sub(headers.first_failed_ms));
    let last = headers.first_failed_ms > 0 && policy.max_age.is_some_and(|most| failing >= most);
    let stale = now.after(policy.carry_age.saturating_sub(age));
    let copy = Copy::new(Offset(headers.origin.offset), offset, headers.attempt, headers.replays);
    copy.timed(now, wait, stale).proven(Proof::of(record, headers.replays)).as_last(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::LetterHeaders;
    use crate::{ChunkBuilder, Epoch, Lane, Origin, Partition, TopicName};

    const WALL_MS: i64 = 1_700_000_000_000;
    const NOW: Moment = Moment(Duration::from_secs(1_000));

    /// A copy that the broker took at `landed_ms` and whose record failed first at `first_failed_ms`; both live for a minute.
    fn read(landed_ms: i64, first_failed_ms: i64) -> Copy {
        let minute = Duration::from_secs(60);
        let policy = RetryPolicy {
            ordered: true,
            in_place: Duration::ZERO,
            cap: minute,
            max_age: Some(minute),
            waiting: 1,
            parked: 1,
            span: 1,
            carry_age: minute,
        };
        let origin =
            Origin { topic: TopicName::new("in"), partition: Partition(0), offset: Offset(3), index: 0 };
        let failure = Failure::retry(Reason::StepFailed, "later");
        let told =
            LetterHeaders { first_failed_ms, ..LetterHeaders::failed(origin, 5, &failure, "p v", WALL_MS) };
        let pair = PairId::new("in", 0);
        let mut chunk = ChunkBuilder::new(pair.clone(), Lane::Retry, Epoch(1));
        chunk.record(Offset(0), landed_ms, None, Some(b"value"));
        let told = told.encode();
        told.iter().for_each(|(name, value)| chunk.header(name.as_bytes(), Some(value.as_bytes())));
        let record = RecordRef::new(&chunk.build(None), 0).unwrap();
        let headers = identify(&record, &pair).unwrap();
        copy_of(&policy, &record, Offset(0), &headers, WALL_MS, NOW)
    }

    /// Guarantee: a replay waits for earlier bytes of its record that are with the steps: not for its own, come again, nor for what only waits.
    #[test]
    fn a_replay_waits_for_earlier_bytes_with_the_steps() {
        for (state, replays, waits) in
            [(CopyState::Tried, 2, true), (CopyState::Tried, 1, false), (CopyState::Waits, 2, false)]
        {
            let mut lane = crate::pair::retry::tests::with_copies(2, false);
            let mut known = Copy::new(Offset(4), Offset(0), 1, 1);
            known.state = state;
            lane.index.insert(known);
            let copy = Copy::new(Offset(4), Offset(1), 1, replays);
            assert_eq!(lane.has_older_with_steps(Offset(4), &copy), waits, "{state:?} {replays}");
        }
    }

    /// Guarantee: a copy is carried forward at the age that the broker tells of it, and from now on where it tells none.
    #[test]
    fn a_copy_is_as_old_as_the_broker_says() {
        let stale_in = |landed_ms| {
            let copy = read(landed_ms, WALL_MS);
            (0..=60).find(|after| copy.is_stale(NOW.after(Duration::from_secs(*after))))
        };
        assert_eq!(stale_in(WALL_MS), Some(60));
        assert_eq!(stale_in(WALL_MS - 40_000), Some(20));
        assert_eq!(stale_in(WALL_MS + 40_000), Some(60), "its clock is ahead");
        assert_eq!(stale_in(0), Some(0), "the first moment that there is");
        assert_eq!(stale_in(-1), Some(60), "no time");
    }

    /// Guarantee: a record has its last try when it had failed for as long as it may by when its copy landed, or by our clock where
    /// the broker tells no time; never where nobody tells when it failed first.
    #[test]
    fn a_record_is_given_up_by_the_time_of_its_copy() {
        let minute_ago = WALL_MS - 60_000;
        assert!(read(WALL_MS, minute_ago).is_last());
        assert!(!read(WALL_MS, minute_ago + 1).is_last());
        assert!(!read(WALL_MS - 1, minute_ago).is_last());
        assert!(read(-1, minute_ago).is_last());
        assert!(!read(0, minute_ago).is_last(), "the broker's clock stands at its beginning");
        assert!(!read(WALL_MS, 0).is_last());
    }
}
