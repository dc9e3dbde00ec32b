//! How fast a group works its lag off, by what it committed from one look to the next.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Row;

/// Rates are those of this time: commits come every second or so, and a look in between would see none.
const SPAN: Duration = Duration::from_secs(15);
/// Looks that are remembered at most.
const LOOKS: usize = 64;

/// A partition, and how fast it moves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Paced {
    #[serde(flatten)]
    pub(super) row: Row,
    /// Records settled each second; none at the first look.
    pub(super) rate: Option<f64>,
    /// Seconds until nothing is left at this rate; none when nothing moves.
    pub(super) drain_seconds: Option<f64>,
}

/// The last looks.
#[derive(Debug, Default)]
pub(super) struct Pace {
    looks: VecDeque<(Instant, Vec<Row>)>,
}

impl Pace {
    /// What the rows of a look say beside those of earlier ones.
    pub(super) fn look(&mut self, at: Instant, rows: Vec<Row>) -> Vec<Paced> {
        // One that is as old as the span stays, to begin from.
        while self.looks.get(1).is_some_and(|(then, _)| at.duration_since(*then) >= SPAN)
            || self.looks.len() >= LOOKS
        {
            self.looks.pop_front();
        }
        let paced = rows.iter().map(|row| self.pace(at, row)).collect();
        self.looks.push_back((at, rows));
        paced
    }

    fn pace(&self, at: Instant, row: &Row) -> Paced {
        let then = self.looks.front().and_then(|(then, rows)| {
            let same = |was: &&Row| was.partition == row.partition && was.topic == row.topic;
            Some((*then, rows.iter().find(same)?))
        });
        let rate =
            then.and_then(|(then, was)| Some(rate(settled(row)? - settled(was)?, at.duration_since(then))));
        Paced { row: row.clone(), rate, drain_seconds: row.lag.and_then(|lag| drain(lag, rate)) }
    }
}

/// The whole group's rate and time; no time while the lag of a partition is not known.
pub(super) fn whole(rows: &[Paced]) -> (Option<f64>, Option<f64>) {
    let rates: Vec<f64> = rows.iter().filter_map(|row| row.rate).collect();
    let rate = (!rates.is_empty()).then(|| rates.iter().sum());
    let lag: Option<u64> = rows.iter().map(|row| row.row.lag).sum();
    (rate, lag.and_then(|lag| drain(lag, rate)))
}

/// Records that are done with, counted from the beginning of the log, if they are known.
fn settled(row: &Row) -> Option<i64> {
    Some(row.end? - row.lag? as i64)
}

/// A group that was set back does not move, whatever its commits say.
fn rate(records: i64, span: Duration) -> f64 {
    records.max(0) as f64 / span.as_secs_f64().max(0.001)
}

fn drain(lag: u64, rate: Option<f64>) -> Option<f64> {
    match (lag, rate) {
        (0, _) => Some(0.0),
        (_, Some(rate)) if rate > 0.0 => Some(lag as f64 / rate),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(partition: i32, end: i64, lag: u64) -> Row {
        let committed = Some(end - lag as i64);
        let (start, end, lag) = (Some(0), Some(end), Some(lag));
        Row { topic: "in".into(), partition, start, committed, end, lag, error: None }
    }

    /// Scenario: the leader of one of two partitions does not answer at a look.
    /// Guarantee: the other one's rate goes on; nothing is said of the group's time until both are known, and no rate is made up.
    #[test]
    fn what_was_not_seen_has_no_rate() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        pace.look(began, vec![row(0, 1_000, 1_000), row(1, 100, 100)]);
        let silent = Row { start: None, end: None, lag: None, ..row(1, 100, 100) };
        let second = pace.look(began + Duration::from_secs(2), vec![row(0, 1_000, 800), silent]);
        let told: Vec<_> = second.iter().map(|row| (row.rate, row.drain_seconds)).collect();
        assert_eq!(told, [(Some(100.0), Some(8.0)), (None, None)]);
        assert_eq!(whole(&second), (Some(100.0), None));
    }

    /// Scenario: 100 records each second are settled, while 50 come; another partition stands; then the group is set back.
    /// Guarantee: rates and times are those of what was settled; what stands, and what was set back, has no time.
    #[test]
    fn rates_are_of_what_was_settled() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        let first = pace.look(began, vec![row(0, 1_000, 1_000), row(1, 10, 10), row(2, 5, 0)]);
        assert!(first.iter().all(|row| row.rate.is_none()));
        assert_eq!(whole(&first), (None, None));
        let later = began + Duration::from_secs(2);
        let second = pace.look(later, vec![row(0, 1_100, 900), row(1, 10, 10), row(2, 5, 0)]);
        let told: Vec<_> = second.iter().map(|row| (row.rate, row.drain_seconds)).collect();
        assert_eq!(told, [(Some(100.0), Some(9.0)), (Some(0.0), None), (Some(0.0), Some(0.0))]);
        assert_eq!(whole(&second), (Some(100.0), Some(9.1)));
        let back = pace.look(later + Duration::from_secs(2), vec![row(0, 1_100, 1_100)]);
        assert_eq!((back[0].rate, back[0].drain_seconds), (Some(0.0), None));
    }

    /// Guarantee: a rate is that of the last fifteen seconds or so, and what is remembered is bounded.
    #[test]
    fn old_looks_are_forgotten() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        for second in 0..200 {
            // Quick for the first hundred seconds, slow after that.
            let done = if second < 100 { second * 1_000 } else { 99_000 + second * 10 };
            let rows = pace.look(began + Duration::from_secs(second), vec![row(0, 200_000, 200_000 - done)]);
            assert!(pace.looks.len() <= LOOKS);
            if second >= 120 {
                assert_eq!(rows[0].rate, Some(10.0), "after {second} s");
            }
        }
    }
}
