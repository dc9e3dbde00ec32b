//! What the steps made of a unit.

use crate::rules::Rule;
use crate::scheduler::Entry;
use crate::{Block, Class, Failure, FilterReason, Lane, Moment, Reason, RunSet, Scope, SinkIndex, SinkMask};

use super::retry::RetryLane;
use super::segments::Finished;
use super::{Action, Pair, Phase, Tally, UnitResult, Verdict};

/// Why a record that nothing wanted counts as filtered.
pub(super) const UNROUTED: &str = "unrouted";

impl Pair {
    pub(super) fn unit_done(&mut self, result: UnitResult, now: Moment, actions: &mut Vec<Action>) {
        let records: usize = result.units.iter().map(|unit| self.own.scheduler.entries(*unit).len()).sum();
        if records == 0 {
            // Cancelled before.
            return;
        }
        if records != result.verdicts.len() {
            let detail = format_args!("{} verdicts for {records} records", result.verdicts.len());
            return self.halt(Failure::halt(Reason::Internal, detail), actions);
        }
        let mut finished = Finished::new(&self.own.sinks);
        let mut halt = None;
        let mut target = None;
        let (mut passed, mut rejected) = (0, 0);
        let mut verdicts = result.verdicts.into_iter();
        for unit in result.units {
            let entries = self.own.scheduler.done(unit, result.took, now).unwrap_or_default();
            for (entry, verdict) in entries.into_iter().zip(verdicts.by_ref()) {
                match self.ends(&entry, &verdict) {
                    Some(true) => passed += 1,
                    Some(false) => rejected += 1,
                    None => {}
                }
                match self.outcome(entry, verdict, &mut finished, now, actions) {
                    Unfinished::No => {}
                    Unfinished::Target(failure) => target = Some(failure),
                    Unfinished::Halt(failure) => halt = Some(failure),
                }
            }
            self.own.scheduler.end_unit();
        }
        self.own.finish(&finished.take_handed_over());
        self.take_finished(finished, result.blocks, &result.children_filtered, now, actions);
        self.outage_after_unit(target, now, actions);
        self.count_ends(passed, rejected, now, actions);
        if let Some(failure) = halt {
            self.halt(failure, actions);
        }
    }

    /// How a record ends with this verdict: with a row or a filter, or as a letter; none when it goes on.
    fn ends(&self, entry: &Entry, verdict: &Verdict) -> Option<bool> {
        match verdict {
            _ if entry.lettered => None,
            Verdict::Routed { .. } | Verdict::Filtered(_) => Some(true),
            Verdict::Deferred => None,
            Verdict::Failed(failure) => match failure.class {
                Class::Reject => Some(false),
                Class::Retry { scope: Scope::Record, .. } => self.is_last_try(entry).then_some(false),
                Class::Retry { scope: Scope::Target, .. } | Class::Halt => None,
            },
        }
    }

    /// A record is through the steps: what stands behind it may go. Returns its replay number.
    fn through(&mut self, entry: &Entry) -> u32 {
        self.own.scheduler.complete(entry);
        match entry.lane {
            Lane::Input => 0,
            Lane::Retry => self.tried(entry, true).unwrap_or(0),
        }
    }

    fn outcome(
        &mut self,
        entry: Entry,
        verdict: Verdict,
        finished: &mut Finished,
        now: Moment,
        actions: &mut Vec<Action>,
    ) -> Unfinished {
        match verdict {
            Verdict::Deferred => self.own.scheduler.defer(entry),
            Verdict::Failed(failure) => return self.failed(entry, *failure, finished, now, actions),
            Verdict::Routed { .. } | Verdict::Filtered(_) if entry.lettered => {
                // The reason was told by the letter that the steps' first run made.
                let failure = Failure::reject(Reason::SinkRejected, "decided before a restart");
                self.own.scheduler.complete(&entry);
                self.doom(entry, failure, false, now, actions);
            }
            Verdict::Routed { sinks } => {
                let replays = self.through(&entry);
                finished.routed(&entry, replays, sinks);
            }
            Verdict::Filtered(reason) => {
                self.through(&entry);
                finished.filtered(&entry, reason);
            }
        }
        Unfinished::No
    }

    /// Puts finished records into the segments, or settles them at once when no sink is left to wait for.
    fn take_finished(
        &mut self,
        finished: Finished,
        blocks: Vec<(SinkIndex, Block)>,
        children_filtered: &[(FilterReason, u64)],
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let (spans, retried) = (finished.spans(Lane::Input), finished.spans(Lane::Retry));
        if spans.is_empty() && retried.is_empty() {
            return;
        }
        self.own.finish(&spans);
        self.own.commits.note_sent(&finished.repeatable(Lane::Input));
        if let Some(lane) = &mut self.own.retry {
            lane.note_sent(&finished.repeatable(Lane::Retry));
        }
        for (sink, block) in blocks {
            if let Some(state) = self.sink_mut(sink)
                && !block.is_empty()
            {
                state.append(block, now, actions);
            }
        }
        let immediate = finished.hand_out(&mut self.own, now);
        for sink in self.own.sinks.iter_mut().filter(|sink| sink.ledger) {
            sink.count_children(children_filtered);
        }
        self.replays_passed([&immediate.spans, &immediate.retried]);
        if !immediate.spans.is_empty() {
            self.own.settle(immediate.spans);
        }
        self.own.settle_copies(immediate.retried);
        if immediate.tally != Tally::default() {
            actions.push(Action::Settled(immediate.tally));
        }
    }

    fn failed(
        &mut self,
        entry: Entry,
        failure: Failure,
        finished: &mut Finished,
        now: Moment,
        actions: &mut Vec<Action>,
    ) -> Unfinished {
        if entry.lettered {
            self.own.scheduler.complete(&entry);
            self.doom(entry, failure, false, now, actions);
            return Unfinished::No;
        }
        match failure.class {
            Class::Reject => {
                self.own.scheduler.complete(&entry);
                self.doom(entry, failure, false, now, actions);
            }
            Class::Retry { scope: Scope::Record, .. } if self.is_last_try(&entry) => {
                let holds = self.own.decides_apart() && Rule::BehindLetterWaits.holds();
                if holds {
                    self.own.scheduler.hold(&entry);
                } else {
                    self.own.scheduler.complete(&entry);
                }
                self.doom(entry, failure, holds, now, actions);
            }
            Class::Retry { scope: Scope::Record, after } => {
                let wait = self.options.backoff.delay(entry.attempt, self.own.random.next());
                let wait = after.unwrap_or(wait);
                let policy = self.options.retry.filter(|_| self.own.retry.is_some());
                if policy.is_some_and(|policy| wait >= policy.in_place) {
                    self.own.scheduler.complete(&entry);
                    finished.handed_over(&entry);
                    self.hand_over(entry, entry.attempt, failure, wait, actions);
                } else {
                    let again = Entry { attempt: entry.attempt + 1, ..entry };
                    self.own.scheduler.retry(again, now.after(wait));
                }
            }
            Class::Retry { scope: Scope::Target, .. } => {
                // No attempt is counted; when the pair probes again, this record is the probe.
                self.own.scheduler.retry(entry, now);
                return Unfinished::Target(failure);
            }
            Class::Halt => {
                self.own.scheduler.retry(entry, now);
                return Unfinished::Halt(failure);
            }
        }
        Unfinished::No
    }

    /// Whether no further try is allowed, by number or by age.
    fn is_last_try(&self, entry: &Entry) -> bool {
        let lane = self.own.retry.as_ref().filter(|_| entry.lane == Lane::Retry);
        let old = lane.and_then(|lane| lane.index.get(entry.offset)).is_some_and(|copy| copy.is_last());
        entry.attempt >= self.options.attempts || old
    }

    /// Sends units while the scheduler has some and nothing holds the pair back.
    pub(super) fn send_units(&mut self, now: Moment, actions: &mut Vec<Action>) {
        self.judge_flood(now, actions);
        let runs = matches!(self.phase, Phase::Running | Phase::Draining);
        if !runs || !self.own.careful.is_known() {
            return;
        }
        if self.own.careful.is_on() {
            return self.send_carefully(now, actions);
        }
        while self.own.holds.lets_go(now, self.own.scheduler.running_units()) {
            let probe = self.own.holds.breaker.room(self.is_quiet(), now);
            if probe == 0 {
                return;
            }
            let room = self.repeat_room().min(probe);
            let Some(id) = self.next_unit(now, room, actions) else { return };
            self.run(id, actions);
        }
    }

    /// Gives a unit to the steps.
    pub(super) fn run(&mut self, id: crate::UnitId, actions: &mut Vec<Action>) {
        let own = &mut self.own;
        own.holds.breaker.sent(own.scheduler.entries(id).len() as u64);
        let entries = own.scheduler.entries(id).iter().filter_map(|entry| {
            let record = own.record(entry)?;
            Some(super::UnitEntry { record, held: entry.held, attempt: entry.attempt })
        });
        let entries: Vec<_> = entries.collect();
        if !entries.is_empty() {
            actions.push(Action::Run(super::Unit { id, epoch: own.epoch(), entries }));
        }
    }

    /// The next unit. Records of parked keys are not in it: those of the input lane follow their key into the retry lane,
    /// and of those in the retry lane only the first one is tried.
    pub(super) fn next_unit(
        &mut self,
        now: Moment,
        room: usize,
        actions: &mut Vec<Action>,
    ) -> Option<crate::UnitId> {
        loop {
            let Some(lane) = self.own.retry.as_ref().filter(|lane| !lane.parking.is_empty()) else {
                return self.own.scheduler.next_unit(now, room);
            };
            let may_go = |entry: &Entry| match (entry.lane, entry.key) {
                (_, None) => true,
                (Lane::Input, Some(key)) => {
                    entry.lettered
                        || !lane.parking.diverts(key)
                        || lane.stood_before(key, entry.offset)
                        || !Rule::DivertQueued.holds()
                }
                (Lane::Retry, Some(key)) => {
                    entry.lettered || lane.parking.head(key) == Some(entry.offset) || !Rule::HeadOnly.holds()
                }
            };
            let mut aside = Vec::new();
            let id = self.own.scheduler.next_unit_of(now, room, may_go, &mut aside);
            if id.is_some() || aside.is_empty() {
                self.set_aside(aside, actions);
                return id;
            }
            self.set_aside(aside, actions);
        }
    }

    fn set_aside(&mut self, aside: Vec<Entry>, actions: &mut Vec<Action>) {
        for entry in aside {
            match entry.lane {
                Lane::Input => self.follow(entry, actions),
                Lane::Retry => self.put_back(&entry),
            }
        }
    }

    /// How many records may still be sent before what a sink without a ledger may get twice exceeds its cap.
    fn repeat_room(&self) -> usize {
        let Some(repeating) = self.own.commits.repeating() else { return usize::MAX };
        let retried = self.own.retry.as_ref().and_then(|lane| lane.commits.repeating());
        let repeating = repeating + retried.unwrap_or(0);
        let running = self.own.scheduler.running_records() as u64;
        let cap = self.repeats.max(1);
        let room = cap.saturating_sub(repeating + running);
        let unit = (self.own.scheduler.unit_records() as u64).min(cap);
        // A unit of a few records costs as much as a full one: wait for the commit instead. But when nothing is under
        // way that could lead to a commit, one record at a time must go on.
        if room >= unit.div_ceil(2) {
            room as usize
        } else if running == 0
            && !self.own.commits.is_under_way()
            && !self.own.retry.as_ref().is_some_and(RetryLane::is_committing)
            && self.own.sinks.iter().all(|sink| sink.is_empty())
            && self.own.letters.count() == 0
        {
            room.max(1) as usize
        } else {
            0
        }
    }

    /// Whether the cap on repeats holds units back, so that sealing and committing should not wait.
    pub(super) fn is_pressed_by_cap(&self) -> bool {
        self.own.scheduler.queued() > 0 && self.repeat_room() == 0
    }
}

/// What a failure asks of the whole pair.
enum Unfinished {
    No,
    Target(Failure),
    Halt(Failure),
}

/// What settles at once.
#[derive(Default)]
pub(super) struct Immediate {
    pub(super) spans: RunSet,
    /// Origins of the retry lane's records.
    pub(super) retried: RunSet,
    pub(super) tally: Tally,
}

impl SinkMask {
    /// The sinks of this set that are not in the other.
    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::pair::commit::Commits;
    use crate::{Offset, PairId};

    /// Scenario: a sink without a ledger may get more records twice than the cap allows. Guarantee: one more goes where nothing is under way that could lead to a
    /// commit, and none where a commit is to come.
    #[test]
    fn a_full_cap_lets_one_record_go_when_nothing_else_moves() {
        let options = crate::pair::tests::options(Vec::new());
        let mut pair = Pair::new(Arc::new(options), PairId::new("in", 0));
        pair.own.commits = Commits::new(None, Offset(0), &RunSet::default(), true);
        pair.own.commits.note_sent(&RunSet::of(Offset(0), Offset(200)));
        assert_eq!(pair.repeat_room(), 1);
        pair.own.commits.note_changed();
        assert_eq!(pair.repeat_room(), 0);
    }
}
