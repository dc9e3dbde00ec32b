//! Hand-over: a failed record, or one that stands behind it, goes to the retry partition and counts as settled in its lane
//! when the broker has acknowledged the copy (I4).

use std::time::Duration;

use crate::pair::letters::Flying;
use crate::pair::segments::{Behind, Doomed};
use crate::pair::{Action, Destination, Pair};
use crate::rules::Rule;
use crate::scheduler::Entry;
use crate::{Failure, Lane, Offset, Reason, RunSet};

use super::{Copy, CopyState};

impl Pair {
    /// Sends a record to the retry partition: `attempts` were made so far, and the next one is wanted after `delay`. The caller
    /// tells that a record of the input lane is finished.
    pub(in crate::pair) fn hand_over(
        &mut self,
        entry: Entry,
        mut attempts: u32,
        failure: Failure,
        delay: Duration,
        actions: &mut Vec<Action>,
    ) {
        let own = &mut self.own;
        let Some(record) = own.record(&entry) else { return };
        let ordered = self.options.retry.is_some_and(|policy| policy.ordered);
        let (mut replays, mut superseded) = (0, None);
        if entry.lane == Lane::Input {
            self.expect_copy(entry.offset, &record);
        }
        let own = &mut self.own;
        let Some(lane) = &mut own.retry else { return };
        lane.note_end(&entry);
        if entry.lane == Lane::Retry {
            // The entry's hold goes to the letter, which alone needs the payload from now on.
            lane.at_work -= 1;
            let Some(copy) = lane.index.get_mut(entry.offset) else {
                return lane.payloads.let_go(entry.chunk, 1);
            };
            lane.payloads.release(copy.chunk(), 1);
            *copy = copy.unplaced();
            copy.state = CopyState::Leaving;
            // The next copy must outrank whatever was read while this one was tried, and until it is read itself, nothing
            // below it counts: both would be settled otherwise, each for the other's sake.
            attempts = attempts.max(copy.attempt());
            copy.tried_often(attempts);
            replays = copy.replays();
            superseded = Some(copy.offset);
        }
        // The count rises at the decision, before the copy is sent: what is admitted from now on has to follow.
        if let Some(key) = entry.key.filter(|_| ordered) {
            lane.parking.divert(key, entry.offset);
        }
        if entry.lane == Lane::Retry && !Rule::StayWhileLeaving.holds() {
            lane.release_key(entry.offset, entry.key);
        }
        let to = Destination::Retry { delay };
        let flying = Flying::new(entry, to, record, failure, attempts, replays);
        self.send(flying.instead_of(superseded), actions);
    }

    /// A record of a key that waits in the retry lane follows it there untried; or stays, where nothing of its key does.
    pub(in crate::pair) fn follow(&mut self, entry: Entry, actions: &mut Vec<Action>) {
        if self.may_stay(&entry, Offset(i64::MAX)) {
            return self.stay(entry);
        }
        let failure = Failure::retry(Reason::RetryParked, "an earlier record of its key waits for its retry");
        self.own.finish(&RunSet::of(entry.first, entry.offset.next()));
        self.hand_over(entry, entry.attempt.saturating_sub(1), failure, Duration::ZERO, actions);
    }

    /// The retry topic refuses the record for good: it becomes a letter instead.
    pub(in crate::pair) fn hand_over_refused(
        &mut self,
        flying: Flying,
        failure: Failure,
        now: crate::Moment,
        actions: &mut Vec<Action>,
    ) {
        let entry = flying.entry;
        match entry.lane {
            Lane::Input => {
                self.expect_no_copy(entry.offset);
                let own = &mut self.own;
                own.letters.waiting.remove_range(entry.first, entry.offset.next());
                if flying.letter.failure.reason == Reason::RetryParked && self.may_stay(&entry, entry.offset)
                {
                    return self.take_back(entry);
                }
                let (behind, record) = (self.behind_refused(&entry), flying.letter.record);
                self.decide(Doomed { entry, record, failure, behind, replays: 0 }, now, actions);
            }
            Lane::Retry => {
                let covered = self.own.commits.acknowledged();
                let Some(lane) = &mut self.own.retry else { return };
                let leaves =
                    |copy: &&Copy| copy.state == CopyState::Leaving && flying.copies.contains(&copy.offset);
                let Some(copy) = lane.index.get(entry.offset).filter(leaves).copied() else {
                    // A copy that counts more was read meanwhile: it stands for the record, or the record is through by it.
                    flying.copies.iter().for_each(|copy| lane.settle(entry.offset, *copy, covered));
                    return lane.payloads.let_go(entry.chunk, 1);
                };
                lane.index.remove(entry.offset);
                lane.leave(&copy);
                flying.copies.iter().for_each(|copy| lane.join(entry.offset, *copy));
                let behind = self.behind_refused(&entry);
                let (record, replays) = (flying.letter.record, copy.replays());
                self.decide(Doomed { entry, record, failure, behind, replays }, now, actions);
            }
        }
    }

    /// What stands behind a record whose copy the retry topic has refused: the record never had its last try, so another owner's might pass.
    /// Its key stays parked where it has to wait. Without a key, or where retries keep no order, nothing stands behind it.
    pub(super) fn behind_refused(&mut self, entry: &Entry) -> Behind {
        let ordered = self.options.retry.is_some_and(|policy| policy.ordered);
        let apart = self.own.decides_apart() && Rule::RefusedKeyWaits.holds();
        let Some(lane) = &mut self.own.retry else { return Behind::Goes };
        if let Some(key) = entry.key.filter(|_| ordered && apart) {
            lane.parking.note_deciding(key, entry.offset);
            return Behind::Parked;
        }
        lane.release_key(entry.offset, entry.key);
        Behind::Goes
    }
}
