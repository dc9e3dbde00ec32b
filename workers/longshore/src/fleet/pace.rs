//! How fast partitions move for which nobody answers, by what is committed from one look to the next.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use longshore_core::PairId;

/// Rates are those of this time: commits come every second or so, and a look in between would see none.
const SPAN: Duration = Duration::from_secs(15);
/// Looks that are remembered at most.
const LOOKS: usize = 64;

/// The offsets that were done at a look, by partition.
pub(super) type Done = HashMap<PairId, i64>;

/// The last looks.
#[derive(Debug, Default)]
pub(super) struct Pace {
    looks: VecDeque<(Instant, Done)>,
}

impl Pace {
    /// Records done each second since the looks that are remembered, by partition; none at the first look.
    pub(super) fn look(&mut self, at: Instant, done: Done) -> HashMap<PairId, f64> {
        // What a long pause did says nothing about now.
        while self.looks.front().is_some_and(|(then, _)| at.duration_since(*then) > 2 * SPAN) {
            self.looks.pop_front();
        }
        // One that is as old as the span stays, to begin from.
        while self.looks.get(1).is_some_and(|(then, _)| at.duration_since(*then) >= SPAN)
            || self.looks.len() >= LOOKS
        {
            self.looks.pop_front();
        }
        let first = self.looks.front();
        let rate = |(pair, now): (&PairId, &i64)| {
            let (then, was) = first?;
            // A group that was set back does not move, whatever its commits say.
            let records = (now - was.get(pair)?).max(0);
            Some((pair.clone(), records as f64 / at.duration_since(*then).as_secs_f64().max(0.001)))
        };
        let rates = done.iter().filter_map(rate).collect();
        self.looks.push_back((at, done));
        rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: a rate is of what was done within the last fifteen seconds, never below nothing, and what is remembered is bounded.
    #[test]
    fn rates_are_of_what_was_done() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        let pair = |partition| PairId::new("in", partition);
        for second in 0..200_u64 {
            let done = if second < 100 { second * 1_000 } else { 99_000 + second * 10 } as i64;
            let at = began + Duration::from_secs(second);
            let rates = pace.look(at, [(pair(0), done), (pair(1), 1_000 - done)].into());
            assert!(pace.looks.len() <= LOOKS);
            match second {
                0 => assert!(rates.is_empty()),
                1..100 => assert_eq!(rates[&pair(0)], 1_000.0, "{second}"),
                120.. => assert_eq!(rates[&pair(0)], 10.0, "{second}"),
                _ => {}
            }
            assert!(rates.get(&pair(1)).is_none_or(|rate| *rate == 0.0));
        }
    }

    /// Scenario: nobody looks for an hour. Guarantee: what was done in it is no rate of now.
    #[test]
    fn a_pause_begins_anew() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        let pair = PairId::new("in", 0);
        let mut look = |seconds, done| {
            pace.look(began + Duration::from_secs(seconds), [(pair.clone(), done)].into()).get(&pair).copied()
        };
        assert_eq!((look(0, 0), look(1, 10)), (None, Some(10.0)));
        assert_eq!(look(3_600, 1_000_000), None);
        assert_eq!(look(3_602, 1_000_040), Some(20.0));
    }
}
