//! Which copies of the retry lane may be tried after a crash.
//!
//! The input lane takes in no more than a window of records after a crash, so the next owner knows how far the culprit may lie. Of the
//! retry lane tens of thousands of copies may be due at once, and in another order for each owner. So after a crash its copies are
//! tried a few at a time, each time of one range of origins, which is noted in the commit metadata before the first of them runs, until all
//! that was due when the lane was read is through. An owner that crashes meanwhile leaves a range behind that holds the culprit, if a copy
//! was the culprit, and the one after the next crash tries those copies alone, and no others.

use crate::rules::Rule;
use crate::{Moment, Offset};

use super::retry::{Copy, RetryLane};
use super::{Action, Pair, Phase};

/// So many copies are due in a range at most when it is chosen: alone, each takes a publish and a commit, some 10 to 20 ms.
pub(super) const MOST: u64 = 500;
/// Of the copies in a range most may not be due, and some of these come due before the next owner reads it. It ends after so many in all.
const REACH: usize = 10_000;

/// Copies that are tried with a note about them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    /// Their origins: from here,
    pub(super) first: Offset,
    /// to before here.
    pub(super) end: Offset,
    /// Those that were due then; known when the lane was read.
    pub(super) until: Option<Moment>,
    /// Whether the broker has the note.
    pub(super) noted: bool,
}

/// Which copies may be tried.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tryable {
    /// All that are due.
    All,
    /// None for now.
    None,
    /// Those of a range that were due at some time.
    Of(Due),
}

/// Copies whose origins lie in a range and that were due at some time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    first: Offset,
    end: Offset,
    until: Moment,
    /// One that is behind another of its key, which lies before the range, stands for that one.
    pub(super) heads: bool,
}

impl Due {
    fn has(self, copy: &Copy) -> bool {
        copy.is_waiting() && copy.is_due(self.until)
    }

    /// Whether a copy comes before the range.
    pub(super) fn is_behind(self, origin: Offset) -> bool {
        origin < self.first
    }
}

impl Trial {
    /// What may be tried of it; none before the lane was read.
    pub(super) fn due(self, heads: bool) -> Option<Due> {
        Some(Due { first: self.first, end: self.end, until: self.until?, heads })
    }
}

impl RetryLane {
    /// The copies that can be tried, whose origins lie below `position`.
    pub(super) fn of(&self, due: Due, position: Offset) -> impl Iterator<Item = (Offset, &Copy)> {
        let end = due.end.min(position);
        let of_it = self.index.iter_from(due.first).take_while(move |(origin, _)| *origin < end);
        of_it.filter(move |(_, copy)| due.has(copy)).filter_map(move |(origin, copy)| {
            if self.comes_first(origin, copy) {
                return Some((origin, copy));
            }
            let head = copy.key().filter(|_| due.heads).and_then(|key| self.parking.head(key))?;
            let copy = self.index.get(head).filter(|copy| due.has(copy) && due.is_behind(head))?;
            Some((head, copy))
        })
    }

    /// The first copy from an origin on that is due and can be tried.
    fn first_to_try(&self, from: Offset, now: Moment, position: Offset) -> Option<Offset> {
        let below = self.index.iter_from(from).take_while(|(origin, _)| *origin < position);
        let mut due = below.filter(|(_, copy)| copy.is_waiting() && copy.is_due(now));
        due.find(|(origin, copy)| self.comes_first(*origin, copy)).map(|(origin, _)| origin)
    }

    /// Whether a record of these is finished and not published, or its letter not acknowledged.
    fn awaits_of(&self, first: Offset, end: Offset) -> bool {
        self.joined.range(first..end).next().is_some()
    }

    /// The copy that is due first, and the first of its key; it stays where it is.
    fn first_due(&mut self, now: Moment, position: Offset) -> Option<(Offset, Copy)> {
        while let Some(origin) = self.index.take_due(now, position) {
            let Some(copy) = self.index.get(origin).copied() else { continue };
            if self.comes_first(origin, &copy) {
                self.index.offer(origin);
                return Some((origin, copy));
            }
            self.want_no_more(&copy);
        }
        None
    }
}

impl Pair {
    /// How far the input lane must have come for a copy to be tried: past its origin.
    pub(super) fn tryable_below(&self) -> Offset {
        if Rule::WaitForInput.holds() { self.own.tracker.position() } else { Offset(i64::MAX) }
    }

    /// After a crash: chooses which copies are tried next, and has that noted; ends it when the crash is past.
    pub(super) fn choose_suspects(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.phase != Phase::Running || !self.own.careful.counts() || !self.own.careful.is_known() {
            return;
        }
        let read = self.own.retry.as_ref().is_none_or(RetryLane::is_caught_up);
        if !read {
            return;
        }
        let read_at = self.own.careful.lane_was_read(now);
        if self.own.careful.is_on() {
            return;
        }
        if self.own.careful.trial.is_some_and(|trial| !self.is_through(trial)) {
            return;
        }
        self.own.careful.trial = None;
        let position = self.tryable_below();
        let next = self.own.retry.as_mut().and_then(|lane| lane.first_due(now, position));
        let passed = self.own.retry.as_ref().is_none_or(|lane| !lane.index.awaits_input());
        if passed && next.is_none_or(|(_, copy)| !copy.is_due(read_at)) {
            self.own.careful.lane_past = true;
        }
        // The next owner begins with the commit, and a stray may hold that back behind the watermark.
        let committed = self.own.commits.acknowledged();
        if self.own.careful.lane_past && (self.has_moved(committed) || self.is_past_the_suspects(committed)) {
            self.own.careful.exonerate();
            return self.own.commits.note_changed();
        }
        if let Some((due, _)) = next.filter(|_| !self.own.commits.is_flying()) {
            self.try_next(due, now, actions);
        }
    }

    /// Notes the next range of copies. The ranges go through the lane from its lowest origin to its highest, and again: so none is chosen for a
    /// few copies that happen to be due first. `due` is one that can be tried.
    fn try_next(&mut self, due: Offset, now: Moment, actions: &mut Vec<Action>) {
        let most = (self.options.window.records / 2).clamp(1, MOST) as usize;
        let (from, position) = (self.own.careful.next_trial, self.tryable_below());
        let Some(lane) = &self.own.retry else { return };
        let first = lane.first_to_try(from, now, position);
        let first = first.or_else(|| lane.first_to_try(Offset(i64::MIN), now, position)).unwrap_or(due);
        let near = lane.index.iter_from(first).take(REACH);
        let last = near.filter(|(_, copy)| copy.is_waiting() && copy.is_due(now)).take(most).last();
        let end = last.map_or(first, |(origin, _)| origin).next();
        self.own.careful.next_trial = end;
        self.own.careful.trial = Some(Trial { first, end, until: Some(now), noted: false });
        self.commit(now, actions);
    }

    /// Whether none of these is at work or waits for its turn, and what became of them is published.
    fn is_through(&self, trial: Trial) -> bool {
        let (Some(lane), Some(due)) = (&self.own.retry, trial.due(false)) else { return true };
        trial.noted
            && lane.at_work == 0
            && !lane.awaits_of(trial.first, trial.end)
            && lane.of(due, self.tryable_below()).next().is_none()
    }

    /// The origins of copies that were tried and whose rows are to be published now, since others wait for that.
    pub(super) fn awaited_trial(&self) -> Option<(Offset, Offset)> {
        let (lane, trial) = (self.own.retry.as_ref()?, self.own.careful.trial?);
        let awaits = trial.noted && lane.at_work == 0 && lane.awaits_of(trial.first, trial.end);
        awaits.then_some((trial.first, trial.end))
    }

    /// Whether all copies that the crashed owner can have had are through.
    pub(super) fn is_lane_past_the_crash(&self) -> bool {
        let Some(lane) = &self.own.retry else { return true };
        if !lane.is_caught_up() || lane.busy() > 0 {
            return false;
        }
        match self.own.careful.tryable() {
            Tryable::All => true,
            Tryable::None => self.own.careful.trial.is_none(),
            // The input lane passes their origins sooner or later, since nothing holds it back meanwhile.
            Tryable::Of(due) => lane.of(due, Offset(i64::MAX)).next().is_none(),
        }
    }

    /// When [`Self::choose_suspects`] has something to do that no answer brings about.
    pub(super) fn next_choice(&self) -> Option<Moment> {
        let careful = &self.own.careful;
        let chooses = careful.counts() && !careful.is_on() && careful.is_known();
        let lane = self.own.retry.as_ref().filter(|lane| lane.is_caught_up())?;
        match careful.trial {
            _ if self.phase != Phase::Running || !chooses => None,
            // The last copy of it was given back after this was looked at.
            Some(trial) => self.is_through(trial).then(Moment::default),
            None if self.own.commits.is_flying() => None,
            None => lane.index.next_due(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metadata::Metadata;
    use crate::pair::careful::Careful;
    use crate::pair::retry::CopyState;
    use crate::source::RetryAssignment;
    use crate::{Epoch, KeyHash, TopicName};

    const NOW: Moment = Moment(Duration::from_secs(10));

    /// A lane with copies of these records, by key where there is one; those that are not due are in a minute.
    fn lane(copies: &[(i64, Option<u64>, bool)]) -> RetryLane {
        let (topic, end) = (TopicName::new("in.p.retry"), Offset(0));
        let assignment = RetryAssignment { topic, committed: None, log_start: end, log_end: end };
        let mut lane = RetryLane::new(Epoch(1), &assignment, false);
        for (origin, key, due) in copies {
            let wait = if *due { Duration::ZERO } else { Duration::from_secs(60) };
            let copy = Copy::new(Offset(*origin), Offset(*origin), 1, 0);
            lane.index.insert(copy.timed(NOW, wait, NOW).keyed(key.map(KeyHash)));
            if let Some(key) = key {
                lane.parking.park(KeyHash(*key), Offset(*origin));
            }
        }
        lane
    }

    /// A pair that is nobody's yet.
    fn pair() -> Pair {
        let options = crate::pair::tests::options(Vec::new());
        Pair::new(std::sync::Arc::new(options), crate::PairId::new("in", 0))
    }

    fn due(heads: bool) -> Due {
        Due { first: Offset(2), end: Offset(5), until: NOW, heads }
    }

    fn tried(lane: &RetryLane, heads: bool, position: i64) -> Vec<i64> {
        lane.of(due(heads), Offset(position)).map(|(origin, _)| origin.0).collect()
    }

    /// Guarantee: of a range those are tried that are due and whose records the input lane has passed.
    #[test]
    fn a_range_is_what_is_due_between_its_ends() {
        let plain: Vec<_> = (1..7).map(|origin| (origin, None, origin != 3)).collect();
        let lane = lane(&plain);
        assert_eq!(tried(&lane, false, 10), [2, 4]);
        assert_eq!(tried(&lane, false, 4), [2]);
        assert_eq!([1, 2, 3].map(|origin| due(false).is_behind(Offset(origin))), [true, false, false]);
    }

    /// Scenario: a copy of the range stands behind another one of its key, which is before the range or in it, and due or not. Guarantee: the one before the range is tried
    /// in its place where that is allowed and it is due; the one in the range is tried once, for its own sake.
    #[test]
    fn what_stands_before_a_copy_is_tried_in_its_place() {
        let before = lane(&[(1, Some(7), true), (3, Some(7), true)]);
        assert_eq!((tried(&before, true, 10), tried(&before, false, 10)), (vec![1], vec![]));
        let waits = lane(&[(1, Some(7), false), (3, Some(7), true)]);
        assert_eq!(tried(&waits, true, 10), [0i64; 0]);
        let inside = lane(&[(2, Some(7), true), (3, Some(7), true)]);
        assert_eq!(tried(&inside, true, 10), [2]);
    }

    /// Scenario: a range of two copies. Guarantee: it is through when the broker has its note, none is at work, waits for its turn or awaits its publish; what it awaits is
    /// told, to have it published, when none is at work any more.
    #[test]
    fn a_range_is_through_when_all_of_it_is_published() {
        let ended = |origin: &[i64]| {
            let mut lane = lane(&[]);
            origin.iter().for_each(|origin| lane.join(Offset(*origin), Offset(*origin)));
            lane
        };
        let at_work = |mut lane: RetryLane| {
            lane.at_work = 1;
            lane
        };
        for (what, noted, lane, through, awaits) in [
            ("all is published", true, ended(&[]), true, false),
            ("its note is not answered", false, ended(&[]), false, false),
            ("nor is what it awaits told", false, ended(&[2]), false, false),
            ("one is at work", true, at_work(ended(&[])), false, false),
            ("one is at work and one done", true, at_work(ended(&[2])), false, false),
            ("one awaits its publish", true, ended(&[3]), false, true),
            ("one of another range does", true, ended(&[5]), true, false),
            ("one waits for its turn", true, lane(&[(2, None, true)]), false, false),
        ] {
            let mut pair = pair();
            let trial = Trial { first: Offset(2), end: Offset(4), until: Some(NOW), noted };
            pair.own.tracker.pass_to(Offset(10));
            (pair.own.retry, pair.own.careful.trial) = (Some(lane), Some(trial));
            assert_eq!(pair.is_through(trial), through, "{what}");
            assert_eq!(pair.awaited_trial().is_some(), awaits, "{what}");
        }
    }

    /// Guarantee: after a crash the pair is woken when a copy comes due that it may choose, and at once when a range is through; and not while it stops, before the
    /// broker knows of the crash, while records run alone, while a range or a commit is under way, nor without a crash.
    #[test]
    fn it_is_woken_when_there_is_something_to_choose() {
        let crashed = |takeovers| {
            let found = Metadata { takeovers, ..Metadata::default() };
            Careful::new(&found, false, 10, Offset(0), true)
        };
        let known = |takeovers| {
            let mut careful = crashed(takeovers);
            careful.told();
            assert!(careful.acknowledged().is_none());
            careful
        };
        let range = |noted| Some(Trial { first: Offset(2), end: Offset(4), until: Some(NOW), noted });
        let due = Some(NOW.after(Duration::from_secs(60)));
        for (what, phase, careful, trial, flies, woken) in [
            ("a copy comes due", Phase::Running, known(0), None, false, due),
            ("it stops", Phase::Draining, known(0), None, false, None),
            ("nobody crashed", Phase::Running, Careful::default(), None, false, None),
            ("the broker does not know", Phase::Running, crashed(0), None, false, None),
            ("records run alone", Phase::Running, known(1), None, false, None),
            ("a commit is under way", Phase::Running, known(0), None, true, None),
            ("a range is through", Phase::Running, known(0), range(true), true, Some(Moment::default())),
            ("a range is under way", Phase::Running, known(0), range(false), false, None),
        ] {
            let mut pair = pair();
            let mut lane = lane(&[(6, None, false)]);
            lane.index.offer(Offset(6));
            pair.phase = phase;
            (pair.own.retry, pair.own.careful) = (Some(lane), careful);
            pair.own.careful.trial = trial;
            if flies {
                pair.commit(NOW, &mut Vec::new());
            }
            assert_eq!(pair.next_choice(), woken, "{what}");
        }
    }

    /// Guarantee: the first copy to try is due, waits, comes first of its key, and the input lane has passed its record.
    #[test]
    fn the_first_copy_to_try_can_be_tried() {
        let mut lane = lane(&[
            (1, None, false),
            (2, None, true),
            (3, Some(7), true),
            (4, Some(7), true),
            (6, None, true),
        ]);
        let first = |lane: &RetryLane, from, position| {
            lane.first_to_try(Offset(from), NOW, Offset(position)).map(|origin| origin.0)
        };
        assert_eq!((first(&lane, 0, 10), first(&lane, 0, 2), first(&lane, 3, 10)), (Some(2), None, Some(3)));
        assert_eq!((first(&lane, 4, 10), first(&lane, 7, 10)), (Some(6), None));
        if let Some(copy) = lane.index.get_mut(Offset(2)) {
            copy.state = CopyState::Tried;
        }
        assert_eq!(first(&lane, 0, 10), Some(3));
        lane.join(Offset(6), Offset(6));
        assert!(lane.awaits_of(Offset(5), Offset(7)) && !lane.awaits_of(Offset(2), Offset(6)));
    }
}
