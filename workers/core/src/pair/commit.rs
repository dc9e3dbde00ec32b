//! Commits: what may be committed, when, and what the answer means. One is in flight at a time.

use crate::metadata::{Encoded, Metadata, SinkMark};
use crate::retry::OUTAGE;
use crate::rules::Rule;
use crate::{Lane, Moment, Offset, RunSet, SinkMask};

use super::retry::RetryLane;
use super::{Action, CommitResult, Pair, Phase, Position};

/// So many times the interval lie between two commits that settle nothing.
const TELLING: u32 = 5;

/// The commits of one ownership.
#[derive(Debug)]
pub(super) struct Commits {
    acknowledged: Option<Position>,
    start: Offset,
    flying: Option<Flying>,
    last_sent: Moment,
    /// Offsets settled since the last commit was made.
    unsent: u64,
    /// The last commit got no answer that says anything.
    again: bool,
    /// What the last one told of records that are done and wait, and of being held.
    told: (u64, bool),
    /// Records with rows in a sink without a ledger that no acknowledged commit covers: it may get them twice. None when every
    /// sink keeps a ledger.
    repeats: Option<RunSet>,
    /// What the acknowledged commit calls settled beyond its offset, where repeats are counted.
    covered: RunSet,
}

#[derive(Debug)]
struct Flying {
    position: Position,
    kept: RunSet,
    /// Of those the ones that it calls strays.
    strays: RunSet,
}

impl Commits {
    /// The commits of the owner that begins at `start`; `settled` is what the last commit before calls settled beyond. The first one
    /// of this owner may have room for less of it.
    pub(super) fn new(committed: Option<Position>, start: Offset, settled: &RunSet, repeats: bool) -> Self {
        Self {
            acknowledged: committed,
            start,
            flying: None,
            last_sent: Moment::default(),
            unsent: 0,
            again: false,
            told: (0, false),
            repeats: repeats.then(RunSet::default),
            covered: if repeats { settled.clone() } else { RunSet::default() },
        }
    }

    pub(super) fn began(&mut self, now: Moment) {
        self.last_sent = now;
    }

    pub(super) fn acknowledged(&self) -> Offset {
        self.acknowledged.as_ref().map_or(self.start, |position| position.offset)
    }

    pub(super) fn note_sent(&mut self, spans: &RunSet) {
        if let Some(repeats) = &mut self.repeats {
            repeats.union(spans);
        }
    }

    pub(super) fn note_settled(&mut self, offsets: u64) {
        self.unsent += offsets;
    }

    /// How many offsets may be given twice to a sink without a ledger; none when there is no such sink.
    pub(super) fn repeating(&self) -> Option<u64> {
        self.repeats.as_ref().map(RunSet::len)
    }

    /// Whether so much is settled that it is committed at once: so many offsets, or an eighth of what a sink may be given twice when half of
    /// that is out, so that nothing has to wait for a commit.
    fn has_many(&self, records: u64, repeats: u64) -> bool {
        let half_out = self.repeating().is_some_and(|repeating| repeating >= (repeats / 2).max(1));
        let many = if half_out { records.min(repeats / 8) } else { records };
        self.unsent >= many.max(1)
    }

    /// Whether a commit is in flight, or there is something to commit.
    pub(super) fn is_under_way(&self) -> bool {
        self.flying.is_some() || self.is_dirty()
    }

    fn is_dirty(&self) -> bool {
        self.unsent > 0 || self.again
    }

    pub(super) fn is_flying(&self) -> bool {
        self.flying.is_some()
    }

    /// There is something to say, though nothing is settled.
    pub(super) fn note_changed(&mut self) {
        self.again = true;
    }

    /// When the next commit is due by time.
    pub(super) fn due(&self, interval: std::time::Duration) -> Option<Moment> {
        (self.flying.is_none() && self.is_dirty()).then(|| self.last_sent.after(interval))
    }

    /// When a commit is due that only tells how much waits: seldom, since nobody but an autoscaler wants to know.
    fn telling_due(&self, state: (u64, bool), interval: std::time::Duration) -> Option<Moment> {
        (self.flying.is_none() && self.told != state).then(|| self.last_sent.after(interval * TELLING))
    }

    fn send(&mut self, offset: Offset, encoded: Encoded, now: Moment) -> Position {
        let Encoded { text, kept, strays } = encoded;
        let position = Position { offset, metadata: text };
        crate::invariant!(I8, self.flying.is_none(), "two commits in flight");
        if let Some(repeats) = &mut self.repeats {
            // A commit may say less than the one before: when it stops at a stray's origin that was settled, or when runs that
            // come before leave no room for the farthest. It may be in force before its answer is here.
            let mut uncovered = self.covered.clipped(position.offset, Offset(i64::MAX));
            uncovered.subtract(&kept);
            repeats.union(&uncovered);
        }
        self.last_sent = now;
        self.unsent = 0;
        self.again = false;
        self.flying = Some(Flying { position: position.clone(), kept, strays });
        position
    }

    /// The position for the end of an ownership, none when the broker has it already.
    fn last(&self, position: Position) -> Option<Position> {
        let unchanged = match &self.acknowledged {
            Some(acknowledged) => *acknowledged == position,
            None => position.offset == self.start && self.unsent == 0,
        };
        (!unchanged || self.flying.is_some()).then_some(position)
    }

    fn done(&mut self, flying: Flying) {
        if let Some(repeats) = &mut self.repeats {
            repeats.forget_below(flying.position.offset);
            repeats.subtract(&flying.kept);
            self.covered = flying.kept;
        }
        self.acknowledged = Some(flying.position);
    }
}

impl RetryLane {
    /// The lane's watermark with its metadata, of at most so many bytes.
    fn position_to_commit(&mut self, bytes: usize) -> (Offset, Encoded) {
        let offset = self.tracker.watermark();
        let settled = self.tracker.settled_beyond(offset);
        let strays = self.strays.to_be_told().intersection(&settled);
        let mut metadata = Metadata { settled, strays: strays.clone(), ..Metadata::default() };
        let told = self.strays.told().intersection(&strays);
        let unnamed = (!Rule::StraysByName.holds()).then(|| std::mem::take(&mut metadata.strays));
        let mut encoded = metadata.encode_within(offset, bytes, &told);
        if let Some(unnamed) = unnamed {
            encoded.strays = encoded.kept.intersection(&unnamed);
        }
        self.strays.note_room(&strays, &encoded.strays);
        let lowest = self.open.spans().first();
        crate::invariant!(
            I4,
            lowest.is_none_or(|lowest| offset <= lowest),
            "retry commit {offset} past {lowest:?}"
        );
        let claimed = encoded.kept.intersection(self.open.spans());
        crate::invariant!(I4, claimed.is_empty(), "retry commit {offset} claims unsettled {claimed:?}");
        (offset, encoded)
    }
}

impl Pair {
    /// Commits when it is time, or when enough is settled, or when the cap on repeats waits for it.
    pub(super) fn commit_due(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let policy = self.options.commit;
        match self.phase {
            Phase::Running | Phase::Draining | Phase::Halted(_) => {}
            Phase::Contested { asked, again, .. } => {
                let may_ask = again.is_none_or(|due| due <= now);
                if !self.awaits_commit() && !asked && may_ask {
                    self.commit(now, actions);
                    if let Phase::Contested { asked, again, .. } = &mut self.phase {
                        (*asked, *again) = (true, None);
                    }
                }
                return;
            }
            // The last position goes with `Released`, or nothing may be committed.
            Phase::Idle | Phase::Recovering | Phase::Revoking | Phase::Reassigning | Phase::Dropped => return,
        }
        let telling = self.telling_due();
        let Some(due) = self.own.commits.due(policy.interval).into_iter().chain(telling).min() else {
            return;
        };
        let many = self.own.commits.has_many(policy.records, self.repeats);
        let pressed = self.own.commits.unsent > 0 && self.is_pressed_by_cap();
        if due <= now || many || pressed || self.own.careful.is_to_be_told() {
            self.own.careful.told();
            self.commit(now, actions);
        }
    }

    /// How many offsets are done and wait in open segments, and whether something holds the pair back.
    fn waits(&self) -> (u64, bool) {
        (self.own.finished.spans().len(), self.own.holds.reason().is_some())
    }

    /// When the group is to be told of that by a commit of its own.
    pub(super) fn telling_due(&self) -> Option<Moment> {
        let waits = self.waits();
        // What is being published is told by the commit that follows.
        let follows = waits.1 == self.own.commits.told.1
            && self.own.sinks.iter().any(|sink| sink.sealed_since().is_some());
        let tells = matches!(self.phase, Phase::Running | Phase::Draining) && !follows;
        tells.then(|| self.own.commits.telling_due(waits, self.options.commit.interval)).flatten()
    }

    /// Whether a commit of either lane has no answer yet. Until it has, nobody may ask where the pair is committed: an owner that
    /// begins before a commit of its predecessor lands would count on copies that the commit passes.
    pub(super) fn awaits_commit(&self) -> bool {
        let retry = self.own.retry.as_ref();
        self.own.commits.flying.is_some() || retry.is_some_and(|lane| lane.commits.flying.is_some())
    }

    /// The same for the retry lane. It commits only what an acknowledged input commit covers, so the two need no order.
    pub(super) fn commit_retry_due(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let policy = self.options.commit;
        match self.phase {
            Phase::Running | Phase::Draining | Phase::Halted(_) => {}
            Phase::Contested { .. }
            | Phase::Idle
            | Phase::Recovering
            | Phase::Revoking
            | Phase::Reassigning
            | Phase::Dropped => return,
        }
        let pressed = self.is_pressed_by_cap() || self.own.careful.is_on();
        let Some(lane) = &mut self.own.retry else { return };
        let Some(due) = lane.commits.due(policy.interval) else { return };
        let many = lane.commits.has_many(policy.records, self.repeats);
        if due <= now || many || (pressed && lane.commits.unsent > 0) {
            let (offset, encoded) = lane.position_to_commit(policy.metadata_bytes);
            let position = lane.commits.send(offset, encoded, now);
            actions.push(Action::Commit { lane: Lane::Retry, position });
        }
    }

    pub(super) fn commit(&mut self, now: Moment, actions: &mut Vec<Action>) {
        // Whoever begins anew because of another's segment has not crashed.
        let clean = matches!(self.phase, Phase::Contested { .. });
        let (offset, encoded) = self.position_to_commit(clean);
        self.own.commits.told = self.waits();
        let position = self.own.commits.send(offset, encoded, now);
        actions.push(Action::Commit { lane: Lane::Input, position });
    }

    /// The watermark with its metadata.
    fn position_to_commit(&self, clean: bool) -> (Offset, Encoded) {
        let own = &self.own;
        let before = own.commits.acknowledged();
        let all = own.all_sinks();
        let held = |origin| all != SinkMask::NONE && own.held_by(origin) == all;
        let bound = own.retry.as_ref().and_then(|lane| lane.commit_bound(own.tracker.position(), held));
        let watermark = own.tracker.watermark();
        let offset = bound.map_or(watermark, |bound| watermark.min(bound.max(before)));
        let marks = own.sinks.iter().zip(&self.options.sinks).filter(|(sink, _)| sink.ledger);
        let sinks = marks.map(|(sink, spec)| SinkMark {
            name_hash: SinkMark::hash_of(&spec.name),
            generation: self.options.generation,
            next: sink.next,
        });
        let settled = own.tracker.settled_beyond(offset);
        let mut metadata = Metadata { sinks: sinks.collect(), settled, ..Metadata::default() };
        if !clean {
            (metadata.waiting, metadata.held) = self.waits();
        }
        own.careful.mark(&mut metadata, self.has_moved(offset), clean);
        let encoded = metadata.encode_within(offset, self.options.commit.metadata_bytes, &RunSet::default());
        // The tickets tell independently of the tracker what is not settled.
        for ticket in [&own.working, &own.finished] {
            let lowest = ticket.spans().first();
            crate::invariant!(
                I4,
                lowest.is_none_or(|lowest| offset <= lowest),
                "commit {offset} past {lowest:?}"
            );
            let claimed = encoded.kept.intersection(ticket.spans());
            crate::invariant!(I4, claimed.is_empty(), "commit {offset} claims unsettled {claimed:?}");
        }
        crate::invariant!(I4, offset >= before, "commit {offset} falls behind {before}");
        (offset, encoded)
    }

    /// The last position of an ownership, none when the broker has it already.
    pub(super) fn last_position(&self) -> Option<Position> {
        let (offset, Encoded { text, .. }) = self.position_to_commit(true);
        self.own.commits.last(Position { offset, metadata: text })
    }

    /// The retry lane's last position, which counts on `input` being committed before it.
    pub(super) fn last_retry_position(&mut self, input: Option<&Position>) -> Option<Position> {
        let covered = input.map_or(self.own.commits.acknowledged(), |position| position.offset);
        let lane = self.own.retry.as_mut()?;
        lane.cover(covered);
        let (offset, Encoded { text, .. }) = lane.position_to_commit(self.options.commit.metadata_bytes);
        lane.commits.last(Position { offset, metadata: text })
    }

    pub(super) fn commit_answered(
        &mut self,
        lane: Lane,
        offset: Offset,
        result: CommitResult,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let commits = match (lane, &mut self.own.retry) {
            (Lane::Input, _) => &mut self.own.commits,
            (Lane::Retry, Some(retry)) => &mut retry.commits,
            (Lane::Retry, None) => return,
        };
        let Some(flying) = commits.flying.take_if(|flying| flying.position.offset == offset) else { return };
        let (below, strays) = (flying.position.offset, flying.strays.clone());
        match result {
            CommitResult::Done => commits.done(flying),
            CommitResult::Unknown => commits.again = true,
            CommitResult::Refused => return self.drop_pair(actions),
        }
        if lane == Lane::Retry {
            if let (CommitResult::Done, Some(retry)) = (&result, &mut self.own.retry)
                && retry.strays.committed(below, &strays)
            {
                self.own.commits.note_settled(1);
            }
            return;
        }
        if let (CommitResult::Done, Some(retry)) = (&result, &mut self.own.retry) {
            retry.cover(offset);
        }
        if result == CommitResult::Done {
            self.careful_acknowledged(actions);
        }
        if let Phase::Contested { asked: true, unknown, .. } = self.phase {
            self.phase = match result {
                CommitResult::Done => {
                    actions.push(Action::Reassign);
                    Phase::Reassigning
                }
                CommitResult::Unknown => {
                    let wait = OUTAGE.delay(unknown + 1, self.own.random.next());
                    Phase::Contested { asked: false, again: Some(now.after(wait)), unknown: unknown + 1 }
                }
                CommitResult::Refused => Phase::Dropped,
            };
        }
    }

    /// Another writer took our number (rule 7): what we hold is void in either case, and only an acknowledged commit can
    /// tell whether the pair is still ours.
    pub(super) fn contest(&mut self, now: Moment, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Running => {
                self.own.cancel_work();
                actions.push(Action::CancelUnits);
                self.phase = Phase::Contested { asked: false, again: None, unknown: 0 };
                self.commit_due(now, actions);
            }
            Phase::Draining | Phase::Revoking => self.release(actions),
            Phase::Idle
            | Phase::Recovering
            | Phase::Contested { .. }
            | Phase::Reassigning
            | Phase::Dropped
            | Phase::Halted(_) => {}
        }
    }

    /// The broker says that the pair is not ours: nothing of it is committed or published any more (I8).
    fn drop_pair(&mut self, actions: &mut Vec<Action>) {
        let stopping = self.is_stopping();
        self.own.cancel_work();
        self.phase = Phase::Dropped;
        actions.push(Action::CancelUnits);
        if stopping {
            self.release(actions);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(first: i64, end: i64) -> RunSet {
        RunSet::of(Offset(first), Offset(end))
    }

    fn send(commits: &mut Commits, offset: i64, kept: RunSet) {
        let encoded = Encoded { text: String::new(), kept, strays: RunSet::default() };
        commits.send(Offset(offset), encoded, Moment::default());
    }

    fn answer(commits: &mut Commits) {
        let flying = commits.flying.take().unwrap();
        commits.done(flying);
    }

    /// Scenario: a commit has room for fewer settled runs than the one before; its answer comes, or never does, and then the next
    /// one tells of them again. Guarantee: what the last one may not cover counts as what a sink without a ledger may get twice, from
    /// the moment that it is sent.
    #[test]
    fn what_a_commit_tells_of_no_more_may_come_twice() {
        let mut commits = Commits::new(None, Offset(0), &RunSet::default(), true);
        commits.note_sent(&runs(5, 10));
        send(&mut commits, 0, runs(5, 10));
        assert_eq!(commits.repeating(), Some(5));
        answer(&mut commits);
        assert_eq!(commits.repeating(), Some(0));
        send(&mut commits, 1, runs(5, 7));
        assert_eq!(commits.repeating(), Some(3), "before its answer");
        commits.flying = None;
        send(&mut commits, 1, runs(5, 10));
        assert_eq!(commits.repeating(), Some(3), "the one before may be in force");
        answer(&mut commits);
        assert_eq!(commits.repeating(), Some(0));
        send(&mut commits, 6, RunSet::default());
        answer(&mut commits);
        assert_eq!(commits.repeating(), Some(4), "what lies below the offset is covered");
        send(&mut commits, 10, RunSet::default());
        answer(&mut commits);
        assert_eq!(commits.repeating(), Some(0));
    }

    /// Scenario: more and more is settled, where a sink may get sixteen twice and less or more than half of them are out, or there is no such sink. Guarantee: an eighth of
    /// them is many once half are out; before that, and without such a sink, so many as are named.
    #[test]
    fn how_much_is_many() {
        for (repeats, out, many) in [(true, 7, 5), (true, 8, 2), (true, 16, 2), (false, 16, 5)] {
            let mut commits = Commits::new(None, Offset(0), &RunSet::default(), repeats);
            commits.note_sent(&runs(0, out));
            let settled = (1..9).find(|_| {
                commits.note_settled(1);
                commits.has_many(5, 16)
            });
            assert_eq!(settled, Some(many), "{out} are out, {repeats}");
        }
    }

    /// Scenario: the first commit of an owner has room for fewer settled runs than the last one of the owner before. Guarantee: what
    /// it tells of no more counts as what a sink without a ledger may get twice.
    #[test]
    fn what_the_owner_before_told_of_counts_when_it_is_told_of_no_more() {
        let committed = Position { offset: Offset(2), metadata: String::new() };
        let mut commits = Commits::new(Some(committed), Offset(2), &runs(5, 10), true);
        assert_eq!(commits.repeating(), Some(0));
        send(&mut commits, 2, runs(5, 7));
        assert_eq!(commits.repeating(), Some(3));
        answer(&mut commits);
        send(&mut commits, 10, RunSet::default());
        answer(&mut commits);
        assert_eq!(commits.repeating(), Some(0));
    }

    /// Scenario: a pair is let go of before it has done anything, when something behind its first offset is settled, and when its watermark has moved; its
    /// commits have no answer, or one that says nothing, or the broker has them. Guarantee: the last position goes with the release unless the broker has
    /// just that.
    #[test]
    fn the_last_position_is_what_the_broker_does_not_have() {
        let at = |offset: i64, metadata: &str| Position { offset: Offset(offset), metadata: metadata.into() };
        let mut commits = Commits::new(None, Offset(3), &RunSet::default(), false);
        assert_eq!(commits.last(at(3, "")), None, "nothing was done");
        assert_eq!(commits.last(at(4, "")), Some(at(4, "")));
        commits.note_settled(1);
        assert_eq!(commits.last(at(3, "runs")), Some(at(3, "runs")), "something behind is settled");
        send(&mut commits, 4, RunSet::default());
        assert_eq!(commits.last(at(4, "")), Some(at(4, "")), "it has no answer");
        commits.flying = None;
        assert_eq!(commits.last(at(4, "")), Some(at(4, "")), "its answer said nothing");
        send(&mut commits, 4, RunSet::default());
        answer(&mut commits);
        assert_eq!(commits.last(at(4, "")), None);
        assert_eq!(commits.last(at(4, "runs")), Some(at(4, "runs")));
        assert_eq!(commits.last(at(5, "")), Some(at(5, "")));
        send(&mut commits, 5, RunSet::default());
        assert_eq!(commits.last(at(4, "")), Some(at(4, "")), "the one on its way may come later");
    }
}
