//! The supervisor: one task that gives every pair its own, forwards what the source tells, and ends the worker in
//! order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use longshore_core::pair::{Event, PairOptions};
use longshore_core::retry::Backoff;
use longshore_core::source::{Assignment, SourceCommand, SourceControl, SourceEvent};
use longshore_core::{Budget, Chunk, Epoch, Failure, Moment, Offset, PairId, Reason, Spool, TopicName};
use longshore_telemetry::metrics::{PairState, Rebalance};
use longshore_telemetry::{Metrics, Tracer};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use crate::budget::MemoryShares;
use crate::letters::LetterSink;
use crate::mailbox::Input;
use crate::pair_task::{PairEnd, PairTask, Shared};
use crate::plan::Plan;
use crate::pool::Pool;
use crate::spool::Spooler;
use crate::status::{Figures, PairCell, Phase, Status};
use crate::watchdog::{Remedy, Watchdog, hopeless};

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the signal until pairs let go of what is not finished (`limits.drain`).
    pub drain: Duration,
    /// The same when a rebalance takes a pair (`limits.revoke`); the poll thread waits that long.
    pub revoke: Duration,
    /// How long every pair may be held or halted before the worker ends (`limits.halt`).
    pub halt: Duration,
    /// How long a pair with work may show no progress before it is begun anew (`limits.stalled`).
    pub stalled: Duration,
    /// How long the source may take to commit, leave the group and close.
    pub close: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(15),
            revoke: Duration::from_secs(1),
            halt: Duration::from_secs(300),
            stalled: Duration::from_secs(300),
            close: Duration::from_secs(6),
        }
    }
}

/// What a fleet is told once.
#[derive(Clone, Debug)]
pub struct FleetOptions {
    /// What every pair is told. Order, grain and window are set by the fleet: from the plan, and from `memory`. What may repeat
    /// (`commit.uncommitted_cap`) is the worker's and shared out among its pairs.
    pub pair: PairOptions,
    /// The split of `limits.memory`.
    pub memory: MemoryShares,
    /// What chunks and blocks are charged to; the source charges to the same.
    pub budget: Arc<Budget>,
    /// How long things may take.
    pub limits: Limits,
    /// Threads for pure steps; [`FleetOptions::cores`] by default.
    pub pool_threads: usize,
    /// Waits between tries of a sink call or a letter.
    pub backoff: Backoff,
}

impl FleetOptions {
    /// As many threads as the process may use cores.
    pub fn cores() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}

/// What a fleet works with.
pub struct FleetParts {
    /// Steps and sinks.
    pub plan: Plan,
    /// What the source tells. Not bounded, because the poll thread must never wait; credit bounds what is in it.
    pub events: UnboundedReceiver<SourceEvent>,
    /// The way to command the source.
    pub control: Arc<dyn SourceControl>,
    /// Where dead letters go.
    pub letters: Arc<dyn LetterSink>,
    /// Where payloads go that wait for their retry beyond what memory has room for; without it they are read from the retry topic
    /// again.
    pub spool: Option<Arc<dyn Spool>>,
    /// Metrics of the process.
    pub metrics: Metrics,
    /// Makes the spans of records that are traced.
    pub tracer: Option<Tracer>,
    /// How the worker is; the HTTP side reads the same.
    pub status: Arc<Status>,
    /// A number that the poll thread changes at every turn, idle turns included; 0 before the first.
    pub heartbeat: Arc<AtomicU64>,
}

/// Why a fleet ended in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetEnd {
    /// It was told to stop; `overran` says that a deadline cut off unfinished work (which will be read again).
    Stopped {
        /// Whether a deadline cut off unfinished work.
        overran: bool,
    },
    /// Every pair was held or halted for `limits.halt`: the worst pair's failure, for the exit code.
    Halted(Failure),
    /// Something did not move and a new beginning did not help: exit code 70.
    Stalled(Failure),
}

/// The supervisor of all pairs of one worker.
pub struct Fleet {
    options: FleetOptions,
    shared: Arc<Shared>,
    status: Arc<Status>,
    heartbeat: Arc<AtomicU64>,
    pairs: HashMap<PairId, Handle>,
    /// Among so many pairs what may repeat was shared out last.
    sharing: usize,
    tasks: JoinSet<(PairId, Arc<PairCell>, PairEnd)>,
    partitions: HashMap<TopicName, u32>,
    trouble: Option<(Failure, Moment)>,
    watchdog: Watchdog,
    stop: Option<Stop>,
    /// How the source ended, or that a part of the runtime broke.
    source_end: Option<Result<(), Failure>>,
    overran: bool,
}

struct Handle {
    epoch: Epoch,
    mailbox: UnboundedSender<Input>,
    cell: Arc<PairCell>,
}

struct Stop {
    end: FleetEnd,
    pairs_until: Instant,
    /// When the source was told to close, and how long that may take.
    close_until: Option<Instant>,
}

/// How long a dead letter may be without an answer before its pair is held; well before the watchdog judges.
const LETTER_PATIENCE: Duration = Duration::from_secs(10);

/// How long a pair's task may take to let go once its deadline is there.
const GRACE: Duration = Duration::from_millis(500);

impl Fleet {
    /// Runs until `shutdown` resolves and everything is drained, until nothing can go on, or until the source ends.
    /// Dropping the future aborts everything; nothing more is committed then.
    ///
    /// # Errors
    /// The source's own failure, or class Halt with reason `internal` when a part of the runtime panicked.
    pub async fn run(
        options: FleetOptions,
        parts: FleetParts,
        shutdown: impl Future<Output = ()>,
    ) -> Result<FleetEnd, Failure> {
        let (mut fleet, mut events) = Self::new(options, parts)?;
        tokio::pin!(shutdown);
        let mut ticks = tokio::time::interval(fleet.tick());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        fleet.status.set_phase(Phase::Running);
        loop {
            // Every branch is cancel-safe: a message not taken stays, a tick missed comes again.
            tokio::select! {
                event = events.recv(), if fleet.source_end.is_none() => match event {
                    Some(event) => fleet.source_told(event),
                    None => fleet.source_end = Some(Err(Failure::halt(Reason::Internal, "the source went away"))),
                },
                Some(ended) = fleet.tasks.join_next() => fleet.pair_ended(ended),
                () = &mut shutdown, if fleet.stop.is_none() => fleet.begin_stop(FleetEnd::Stopped { overran: false }),
                _ = ticks.tick() => fleet.look_around(),
            }
            fleet.share_repeats();
            if let Some(outcome) = fleet.advance() {
                fleet.status.set_phase(Phase::Ended);
                return outcome;
            }
        }
    }

    fn new(
        mut options: FleetOptions,
        parts: FleetParts,
    ) -> Result<(Self, UnboundedReceiver<SourceEvent>), Failure> {
        let FleetParts { plan, events, control, letters, spool, metrics, tracer, status, heartbeat } = parts;
        if options.pair.sinks.len() != plan.routes.len() {
            return Err(Failure::halt(Reason::Internal, "the pair options name other sinks than the plan"));
        }
        options.pair.order = plan.order;
        options.pair.grain = plan.grain();
        metrics.watch_budget(&options.budget);
        metrics.group_member(true);
        if let Some(spool) = &spool {
            metrics.watch_spool(spool);
        }
        let spooler = Spooler::start(spool, &options.budget)?;
        let sinks = plan.routes.iter().map(|route| metrics.sink(route.sink.name())).collect();
        let plan = Arc::new(plan);
        let pool = Pool::start(options.pool_threads, &plan, &options.budget, tracer.as_ref())?;
        let shared = Arc::new(Shared {
            plan,
            pool,
            control,
            letters,
            spooler,
            metrics,
            tracer,
            sinks,
            budget: Arc::clone(&options.budget),
            clock: status.clock,
            pauses: options.backoff,
            letter_patience: LETTER_PATIENCE.min(options.limits.stalled / 4),
        });
        let fleet = Self {
            options,
            shared,
            status,
            heartbeat,
            pairs: HashMap::new(),
            sharing: 0,
            tasks: JoinSet::new(),
            partitions: HashMap::new(),
            trouble: None,
            watchdog: Watchdog::default(),
            stop: None,
            source_end: None,
            overran: false,
        };
        Ok((fleet, events))
    }

    /// Often enough to keep every limit to a quarter.
    fn tick(&self) -> Duration {
        let limits = &self.options.limits;
        let shortest = limits.halt.min(limits.stalled).min(Duration::from_secs(4));
        (shortest / 4).max(Duration::from_millis(5))
    }

    fn source_told(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Assigned(assignment) => self.assigned(assignment),
            SourceEvent::Received(chunk) => self.received(chunk),
            SourceEvent::Passed { pair, epoch, lane, offset } => {
                self.forward(&pair, Event::Passed { epoch, lane, offset });
            }
            SourceEvent::EndFound { pair, epoch, end } => {
                self.forward(&pair, Event::EndFound { epoch, end });
            }
            SourceEvent::LogEnd { pair, epoch, end } => self.log_end(&pair, epoch, end),
            SourceEvent::Committed { pair, epoch, lane, offset, result } => {
                self.forward(&pair, Event::Committed { epoch, lane, offset, result });
            }
            SourceEvent::Revoking { pair, epoch } => self.revoking(pair, epoch),
            SourceEvent::Lost { pair, .. } => {
                tracing::warn!(%pair, "lost");
                self.shared.metrics.rebalance(Rebalance::Lost);
                self.forward(&pair, Event::Lost);
                self.pairs.remove(&pair);
            }
            SourceEvent::Refused { pair, failure } => self.refused(pair, failure),
            SourceEvent::CopiesLost { pair, words } => {
                tracing::error!(%pair, "records that waited to be tried again are lost: {words}");
                self.shared.metrics.copies_lost();
            }
            SourceEvent::Trouble(failure) => self.in_trouble(failure),
            SourceEvent::Well => {
                if self.trouble.take().is_some() {
                    tracing::info!("the connection to the brokers is well again");
                }
                self.status.set_trouble(None);
                self.shared.metrics.broker_trouble(None);
            }
            SourceEvent::Member(is_member) => self.shared.metrics.group_member(is_member),
            SourceEvent::Ended(result) => self.source_end = Some(result),
        }
    }

    /// Tells all pairs their share of what may repeat, when there are more or fewer of them.
    fn share_repeats(&mut self) {
        if self.sharing == self.pairs.len() {
            return;
        }
        self.sharing = self.pairs.len();
        let share = self.share(self.sharing);
        for handle in self.pairs.values() {
            let _ = handle.mailbox.send(Input::Event(Event::Share(share)));
        }
    }

    /// What each of so many pairs may repeat.
    fn share(&self, pairs: usize) -> u64 {
        (self.options.pair.commit.uncommitted_cap / pairs.max(1) as u64).max(1)
    }

    fn forward(&self, pair: &PairId, event: Event) {
        if let Some(handle) = self.pairs.get(pair) {
            // A task that is at its end wants nothing any more.
            let _ = handle.mailbox.send(Input::Event(event));
        }
    }

    fn log_end(&self, pair: &PairId, epoch: Epoch, end: Offset) {
        if let Some(handle) = self.pairs.get(pair) {
            let _ = handle.mailbox.send(Input::LogEnd { epoch, end });
        }
    }

    fn received(&self, chunk: Arc<Chunk>) {
        if let Some(handle) = self.pairs.get(chunk.pair()) {
            let _ = handle.mailbox.send(Input::Event(Event::Received(chunk)));
        }
    }

    fn assigned(&mut self, assignment: Assignment) {
        self.shared.metrics.rebalance(Rebalance::Assigned);
        let (pair, epoch) = (assignment.pair.clone(), assignment.epoch);
        if self.stop.is_some() && !self.pairs.contains_key(&pair) {
            self.shared.control.send(SourceCommand::Release { pair, epoch, position: None, retry: None });
            return;
        }
        self.partitions.insert(pair.topic.clone(), assignment.partitions);
        let mailbox = self.handle(&pair, epoch);
        // The task sets the writer id: it makes a fresh one for every beginning.
        let writer = crate::entropy::writer_id();
        let _ = mailbox.send(Input::Event(Event::Assigned { assignment, writer }));
    }

    /// The mailbox of a pair's task, which is started when there is none.
    fn handle(&mut self, pair: &PairId, epoch: Epoch) -> UnboundedSender<Input> {
        if let Some(handle) = self.pairs.get_mut(pair)
            && !handle.mailbox.is_closed()
        {
            handle.epoch = epoch;
            return handle.mailbox.clone();
        }
        let (mailbox, inbox) = unbounded_channel();
        let cell = self.status.enter(pair);
        let mut options = self.options.pair.clone();
        let pairs = self.partitions.values().sum();
        options.window = self.options.memory.window(pairs);
        options.commit.uncommitted_cap = self.share(self.pairs.len() + 1);
        let shared = Arc::clone(&self.shared);
        let task = PairTask::new(shared, pair.clone(), Arc::new(options), mailbox.clone(), Arc::clone(&cell));
        let (id, told) = (pair.clone(), Arc::clone(&cell));
        self.tasks.spawn(async move { (id, told, task.run(inbox).await) });
        self.pairs.insert(pair.clone(), Handle { epoch, mailbox: mailbox.clone(), cell });
        mailbox
    }

    fn revoking(&mut self, pair: PairId, epoch: Epoch) {
        self.shared.metrics.rebalance(Rebalance::Revoked);
        let Some(handle) = self.pairs.remove(&pair) else {
            self.shared.control.send(SourceCommand::Release { pair, epoch, position: None, retry: None });
            return;
        };
        let limit = self.options.limits.revoke;
        // The answer has to be with the poll thread before its own patience ends.
        let until = Instant::now() + limit.saturating_sub((limit / 5).min(Duration::from_millis(200)));
        if handle.mailbox.send(Input::Revoke { epoch, until }).is_err() {
            self.shared.control.send(SourceCommand::Release { pair, epoch, position: None, retry: None });
        }
    }

    fn refused(&mut self, pair: PairId, failure: Failure) {
        let mailbox = self.handle(&pair, Epoch::default());
        let _ = mailbox.send(Input::Refused(failure));
    }

    fn in_trouble(&mut self, failure: Failure) {
        self.status.set_trouble(Some(failure.clone()));
        self.shared.metrics.broker_trouble(Some(failure.reason));
        match &mut self.trouble {
            Some((known, _)) if known.reason == failure.reason => *known = failure,
            _ => {
                tracing::warn!(%failure, "trouble with the brokers");
                self.trouble = Some((failure, self.shared.clock.now()));
            }
        }
    }

    fn pair_ended(&mut self, ended: Result<(PairId, Arc<PairCell>, PairEnd), JoinError>) {
        let Ok((pair, cell, end)) = ended else {
            let failure = Failure::halt(Reason::Internal, "a pair's task panicked; the log names the place");
            self.source_end = Some(Err(failure));
            return;
        };
        self.overran |= end == PairEnd::Overrun && self.stop.is_some();
        self.status.leave(&pair, &cell);
        if self.pairs.get(&pair).is_some_and(|handle| Arc::ptr_eq(&handle.cell, &cell)) {
            self.pairs.remove(&pair);
        }
    }

    /// Looks for stalls and for the end of hope; tells the gauges.
    fn look_around(&mut self) {
        self.status.heartbeat(self.heartbeat.load(Ordering::Relaxed));
        let cells = self.status.cells();
        let pairs: Vec<(PairId, Figures)> =
            cells.iter().map(|(pair, cell)| (pair.clone(), cell.read())).collect();
        for state in PairState::ALL {
            let count = pairs.iter().filter(|(_, figures)| figures.state == state).count();
            self.shared.metrics.pairs(state, count);
        }
        if self.stop.is_some() {
            return;
        }
        let (now, limits) = (self.shared.clock.now(), self.options.limits);
        for remedy in self.watchdog.inspect(&pairs, now, limits.stalled) {
            match remedy {
                Remedy::Rebuild(pair) => {
                    if let Some(handle) = self.pairs.get(&pair) {
                        let _ = handle.mailbox.send(Input::Rebuild);
                    }
                }
                Remedy::GiveUp(failure) => return self.begin_stop(FleetEnd::Stalled(failure)),
            }
        }
        let trouble = self.trouble.as_ref().map(|(failure, since)| (failure, *since));
        if let Some(failure) = hopeless(&pairs, trouble, now, limits.halt) {
            return self.begin_stop(FleetEnd::Halted(failure));
        }
        if self.status.has_beaten() && self.status.poll_silence() >= limits.stalled {
            let failure = Failure::halt(Reason::Internal, "the poll thread does not turn");
            self.begin_stop(FleetEnd::Stalled(failure));
        }
    }

    fn begin_stop(&mut self, end: FleetEnd) {
        let drain = self.options.limits.drain;
        match &end {
            FleetEnd::Stopped { .. } => tracing::info!(pairs = self.pairs.len(), "draining"),
            FleetEnd::Halted(failure) => tracing::error!(%failure, "no pair can go on: ending the worker"),
            FleetEnd::Stalled(failure) => tracing::error!(%failure, "no progress: ending the worker"),
        }
        self.status.set_phase(Phase::Draining);
        let pairs_until = Instant::now() + drain;
        for handle in self.pairs.values() {
            let _ = handle.mailbox.send(Input::Drain { until: pairs_until });
        }
        self.stop = Some(Stop { end, pairs_until: pairs_until + GRACE, close_until: None });
    }

    /// Takes the next step of stopping when its time has come; gives the outcome at the end.
    fn advance(&mut self) -> Option<Result<FleetEnd, Failure>> {
        if let Some(result) = self.source_end.take() {
            return Some(match (result, self.stop.take()) {
                (Ok(()), Some(stop)) => Ok(self.end_of(stop)),
                (Ok(()), None) => Ok(FleetEnd::Stopped { overran: false }),
                (Err(failure), _) => Err(failure),
            });
        }
        let now = Instant::now();
        let stop = self.stop.as_mut()?;
        match stop.close_until {
            None if self.tasks.is_empty() || now >= stop.pairs_until => {
                self.overran |= !self.tasks.is_empty();
                stop.close_until = Some(now + self.options.limits.close);
                self.shared.control.send(SourceCommand::Shutdown);
            }
            Some(until) if now >= until => {
                tracing::error!("the source did not close in time");
                self.overran = true;
                let stop = self.stop.take()?;
                return Some(Ok(self.end_of(stop)));
            }
            None | Some(_) => {}
        }
        None
    }

    fn end_of(&self, stop: Stop) -> FleetEnd {
        if self.overran {
            self.shared.metrics.drain_overrun();
            tracing::warn!("the drain overran: what was cut off will be read again");
        }
        match stop.end {
            FleetEnd::Stopped { .. } => FleetEnd::Stopped { overran: self.overran },
            FleetEnd::Halted(failure) => FleetEnd::Halted(failure),
            FleetEnd::Stalled(failure) => FleetEnd::Stalled(failure),
        }
    }
}
