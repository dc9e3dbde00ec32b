//! Crash loops: a record that takes the whole process down is found and becomes a letter (design section 4, crash loops).
//!
//! An owner that lets go in good order says so in the commit metadata (`clean`). One that does not has crashed, or was taken
//! for dead; the next owner counts that, before it runs a single record, as long as nothing is committed beyond. After the first such
//! take-over no more than one window of records is taken in until the watermark has moved, so that it is known how far the
//! culprit may lie, and copies are tried a few at a time ([`super::suspects`]). After the second one those records and copies are tried
//! alone: each published and committed before the next, with a note in the metadata of which one is next. The third crash with
//! the same note makes that record a letter.
//!
//! Without a crash all this is one commit at the beginning of an ownership.

use std::time::Duration;

use crate::metadata::{Metadata, TRYING_MOST, Trying};
use crate::rules::Rule;
use crate::scheduler::Entry;
use crate::{Failure, Moment, Offset, Reason, UnitId};

use super::retry::RetryLane;
use super::suspects::{self, Trial, Tryable};
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
    /// Copies that may be tried, all of one range; alone when that is on.
    pub(super) trial: Option<Trial>,
    /// Where the next such range begins.
    pub(super) next_trial: Offset,
    /// So many copies were tried alone that only stand before one of that range. The owner before may have been through with them: of what a sink
    /// without a ledger got only a commit knows, and it comes later.
    pub(super) heads: u64,
    /// When the retry lane was read: what was due then can have been at work when the owner before crashed.
    read_at: Option<Moment>,
    /// All copies that were due then are through, so that none of them was the culprit.
    pub(super) lane_past: bool,
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
    /// What the owner that begins at `start` has to mind; `lane` tells whether there is a retry lane.
    pub(super) fn new(found: &Metadata, unmarked: bool, window: u64, start: Offset, lane: bool) -> Self {
        let takeovers = match (unmarked, found.clean) {
            (true, _) => 0,
            (false, _) if !Rule::CountCrashes.holds() => 0,
            (false, true) => found.takeovers,
            (false, false) => found.takeovers.saturating_add(1),
        };
        let is_on = takeovers >= TAKEOVERS;
        let records = if is_on { found.careful } else { window };
        let noted = |(first, end)| Trial { first, end, until: None, noted: true };
        Self {
            takeovers,
            records,
            // None at all when the owner before had moved the watermark, so that no record of the input took it down.
            end: (is_on && records == 0).then_some(start),
            trial: found.copies.filter(|_| is_on).map(noted),
            lane_past: !lane,
            notes: found.trying.clone(),
            ..Self::default()
        }
    }

    /// Whether an owner before this one crashed and the culprit is not known.
    pub(super) fn counts(&self) -> bool {
        self.takeovers > 0
    }

    /// Which copies may be tried.
    pub(super) fn tryable(&self) -> Tryable {
        match self.trial {
            _ if !self.counts() => Tryable::All,
            _ if !self.is_on() && !Rule::NoteCopies.holds() => Tryable::All,
            Some(trial) if trial.noted => {
                let heads = self.is_on() && self.heads < suspects::MOST;
                trial.due(heads).map_or(Tryable::None, Tryable::Of)
            }
            Some(_) | None => Tryable::None,
        }
    }

    /// The retry lane was read to the end; returns when it was first.
    pub(super) fn lane_was_read(&mut self, now: Moment) -> Moment {
        let read_at = *self.read_at.get_or_insert(now);
        if let Some(trial) = &mut self.trial {
            trial.until.get_or_insert(read_at);
        }
        read_at
    }

    /// What the owner before can have had is through, without a crash.
    pub(super) fn exonerate(&mut self) {
        *self = Self { told: true, known: true, ..Self::default() };
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
        // The watermark tells nothing of copies.
        let suspected = self.counts() && !clean && !(moved && self.lane_past);
        if self.is_on() || suspected {
            metadata.takeovers = self.takeovers;
            metadata.careful = if self.is_on() || !moved { self.records } else { 0 };
            let trial = self.trial.filter(|_| Rule::NoteCopies.holds());
            metadata.copies = trial.map(|trial| (trial.first, trial.end));
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
        if let Some(trial) = &mut self.trial {
            trial.noted = true;
        }
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
        if self.is_past_the_crash() {
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

    /// Whether all that the crashed owner can have had was tried: the records it took in, and the copies it tried.
    fn is_past_the_crash(&self) -> bool {
        self.is_past_the_suspects(self.own.tracker.watermark()) && self.is_lane_past_the_crash()
    }

    /// Whether an offset of the input lies behind all that the crashed owner can have taken in.
    pub(super) fn is_past_the_suspects(&self, offset: Offset) -> bool {
        let log_end = self.own.assignment.log_end;
        offset >= self.own.careful.end.unwrap_or(log_end).min(log_end)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lane;

    /// What an owner minds that begins after so many others in a row have crashed; the window is ten records.
    fn after(crashes: u32) -> Careful {
        let found = Metadata { takeovers: crashes.saturating_sub(1), careful: 5, ..Metadata::default() };
        Careful::new(&found, crashes == 0, 10, Offset(0), true)
    }

    fn trial(noted: bool) -> Trial {
        Trial { first: Offset(3), end: Offset(5), until: Some(Moment::default()), noted }
    }

    /// Guarantee: without a crash all copies may be tried; after one those of a range that is noted, none before it is chosen and noted; and alone, those that
    /// stand before one of them as well, up to a bound.
    #[test]
    fn copies_are_tried_by_range_after_a_crash() {
        assert!(matches!(after(0).tryable(), Tryable::All));
        for crashes in [1, 2] {
            let mut careful = after(crashes);
            assert!(matches!(careful.tryable(), Tryable::None), "none is chosen");
            careful.trial = Some(trial(false));
            assert!(matches!(careful.tryable(), Tryable::None), "the broker has no note");
            careful.trial = Some(trial(true));
            for (heads, more) in [(0, true), (suspects::MOST - 1, true), (suspects::MOST, false)] {
                careful.heads = heads;
                let alone = matches!(careful.tryable(), Tryable::Of(due) if due.heads);
                assert_eq!(alone, more && crashes == 2, "{crashes} {heads}");
            }
            assert!(matches!(careful.tryable(), Tryable::Of(_)));
        }
    }

    /// Guarantee: nothing runs before the broker has the count; what is exonerated has nothing to tell, and runs.
    #[test]
    fn the_count_is_told_before_anything_runs() {
        let mut careful = after(1);
        assert!(careful.is_to_be_told() && !careful.is_known() && careful.counts());
        careful.acknowledged();
        assert!(!careful.is_known(), "that was another commit");
        careful.told();
        careful.acknowledged();
        assert!(!careful.is_to_be_told() && careful.is_known());
        let mut careful = after(2);
        assert!(careful.is_on());
        careful.exonerate();
        assert!(!careful.is_to_be_told() && careful.is_known() && !careful.counts());
    }

    /// Guarantee: the records that a crashed owner can have taken in end where as many were taken in as it could take, and stay there.
    #[test]
    fn suspects_end_where_a_window_ends() {
        let mut careful = after(1);
        for (records, position, end) in [(9, 9, None), (1, 10, Some(10)), (20, 30, Some(10))] {
            careful.took(records, Offset(position));
            assert_eq!(careful.end, end.map(Offset));
        }
        assert_eq!((careful.intake(false), careful.intake(true)), (0, u64::MAX));
        assert_eq!(
            (after(1).intake(false), after(0).intake(false), after(2).intake(false)),
            (10, u64::MAX, u64::MAX)
        );
    }

    /// Guarantee: the next owner is told of the crashes until all that may have caused them is through, of the input's records until the watermark moved, and
    /// of nothing by an owner that lets go in good order.
    #[test]
    fn the_next_owner_is_told_who_is_suspected() {
        let told = |crashes, lane_past, moved, clean| {
            let mut careful = after(crashes);
            careful.lane_past = lane_past;
            careful.trial = Some(trial(true));
            let mut metadata = Metadata::default();
            careful.mark(&mut metadata, moved, clean);
            assert_eq!(metadata.clean, clean);
            (metadata.takeovers, metadata.careful, metadata.copies.is_some())
        };
        for (lane_past, moved) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(told(0, lane_past, moved, false), (0, 0, false), "there was no crash");
            assert_eq!(told(1, lane_past, moved, true), (0, 0, false), "in good order");
            assert_eq!(told(2, lane_past, moved, false), (2, 5, true));
            assert_eq!(told(2, lane_past, moved, true), (2, 5, true), "the culprit is not known");
        }
        assert_eq!(told(1, false, false, false), (1, 10, true));
        assert_eq!(told(1, true, false, false), (1, 10, true));
        assert_eq!(told(1, false, true, false), (1, 0, true));
        assert_eq!(told(1, true, true, false), (0, 0, false));
    }

    /// Scenario: an owner lets go while a record is tried alone, or dies. Guarantee: that try counts in the second case alone.
    #[test]
    fn a_try_that_is_cancelled_does_not_count() {
        let mut careful = after(2);
        careful.notes = vec![Trying { lane: Lane::Input, offset: Offset(7), tries: 2 }];
        for (trying, clean, tries) in [(true, true, 1), (true, false, 2), (false, true, 2)] {
            careful.trying = trying;
            let mut metadata = Metadata::default();
            careful.mark(&mut metadata, false, clean);
            assert_eq!(metadata.trying[0].tries, tries, "{trying} {clean}");
        }
    }
}
