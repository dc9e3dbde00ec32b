//! Carry forward: copies that hold the commit back too long are produced again at the end of the log, unchanged, and
//! settled (design section 4, the retry lane, rule 6). That bounds the commit metadata, what is read again after a crash,
//! and the age that retention looks at.

use std::time::Duration;

use crate::pair::letters::Flying;
use crate::pair::segments::Doomed;
use crate::pair::{Action, Destination, Pair};
use crate::rules::Rule;
use crate::scheduler::Entry;
use crate::{Failure, Moment, Offset, Reason};

use super::fetch::Why;
use super::{Copy, CopyState};

/// Copies that are carried at once.
const MOST_AT_ONCE: usize = 1_000;
/// They are looked for again so soon when there was no room for their payloads.
const SOON: Duration = Duration::from_secs(1);
/// How often old copies are looked for.
const SWEEP: Duration = Duration::from_secs(60);

impl Pair {
    /// Carries what lies too far behind the end of the log, and now and then what has grown old.
    pub(in crate::pair) fn carry_forward(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let window = self.options.window;
        let (Some(policy), Some(lane)) = (self.options.retry, &mut self.own.retry) else { return };
        if !lane.is_caught_up() || lane.index.is_empty() || lane.fetches.carries() {
            return;
        }
        let behind = (lane.tracker.position().0 - lane.tracker.watermark().0) as u64;
        let sweeps = lane.sweep <= now;
        // What waits takes its own room: carrying that would only move it, for ever. Worth it is what was settled among it.
        let waiting = if Rule::CarryWhatHelps.holds() { lane.index.len() } else { 0 };
        let far_behind = behind > policy.span.saturating_add(waiting * 2);
        if !far_behind && !sweeps {
            return;
        }
        if !lane.has_room(window, 1) {
            // Payloads that are not in memory could not be fetched.
            if sweeps {
                lane.sweep = now.after(SOON);
            }
            return;
        }
        if sweeps {
            lane.sweep = now.after(SWEEP);
        }
        // So far that the same is not due again at once.
        let far = if far_behind {
            Offset(lane.tracker.position().0 - (policy.span / 2 + waiting) as i64)
        } else {
            Offset(i64::MIN)
        };
        // What the input lane is still to meet may be nobody's copy; at the end of the log it would be believed.
        let met = self.own.tracker.position();
        let blocks = |copy: &Copy| {
            copy.state == CopyState::Waits
                && (copy.offset < far || copy.is_stale(now))
                && !lane.fetches.contains(copy.offset)
        };
        let chosen: Vec<(Offset, Copy)> = lane
            .index
            .iter()
            .take_while(|(origin, _)| *origin < met)
            .filter(|(_, copy)| blocks(copy))
            .map(|(origin, copy)| (origin, *copy))
            .take(MOST_AT_ONCE)
            .collect();
        for (origin, copy) in chosen {
            let Some(lane) = &mut self.own.retry else { return };
            if lane.payloads.record(copy.chunk(), copy.index()).is_some() {
                self.carry(origin, copy, actions);
            } else if !lane.fetch(origin, &copy, Why::Carry, window) {
                // There is no room for its payload now.
                lane.sweep = lane.sweep.min(now.after(SOON));
                return;
            }
        }
    }

    pub(in crate::pair) fn carry(&mut self, origin: Offset, copy: Copy, actions: &mut Vec<Action>) {
        let Some(lane) = &mut self.own.retry else { return };
        let Some(record) = lane.payloads.record(copy.chunk(), copy.index()) else { return };
        lane.payloads.hold(copy.chunk());
        if let Some(copy) = lane.index.get_mut(origin) {
            copy.state = CopyState::Carried;
        }
        let entry = copy.entry();
        let failure = Failure::retry(Reason::RetryParked, "carried forward");
        let flying = Flying::new(entry, Destination::Tail, record, failure, copy.attempt(), copy.replays());
        self.send(flying.instead_of(Some(copy.offset)), actions);
    }

    /// The retry topic does not take the copy any more, as when its limit on sizes was lowered: the record becomes a letter, like one whose
    /// first copy is refused. Left where it lies the copy would be refused again at each sweep, and where it waits behind others of its key,
    /// retention would take it before its turn (I1, I9).
    pub(in crate::pair) fn carry_refused(
        &mut self,
        flying: Flying,
        failure: Failure,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let (entry, held) = (flying.entry, self.own.held_by(flying.entry.offset));
        let (covered, all) = (self.own.commits.acknowledged(), self.own.all_sinks());
        let Some(lane) = &mut self.own.retry else { return };
        let waits = |copy: &&Copy| copy.state == CopyState::Carried && flying.copies.contains(&copy.offset);
        let Some(copy) = lane.index.get(entry.offset).filter(waits).copied() else {
            // It was taken up meanwhile, or a copy that counts more was read: the record has another way.
            return lane.payloads.let_go(entry.chunk, 1);
        };
        lane.index.remove(entry.offset);
        lane.leave(&copy);
        if held == all && !held.is_empty() {
            lane.release_key(entry.offset, copy.key());
            lane.settle(entry.offset, copy.offset, covered);
            return lane.payloads.let_go(entry.chunk, 1);
        }
        lane.join(entry.offset, copy.offset);
        let behind = self.behind_refused(&entry);
        let (entry, record) = (Entry { held, ..entry }, flying.letter.record);
        self.decide(Doomed { entry, record, failure, behind, replays: copy.replays() }, now, actions);
    }

    /// When old copies are looked for next; none when nothing waits, or while payloads of some come, which is told by their coming.
    pub(in crate::pair) fn next_sweep(&self) -> Option<Moment> {
        let lane = self.own.retry.as_ref()?;
        (lane.is_caught_up() && !lane.index.is_empty() && !lane.fetches.carries()).then_some(lane.sweep)
    }
}
