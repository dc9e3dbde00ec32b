//! The metrics of one pair, resolved once so that a batch costs a few atomic additions.

use std::sync::PoisonError;
use std::time::Duration;

use longshore_core::item::FilterReason;
use longshore_core::pair::Tally;
use longshore_core::{Failure, Lane, Offset, PairId};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::families::{Families, OfPair, OfPlace, OfReason};
use super::messaging::MessagingOfPair;
use super::{Lag, Metrics, whole};

/// The metrics of one pair.
#[derive(Clone)]
pub struct PairMetrics {
    metrics: Metrics,
    labels: OfPair,
    received: Counter,
    received_bytes: Counter,
    sunk: Counter,
    filtered: Counter,
    dead: Counter,
    already_held: Counter,
    waiting: Gauge,
    parked: Gauge,
    spooled: Gauge,
    in_flight: Gauge,
    in_flight_bytes: Gauge,
    credit: Gauge,
    watermark: Gauge,
    committed: Gauge,
    /// There from the start, since an alert asks for its increase.
    stalled: Counter,
    messaging: MessagingOfPair,
}

impl PairMetrics {
    pub(super) fn new(metrics: Metrics, pair: &PairId) -> Self {
        let labels = OfPair { topic: pair.topic.as_str().to_owned(), partition: pair.partition.0 };
        let families = &metrics.inner.families;
        let names = metrics.inner.names.read().unwrap_or_else(PoisonError::into_inner);
        let messaging = MessagingOfPair::new(&families.messaging, &names, &labels.topic);
        drop(names);
        let place = |place| {
            let labels = OfPlace { topic: labels.topic.clone(), partition: labels.partition, place };
            families.settled.get_or_create_owned(&labels)
        };
        Self {
            received: families.received.get_or_create_owned(&labels),
            received_bytes: families.received_bytes.get_or_create_owned(&labels),
            sunk: place("sunk"),
            filtered: place("filtered"),
            dead: place("dead"),
            already_held: place("already_held"),
            waiting: families.waiting.get_or_create_owned(&labels),
            parked: families.parked.get_or_create_owned(&labels),
            spooled: families.spooled.get_or_create_owned(&labels),
            in_flight: families.in_flight.get_or_create_owned(&labels),
            in_flight_bytes: families.in_flight_bytes.get_or_create_owned(&labels),
            credit: families.credit.get_or_create_owned(&labels),
            watermark: families.watermark.get_or_create_owned(&labels),
            committed: families.committed.get_or_create_owned(&labels),
            stalled: families.stalled.get_or_create_owned(&labels),
            messaging,
            labels,
            metrics,
        }
    }

    /// A chunk arrived.
    pub fn received(&self, records: u64, bytes: u64) {
        self.received.inc_by(records);
        self.received_bytes.inc_by(bytes);
    }

    /// Records of one lane were polled, in this time.
    pub fn polled(&self, lane: Lane, records: u64, took: Duration) {
        self.messaging.polled(lane, records, took);
    }

    /// A unit was in the steps for so long.
    pub fn processed(&self, took: Duration) {
        self.messaging.processed(took);
    }

    /// A commit of one lane was answered after this time.
    pub fn commit_took(&self, lane: Lane, took: Duration, error: Option<&'static str>) {
        self.messaging.committed(lane, took, error);
    }

    /// So many offsets had no record where reading began.
    pub fn absent_at_start(&self, offsets: u64) {
        self.families().absent.get_or_create(&self.labels).inc_by(offsets);
    }

    /// Records reached a final place.
    pub fn settled(&self, tally: &Tally) {
        self.sunk.inc_by(tally.sunk);
        self.already_held.inc_by(tally.already_held);
        for (reason, count) in &tally.filtered {
            self.filtered.inc_by(*count);
            self.families().filtered.get_or_create(&self.of_reason(&reason.0)).inc_by(*count);
        }
        for (reason, count) in &tally.dead {
            self.dead.inc_by(*count);
            self.families().dead.get_or_create(&self.of_reason(reason.code())).inc_by(*count);
        }
        for (reason, count) in &tally.retried {
            self.families().retried.get_or_create(&self.of_reason(reason.code())).inc_by(*count);
        }
    }

    /// Children were filtered although their record went to a sink.
    pub fn children_filtered(&self, reasons: &[(FilterReason, u64)]) {
        for (reason, count) in reasons {
            self.families().children_filtered.get_or_create(&self.of_reason(&reason.0)).inc_by(*count);
        }
    }

    /// A letter could not be produced and will be tried again.
    pub fn letter_retried(&self, failure: &Failure) {
        self.families().letter_retries.get_or_create(&self.of_reason(failure.reason.code())).inc();
    }

    /// Records that wait in the retry lane, keys that wait behind one of them, and bytes of payloads that the spool has.
    pub fn waiting(&self, records: u64, keys: u64, spooled_bytes: u64) {
        self.waiting.set(whole(records));
        self.parked.set(whole(keys));
        self.spooled.set(whole(spooled_bytes));
    }

    /// Records received and not settled, and the bytes of those not finished.
    pub fn in_flight(&self, records: u64, bytes: u64) {
        self.in_flight.set(whole(records));
        self.in_flight_bytes.set(whole(bytes));
    }

    /// Records the pair may still be given.
    pub fn credit(&self, records: u64) {
        self.credit.set(whole(records));
    }

    /// Everything below is settled.
    pub fn watermark(&self, offset: Offset) {
        self.watermark.set(offset.0);
    }

    /// The broker acknowledged a commit of this offset.
    pub fn committed(&self, offset: Offset) {
        self.committed.set(offset.0);
    }

    /// How far the pair is behind.
    pub fn lag(&self, lag: &Lag) {
        self.families().lag.set(&self.labels, lag);
    }

    /// The pair made no progress for too long.
    pub fn stalled(&self) {
        self.stalled.inc();
    }

    /// The pair is gone: its gauges would tell old news. Counters stay.
    pub fn forget(&self) {
        let families = self.families();
        let gauges = [
            &families.waiting,
            &families.parked,
            &families.spooled,
            &families.in_flight,
            &families.in_flight_bytes,
            &families.credit,
            &families.watermark,
            &families.committed,
        ];
        for family in gauges {
            family.remove(&self.labels);
        }
        families.lag.forget(&self.labels);
    }

    fn families(&self) -> &Families {
        &self.metrics.inner.families
    }

    fn of_reason(&self, reason: &str) -> OfReason {
        OfReason { topic: self.labels.topic.clone(), reason: reason.to_owned() }
    }
}
