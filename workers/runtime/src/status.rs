//! How the worker and its pairs are, for `/readyz`, `/livez`, `/lag`, the watchdog and the metrics. Each pair's task
//! writes its own figures once a batch; everyone else only reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_core::{Failure, Moment, Offset, PairId};
pub use longshore_telemetry::metrics::PairState;

use crate::clock::Clock;

/// What the worker as a whole is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not yet with the group.
    Starting,
    /// Working, or waiting for partitions.
    Running,
    /// Finishing what is here.
    Draining,
    /// Over.
    Ended,
}

/// How one pair is.
#[derive(Clone, Debug)]
pub struct PairStatus {
    /// The pair.
    pub pair: PairId,
    /// What it is at.
    pub state: PairState,
    /// Why, when it is held or halted.
    pub reason: Option<Failure>,
    /// For how long it has been in this state.
    pub for_long: Duration,
    /// Records received under this ownership.
    pub received: u64,
    /// Records received and not settled.
    pub in_flight: u64,
    /// Everything below is settled; none before the first commit under this ownership.
    pub watermark: Option<Offset>,
    /// The offset last acknowledged by the broker.
    pub committed: Option<Offset>,
    /// The log's end as far as this worker has seen it: at assignment, or behind the last record received.
    pub log_end: Offset,
    /// The offset behind the last record received, or where reading began.
    pub position: Offset,
    /// Since when nothing has moved.
    pub idle: Duration,
}

impl PairStatus {
    /// Offsets between the watermark and the log's end as far as seen; markers and gaps included, so an upper bound.
    pub fn lag(&self) -> u64 {
        let from = self.watermark.or(self.committed).unwrap_or(Offset(0));
        u64::try_from(self.log_end.0 - from.0).unwrap_or(0)
    }
}

/// The figures of one pair as its task keeps them.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) state: PairState,
    pub(crate) reason: Option<Failure>,
    pub(crate) since: Moment,
    pub(crate) received: u64,
    pub(crate) settled: u64,
    pub(crate) watermark: Option<Offset>,
    pub(crate) committed: Option<Offset>,
    pub(crate) log_end: Offset,
    pub(crate) position: Offset,
    /// Rises whenever something of the pair moved on.
    pub(crate) progress: u64,
    /// When it rose last, or when work came after idleness.
    pub(crate) progress_at: Moment,
    /// Something of the pair should be moving: not idle, not asleep until a retry is due, and not in a waiting step
    /// that may take as long as it likes.
    pub(crate) busy: bool,
    /// Since when the oldest unit has been with the CPU pool.
    pub(crate) oldest_unit: Option<Moment>,
}

impl Figures {
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            state: PairState::Starting,
            reason: None,
            since: now,
            received: 0,
            settled: 0,
            watermark: None,
            committed: None,
            log_end: Offset(0),
            position: Offset(0),
            progress: 0,
            progress_at: now,
            busy: true,
            oldest_unit: None,
        }
    }

    /// Since when nothing has moved, or one unit has not come back however much the others moved.
    pub(crate) fn quiet_since(&self) -> Moment {
        self.oldest_unit.map_or(self.progress_at, |unit| unit.min(self.progress_at))
    }

    /// Records received and not settled.
    pub(crate) fn in_flight(&self) -> u64 {
        self.received.saturating_sub(self.settled)
    }
}

/// One pair's figures, shared between its task and the readers.
#[derive(Debug)]
pub(crate) struct PairCell {
    figures: Mutex<Figures>,
}

impl PairCell {
    pub(crate) fn new(now: Moment) -> Arc<Self> {
        Arc::new(Self { figures: Mutex::new(Figures::new(now)) })
    }

    pub(crate) fn read(&self) -> Figures {
        lock(&self.figures).clone()
    }

    pub(crate) fn write(&self, figures: &Figures) {
        lock(&self.figures).clone_from(figures);
    }
}

#[derive(Debug)]
struct Worker {
    phase: Phase,
    trouble: Option<Failure>,
    beats: u64,
    beat_at: Moment,
}

/// How the worker is. Cheap to read; share it by [`Arc`].
#[derive(Debug)]
pub struct Status {
    pub(crate) clock: Clock,
    pairs: Mutex<BTreeMap<PairId, Arc<PairCell>>>,
    worker: Mutex<Worker>,
}

impl Status {
    /// A worker that has not begun.
    pub fn new() -> Arc<Self> {
        let clock = Clock::start();
        let worker = Worker { phase: Phase::Starting, trouble: None, beats: 0, beat_at: clock.now() };
        Arc::new(Self { clock, pairs: Mutex::default(), worker: Mutex::new(worker) })
    }

    /// All pairs this worker owns, in order.
    pub fn pairs(&self) -> Vec<PairStatus> {
        let now = self.clock.now();
        let cells: Vec<_> =
            lock(&self.pairs).iter().map(|(id, cell)| (id.clone(), Arc::clone(cell))).collect();
        cells.into_iter().map(|(pair, cell)| told(pair, &cell.read(), now)).collect()
    }

    /// What the worker is at.
    pub fn phase(&self) -> Phase {
        lock(&self.worker).phase
    }

    /// What is wrong with the connection to the brokers, if anything.
    pub fn trouble(&self) -> Option<Failure> {
        lock(&self.worker).trouble.clone()
    }

    /// For `/readyz`: ready when working or waiting for partitions, and every pair's sinks are open.
    ///
    /// # Errors
    /// A short text that says why not.
    pub fn ready(&self) -> Result<(), String> {
        match self.phase() {
            Phase::Running => {}
            Phase::Starting => return Err("starting".to_owned()),
            Phase::Draining => return Err("draining".to_owned()),
            Phase::Ended => return Err("ended".to_owned()),
        }
        let starting = self.pairs().into_iter().find(|pair| pair.state == PairState::Starting);
        starting.map_or(Ok(()), |pair| Err(format!("{} is reading its ledgers", pair.pair)))
    }

    /// For `/livez`: how long the poll thread has not turned; never the brokers' reachability. Compare with a bound
    /// well below `max.poll.interval.ms`.
    pub fn poll_silence(&self) -> Duration {
        self.clock.now().since(lock(&self.worker).beat_at)
    }

    /// Whether the poll thread ever turned.
    pub(crate) fn has_beaten(&self) -> bool {
        lock(&self.worker).beats != 0
    }

    /// Notes the poll thread's counter of turns.
    pub(crate) fn heartbeat(&self, beats: u64) {
        let now = self.clock.now();
        let mut worker = lock(&self.worker);
        if worker.beats != beats {
            worker.beats = beats;
            worker.beat_at = now;
        }
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        lock(&self.worker).phase = phase;
    }

    pub(crate) fn set_trouble(&self, trouble: Option<Failure>) {
        lock(&self.worker).trouble = trouble;
    }

    pub(crate) fn cells(&self) -> Vec<(PairId, Arc<PairCell>)> {
        lock(&self.pairs).iter().map(|(id, cell)| (id.clone(), Arc::clone(cell))).collect()
    }

    pub(crate) fn enter(&self, pair: &PairId, cell: &Arc<PairCell>) {
        lock(&self.pairs).insert(pair.clone(), Arc::clone(cell));
    }

    /// Takes a pair off the list, unless a later ownership has taken its place.
    pub(crate) fn leave(&self, pair: &PairId, cell: &Arc<PairCell>) {
        let mut pairs = lock(&self.pairs);
        if pairs.get(pair).is_some_and(|known| Arc::ptr_eq(known, cell)) {
            pairs.remove(pair);
        }
    }
}

fn told(pair: PairId, figures: &Figures, now: Moment) -> PairStatus {
    PairStatus {
        pair,
        state: figures.state,
        reason: figures.reason.clone(),
        for_long: now.since(figures.since),
        received: figures.received,
        in_flight: figures.in_flight(),
        watermark: figures.watermark,
        committed: figures.committed,
        log_end: figures.log_end,
        position: figures.position,
        idle: now.since(figures.quiet_since()),
    }
}

/// A lock whose holder panicked still holds figures worth telling.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
