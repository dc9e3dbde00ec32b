//! The way of spans out of the process: the SDK's batching queue and an OTLP exporter, with a count of what is lost. Nobody waits for
//! it: what finds the queue full is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor,
};

use super::TraceError;
use super::environment::Queue;
use super::room::Room;
use super::spans::bytes_of;
use super::wire;
use crate::metrics::{SpanLoss, SpanMetrics};
use crate::otlp::{Post, Rejected, Stop, Target};

/// How often lost spans are told in the log.
const TELL_EVERY_S: u64 = 60;
/// The most bytes of an exporter's words that are told.
const CAUSE_BYTES: usize = 300;

/// What the end of tracing found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Spans that nobody took before the end.
    pub unsent: usize,
    /// All spans that were lost since the beginning, these included.
    pub lost: usize,
}

/// Takes spans.
#[derive(Debug)]
pub(super) struct Outlet {
    processor: BatchSpanProcessor,
    gate: Arc<Gate>,
    stop: Stop,
}

impl Outlet {
    /// Over OTLP.
    pub(super) fn open(
        resource: &Resource,
        target: Target,
        queue: &Queue,
        most_bytes: u64,
        metrics: SpanMetrics,
    ) -> Result<Self, TraceError> {
        // Whoever starts this may be in a runtime, inside of which the client's own must not be made.
        let making = std::thread::Builder::new().spawn(move || Post::to(&target));
        let made = making.map_err(|error| TraceError::new(format!("cannot start a thread: {error}")))?.join();
        let post = made.map_err(|_| TraceError::new("the client of the Collector cannot be made"))??;
        let (stop, gate) = (post.stop(), Gate::new(queue.spans, most_bytes, metrics));
        let exporter = Otlp { post, resource: resource.clone(), gate: Arc::clone(&gate) };
        Ok(Self::to(exporter, stop, gate, resource, queue))
    }

    fn to<E: SpanExporter + 'static>(
        exporter: E,
        stop: Stop,
        gate: Arc<Gate>,
        resource: &Resource,
        queue: &Queue,
    ) -> Self {
        let counted = Counted { exporter, gate: Arc::clone(&gate) };
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(queue.spans)
            .with_max_export_batch_size(queue.batch)
            .with_scheduled_delay(queue.delay);
        let mut processor = BatchSpanProcessor::builder(counted).with_batch_config(config.build()).build();
        processor.set_resource(resource);
        Self { processor, gate, stop }
    }

    /// Sends a span when its batch is full, or a moment later.
    pub(super) fn take(&self, span: SpanData) {
        if self.gate.enter(bytes_of(&span)) {
            self.processor.on_end(span);
        }
    }

    /// Counts spans that were not even made.
    pub(super) fn lose(&self, spans: usize) {
        self.gate.lose(SpanLoss::Full, spans, QUEUE_FULL);
    }

    /// Sends what waits, with one try each, at most so long. That the SDK says it went well means that it is through, not that anything arrived.
    pub(super) fn close(&self, deadline: Duration) -> Ended {
        self.stop.now();
        let through = self.processor.shutdown_with_timeout(deadline).is_ok();
        let gate = &self.gate;
        let left = || gate.waiting.load(Ordering::Relaxed) + gate.under_way.load(Ordering::Relaxed);
        let unsent = if through { 0 } else { left() };
        gate.metrics.lost(SpanLoss::Stop, unsent);
        Ended { unsent, lost: unsent + gate.lost.load(Ordering::Relaxed) }
    }
}

const QUEUE_FULL: &str = "more spans than the Collector takes: the queue is full";

/// Counts who is in the queue. The SDK drops what finds it full and tells nobody how many; nothing that passes here finds it full.
#[derive(Debug)]
struct Gate {
    waiting: AtomicUsize,
    /// With the exporter.
    under_way: AtomicUsize,
    /// Of these, what a Collector that took the others did not take.
    rejected: AtomicUsize,
    most: usize,
    /// What spans take until the exporter is done with them.
    room: Arc<Room>,
    metrics: SpanMetrics,
    /// All that were lost.
    lost: AtomicUsize,
    began: Instant,
    /// When the log may be told again, seconds since the beginning.
    quiet_until_s: AtomicU64,
    untold: AtomicUsize,
}

impl Gate {
    fn new(most: usize, most_bytes: u64, metrics: SpanMetrics) -> Arc<Self> {
        Arc::new(Self {
            waiting: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            rejected: AtomicUsize::new(0),
            most,
            room: Room::new(most_bytes),
            metrics,
            lost: AtomicUsize::new(0),
            began: Instant::now(),
            quiet_until_s: AtomicU64::new(0),
            untold: AtomicUsize::new(0),
        })
    }

    fn enter(&self, bytes: u64) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.most && self.room.enter(bytes) {
            return true;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.lose(SpanLoss::Full, 1, QUEUE_FULL);
        false
    }

    fn lose(&self, why: SpanLoss, spans: usize, cause: &str) {
        if spans == 0 {
            return;
        }
        self.metrics.lost(why, spans);
        self.lost.fetch_add(spans, Ordering::Relaxed);
        self.untold.fetch_add(spans, Ordering::Relaxed);
        let now = self.began.elapsed().as_secs();
        let quiet_until = self.quiet_until_s.load(Ordering::Relaxed);
        let next = now + TELL_EVERY_S;
        let order = Ordering::Relaxed;
        if now < quiet_until || self.quiet_until_s.compare_exchange(quiet_until, next, order, order).is_err()
        {
            return;
        }
        let spans = self.untold.swap(0, Ordering::Relaxed);
        tracing::warn!(spans, cause, "spans are lost; records are not affected");
    }
}

/// Sends batches over OTLP, from the SDK's own thread.
#[derive(Debug)]
struct Otlp {
    post: Post,
    resource: Resource,
    gate: Arc<Gate>,
}

impl SpanExporter for Otlp {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let rejected = self.post.send(wire::request(&self.resource, &batch));
        let Rejected { items, words } = rejected.map_err(OTelSdkError::InternalFailure)?;
        self.gate.rejected.store(items.min(batch.len()), Ordering::Relaxed);
        self.gate.lose(SpanLoss::Export, items.min(batch.len()), &words);
        Ok(())
    }
}

/// An exporter that counts.
#[derive(Debug)]
struct Counted<E> {
    exporter: E,
    gate: Arc<Gate>,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (spans, bytes) = (batch.len(), batch.iter().map(bytes_of).sum());
        self.gate.under_way.store(spans, Ordering::Relaxed);
        self.gate.waiting.fetch_sub(spans, Ordering::Relaxed);
        let exported = self.exporter.export(batch).await;
        self.gate.under_way.store(0, Ordering::Relaxed);
        self.gate.room.leave(bytes);
        let rejected = self.gate.rejected.swap(0, Ordering::Relaxed);
        match &exported {
            Ok(()) => self.gate.metrics.exported(spans - rejected),
            Err(OTelSdkError::InternalFailure(words)) => {
                self.gate.lose(SpanLoss::Export, spans, &plain(words));
            }
            Err(error) => self.gate.lose(SpanLoss::Export, spans, &plain(&error.to_string())),
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// An exporter's words without what would be credentials in an address, on one line, of a bounded length (I10).
pub(crate) fn plain(words: &str) -> String {
    let mut plain = String::new();
    for (number, part) in words.split("://").enumerate() {
        let authority = part.find(['/', ' ', ')', '?']).unwrap_or(part.len());
        let from = part[..authority].rfind('@').filter(|_| number > 0).map_or(0, |at| at + 1);
        if number > 0 {
            plain.push_str("://");
        }
        // What an address asks for may be a secret as well.
        let rest = &part[from..];
        let query = rest.find('?').filter(|_| number > 0);
        plain.push_str(&rest[..query.unwrap_or(rest.len())]);
        if let Some(query) = query {
            let behind = rest[query..].find([' ', ')']).map_or(rest.len(), |at| query + at);
            plain.push_str(&rest[behind..]);
        }
    }
    let mut plain: String =
        plain.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let end = (0..=CAUSE_BYTES.min(plain.len())).rev().find(|at| plain.is_char_boundary(*at));
    plain.truncate(end.unwrap_or(0));
    plain
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::Metrics;
    use crate::trace::spans;

    /// Answers an export when it is told to.
    #[derive(Debug)]
    struct Slow {
        asked: Sender<usize>,
        answers: Mutex<Receiver<OTelSdkResult>>,
    }

    impl SpanExporter for Slow {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            let _ = self.asked.send(batch.len());
            let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.recv().unwrap_or(Err(OTelSdkError::AlreadyShutdown))
        }
    }

    fn outlet(exporter: Slow, most_bytes: u64, metrics: &Metrics) -> Outlet {
        let gate = Gate::new(Queue::default().spans, most_bytes, metrics.spans());
        Outlet::to(exporter, Stop::default(), gate, &Resource::builder_empty().build(), &Queue::default())
    }

    /// Scenario: the Collector does not answer, and spans come that are far larger than usual ones. Guarantee (I5): what waits is bounded
    /// in bytes, the batch that is being sent included; the SDK's end is no success where the Collector refused.
    #[test]
    fn what_waits_is_bounded_in_bytes() {
        let (asked, exports) = channel();
        let (answer, answers) = channel();
        let metrics = Metrics::new("x");
        let exporter = Slow { asked, answers: Mutex::new(answers) };
        let large = || {
            let mut span = spans::tests::span();
            span.attributes.push(opentelemetry::KeyValue::new("key", "x".repeat(64 << 10)));
            span
        };
        assert!((64 << 10..70 << 10).contains(&bytes_of(&large())), "{}", bytes_of(&large()));
        let outlet = outlet(exporter, 1 << 20, &metrics);
        (0..100).for_each(|_| outlet.take(large()));
        (0..10).for_each(|_| answer.send(Err(OTelSdkError::InternalFailure("refused".into()))).unwrap());
        assert_eq!(outlet.close(Duration::from_secs(30)), Ended { unsent: 0, lost: 100 });
        assert_eq!(exports.try_iter().sum::<usize>(), 15);
    }

    /// Scenario: the Collector keeps a batch without an answer while more spans come than the queue holds, then fails it, then works.
    /// Guarantee: whoever makes spans never waits, and each span is counted once: as exported, as lost by the queue, or as lost by
    /// the Collector.
    #[test]
    fn every_span_is_counted_once() {
        let (asked, exports) = channel();
        let (answer, answers) = channel();
        let metrics = Metrics::new("x");
        let exporter = Slow { asked, answers: Mutex::new(answers) };
        let queue = 2048;
        let outlet = outlet(exporter, 64 << 20, &metrics);
        // A batch is full at 512 spans, by the SDK's default.
        (0..512).for_each(|_| outlet.take(spans::tests::span()));
        let first = exports.recv_timeout(Duration::from_secs(30)).unwrap();
        let began = Instant::now();
        (0..5_000).for_each(|_| outlet.take(spans::tests::span()));
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        assert_eq!(outlet.gate.waiting.load(Ordering::Relaxed), queue);
        answer.send(Err(OTelSdkError::InternalFailure("refused".into()))).unwrap();
        (0..100).for_each(|_| answer.send(Ok(())).unwrap());
        let lost = 5_512 - queue;
        assert_eq!(outlet.close(Duration::from_secs(30)), Ended { unsent: 0, lost });
        assert!(outlet.gate.room.enter(64 << 20), "bytes were not given back");
        let text = metrics.render();
        let count = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
            line.trim().parse::<usize>().unwrap()
        };
        assert_eq!(count("longshore_spans_dropped_total{cause=\"export\"}"), first);
        let full = count("longshore_spans_dropped_total{cause=\"queue_full\"}");
        assert_eq!(full, 5_512 - first - queue);
        assert_eq!(count("longshore_spans_exported_total"), queue);
    }

    /// Scenario: the Collector takes some spans of a batch and says how many it did not. Guarantee: those are lost, the others exported.
    #[test]
    fn what_is_taken_in_part_is_counted_in_part() {
        let metrics = Metrics::new("x");
        let target = crate::otlp::tests::rejecting(2);
        let (nothing, queue) = (Resource::builder_empty().build(), Queue::default());
        let outlet = Outlet::open(&nothing, target, &queue, 1 << 20, metrics.spans()).unwrap();
        (0..5).for_each(|_| outlet.take(spans::tests::span()));
        assert_eq!(outlet.close(Duration::from_secs(30)), Ended { unsent: 0, lost: 2 });
        let text = metrics.render();
        assert!(text.contains("\nlongshore_spans_exported_total 3\n"), "{text}");
    }

    /// Scenario: the process ends while the Collector does not answer. Guarantee: the end waits no longer than its deadline, and what
    /// waited is counted as lost.
    #[test]
    fn an_end_does_not_wait_for_the_collector() {
        let (asked, exports) = channel();
        let (_answer, answers) = channel();
        let metrics = Metrics::new("x");
        let exporter = Slow { asked, answers: Mutex::new(answers) };
        let outlet = outlet(exporter, 64 << 20, &metrics);
        (0..512).for_each(|_| outlet.take(spans::tests::span()));
        exports.recv_timeout(Duration::from_secs(30)).unwrap();
        (0..10).for_each(|_| outlet.take(spans::tests::span()));
        let left = 522;
        let began = Instant::now();
        assert_eq!(outlet.close(Duration::from_millis(50)), Ended { unsent: left, lost: left });
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        assert!(
            metrics.render().contains(&format!("longshore_spans_dropped_total{{cause=\"stop\"}} {left}\n"))
        );
    }

    /// Guarantee (I10): no credentials of an endpoint's address reach the log.
    #[test]
    fn words_are_told_without_credentials() {
        let words = "error sending request for url (https://user:pass@collector:4318/v1/traces?token=x): dns\n\u{1b}[31m";
        assert_eq!(
            plain(words),
            "error sending request for url (https://collector:4318/v1/traces): dns  [31m"
        );
        assert_eq!(plain("mail me@home, no address"), "mail me@home, no address");
        assert_eq!(plain(&"ä".repeat(1_000)).len(), 300);
    }
}
