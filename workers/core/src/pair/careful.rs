//! Crash loops: a record that takes the whole process down is found and becomes a letter (design section 4, crash loops).
//!
//! An owner that lets go in good order says so in the commit metadata (`clean`). One that does not has crashed, or was taken
//! for dead; the next owner counts that, before it runs a single record, as long as nothing is committed beyond. After the first such
//! take-over no more than one window of records is taken in until the watermark has moved, so that it is known how far the
//! culprit may lie. After the second one those records are tried alone: each published and committed before the next, with a
//! note in the metadata of which one is next. The third crash with the same note makes that record a letter.
//!
//! Without a crash all this is one commit at the beginning of an ownership.

use std::time::Duration;

use crate::metadata::{Metadata, TRYING_MOST, Trying};
use crate::rules::Rule;
use crate::scheduler::Entry;
use crate::{Failure, Moment, Offset, Reason, UnitId};

use super::retry::RetryLane;
use super::{Action, Pair, Phase};

/// Take-overs without a clean end and without progress that make a pair careful.
const TAKEOVERS: u32 = 2;
/// Crashes with one record alone that make it a letter.
const TRIES: u32 = 3;

/// What is known of crashes, under one ownership.
#[derive(Debug, Default)]
pub(super) struct Careful {
    /// Owners in a row that ended without a word and without progress.
    takeovers: u32,
    /// How many records of the input lane the owners before can have taken in, or this one may.
    records: u64,
    /// Records taken in so far.
    taken: u64,
    /// Behind the records that are tried alone; known when so many were taken in.
    end: Option<Offset>,
    /// Copies that were due until then are tried alone as well; known when the lane was read.
    due_until: Option<Moment>,
    /// Whether the count was sent, and whether the broker has it.
    told: bool,
    known: bool,
    /// Records that ended an owner, the one that is tried now before all others.
    notes: Vec<Trying>,
    /// Whether the first of them is at work.
    trying: bool,
    /// Runs as soon as the note about it is committed.
    armed: Option<UnitId>,
}

impl Careful {
    pub(super) fn new(found: &Metadata, unmarked: bool, window: u64) -> Self {
        let takeovers = match (unmarked, found.clean) {
            (true, _) => 0,
            (false, _) if !Rule::CountCrashes.holds() => 0,
            (false, true) => found.takeovers,
            (false, false) => found.takeovers.saturating_add(1),
        };
        let records = if takeovers < TAKEOVERS { window } else { found.careful };
        Self { takeovers, records, notes: found.trying.clone(), ..Self::default() }
    }

    /// Whether records are tried one at a time.
    pub(super) fn is_on(&self) -> bool {
        self.takeovers >= TAKEOVERS
    }

    /// Whether the count is to be committed at once: no record runs before.
    pub(super) fn is_to_be_told(&self) -> bool {
        !self.told
    }

    pub(super) fn told(&mut self) {
        self.told = true;
    }

    /// Whether records may run.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// So many records were taken in, up to this offset.
    pub(super) fn took(&mut self, records: u64, position: Offset) {
        self.taken += records;
        if self.end.is_none() && self.taken >= self.records {
            self.end = Some(position);
        }
    }

    /// How many more may be taken in before the watermark moves.
    pub(super) fn intake(&self, moved: bool) -> u64 {
        let free = self.takeovers == 0 || self.is_on() || moved;
        if free { u64::MAX } else { self.records.saturating_sub(self.taken) }
    }

    /// Writes down what the next owner has to know.
    pub(super) fn mark(&self, metadata: &mut Metadata, moved: bool, clean: bool) {
        metadata.clean = clean;
        if self.is_on() || (!moved && !clean && self.takeovers > 0) {
            (metadata.takeovers, metadata.careful) = (self.takeovers, self.records);
        }
        if Rule::NoteBeforeTry.holds() {
            metadata.trying.clone_from(&self.notes);
        }
        if let (true, true, Some(first)) = (clean, self.trying, metadata.trying.first_mut()) {
            // It is cancelled, and took nobody down.
            first.tries -= 1;
        }
    }

    /// How many owners a record has ended, which is not noted any more.
    fn take_note(&mut self, entry: &Entry) -> u32 {
        let same = |note: &Trying| (note.lane, note.offset) == (entry.lane, entry.offset);
        let place = self.notes.iter().position(same);
        place.map_or(0, |place| self.notes.remove(place).tries)
    }

    /// The broker has the last commit; returns the unit that waited for it.
    pub(super) fn acknowledged(&mut self) -> Option<UnitId> {
        self.known |= self.told;
        self.armed.take()
    }
}

impl Pair {
    /// Takes the next record alone, when everything before it is published and committed.
    pub(super) fn send_carefully(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.waits_carefully() {
            return;
        }
        if std::mem::take(&mut self.own.careful.trying) {
            // It is through and took nobody down.
            self.own.careful.notes.remove(0);
        }
        if self.is_past_the_crash(now) {
            // The next crash is another one, so this has to be known before more records run at once.
            self.own.careful = Careful::default();
            return self.own.commits.note_changed();
        }
        let lets_go = self.own.holds.lets_go(now, 0) && self.own.holds.breaker.room(true, now) > 0;
        if !lets_go {
            return;
        }
        let Some(id) = self.next_unit(now, 1, actions) else { return };
        let Some(entry) = self.own.scheduler.entries(id).first().copied() else { return };
        let careful = &mut self.own.careful;
        let tries = careful.take_note(&entry);
        if tries >= TRIES {
            return self.quarantine(id, tries, now, actions);
        }
        let note = Trying { lane: entry.lane, offset: entry.offset, tries: tries + 1 };
        careful.notes.insert(0, note);
        careful.notes.truncate(TRYING_MOST);
        (careful.trying, careful.armed) = (true, Some(id));
        self.commit(now, actions);
    }

    /// Whether something of the record before is not published and committed yet.
    pub(super) fn waits_carefully(&self) -> bool {
        let own = &self.own;
        let retry_commits = own.retry.as_ref().is_some_and(RetryLane::is_committing);
        own.careful.armed.is_some() || own.commits.is_flying() || retry_commits || !self.is_quiet()
    }

    /// The record took the process down too often.
    fn quarantine(&mut self, id: UnitId, tries: u32, now: Moment, actions: &mut Vec<Action>) {
        for entry in self.own.scheduler.done(id, Duration::ZERO, now).unwrap_or_default() {
            let detail = format_args!("{tries} workers ended while they had this record alone");
            self.own.scheduler.complete(&entry);
            if entry.lettered {
                // Only its letter is sent again. A replay of the same record may be next, and must not count from nothing.
                let note = Trying { lane: entry.lane, offset: entry.offset, tries };
                self.own.careful.notes.push(note);
                self.own.careful.notes.truncate(TRYING_MOST);
            }
            self.doom(entry, Failure::reject(Reason::CrashLoop, detail), false, now, actions);
        }
        self.own.scheduler.end_unit();
    }

    /// Whether all that the crashed owner can have had was tried: the records it took in, and the copies that were due.
    fn is_past_the_crash(&mut self, now: Moment) -> bool {
        let input = self.is_input_past_the_crash();
        let own = &mut self.own;
        let Some(lane) = &own.retry else { return input };
        if !lane.is_caught_up() {
            return false;
        }
        let until = *own.careful.due_until.get_or_insert(now);
        input && lane.busy() == 0 && lane.index.next_due().is_none_or(|due| due > until)
    }

    fn is_input_past_the_crash(&self) -> bool {
        let own = &self.own;
        let end = own.careful.end.unwrap_or(own.assignment.log_end).min(own.assignment.log_end);
        own.tracker.watermark() >= end
    }

    /// Up to when copies may be due to be tried, none for any. Those that are due later than the suspects wait until records run at
    /// once again: where copies come quicker than they can be tried alone, careful mode would go on for ever if they joined
    /// the others. Not before the input is past the crash, since it may wait for copies to be worked off.
    pub(super) fn last_due(&self) -> Option<Moment> {
        self.own.careful.due_until.filter(|_| self.is_input_past_the_crash())
    }

    /// The broker has the last commit of the input lane.
    pub(super) fn careful_acknowledged(&mut self, actions: &mut Vec<Action>) {
        let armed = self.own.careful.acknowledged();
        if let Some(id) = armed.filter(|_| matches!(self.phase, Phase::Running | Phase::Draining)) {
            self.run(id, actions);
        }
    }

    /// Whether an offset lies beyond the one that this owner began with.
    pub(super) fn has_moved(&self, offset: Offset) -> bool {
        let assignment = &self.own.assignment;
        offset > assignment.committed.as_ref().map_or(assignment.start, |position| position.offset)
    }
}
