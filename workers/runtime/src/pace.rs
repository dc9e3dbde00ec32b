//! How fast a pair gets through its records: what it has done in the last ten seconds.

use std::collections::VecDeque;
use std::time::Duration;

use longshore_core::Moment;

/// The time that a rate is of.
const SPAN: Duration = Duration::from_secs(10);
/// The least time between two notes.
const STEP: Duration = Duration::from_secs(1);

/// A count that only rises, as it was now and then within the last ten seconds.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    began: Moment,
    count: u64,
    /// When it rose last.
    rose: Moment,
    notes: VecDeque<(Moment, u64)>,
}

impl Pace {
    pub(crate) fn new(now: Moment) -> Self {
        Self { began: now, count: 0, rose: now, notes: VecDeque::from([(now, 0)]) }
    }

    /// The count is so high now; it stood still between the calls.
    pub(crate) fn note(&mut self, now: Moment, count: u64) {
        if now.since(self.rose) >= SPAN {
            self.notes.clear();
        }
        if self.notes.back().is_none_or(|(then, _)| now.since(*then) >= STEP) {
            self.notes.push_back((now, self.count));
            // One that is as old as the span stays, to count from.
            while self.notes.get(1).is_some_and(|(then, _)| now.since(*then) >= SPAN) {
                self.notes.pop_front();
            }
        }
        if count > self.count {
            (self.count, self.rose) = (count, now);
        }
    }

    /// By how much it rose each second, over the last ten or as many as there were.
    pub(crate) fn rate(&self, now: Moment) -> f64 {
        // What came after the last note is older than the span by now.
        if now.since(self.rose) >= SPAN {
            return 0.0;
        }
        let old = self.notes.iter().rev().find(|(then, _)| now.since(*then) >= SPAN);
        let from = old.or(self.notes.front()).map_or(0, |(_, count)| *count);
        let span = now.since(self.began).clamp(STEP, SPAN);
        (self.count - from) as f64 / span.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment(Duration::from_millis(ms))
    }

    /// Scenario: 100 each second for 20 seconds, then nothing, then a burst after an hour. Guarantee: the rate is that of the last ten seconds,
    /// sinks when nothing comes, and what is remembered is bounded.
    #[test]
    fn a_rate_is_of_the_last_ten_seconds() {
        let mut pace = Pace::new(at(0));
        for tenth in 1..=200_u64 {
            pace.note(at(tenth * 100), tenth * 10);
            assert!(pace.notes.len() <= 12, "{}", pace.notes.len());
            if tenth >= 10 {
                let rate = pace.rate(at(tenth * 100));
                assert!((90.0..=110.0).contains(&rate), "{rate} after {tenth}");
            }
        }
        let sinking: Vec<f64> = [22, 25, 29].map(|second| pace.rate(at(second * 1_000))).into();
        assert!(sinking.is_sorted_by(|one, next| one > next), "{sinking:?}");
        assert_eq!(pace.rate(at(31_000)), 0.0);
        let hour = 3_600_000;
        pace.note(at(hour), 2_000);
        pace.note(at(hour + 1_500), 3_000);
        assert_eq!(pace.rate(at(hour + 2_000)), 100.0);
    }
}
