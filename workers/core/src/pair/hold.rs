//! Holding back: a sink that does not take, or a target behind a step that does not answer. Nothing is handed over and no
//! attempt is counted; the pair waits, probes, and goes on by itself.

use crate::retry::OUTAGE;
use crate::{Class, Failure, Moment, SinkIndex, SinkMask};

use super::flood::Breaker;
use super::{Action, Pair, Phase};

/// What holds a pair back.
#[derive(Debug, Default)]
pub(super) struct Holds {
    sinks: SinkMask,
    outage: Option<Outage>,
    pub(super) breaker: Breaker,
    reason: Option<Failure>,
}

/// A target that steps need is away.
#[derive(Debug)]
struct Outage {
    tries: u32,
    due: Moment,
}

impl Holds {
    /// Why the pair is held, none when it is not.
    pub(super) fn reason(&self) -> Option<&Failure> {
        self.reason.as_ref()
    }

    /// Whether a unit may go: none while a sink is held, one as a probe while a target is away.
    pub(super) fn lets_go(&self, now: Moment, running_units: usize) -> bool {
        let probes = self.outage.as_ref().is_none_or(|outage| running_units == 0 && outage.due <= now);
        self.sinks.is_empty() && probes
    }

    /// Whether no more may come in. A flood of rejects is probed with what comes, so it does not close the intake.
    pub(super) fn closes_intake(&self) -> bool {
        !self.sinks.is_empty() || self.outage.is_some()
    }

    /// When the next probe is due.
    pub(super) fn probe_due(&self) -> Option<Moment> {
        self.outage.as_ref().map(|outage| outage.due).max(self.breaker.due())
    }

    pub(super) fn resume(&mut self, actions: &mut Vec<Action>) {
        let holds = self.closes_intake() || self.breaker.is_open();
        if !holds && self.reason.take().is_some() {
            actions.push(Action::Resume);
        }
    }
}

impl Pair {
    pub(super) fn sink_held(&mut self, sink: SinkIndex, failure: Failure, actions: &mut Vec<Action>) {
        match failure.class {
            Class::Halt => self.halt(failure, actions),
            Class::Retry { .. } | Class::Reject => self.hold(sink, failure, actions),
        }
    }

    pub(super) fn sink_resumed(&mut self, sink: SinkIndex, actions: &mut Vec<Action>) {
        self.release_hold(sink, actions);
    }

    pub(super) fn hold(&mut self, sink: SinkIndex, failure: Failure, actions: &mut Vec<Action>) {
        self.own.holds.sinks.insert(sink);
        self.hold_for(failure, actions);
    }

    pub(super) fn release_hold(&mut self, sink: SinkIndex, actions: &mut Vec<Action>) {
        self.own.holds.sinks.remove(sink);
        self.own.holds.resume(actions);
    }

    /// Units ended: with a target failure the pair waits and probes; without one the target is there again.
    pub(super) fn outage_after_unit(
        &mut self,
        target: Option<Failure>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(failure) = target else {
            self.own.holds.outage = None;
            return self.own.holds.resume(actions);
        };
        let tries = self.own.holds.outage.as_ref().map_or(0, |outage| outage.tries) + 1;
        let wait = match failure.class {
            Class::Retry { after: Some(after), .. } => after,
            _ => OUTAGE.delay(tries, self.own.random.next()),
        };
        self.own.holds.outage = Some(Outage { tries, due: now.after(wait) });
        self.hold_for(failure, actions);
    }

    pub(super) fn hold_for(&mut self, failure: Failure, actions: &mut Vec<Action>) {
        if self.own.holds.reason.is_none() {
            actions.push(Action::Hold(failure.clone()));
            self.own.holds.reason = Some(failure);
        }
    }

    /// The pair takes nothing more. What is sealed may still be published, and what is settled is committed.
    pub(super) fn halt(&mut self, failure: Failure, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Halted(_) | Phase::Dropped | Phase::Reassigning | Phase::Idle => return,
            Phase::Recovering
            | Phase::Running
            | Phase::Draining
            | Phase::Revoking
            | Phase::Contested { .. } => {}
        }
        let stopping = self.is_stopping();
        self.own.cancel_work();
        self.phase = Phase::Halted(failure.clone());
        actions.push(Action::CancelUnits);
        actions.push(Action::Halt(failure));
        if stopping {
            self.release(actions);
        }
    }
}
