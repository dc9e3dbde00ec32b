//! How far pairs are behind: in records, by the time of the oldest one, and by the time it takes.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::families::OfPair;
use super::whole;

/// How far a pair is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lag {
    /// Records that are to be worked on.
    pub records: u64,
    /// The age of the oldest of them, by its timestamp; 0 without lag, none when nobody knows it.
    pub seconds: Option<f64>,
    /// Records done each second.
    pub rate: f64,
}

impl Lag {
    /// Seconds until nothing is left at the present rate; 0 without lag, none while nothing moves.
    pub fn drain_seconds(&self) -> Option<f64> {
        match self.records {
            0 => Some(0.0),
            records => (self.rate > 0.0).then(|| records as f64 / self.rate),
        }
    }
}

/// The gauges of all pairs.
#[derive(Default)]
pub(super) struct LagMetrics {
    records: Family<OfPair, Gauge>,
    seconds: Family<OfPair, Gauge<f64, AtomicU64>>,
    drain: Family<OfPair, Gauge<f64, AtomicU64>>,
}

impl LagMetrics {
    pub(super) fn name(&self, r: &mut Registry) {
        let help = "Records to be worked on: received and not through the steps, or not yet read. What waits in an open segment or in the retry \
                    topic is none; gaps and markers of transactions count until they are passed";
        r.register("consumer_lag_records", help, self.records.clone());
        let help = "Age of the oldest record to be worked on, by its timestamp; 0 without lag, absent while none of them was read";
        r.register("consumer_lag_seconds", help, self.seconds.clone());
        let help = "Seconds until no lag is left at the rate of the last ten; 0 without lag, absent while nothing moves";
        r.register("drain_seconds", help, self.drain.clone());
    }

    pub(super) fn set(&self, pair: &OfPair, lag: &Lag) {
        self.records.get_or_create(pair).set(whole(lag.records));
        for (family, seconds) in [(&self.seconds, lag.seconds), (&self.drain, lag.drain_seconds())] {
            match seconds {
                Some(seconds) => {
                    family.get_or_create(pair).set(seconds);
                }
                None => {
                    family.remove(pair);
                }
            }
        }
    }

    pub(super) fn forget(&self, pair: &OfPair) {
        self.records.remove(pair);
        self.seconds.remove(pair);
        self.drain.remove(pair);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_move_has_no_time() {
        let lag = |records, rate| Lag { records, seconds: None, rate }.drain_seconds();
        assert_eq!(lag(0, 0.0), Some(0.0));
        assert_eq!(lag(100, 50.0), Some(2.0));
        assert_eq!(lag(100, 0.0), None);
    }
}
