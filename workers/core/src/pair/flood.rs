//! The flood breaker: when nearly every record is rejected, that is an outage of something behind the steps and no longer
//! poison. The pair holds instead of emptying its topic into the dead letters, probes, and goes on by itself.
//!
//! A probe is one record, run to its end: published, or its letter acknowledged. One that is rejected becomes a letter like
//! any other, so that a record which is poison for good cannot keep the breaker open. After one that passed the next probe has
//! twice the records, up to a full unit, each judged by the same ratio: so a trickle of good records among bad ones does not close the
//! breaker either. (A half-open circuit with slow start; M. Nygard, "Release It!", names the pattern.)

use std::time::Duration;

use crate::retry::Backoff;
use crate::{Failure, Moment, Reason};

use super::{Action, FloodPolicy, Pair, Phase};

/// The parts that the window is counted in; what leaves it leaves by one of them.
const PARTS: usize = 8;
/// The longest wait between two probes: an outage of an hour makes at most so many more letters as it has spans of this.
const PROBE_CAP: Duration = Duration::from_secs(30);
const PROBE_BASE: Duration = Duration::from_secs(1);

/// Counts what passes and what is rejected, and stands open or closed.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    parts: [Part; PARTS],
    open: Option<Probe>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// Which span of time since the pair's clock began.
    number: u128,
    count: Count,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    rejected: u64,
    passed: u64,
}

impl Count {
    fn is_flood(self, ratio: f64) -> bool {
        self.rejected > 0 && self.rejected as f64 >= ratio * (self.rejected + self.passed) as f64
    }
}

#[derive(Debug)]
struct Probe {
    /// How many records it takes.
    size: u64,
    /// How many of them were sent.
    sent: u64,
    count: Count,
    /// Probes in a row that were rejected.
    tries: u32,
    due: Moment,
    /// Its time has come; from then on answers move it on, and no clock.
    ripe: bool,
}

impl Breaker {
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Records ended: so many passed, so many were rejected. Returns the counts when they trip the breaker.
    pub(super) fn count(
        &mut self,
        policy: &FloodPolicy,
        (passed, rejected): (u64, u64),
        now: Moment,
    ) -> Option<(u64, u64)> {
        if let Some(probe) = &mut self.open {
            probe.count.passed += passed;
            probe.count.rejected += rejected;
            return None;
        }
        let span = (policy.window / PARTS as u32).as_nanos().max(1);
        let number = now.0.as_nanos() / span;
        let part = &mut self.parts[(number % PARTS as u128) as usize];
        if part.number != number {
            *part = Part { number, count: Count::default() };
        }
        part.count.passed += passed;
        part.count.rejected += rejected;
        if rejected == 0 {
            return None;
        }
        let recent = self.parts.iter().filter(|part| part.number + PARTS as u128 > number);
        let sum = recent.fold(Count::default(), |sum, part| Count {
            rejected: sum.rejected + part.count.rejected,
            passed: sum.passed + part.count.passed,
        });
        if sum.rejected < policy.min || !sum.is_flood(policy.ratio) {
            return None;
        }
        self.parts = Default::default();
        let due = now.after(PROBE_BASE);
        self.open = Some(Probe { size: 1, sent: 0, count: Count::default(), tries: 1, due, ripe: false });
        Some((sum.rejected, sum.rejected + sum.passed))
    }

    /// Rows that passed the steps were refused by their sink: their records did not pass after all.
    fn turned(&mut self, mut records: u64) {
        if let Some(probe) = &mut self.open {
            probe.count.passed = probe.count.passed.saturating_sub(records);
            return;
        }
        // Else a table that refuses everything would look like one that refuses every other row.
        let mut parts: Vec<&mut Part> = self.parts.iter_mut().collect();
        parts.sort_unstable_by_key(|part| std::cmp::Reverse(part.number));
        for part in parts {
            let turned = part.count.passed.min(records);
            part.count.passed -= turned;
            records -= turned;
        }
    }

    /// How many records may be sent; `quiet` when nothing is under way.
    pub(super) fn room(&mut self, quiet: bool, now: Moment) -> usize {
        let Some(probe) = &mut self.open else { return usize::MAX };
        probe.ripe = probe.due <= now;
        if !probe.ripe || (probe.sent == 0 && !quiet) {
            return 0;
        }
        (probe.size - probe.sent.min(probe.size)) as usize
    }

    /// So many records went to the steps.
    pub(super) fn sent(&mut self, records: u64) {
        if let Some(probe) = &mut self.open {
            probe.sent += records;
        }
    }

    /// When the next probe may go; none when its time has come, or when the breaker is closed.
    pub(super) fn due(&self) -> Option<Moment> {
        self.open.as_ref().filter(|probe| !probe.ripe).map(|probe| probe.due)
    }

    /// Nothing is under way: judges what was sent. Returns true when the breaker closes. `full` is what needs no further proof.
    fn judge(&mut self, policy: &FloodPolicy, full: u64, random: u64, now: Moment) -> bool {
        let Some(probe) = self.open.as_mut().filter(|probe| probe.sent > 0) else { return false };
        let count = std::mem::take(&mut probe.count);
        probe.sent = 0;
        if count.is_flood(policy.ratio) || count.passed == 0 {
            // Records that only wait for their next try say nothing: the probe is made again.
            probe.tries = if count.rejected > 0 { probe.tries + 1 } else { probe.tries };
            probe.size = 1;
            let wait = Backoff { base: PROBE_BASE, cap: PROBE_CAP, floor: PROBE_BASE };
            probe.due = now.after(wait.delay(probe.tries, random));
            probe.ripe = false;
            return false;
        }
        probe.size *= 2;
        if probe.size > full {
            self.open = None;
            return true;
        }
        false
    }
}

impl Pair {
    /// Records ended in the steps: so many passed, so many became letters.
    pub(super) fn count_ends(&mut self, passed: u64, rejected: u64, now: Moment, actions: &mut Vec<Action>) {
        let Some(policy) = self.options.flood else { return };
        if !matches!(self.phase, Phase::Running | Phase::Draining) {
            return;
        }
        if let Some((rejected, all)) = self.own.holds.breaker.count(&policy, (passed, rejected), now) {
            let seconds = policy.window.as_secs_f64();
            let detail =
                format_args!("{rejected} of the last {all} records within {seconds} s were rejected");
            self.hold_for(Failure::target(Reason::RejectFlood, detail), actions);
        }
    }

    /// Sinks refused rows of so many records, which became letters.
    pub(super) fn count_refused(&mut self, records: u64, now: Moment, actions: &mut Vec<Action>) {
        if records > 0 {
            self.own.holds.breaker.turned(records);
            self.count_ends(0, records, now, actions);
        }
    }

    /// Judges a probe of the flood breaker when everything of it is at its end.
    pub(super) fn judge_flood(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let Some(policy) = self.options.flood.filter(|_| self.own.holds.breaker.is_open()) else { return };
        if !self.is_quiet() {
            return;
        }
        let (full, random) = (self.own.scheduler.unit_records() as u64, self.own.random.next());
        if self.own.holds.breaker.judge(&policy, full, random, now) {
            self.own.holds.resume(actions);
        }
    }

    /// Whether nothing is under way: no record with the steps, no row that is not published, no letter on its way.
    pub(super) fn is_quiet(&self) -> bool {
        let published = self.own.sinks.iter().all(super::segments::SinkState::is_empty);
        self.own.scheduler.running_units() == 0 && published && self.own.letters.count() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: FloodPolicy = FloodPolicy { ratio: 0.9, min: 10, window: Duration::from_secs(60) };

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn tripped() -> Breaker {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.count(&POLICY, (1, 10), at(100)), Some((10, 11)));
        breaker
    }

    /// Guarantee: neither few rejects, nor many among enough that passes, nor many over a long time trip the breaker.
    #[test]
    fn poison_alone_does_not_trip_it() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.count(&POLICY, (0, 9), at(1)), None, "fewer than the minimum");
        let mut breaker = Breaker::default();
        for second in 0..100 {
            assert_eq!(breaker.count(&POLICY, (2, 10), at(second)), None, "less than the share");
        }
        let mut breaker = Breaker::default();
        for minute in 0..100 {
            assert_eq!(breaker.count(&POLICY, (0, 5), at(minute * 60)), None, "a few in each window");
        }
    }

    /// Guarantee: what was counted before the window does not hide a flood, nor make one.
    #[test]
    fn only_the_window_counts() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.count(&POLICY, (1_000, 0), at(0)), None);
        assert_eq!(breaker.count(&POLICY, (0, 10), at(59)), None);
        assert_eq!(breaker.count(&POLICY, (0, 1), at(70)), Some((11, 11)));
        let mut breaker = Breaker::default();
        assert_eq!(breaker.count(&POLICY, (11, 89), at(0)), None);
        assert_eq!(breaker.count(&POLICY, (0, 21), at(1)), Some((110, 121)), "nine of ten");
    }

    /// Guarantee: an open breaker sends one record at a time, waits longer after each that is rejected (30 s at most), and makes a
    /// letter of no more than these.
    #[test]
    fn a_probe_is_one_record() {
        let mut breaker = tripped();
        assert_eq!(breaker.room(true, at(100)), 0, "not due yet");
        assert_eq!(breaker.room(false, at(101)), 0, "what ran before is not at its end");
        let (mut now, mut sent) = (at(101), 0);
        while now < at(3_700) {
            assert_eq!(breaker.room(true, now), 1);
            breaker.sent(1);
            assert_eq!(breaker.room(true, now), 0);
            breaker.count(&POLICY, (0, 1), now);
            assert!(!breaker.judge(&POLICY, 512, u64::MAX, now));
            sent += 1;
            now = breaker.due().unwrap();
        }
        assert!((120..130).contains(&sent), "{sent} probes in an hour");
    }

    /// Guarantee: probes that pass grow to a full unit, then the breaker closes; one that floods begins again with one record.
    #[test]
    fn it_closes_step_by_step() {
        let mut breaker = tripped();
        for size in [1, 2, 4] {
            assert_eq!(breaker.room(true, at(200)), size);
            breaker.sent(size as u64);
            breaker.count(&POLICY, (size as u64, 0), at(200));
            assert!(!breaker.judge(&POLICY, 8, 0, at(200)));
        }
        breaker.sent(8);
        breaker.count(&POLICY, (0, 8), at(200));
        assert!(!breaker.judge(&POLICY, 8, 0, at(200)));
        assert_eq!(breaker.room(true, at(1_000)), 1);
        for size in [1, 2, 4, 8] {
            breaker.sent(size);
            breaker.count(&POLICY, (size, 0), at(1_000));
            assert_eq!(breaker.judge(&POLICY, 8, 0, at(1_000)), size == 8);
        }
        assert!(!breaker.is_open());
    }

    /// Scenario: a sink refuses rows of records that passed the steps over some time. Guarantee: the latest ones did not pass after all, and no others.
    #[test]
    fn refused_rows_take_back_what_passed_last() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.count(&POLICY, (5, 0), at(0)), None);
        assert_eq!(breaker.count(&POLICY, (5, 0), at(10)), None);
        breaker.turned(7);
        assert_eq!(breaker.count(&POLICY, (0, 27), at(20)), Some((27, 30)));
    }

    /// Scenario: the record of a probe waits for its next try. Guarantee: that says nothing: the probe is made again, after the same time, and no larger one.
    #[test]
    fn a_probe_that_only_waits_is_made_again() {
        let mut breaker = tripped();
        for second in [101, 102, 103] {
            assert_eq!(breaker.room(true, at(second)), 1);
            breaker.sent(1);
            assert!(!breaker.judge(&POLICY, 8, u64::MAX, at(second)));
            assert_eq!(breaker.due(), Some(at(second + 1)));
        }
    }
}
