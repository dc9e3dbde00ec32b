//! Intake: what becomes of a received record, and how many more may come.

use std::sync::Arc;

use crate::rules::Rule;
use crate::scheduler::Entry;
use crate::{Chunk, Failure, Lane, Moment, Offset, Reason, SinkIndex, SinkMask};

use super::{Action, Pair, Phase, Tally};

/// How much came and how much may come, absolute since the epoch began.
#[derive(Debug, Default)]
pub(super) struct Grants {
    received_records: u64,
    received_bytes: u64,
    granted_records: u64,
    granted_bytes: u64,
}

impl Grants {
    pub(super) fn received(&mut self, records: u64, bytes: u64) {
        self.received_records += records;
        self.received_bytes += bytes;
    }

    /// A fresh grant of so much beyond what came, when half of the last one is used up.
    pub(super) fn top_up(&mut self, records: u64, bytes: u64) -> Option<(u64, u64)> {
        let records_left = self.granted_records.saturating_sub(self.received_records);
        let bytes_left = self.granted_bytes.saturating_sub(self.received_bytes);
        if records_left > records / 2 && bytes_left > bytes / 2 {
            return None;
        }
        (self.granted_records, self.granted_bytes) =
            (self.received_records + records, self.received_bytes + bytes);
        Some((self.granted_records, self.granted_bytes))
    }
}

/// What a received record is.
enum Fate {
    /// Settled before this ownership, or held by every sink.
    Done,
    /// Its copy waits in the retry lane, or another record of its key does.
    Waits,
    /// To be run for all sinks but these; `lettered` when only its letter is wanted.
    Run { held: SinkMask, lettered: bool },
}

impl Pair {
    pub(super) fn received(&mut self, chunk: &Arc<Chunk>, now: Moment, actions: &mut Vec<Action>) {
        match (chunk.lane(), &self.phase) {
            (Lane::Input, Phase::Running) => self.admit(chunk, now, actions),
            // What comes after a stop began is not admitted; the next owner reads it.
            (Lane::Input, _) => {}
            (Lane::Retry, _) => {
                self.halt(Failure::halt(Reason::Internal, "copies that came as input records"), actions);
            }
        }
    }

    /// Goes on to an offset that no record stands before any more. The gap is nobody's, so it is settled at once, and the
    /// ledgers may claim it like any other gap.
    pub(super) fn passed(&mut self, lane: Lane, offset: Offset) {
        if lane == Lane::Retry {
            return self.passed_copies(offset);
        }
        if self.phase != Phase::Running || offset <= self.own.tracker.position() {
            return;
        }
        self.pass_what_waits(offset);
        let from = self.own.tracker.position();
        self.own.tracker.pass_to(offset);
        self.own.gaps.insert_range(from, offset);
        // Behind open records there is nothing to commit yet, and when they settle there is.
        if self.own.tracker.open().is_empty() {
            self.own.commits.note_settled(1);
        }
    }

    fn passed_copies(&mut self, offset: Offset) {
        let running = self.phase == Phase::Running;
        let Some(lane) = self.own.retry.as_mut().filter(|_| running) else { return };
        if offset > lane.tracker.position() {
            lane.tracker.pass_to(offset);
            if lane.tracker.open().is_empty() {
                lane.commits.note_settled(1);
            }
        }
    }

    /// Compaction may have taken records whose copies wait. They are no part of the gap that the next record owns: published with that one they
    /// would count as held, their next copies would be dropped for it, and their keys would wait for ever.
    fn pass_what_waits(&mut self, below: Offset) {
        let own = &mut self.own;
        let Some(lane) = own.retry.as_ref().filter(|_| own.tracker.position() < below) else { return };
        for origin in lane.waiting_in(own.tracker.position(), below) {
            if Rule::GapsKeepWhatWaits.holds() {
                own.gaps.insert_range(own.tracker.position(), origin);
                own.tracker.pass(origin);
            }
        }
    }

    fn admit(&mut self, chunk: &Arc<Chunk>, now: Moment, actions: &mut Vec<Action>) {
        self.own.grants.received(chunk.len() as u64, chunk.bytes() as u64);
        let place = self.own.chunks.insert(chunk, now);
        let (mut queued, mut done, mut waiting) = (0, 0, 0);
        for index in 0..chunk.len() as u32 {
            let offset = chunk.offset(index);
            if offset < self.own.tracker.position() {
                continue;
            }
            self.meet(chunk, index, actions);
            self.pass_what_waits(offset);
            match self.fate(offset) {
                Fate::Done => {
                    self.own.tracker.pass(offset);
                    done += 1;
                }
                Fate::Waits => {
                    self.own.tracker.pass(offset);
                    waiting += 1;
                }
                Fate::Run { held, lettered } => {
                    self.queue(chunk, place, index, held, lettered, actions);
                    queued += 1;
                }
            }
        }
        // The insertion itself counted for one, so that the chunk stays while its records are queued.
        self.own.chunks.need(place, queued);
        self.own.chunks.release(place, 1);
        if done > 0 {
            actions.push(Action::Settled(Tally { already_held: done, ..Tally::default() }));
        }
        self.own.careful.took(queued as u64 + done + waiting, self.own.tracker.position());
        self.own.commits.note_settled(done + waiting);
    }

    fn queue(
        &mut self,
        chunk: &Chunk,
        place: u32,
        index: u32,
        held: SinkMask,
        lettered: bool,
        actions: &mut Vec<Action>,
    ) {
        let own = &mut self.own;
        let offset = chunk.offset(index);
        let Some(first) = own.tracker.admit(offset, &mut own.working) else { return };
        let key = if own.scheduler.needs_keys() { chunk.key_hash(index) } else { None };
        let lane = Lane::Input;
        let entry = Entry { first, offset, lane, key, chunk: place, index, held, attempt: 1, lettered };
        if lettered {
            own.relettering.insert(offset);
        } else if let (Some(key), Some(retry)) = (key, &own.retry)
            && retry.parking.blocks(key)
            && Rule::ParkNewcomers.holds()
        {
            return self.follow(entry, actions);
        }
        own.scheduler.push(entry);
    }

    fn fate(&self, offset: Offset) -> Fate {
        let own = &self.own;
        let waits = own.retry.as_ref().is_some_and(|lane| lane.has(offset));
        if waits && Rule::SkipWhatWaits.holds() {
            return Fate::Waits;
        }
        if offset >= own.known_end {
            let held = SinkMask::NONE;
            return Fate::Run { held, lettered: false };
        }
        if own.tracker.was_settled(offset) {
            return Fate::Done;
        }
        let held = own.held_by(offset);
        if !own.sinks.is_empty() && held == own.all_sinks() {
            return Fate::Done;
        }
        let lettered = own.decider.is_some_and(|sink| own.sinks[sink].view.holdings.letter(offset).is_some());
        // The decision stands: whatever the steps say this time, no sink gets a row.
        Fate::Run { held: if lettered { own.all_sinks() } else { held }, lettered }
    }

    /// Grants what the window has room for. Small rises wait, so that the source is not told of every record.
    pub(super) fn grant(&mut self, actions: &mut Vec<Action>) {
        if self.phase != Phase::Running || self.own.holds.closes_intake() || !self.own.input_started {
            return;
        }
        if self.is_retry_full() {
            return;
        }
        let window = self.options.window;
        let (used_records, used_bytes) = (self.own.window_records(), self.own.window_bytes());
        let moved = self.has_moved(self.own.tracker.watermark());
        let grants = &mut self.own.grants;
        let records = grants.received_records + window.records.saturating_sub(used_records);
        let bytes = grants.received_bytes + window.bytes.saturating_sub(used_bytes);
        let records = records.min(grants.received_records.saturating_add(self.own.careful.intake(moved)));
        let (records, bytes) = (records.max(grants.granted_records), bytes.max(grants.granted_bytes));
        let (more_records, more_bytes) = (records - grants.granted_records, bytes - grants.granted_bytes);
        let worth = more_records >= (window.records / 8).max(1) || more_bytes >= (window.bytes / 8).max(1);
        let empty = used_records == 0 && more_records > 0;
        // A few large records, slow or waiting for their next try, may hold nearly all bytes for long. The others go on
        // with the rest, however little it is.
        let room = window.bytes.saturating_sub(used_bytes);
        let scarce = used_records <= window.records / 8 && more_bytes > 0 && more_bytes >= room / 2;
        if worth || empty || scarce {
            (grants.granted_records, grants.granted_bytes) = (records, bytes);
            actions.push(Action::Grant { lane: Lane::Input, records, bytes });
        }
    }

    /// Whether no more comes in before the watermark moves, because owners before this one crashed.
    pub(super) fn is_intake_spent(&self) -> bool {
        let moved = self.has_moved(self.own.tracker.watermark());
        self.own.careful.intake(moved) == 0
    }

    /// Whether so much waits in the retry lane that the input lane pauses. Only beyond the highest origin that waits: what
    /// waits may need the input lane to come so far, and both would wait for each other.
    fn is_retry_full(&self) -> bool {
        let (Some(policy), Some(lane)) = (self.options.retry, &self.own.retry) else { return false };
        if self.own.careful.is_on() {
            // Only a few copies are tried until the suspects of the input are through, and both lanes would wait for each other.
            return false;
        }
        let records = lane.waiting() >= policy.waiting || lane.parking.records() >= policy.parked;
        // The entries of what waits are in memory; payloads that are in the topic alone have to be read again.
        let window = self.options.window;
        let entries = lane.entries_bytes();
        let full = records || entries >= window.bytes.max(1) || lane.payloads.fallen() >= window.records;
        let highest = lane.highest_awaited(self.input_end());
        let beyond = highest.is_none_or(|origin| self.own.tracker.position() > origin);
        full && (beyond || !Rule::CapsBeyondOrigins.holds())
    }

    /// The sink at an index, none for an index that no sink has.
    pub(super) fn sink_mut(&mut self, sink: SinkIndex) -> Option<&mut super::segments::SinkState> {
        self.own.sinks.get_mut(usize::from(sink.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: a lane that reads to its end is granted anew when half of its records or half of its bytes are used up, from what came on.
    #[test]
    fn half_of_a_grant_is_used_before_the_next() {
        let mut grants = Grants::default();
        assert_eq!(grants.top_up(100, 1_000), Some((100, 1_000)));
        grants.received(49, 0);
        assert_eq!(grants.top_up(100, 1_000), None);
        grants.received(1, 0);
        assert_eq!(grants.top_up(100, 1_000), Some((150, 1_000)));
        grants.received(0, 499);
        assert_eq!(grants.top_up(100, 1_000), None);
        grants.received(0, 1);
        assert_eq!(grants.top_up(100, 1_000), Some((150, 1_500)));
    }
}
