//! One fleet in memory, and conditions to wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use longshore_core::item::{Flow, Step, WaitingStep};
use longshore_core::metadata::METADATA_BYTES;
use longshore_core::pair::{CommitPolicy, Grain, Order, PairOptions, SealPolicy, SinkSpec, Window};
use longshore_core::retry::Backoff;
use longshore_core::{BoxFuture, Budget, Failure, Generation, Item, PairId};
use longshore_runtime::fleet::{FleetEnd, FleetOptions, FleetParts, Limits};
use longshore_runtime::{AnyStep, Fleet, MemoryShares, Plan, Predicate, Route, Status};
use longshore_telemetry::Metrics;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::sink::{MemoryLetters, MemorySink, Store};
use crate::source::{MemorySource, Record};

pub(crate) struct FnStep<F>(pub(crate) &'static str, pub(crate) F);

impl<F: Fn(&mut Item) -> Result<Flow, Failure> + Send + Sync> Step for FnStep<F> {
    fn name(&self) -> &str {
        self.0
    }

    fn apply(&self, item: &mut Item) -> Result<Flow, Failure> {
        (self.1)(item)
    }
}

pub(crate) fn pure<F>(name: &'static str, apply: F) -> AnyStep
where
    F: Fn(&mut Item) -> Result<Flow, Failure> + Send + Sync + 'static,
{
    AnyStep::Pure(Box::new(FnStep(name, apply)))
}

struct FnWaiting<F>(&'static str, F);

impl<F, W> WaitingStep for FnWaiting<F>
where
    F: Fn(Vec<u8>) -> W + Send + Sync,
    W: Future<Output = Result<Flow, Failure>> + Send + 'static,
{
    fn name(&self) -> &str {
        self.0
    }

    fn apply<'a>(&'a self, item: &'a mut Item) -> BoxFuture<'a, Result<Flow, Failure>> {
        Box::pin((self.1)(item.raw().unwrap_or_default().to_vec()))
    }
}

/// A waiting step that is told the record's value.
pub(crate) fn waiting<F, W>(name: &'static str, apply: F) -> AnyStep
where
    F: Fn(Vec<u8>) -> W + Send + Sync + 'static,
    W: Future<Output = Result<Flow, Failure>> + Send + 'static,
{
    AnyStep::Waiting(Arc::new(FnWaiting(name, apply)))
}

pub(crate) struct FnPredicate(pub(crate) fn(&Item) -> Result<bool, Failure>);

impl Predicate for FnPredicate {
    fn matches(&self, item: &Item) -> Result<bool, Failure> {
        (self.0)(item)
    }
}

/// What a test wants other than the usual.
pub(crate) struct Setup {
    pub(crate) steps: Vec<AnyStep>,
    pub(crate) whens: Vec<Option<Box<dyn Predicate>>>,
    pub(crate) order: Order,
    pub(crate) step_deadline: Option<Duration>,
    pub(crate) limits: Limits,
    pub(crate) memory: u64,
    pub(crate) attempts: u32,
    /// The sinks keep no ledger, and all pairs together may give them so many records twice.
    pub(crate) repeats: Option<u64>,
}

impl Default for Setup {
    fn default() -> Self {
        let limits = Limits { drain: Duration::from_secs(5), ..Limits::default() };
        Self {
            steps: Vec::new(),
            whens: vec![None],
            order: Order::Key,
            step_deadline: Some(Duration::from_secs(30)),
            limits,
            memory: 256 * 1024 * 1024,
            attempts: 3,
            repeats: None,
        }
    }
}

pub(crate) struct World {
    pub(crate) source: Arc<MemorySource>,
    pub(crate) stores: Vec<Arc<Store>>,
    pub(crate) letters: Arc<MemoryLetters>,
    pub(crate) status: Arc<Status>,
    pub(crate) metrics: Metrics,
    pub(crate) budget: Arc<Budget>,
    pub(crate) fleet: JoinHandle<Result<FleetEnd, Failure>>,
    stop: Option<oneshot::Sender<()>>,
    pump: JoinHandle<()>,
}

impl World {
    pub(crate) fn start(setup: Setup) -> Self {
        let (events, inbox) = tokio::sync::mpsc::unbounded_channel();
        let memory = MemoryShares::of(setup.memory);
        let budget = memory.budget();
        let source = MemorySource::new(events, &budget);
        let stores: Vec<_> = setup.whens.iter().map(|_| Arc::<Store>::default()).collect();
        let letters = Arc::<MemoryLetters>::default();
        let status = Status::new();
        let metrics = Metrics::new("test");
        let sinks = stores.iter().enumerate();
        let routes: Vec<_> =
            sinks.zip(setup.whens).map(|((at, store), when)| route(at, store, when)).collect();
        let options = FleetOptions {
            pair: pair_options(routes.len(), setup.attempts, setup.repeats),
            memory,
            budget: Arc::clone(&budget),
            limits: setup.limits,
            pool_threads: 2,
            backoff: brief(),
        };
        let heartbeat = Arc::new(AtomicU64::new(0));
        let plan = Plan::new(setup.steps, routes, setup.order, setup.step_deadline).unwrap();
        let parts = FleetParts {
            plan,
            events: inbox,
            control: source.clone(),
            letters: letters.clone(),
            spool: None,
            metrics: metrics.clone(),
            tracer: None,
            status: Arc::clone(&status),
            heartbeat: Arc::clone(&heartbeat),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let fleet = tokio::spawn(Fleet::run(options, parts, async {
            let _ = stopped.await;
        }));
        let pumped = Arc::clone(&source);
        let pump = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(2)).await;
                pumped.pump();
                heartbeat.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { source, stores, letters, status, metrics, budget, fleet, stop: Some(stop), pump }
    }

    /// The first sink's store.
    pub(crate) fn store(&self) -> &Store {
        &self.stores[0]
    }

    /// Fills partition 0 of `logs` and makes it ours.
    pub(crate) fn feed(&self, records: impl IntoIterator<Item = Record>) -> PairId {
        let pair = PairId::new("logs", 0);
        self.source.fill(&pair, records);
        self.source.assign(&pair);
        pair
    }

    pub(crate) fn signal(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Signals and waits for the end.
    pub(crate) async fn stop(mut self) -> Result<FleetEnd, Failure> {
        if self.stop.is_some() {
            self.signal();
        }
        self.end().await
    }

    /// Waits for the end.
    pub(crate) async fn end(self) -> Result<FleetEnd, Failure> {
        let end = tokio::time::timeout(Duration::from_secs(20), self.fleet).await.expect("the fleet ends");
        self.pump.abort();
        end.expect("the fleet does not panic")
    }
}

fn route(at: usize, store: &Arc<Store>, when: Option<Box<dyn Predicate>>) -> Route {
    let sink = MemorySink { name: format!("memory.{at}"), store: Arc::clone(store) };
    Route { sink: Arc::new(sink), when }
}

pub(crate) fn brief() -> Backoff {
    Backoff {
        base: Duration::from_millis(2),
        cap: Duration::from_millis(10),
        floor: Duration::from_millis(1),
    }
}

fn pair_options(sinks: usize, attempts: u32, repeats: Option<u64>) -> PairOptions {
    let seal = SealPolicy { bytes: 1 << 20, rows: 500, age: Duration::from_millis(20) };
    let spec =
        |at| SinkSpec { name: format!("memory.{at}"), ledger: repeats.is_none(), refuses: false, seal };
    let sinks = (0..sinks).map(spec).collect();
    PairOptions {
        pipeline: "test".into(),
        version: "1".into(),
        order: Order::Key,
        grain: Grain::Batch,
        sinks,
        unit_records: 256,
        units_in_flight: 1024,
        window: Window { records: 1, bytes: 1 },
        commit: CommitPolicy {
            interval: Duration::from_millis(10),
            records: 1000,
            uncommitted_cap: repeats.unwrap_or(20_000),
            metadata_bytes: METADATA_BYTES,
        },
        backoff: brief(),
        attempts,
        retry: None,
        flood: None,
        generation: Generation::FIRST,
    }
}

/// Waits until the condition holds; fails the test after ten seconds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(10), "never came: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Records `key/number` over so many keys.
pub(crate) fn numbered(count: usize, keys: usize) -> impl Iterator<Item = Record> {
    (0..count).map(move |n| {
        (Some(format!("k{}", n % keys).into_bytes()), format!("k{}/{n}", n % keys).into_bytes())
    })
}

/// Values of each key must stand in rising number.
pub(crate) fn assert_key_order(rows: &[crate::sink::Held]) {
    let mut last = std::collections::HashMap::new();
    for (_, value) in rows {
        let text = std::str::from_utf8(value).unwrap();
        let (key, number) = text.split_once('/').unwrap();
        let number: u64 = number.parse().unwrap();
        if let Some(before) = last.insert(key.to_owned(), number) {
            assert!(before < number, "{key}: {number} behind {before}");
        }
    }
}

pub(crate) fn sorted(mut offsets: Vec<i64>) -> Vec<i64> {
    offsets.sort_unstable();
    offsets
}
