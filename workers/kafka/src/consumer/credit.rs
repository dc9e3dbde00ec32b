//! How much a pair may be given, and when one that was paused flows again.
//!
//! A pause throws away what was fetched ahead (librdkafka #5343), so what comes without credit is held back first
//! ([`super::held`]), and a pair that was paused is resumed when it has a good piece of credit again, not at the first crumb.
//! It is not kept waiting for long either: slow records may hold most of the credit for minutes, and the others must go on
//! with the rest.

use std::time::{Duration, Instant};

/// A pair without much credit is resumed after this nevertheless.
const PATIENCE: Duration = Duration::from_millis(20);

/// The share of the largest credit seen that ends a pause at once: one in so many.
const GOOD_SHARE: u64 = 4;

/// Absolute counts since the epoch began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    records: u64,
    bytes: u64,
}

/// One pair's credit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Credit {
    granted: Amount,
    given: Amount,
    /// The largest credit seen.
    peak: Amount,
    /// When it ran dry; none while it flows. A new pair starts paused.
    dry_since: Option<Instant>,
    /// Whether librdkafka was told to fetch.
    pub(super) flowing: bool,
}

impl Credit {
    /// Raises what may be given; a lower number than before is ignored.
    pub(super) fn grant(&mut self, records: u64, bytes: u64) {
        self.granted.records = self.granted.records.max(records);
        self.granted.bytes = self.granted.bytes.max(bytes);
        let left = self.left();
        self.peak.records = self.peak.records.max(left.records);
        self.peak.bytes = self.peak.bytes.max(left.bytes);
    }

    /// Counts what was given.
    pub(super) fn spend(&mut self, records: u64, bytes: u64) {
        self.given.records += records;
        self.given.bytes += bytes;
    }

    /// Whether the pair should flow. Ask once in each turn of the loop.
    pub(super) fn wants_flow(&mut self, now: Instant) -> bool {
        let left = self.left();
        if left.records == 0 || left.bytes == 0 {
            self.dry_since.get_or_insert(now);
            return false;
        }
        let good = left.records.saturating_mul(GOOD_SHARE) >= self.peak.records
            && left.bytes.saturating_mul(GOOD_SHARE) >= self.peak.bytes;
        let patient = self.dry_since.is_some_and(|since| now.duration_since(since) < PATIENCE);
        if self.flowing || good || !patient {
            self.dry_since = None;
            return true;
        }
        false
    }

    /// Whether anything may be given.
    pub(super) fn is_left(&self) -> bool {
        let left = self.left();
        left.records > 0 && left.bytes > 0
    }

    /// Whether the pair waits for [`PATIENCE`] to end, so that the loop must look again soon.
    pub(super) fn waits(&self) -> bool {
        !self.flowing && self.is_left()
    }

    fn left(&self) -> Amount {
        Amount {
            records: self.granted.records.saturating_sub(self.given.records),
            bytes: self.granted.bytes.saturating_sub(self.given.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_pair_waits_for_a_good_piece_or_for_patience() {
        let now = Instant::now();
        let mut credit = Credit::default();
        assert!(!credit.wants_flow(now), "no grant yet");
        credit.grant(1000, 1_000_000);
        assert!(credit.wants_flow(now));
        credit.flowing = true;
        credit.spend(1000, 1000);
        assert!(!credit.wants_flow(now));
        credit.flowing = false;
        credit.grant(1100, 1_000_000);
        assert!(!credit.wants_flow(now), "a tenth is a crumb");
        assert!(credit.waits());
        assert!(credit.wants_flow(now + PATIENCE), "but crumbs are better than waiting");
        credit.grant(1400, 1_000_000);
        assert!(credit.wants_flow(now), "a good piece at once");
    }

    #[test]
    fn flowing_goes_on_to_the_last_record() {
        let now = Instant::now();
        let mut credit = Credit::default();
        credit.grant(10, 1000);
        assert!(credit.wants_flow(now));
        credit.flowing = true;
        credit.spend(9, 10);
        assert!(credit.wants_flow(now));
    }
}
