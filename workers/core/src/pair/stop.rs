//! The three ends of an ownership: drain (SIGTERM), revoke (rebalance), loss.

use super::{Action, Pair, Phase};

impl Pair {
    /// No more intake; what is here is finished and published.
    pub(super) fn drain(&mut self, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Running => self.phase = Phase::Draining,
            Phase::Draining | Phase::Revoking | Phase::Idle => {}
            Phase::Recovering
            | Phase::Contested { .. }
            | Phase::Reassigning
            | Phase::Dropped
            | Phase::Halted(_) => self.release(actions),
        }
    }

    /// What the segments took is published; everything else is cancelled and read again by the next owner.
    pub(super) fn revoke(&mut self, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Running | Phase::Draining => {
                self.own.cancel_work();
                actions.push(Action::CancelUnits);
                self.phase = Phase::Revoking;
            }
            Phase::Revoking | Phase::Idle => {}
            Phase::Recovering
            | Phase::Contested { .. }
            | Phase::Reassigning
            | Phase::Dropped
            | Phase::Halted(_) => self.release(actions),
        }
    }

    /// Time is up.
    pub(super) fn deadline(&mut self, actions: &mut Vec<Action>) {
        if self.phase != Phase::Idle {
            self.release(actions);
        }
    }

    /// Whether a commit was refused, and the source has yet to take the pair away; the watchdog looks at it (I6).
    pub fn is_dropped(&self) -> bool {
        self.phase == Phase::Dropped
    }

    /// Whether somebody waits for the pair's release.
    pub(super) fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Draining | Phase::Revoking)
    }

    /// The pair is gone: nothing is committed (I8).
    pub(super) fn lost(&mut self, actions: &mut Vec<Action>) {
        if self.phase == Phase::Idle {
            return;
        }
        self.own.cancel_work();
        self.phase = Phase::Idle;
        actions.push(Action::CancelUnits);
        actions.push(Action::Released { input: None, retry: None });
    }

    /// Lets go when a stop has nothing left to wait for.
    pub(super) fn release_when_done(&mut self, actions: &mut Vec<Action>) {
        let published = self.own.sinks.iter().all(super::segments::SinkState::is_empty);
        // A stray that is not fetched yet holds the commit back, and nothing is read any more: what waits for that commit is the
        // next owner's.
        let strays = self.own.retry.as_ref().is_some_and(|lane| lane.fetches.awaits_strays());
        let idle = self.own.scheduler.is_idle() || (strays && self.own.scheduler.running_units() == 0);
        if self.is_stopping() && idle && published && self.own.letters.count() == 0 {
            self.release(actions);
        }
    }

    /// Lets go now, with what is settled.
    pub(super) fn release(&mut self, actions: &mut Vec<Action>) {
        let position = match self.phase {
            Phase::Running | Phase::Draining | Phase::Revoking | Phase::Contested { .. } => {
                self.last_position()
            }
            // What was committed made the pair halt before it began (a ledger that is missing, say); it must do so again
            // at the next start, so it is left alone.
            Phase::Halted(_) if !self.own.begun => None,
            Phase::Halted(_) => self.last_position(),
            Phase::Idle | Phase::Recovering | Phase::Reassigning | Phase::Dropped => None,
        };
        if !self.own.scheduler.is_idle() {
            self.own.cancel_work();
            actions.push(Action::CancelUnits);
        }
        let retry = match self.phase {
            Phase::Running | Phase::Draining | Phase::Revoking => self.last_retry_position(position.as_ref()),
            Phase::Halted(_) if self.own.begun => self.last_retry_position(position.as_ref()),
            // While another writer's number is in question, only the input commit asks.
            Phase::Contested { .. }
            | Phase::Halted(_)
            | Phase::Idle
            | Phase::Recovering
            | Phase::Reassigning
            | Phase::Dropped => None,
        };
        self.phase = Phase::Idle;
        actions.push(Action::Released { input: position, retry });
    }
}
