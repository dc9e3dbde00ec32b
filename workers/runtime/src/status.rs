//! How the worker and its pairs are, for `/readyz`, `/livez`, `/lag`, the watchdog and the metrics. Each pair's task
//! writes its own figures once a batch; everyone else only reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_core::pair::Tally;
use longshore_core::{Class, Failure, Moment, Offset, PairId, Reason};
pub use longshore_telemetry::metrics::{Lag, PairState};

use crate::clock::{self, Clock};
use crate::pace::Pace;

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
    /// How far it is behind: the metrics' figures.
    pub lag: Lag,
    /// Records that wait in the retry lane.
    pub waiting: u64,
    /// Keys of which records wait there.
    pub parked: u64,
    /// Where records ended since the worker began.
    pub outcomes: Outcomes,
}

/// Where records ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// In all sinks that wanted them.
    pub sunk: u64,
    /// Nowhere, as a step decided.
    pub filtered: u64,
    /// As dead letters.
    pub dead: u64,
    /// Nowhere again: a ledger or the retry lane had them.
    pub already_held: u64,
    /// In the retry topic, on their way; each try of a record counts.
    pub retried: u64,
}

impl Outcomes {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.sunk += other.sunk;
        self.filtered += other.filtered;
        self.dead += other.dead;
        self.already_held += other.already_held;
        self.retried += other.retried;
    }

    /// Records at a final place.
    pub(crate) fn settled(&self) -> u64 {
        self.sunk + self.filtered + self.dead + self.already_held
    }
}

impl From<&Tally> for Outcomes {
    fn from(tally: &Tally) -> Self {
        Self {
            sunk: tally.sunk,
            filtered: tally.filtered.iter().map(|(_, count)| count).sum(),
            dead: tally.dead.iter().map(|(_, count)| count).sum(),
            already_held: tally.already_held,
            retried: tally.retried.iter().map(|(_, count)| count).sum(),
        }
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
    /// Records to be worked on.
    pub(crate) backlog: u64,
    /// The timestamp of the oldest of them that was read.
    pub(crate) oldest_ms: Option<i64>,
    /// How fast they are done.
    pub(crate) pace: Pace,
    /// Records that wait in the retry lane, and their keys.
    pub(crate) waiting: (u64, u64),
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
            backlog: 0,
            oldest_ms: None,
            pace: Pace::new(now),
            waiting: (0, 0),
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

    /// How far the pair is behind at a moment, whose time of day is given too.
    pub(crate) fn lag(&self, now: Moment, wall_ms: i64) -> Lag {
        let age = |timestamp: i64| wall_ms.saturating_sub(timestamp).max(0) as f64 / 1_000.0;
        let seconds = if self.backlog == 0 { Some(0.0) } else { self.oldest_ms.map(age) };
        Lag { records: self.backlog, seconds, rate: self.pace.rate(now) }
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
    /// Since the worker began, under all ownerships.
    outcomes: Arc<Mutex<Outcomes>>,
}

impl PairCell {
    pub(crate) fn new(now: Moment, outcomes: Arc<Mutex<Outcomes>>) -> Arc<Self> {
        Arc::new(Self { figures: Mutex::new(Figures::new(now)), outcomes })
    }

    pub(crate) fn count(&self, outcomes: &Outcomes) {
        lock(&self.outcomes).add(outcomes);
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
    /// Of every pair that was ever here; bounded by the partitions there are.
    outcomes: Mutex<BTreeMap<PairId, Arc<Mutex<Outcomes>>>>,
    worker: Mutex<Worker>,
}

impl Status {
    /// A worker that has not begun.
    pub fn new() -> Arc<Self> {
        let clock = Clock::start();
        let worker = Worker { phase: Phase::Starting, trouble: None, beats: 0, beat_at: clock.now() };
        Arc::new(Self {
            clock,
            pairs: Mutex::default(),
            outcomes: Mutex::default(),
            worker: Mutex::new(worker),
        })
    }

    /// All pairs this worker owns, in order.
    pub fn pairs(&self) -> Vec<PairStatus> {
        let now = self.clock.now();
        let cells: Vec<_> =
            lock(&self.pairs).iter().map(|(id, cell)| (id.clone(), Arc::clone(cell))).collect();
        let wall_ms = clock::wall_ms();
        let told = |(pair, cell): (PairId, Arc<PairCell>)| {
            let outcomes = *lock(&cell.outcomes);
            told(pair, &cell.read(), outcomes, (now, wall_ms))
        };
        cells.into_iter().map(told).collect()
    }

    /// Where records ended since the worker began, those of pairs that others have by now included.
    pub fn outcomes(&self) -> Outcomes {
        let mut all = Outcomes::default();
        lock(&self.outcomes).values().for_each(|of_pair| all.add(&lock(of_pair)));
        all
    }

    /// For how long the worker has been there.
    pub fn uptime(&self) -> Duration {
        self.clock.now().since(Moment::default())
    }

    /// What the worker is at.
    pub fn phase(&self) -> Phase {
        lock(&self.worker).phase
    }

    /// What is wrong with the connection to the brokers, if anything.
    pub fn trouble(&self) -> Option<Failure> {
        lock(&self.worker).trouble.clone()
    }

    /// For `/readyz`: ready when working or waiting for partitions as a member of the group, and every pair's sinks are open. Brokers that
    /// come and go leave it as it is, and those that answer with errors do until that has lasted.
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
        if let Some(failure) = self.trouble().filter(bars) {
            return Err(failure.to_string());
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

    /// The figures of a pair that is ours from now on.
    pub(crate) fn enter(&self, pair: &PairId) -> Arc<PairCell> {
        let outcomes = Arc::clone(lock(&self.outcomes).entry(pair.clone()).or_default());
        let cell = PairCell::new(self.clock.now(), outcomes);
        lock(&self.pairs).insert(pair.clone(), Arc::clone(&cell));
        cell
    }

    /// Takes a pair off the list, unless a later ownership has taken its place.
    pub(crate) fn leave(&self, pair: &PairId, cell: &Arc<PairCell>) {
        let mut pairs = lock(&self.pairs);
        if pairs.get(pair).is_some_and(|known| Arc::ptr_eq(known, cell)) {
            pairs.remove(pair);
        }
    }
}

/// Whether a worker in this trouble does not do what it is there for: it has no place in the group, the brokers have answered its commits or
/// fetches with nothing but errors for long, or a person has to mend something first.
fn bars(trouble: &Failure) -> bool {
    let stands = [Reason::BrokerGroup, Reason::BrokerCommits, Reason::BrokerFetches];
    trouble.class == Class::Halt || stands.contains(&trouble.reason)
}

fn told(pair: PairId, figures: &Figures, outcomes: Outcomes, (now, wall_ms): (Moment, i64)) -> PairStatus {
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
        lag: figures.lag(now, wall_ms),
        waiting: figures.waiting.0,
        parked: figures.waiting.1,
        outcomes,
    }
}

/// A lock whose holder panicked still holds figures worth telling.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
