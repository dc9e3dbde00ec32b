//! The schedule of retries, exponential with full jitter, and where a retry partition is read from. Randomness is an argument.

use std::time::Duration;

use crate::Offset;
use crate::format::Newer;
use crate::metadata::{Metadata, MetadataError};
use crate::pair::Position;
use crate::rules::Rule;

/// Where the retry lane of a partition `[first, end)` begins, and what its commit says of copies beyond. What is wrong with the
/// commit costs a second reading: the ledger and the ranks drop what is known. So a topic that was made again only moves the beginning.
/// Retention that has passed the commit takes nothing of what it says of copies that are still there: one that is nobody's stays so.
///
/// # Errors
/// [`Newer`]: in words that are not known here the commit may tell of copies that must not be believed, so nobody reads the lane by it.
pub fn lane_start(
    committed: Option<&Position>,
    first: Offset,
    end: Offset,
) -> Result<(Offset, Metadata), Newer> {
    let Some(committed) = committed.filter(|position| position.offset <= end) else {
        return Ok((first, Metadata::default()));
    };
    let mut metadata = match Metadata::decode(&committed.metadata, committed.offset, end) {
        Ok(metadata) => metadata,
        Err(MetadataError::Newer(newer)) => return Err(newer),
        Err(
            MetadataError::Foreign
            | MetadataError::Damaged
            | MetadataError::Base(_)
            | MetadataError::Runs
            | MetadataError::BeyondEnd(_),
        ) => Metadata::default(),
    };
    if committed.offset < first && !Rule::RetentionKeepsRuns.holds() {
        return Ok((first, Metadata::default()));
    }
    if committed.offset >= first {
        return Ok((committed.offset, metadata));
    }
    let start = metadata.settled.end_of_run(first);
    metadata.settled.forget_below(start);
    metadata.strays.forget_below(start);
    Ok((start, metadata))
}

/// Exponential backoff with full jitter: `random(0, min(cap, base * 2^(attempt - 1)))`, never below the floor.
/// Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait's upper bound.
    pub base: Duration,
    /// The upper bound of every wait.
    pub cap: Duration,
    /// The lower bound of every wait, so that a retry is never immediate.
    pub floor: Duration,
}

/// The waits between tries of something that is no record's own: a sink, its ledger, the topic of letters, a commit, a target that a step
/// speaks to. Short whatever `failure.retry` says, since the pair stands still meanwhile: the cap keeps a pair going on within 5 s of the
/// target's return, and the jitter spreads those of many pairs.
pub const OUTAGE: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(4),
    floor: Duration::from_millis(50),
};

impl Backoff {
    /// The wait after failed try `attempt` (from 1); `random` is uniform over all of `u64`.
    pub fn delay(&self, attempt: u32, random: u64) -> Duration {
        let doubled =
            self.base.saturating_mul(1u32.checked_shl(attempt.saturating_sub(1).min(31)).unwrap_or(u32::MAX));
        let bound = doubled.min(self.cap);
        let fraction = random as f64 / u64::MAX as f64;
        bound.mul_f64(fraction).max(self.floor)
    }
}

#[cfg(test)]
mod tests {
    use crate::RunSet;

    use super::*;

    /// Guarantee: settled copies are passed over; a commit that does not fit the log, or whose words are not its own, only moves
    /// the beginning.
    #[test]
    fn a_lane_begins_where_its_commit_fits_the_log() {
        let settled = RunSet::of(Offset(6), Offset(8));
        let metadata = Metadata { settled: settled.clone(), ..Metadata::default() }.encode(Offset(5)).text;
        let at = |offset: i64| Position { offset: Offset(offset), metadata: metadata.clone() };
        let start = |position: Option<&Position>, first, end| {
            let (start, metadata) = lane_start(position, Offset(first), Offset(end)).unwrap();
            (start, metadata.settled)
        };
        let none = RunSet::default();
        assert_eq!(start(Some(&at(5)), 0, 10), (Offset(5), settled));
        assert_eq!(start(None, 3, 10), (Offset(3), none.clone()));
        // Retention took what was committed, and then some of what was settled beyond it.
        assert_eq!(start(Some(&at(2)), 3, 10), (Offset(3), none.clone()), "written for another offset");
        let far = Metadata { settled: RunSet::collect(vec![(7, 8), (9, 12)]), ..Metadata::default() };
        let far = Position { offset: Offset(5), metadata: far.encode(Offset(5)).text };
        assert_eq!(start(Some(&far), 6, 20), (Offset(6), RunSet::collect(vec![(7, 8), (9, 12)])));
        assert_eq!(start(Some(&far), 7, 20), (Offset(8), RunSet::of(Offset(9), Offset(12))));
        assert_eq!(start(Some(&far), 10, 20), (Offset(12), none.clone()));
        assert_eq!(start(Some(&at(5)), 0, 4), (Offset(0), none.clone()), "the topic was made again");
        assert_eq!(start(Some(&at(7)), 0, 10), (Offset(7), none.clone()), "written for another offset");
        assert_eq!(start(Some(&at(5)), 0, 7), (Offset(5), none), "runs beyond the end of the log");
        let newer = Position { offset: Offset(5), metadata: "L2:AAAA".to_owned() };
        let refused = lane_start(Some(&newer), Offset(0), Offset(10)).unwrap_err();
        assert_eq!((refused.found, refused.known), (2, 1));
    }
}
