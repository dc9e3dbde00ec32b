//! Start of a pair: metadata, ledgers, checks, and only then records.

use crate::ledger::{LedgerMismatch, LedgerView};
use crate::metadata::{Metadata, MetadataError, SinkMark};
use crate::retry::{OUTAGE, lane_start};
use crate::source::Assignment;
use crate::{Class, Failure, Lane, Moment, Offset, Reason, RunSet, SinkIndex, WriterId};

use super::ownership::Ownership;
use super::{Action, Pair, Phase, SinkSpec};

impl Pair {
    pub(super) fn assigned(
        &mut self,
        assignment: Assignment,
        writer: WriterId,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let read = read_metadata(&assignment);
        let mut found = read.as_ref().ok().cloned().unwrap_or_default();
        if self.begins_a_ledger(&found) {
            found.settled = RunSet::default();
        }
        self.own = Ownership::new(&self.options, assignment, writer, found);
        self.own.commits.began(now);
        if let Some(lane) = &mut self.own.retry {
            lane.commits.began(now);
        }
        self.phase = Phase::Recovering;
        if let Err(refusal) = read {
            return self.refuse_assignment(refusal, actions);
        }
        let recover = |sink| Action::Recover { sink, writer };
        actions.extend(self.own.all_sinks().iter().map(recover));
        if self.own.sinks.is_empty() {
            self.begin(actions);
            self.turn(now, actions);
        }
    }

    /// Whether a ledger of ours begins with what the commit has not passed: because the pipeline file names another generation than the
    /// commit, in which a sink may have got another name as well, or because it has one sink more. What the commit calls settled beyond its offset is
    /// settled without that ledger, which is to hold everything from there on. The others know what they hold; sinks without a ledger get those
    /// records again, as after a `rewind`.
    ///
    /// Not where the new sink is the first of the ledgers: it decides what is a dead letter, knows of none, and a record that is one would have a row as
    /// well. It begins with the holes that the commit has.
    fn begins_a_ledger(&self, found: &Metadata) -> bool {
        if found.sinks.iter().any(|mark| mark.generation != self.options.generation) {
            return true;
        }
        let is_known = |spec: &SinkSpec| {
            let hash = SinkMark::hash_of(&spec.name);
            found.sinks.iter().any(|mark| mark.name_hash == hash)
        };
        let mut ledgers = self.options.sinks.iter().filter(|spec| spec.ledger);
        ledgers.next().is_some_and(is_known) && !ledgers.all(is_known)
    }

    pub(super) fn recovered(
        &mut self,
        sink: SinkIndex,
        ledger: Result<LedgerView, Failure>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(state) = self.own.sinks.get_mut(usize::from(sink.0)) else { return };
        if self.phase != Phase::Recovering || state.recovered {
            return;
        }
        match ledger {
            Ok(view) => {
                state.adopt(view);
                self.release_hold(sink, actions);
                if self.own.sinks.iter().all(|sink| sink.recovered) {
                    match self.check_ledgers() {
                        Ok(()) => self.begin(actions),
                        Err(refusal) => self.refuse_assignment(refusal, actions),
                    }
                }
            }
            Err(failure) => match failure.class {
                Class::Retry { after, .. } => {
                    state.recover_tries += 1;
                    let wait = OUTAGE.delay(state.recover_tries, self.own.random.next());
                    state.recover_again = Some(now.after(after.unwrap_or(wait)));
                    self.hold(sink, failure, actions);
                }
                Class::Reject | Class::Halt => self.halt(failure, actions),
            },
        }
    }

    /// Asks again for ledgers that could not be read for a passing reason.
    pub(super) fn recover_again(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let writer = self.own.writer;
        for state in &mut self.own.sinks {
            if state.recover_again.is_some_and(|due| due <= now) {
                state.recover_again = None;
                actions.push(Action::Recover { sink: state.index, writer });
            }
        }
    }

    /// The ledgers must hold what was committed (a pod-local disk does not), and be about this very topic (rule 8). A worker
    /// whose file names an earlier generation than the commits would mix two of them: what is new would go to the old folder,
    /// and what a rewind wants again would be found there as held.
    fn check_ledgers(&self) -> Result<(), Refusal> {
        let assignment = &self.own.assignment;
        let ours = self.options.generation;
        let ledgers = self.own.sinks.iter().zip(&self.options.sinks).filter(|(sink, _)| sink.ledger);
        for (sink, spec) in ledgers {
            // Also the mark of a sink that the file does not name any more: it may only have had another name in the later generation, and what we
            // commit that one would never get.
            if let Some(mark) = self.own.found.sinks.iter().find(|mark| mark.generation > ours) {
                let (theirs, ours) = (mark.generation.0, ours.0);
                let detail =
                    format_args!("the group is at generation {theirs}, the pipeline file says {ours}");
                let failure = Failure::halt(Reason::LedgerGeneration, detail).at(&spec.name);
                return Err(Refusal { failure, beyond: None });
            }
            let hash = SinkMark::hash_of(&spec.name);
            let mark = self.own.found.sinks.iter().find(|mark| mark.name_hash == hash);
            let promised = mark.filter(|mark| mark.generation == ours);
            if let Err(mismatch) = sink.view.check(assignment, promised.map(|mark| mark.next)) {
                let beyond = match mismatch {
                    LedgerMismatch::BeyondEnd { held, .. } => Some(held),
                    LedgerMismatch::Missing { .. } | LedgerMismatch::Cluster | LedgerMismatch::Topic => None,
                };
                return Err(Refusal { failure: mismatch.into_failure().at(&spec.name), beyond });
            }
        }
        Ok(())
    }

    /// The pair cannot begin. Offsets beyond the end of the log may only mean that the end was asked for before a zombie
    /// published what came later; then an end asked for from now on lies at or behind them. If it does not, the log is
    /// another one.
    fn refuse_assignment(&mut self, refusal: Refusal, actions: &mut Vec<Action>) {
        let log_end = self.own.assignment.log_end;
        match refusal.beyond {
            Some(beyond) if self.suspect_end.is_none_or(|suspect| suspect <= log_end) => {
                self.suspect_end = Some(beyond);
                self.phase = Phase::Reassigning;
                actions.push(Action::Reassign);
            }
            _ => self.halt(refusal.failure, actions),
        }
    }

    fn begin(&mut self, actions: &mut Vec<Action>) {
        let own = &mut self.own;
        let ends = own.sinks.iter().filter_map(|sink| sink.view.end());
        let settled = own.found.settled.end();
        own.known_end = ends.chain(settled).fold(own.tracker.position(), Offset::max);
        own.begun = true;
        own.commits.note_changed();
        self.suspect_end = None;
        self.phase = Phase::Running;
        if let Some(lane) = &own.retry {
            actions.push(Action::Start { lane: Lane::Retry, offset: lane.tracker.position() });
        }
    }
}

/// Why a pair cannot begin.
struct Refusal {
    failure: Failure,
    /// How far something spoke of a log that ends before.
    beyond: Option<Offset>,
}

fn read_metadata(assignment: &Assignment) -> Result<Metadata, Refusal> {
    refuse_newer_lane(assignment)?;
    let Some(committed) = &assignment.committed else { return Ok(Metadata::default()) };
    if committed.offset > assignment.log_end {
        let (offset, end) = (committed.offset, assignment.log_end);
        let detail = format_args!("committed offset {offset} lies beyond the end of the log, {end}");
        return Err(Refusal { failure: Failure::halt(Reason::LedgerForeign, detail), beyond: Some(offset) });
    }
    let read = Metadata::decode(&committed.metadata, committed.offset, assignment.log_end);
    read.map_err(|error| {
        let (reason, beyond) = match error {
            MetadataError::BeyondEnd(offset) => (Reason::LedgerForeign, Some(offset.next())),
            MetadataError::Newer(_) => (Reason::FormatNewer, None),
            MetadataError::Foreign
            | MetadataError::Damaged
            | MetadataError::Base(_)
            | MetadataError::Runs => (Reason::MetadataBroken, None),
        };
        Refusal { failure: Failure::halt(reason, error), beyond }
    })
}

/// Of the retry lane's commit only a newer version's is refused; what else is wrong with it makes the lane begin earlier.
fn refuse_newer_lane(assignment: &Assignment) -> Result<(), Refusal> {
    let Some(retry) = &assignment.retry else { return Ok(()) };
    let start = lane_start(retry.committed.as_ref(), retry.log_start, retry.log_end);
    start.map(drop).map_err(|newer| Refusal { failure: newer.into_failure(), beyond: None })
}
