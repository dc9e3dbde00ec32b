//! What follows every event: everything that is due is done, in one fixed order.

use crate::Moment;

use super::{Action, Pair, Phase};

impl Pair {
    /// Units first, so that the steps never wait for a commit; the grant last, when the window is known.
    pub(super) fn turn(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.phase == Phase::Recovering {
            self.recover_again(now, actions);
        }
        if matches!(self.phase, Phase::Running | Phase::Draining | Phase::Revoking) {
            self.start_input(actions);
            self.wake_staying();
            self.post_again(now, actions);
            if self.phase == Phase::Running {
                self.sort_passed(self.own.tracker.position(), actions);
                self.find_end(now, actions);
                self.sort_later(actions);
                self.choose_suspects(now, actions);
                self.queue_due(now);
                self.carry_forward(now, actions);
                self.read_again(now, actions);
            }
            self.send_units(now, actions);
            self.seal_due(now, actions);
        }
        self.put_away(actions);
        self.ask_spool(actions);
        self.commit_due(now, actions);
        self.commit_retry_due(now, actions);
        self.grant(actions);
        self.grant_retry(actions);
        self.release_when_done(actions);
    }

    /// When [`super::Event::Tick`] is wanted at the latest, none when only an answer can change anything. Every event
    /// does what is due, so a tick between others is harmless.
    pub fn next_wake(&self) -> Option<Moment> {
        let own = &self.own;
        let interval = self.options.commit.interval;
        let retry_commit = own.retry.as_ref().and_then(|lane| lane.commits.due(interval));
        let commit =
            own.commits.due(interval).into_iter().chain(retry_commit).chain(self.telling_due()).min();
        match &self.phase {
            Phase::Recovering => own.sinks.iter().filter_map(|sink| sink.recover_again).min(),
            Phase::Running | Phase::Draining => {
                let held =
                    !own.holds.lets_go(Moment(std::time::Duration::MAX), own.scheduler.running_units());
                let unit = if held { None } else { self.next_unit_due() };
                let ages =
                    own.sinks.iter().zip(&self.options.sinks).filter_map(|(sink, spec)| sink.age_due(spec));
                let retry = if held { None } else { self.next_retry_due() };
                let retry = retry.into_iter().chain(self.next_choice());
                let end = self.next_find_end();
                ages.chain(unit).chain(commit).chain(own.letters.next_again()).chain(retry).chain(end).min()
            }
            Phase::Revoking => own.letters.next_again(),
            Phase::Contested { again, .. } => *again,
            Phase::Halted(_) => commit,
            Phase::Idle | Phase::Reassigning | Phase::Dropped => None,
        }
    }

    /// When a frozen key, or the probe of a target that was away, is due.
    fn next_unit_due(&self) -> Option<Moment> {
        let own = &self.own;
        match own.holds.probe_due() {
            Some(probe) => (own.scheduler.queued() > 0).then_some(probe),
            // One at a time: the answer that is awaited comes first.
            None if own.holds.breaker.is_open() && !self.is_quiet() => None,
            None if own.careful.is_on() && self.waits_carefully() => None,
            None => own.scheduler.next_due(),
        }
    }
}
