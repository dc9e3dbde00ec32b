//! How far a pair is behind.

use crate::{Lane, Offset};

use super::Pair;

impl Pair {
    /// Records of the input lane that are still to be worked on, for a log that ends there: those received and not through the steps
    /// (or to be tried again in their place), and the offsets not yet read. What waits in an open segment, as a letter or in the retry
    /// topic is none of it; gaps and markers of transactions count until they are passed, since nobody knows them before.
    pub fn backlog(&self, log_end: Offset) -> u64 {
        let unread = u64::try_from(log_end.0 - self.own.tracker.position().0).unwrap_or(0);
        self.unfinished() + unread.saturating_sub(self.own.tracker.settled_ahead())
    }

    /// Of them those that were received.
    pub fn unfinished(&self) -> u64 {
        let scheduler = &self.own.scheduler;
        let at_work = (scheduler.queued() + scheduler.running_records()) as u64;
        let (copies, stay) =
            self.own.retry.as_ref().map_or((0, 0), |lane| (lane.at_work, lane.staying.len() as u64));
        at_work.saturating_sub(copies) + stay
    }

    /// The timestamp of the first record of the input lane that was received and is not through the steps, milliseconds since 1970; none
    /// when there is no such record, or when it has no timestamp.
    pub fn oldest_unfinished_ms(&self) -> Option<i64> {
        let first = self.own.working.spans().first()?;
        let record = self.own.chunks.first_from(Lane::Input, first)?;
        Some(record.timestamp_ms()).filter(|timestamp| *timestamp >= 0)
    }
}
