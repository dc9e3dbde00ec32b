//! One tokio task for each pair: it owns the pair's machine, hands it what happens, and performs what it asks for
//! ([`perform`]).

mod perform;
mod traces;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use longshore_core::pair::{
    Action, CommitResult, Event, Letter, Pair, PairOptions, SpoolId, Unit, UnitResult,
};
use longshore_core::source::{Assignment, SourceCommand, SourceControl};
use longshore_core::{
    BoxFuture, Budget, Charge, Chunk, Epoch, Failure, Lane, Moment, Offset, PairId, Reason, Spooled, UnitId,
};
use longshore_telemetry::metrics::PairState;
use longshore_telemetry::{Metrics, PairMetrics, SinkMetrics, Tracer};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep_until};

use crate::clock::{self, Clock};
use crate::crash::{self, Point};
use crate::entropy;
use crate::letters::{Delivered, LetterSink, Troubles};
use crate::mailbox::Input;
use crate::plan::Plan;
use crate::pool::Pool;
use crate::spool::Spooler;
use crate::status::{Figures, PairCell};
use crate::stories::Traced;
use crate::trouble::Pauses;
use crate::waiting::Crew;
use crate::writer::Writer;
use traces::Traces;

/// How many messages are taken before the figures are told again.
const INBOX: usize = 64;

/// Letters on their way.
type Delivery = BoxFuture<'static, Delivered>;

/// What all pairs share.
pub(crate) struct Shared {
    pub(crate) plan: Arc<Plan>,
    pub(crate) pool: Pool,
    pub(crate) control: Arc<dyn SourceControl>,
    pub(crate) letters: Arc<dyn LetterSink>,
    pub(crate) spooler: Spooler,
    pub(crate) metrics: Metrics,
    pub(crate) tracer: Option<Tracer>,
    pub(crate) sinks: Vec<SinkMetrics>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) clock: Clock,
    pub(crate) pauses: Pauses,
    /// How long a letter may be without an answer before that is trouble.
    pub(crate) letter_patience: Duration,
}

/// How a pair's task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PairEnd {
    /// Everything was finished in time, or nothing was to be finished.
    Released,
    /// The deadline cut it short.
    Overrun,
    /// The pair was lost, or its fleet is gone.
    Lost,
}

/// The units with the steps. A new flight begins when the old one is cancelled.
struct Flight {
    number: u64,
    cancelled: Arc<AtomicBool>,
    /// Units with the CPU pool, and since when.
    pooled: BTreeMap<UnitId, Moment>,
    /// Units with waiting steps; dropping it cancels them.
    waiting: Crew,
}

impl Flight {
    fn new(number: u64) -> Self {
        Self { number, cancelled: Arc::default(), pooled: BTreeMap::new(), waiting: Crew::new() }
    }
}

/// The deadline of a drain or revoke.
struct Stop {
    until: Instant,
    overrun: bool,
}

/// The state of one pair's task.
pub(crate) struct PairTask {
    shared: Arc<Shared>,
    id: PairId,
    options: Arc<PairOptions>,
    machine: Pair,
    /// Thrown away by the watchdog: nothing reaches the machine until the next `Assigned`.
    waits_for_assignment: bool,
    /// What the machine was told last that it may repeat; a new one is told it again.
    share: u64,
    epoch: Epoch,
    cluster: String,
    topic_id: String,
    writers: Vec<Option<Writer>>,
    flight: Flight,
    /// Polled by this task: letters cost no task of their own.
    letters: FuturesUnordered<Delivery>,
    /// Letters that are to be sent, as one parcel, when this turn of the task is over.
    posted: Vec<Letter>,
    letters_trouble: Troubles,
    traces: Traces,
    /// What the spool has of this pair.
    spooled: HashMap<SpoolId, Arc<dyn Spooled>>,
    /// What the entries of copies that wait take in memory.
    waiting: Charge,
    started: bool,
    /// Where reading was to begin, until something came.
    begins: Option<Offset>,
    halt: Option<Failure>,
    hold: Option<Failure>,
    mailbox: UnboundedSender<Input>,
    stop: Option<Stop>,
    end: Option<PairEnd>,
    actions: Vec<Action>,
    /// Units with waiting steps that are to be handed over.
    outgoing: Vec<Unit>,
    metrics: PairMetrics,
    granted_records: u64,
    figures: Figures,
    /// Records and bytes that came and are not told of.
    arrived: (u64, u64),
    told_progress: u64,
    cell: Arc<PairCell>,
}

impl PairTask {
    /// A pair that was not assigned yet. `mailbox` is the sending end of what [`Self::run`] reads.
    pub(crate) fn new(
        shared: Arc<Shared>,
        id: PairId,
        options: Arc<PairOptions>,
        mailbox: UnboundedSender<Input>,
        cell: Arc<PairCell>,
    ) -> Self {
        let figures = Figures::new(shared.clock.now());
        Self {
            machine: Pair::new(Arc::clone(&options), id.clone()),
            waits_for_assignment: false,
            share: options.commit.uncommitted_cap,
            epoch: Epoch::default(),
            cluster: String::new(),
            topic_id: String::new(),
            writers: shared.plan.routes.iter().map(|_| None).collect(),
            flight: Flight::new(0),
            letters: FuturesUnordered::new(),
            posted: Vec::new(),
            letters_trouble: Troubles::default(),
            traces: Traces::new(shared.tracer.clone()),
            spooled: HashMap::new(),
            waiting: shared.budget.charge_waiting(0),
            started: false,
            begins: None,
            halt: None,
            hold: None,
            mailbox,
            stop: None,
            end: None,
            actions: Vec::new(),
            outgoing: Vec::new(),
            metrics: shared.metrics.pair(&id),
            granted_records: 0,
            figures,
            arrived: (0, 0),
            told_progress: 0,
            cell,
            shared,
            id,
            options,
        }
    }

    /// Runs until the pair is released or lost.
    pub(crate) async fn run(mut self, mut mailbox: UnboundedReceiver<Input>) -> PairEnd {
        let mut inbox = Vec::with_capacity(INBOX);
        loop {
            if let Some(end) = self.end {
                self.metrics.forget();
                return end;
            }
            let wake = self.wake();
            let stop = self.stop.as_ref().filter(|stop| !stop.overrun).map(|stop| stop.until);
            // Every branch is cancel-safe: `recv_many`, `ended` and `next` lose nothing, sleeps are made anew.
            tokio::select! {
                _ = mailbox.recv_many(&mut inbox, INBOX) => {}
                Some(_) = self.flight.waiting.ended() => self.defect("a task of the waiting steps ended"),
                Some(delivered) = self.letters.next() => self.letters_came(delivered),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => self.handle(Event::Tick),
                () = sleep_until(stop.unwrap_or_else(Instant::now)), if stop.is_some() => self.overrun(),
            }
            for input in inbox.drain(..) {
                if self.end.is_none() {
                    self.take(input);
                }
            }
            self.send_posted();
            self.tell();
        }
    }

    fn wake(&self) -> Option<Instant> {
        if self.waits_for_assignment {
            return None;
        }
        self.machine.next_wake().map(|moment| self.shared.clock.instant(moment))
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Event(event) => self.event(event),
            Input::Unit { flight, result, traced, charge } => {
                if flight == self.flight.number {
                    self.flight.pooled.retain(|unit, _| !result.units.contains(unit));
                    let took = [result.took];
                    self.units_done(result, traced, &took);
                }
                drop(charge);
            }
            Input::Waited { flight, result, traced, took, charge } => {
                if flight == self.flight.number {
                    self.flight.waiting.returned(result.units.len());
                    self.units_done(result, traced, &took);
                }
                drop(charge);
            }
            Input::Publishing(epoch) => self.figures.progress += u64::from(epoch == self.epoch),
            Input::Spooled { epoch, id, taken } => {
                let known = epoch == self.epoch && !self.waits_for_assignment;
                if let Some(chunk) = taken.clone().filter(|_| known) {
                    self.spooled.insert(id, chunk);
                }
                self.event(Event::Spooled { epoch, id, taken: taken.is_some() });
            }
            Input::LetterRetried(failure) => self.metrics.letter_retried(&failure),
            Input::LetterTrouble { round, failure, first } => {
                self.letters_trouble.told(round, failure, first);
                self.derive_state();
            }
            Input::LetterWell { round } => {
                self.letters_trouble.ended(round);
                self.derive_state();
            }
            Input::LogEnd { epoch, end } => {
                if epoch == self.epoch {
                    self.figures.log_end = self.figures.log_end.max(end);
                }
            }
            Input::Drain { until } => self.stop(until, Event::Drain),
            Input::Revoke { epoch, until } => {
                if self.waits_for_assignment {
                    self.epoch = epoch;
                }
                self.stop(until, Event::Revoke);
            }
            Input::Refused(failure) => {
                self.begin_anew();
                self.halted(failure);
            }
            Input::Rebuild => self.rebuild(),
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Assigned { assignment, .. } => return self.assigned(assignment),
            Event::Received(chunk) => return self.received(chunk),
            Event::Share(share) => {
                self.share = share;
                return self.handle(event);
            }
            Event::Lost => {
                self.handle(Event::Lost);
                self.drop_work();
                self.end = Some(PairEnd::Lost);
                return;
            }
            _ => {}
        }
        if self.waits_for_assignment {
            return;
        }
        match &event {
            Event::Committed { epoch, lane, offset, result } if *epoch == self.epoch => {
                if let Some((took, error)) = self.traces.committed(&self.id, *lane, *offset, result) {
                    self.metrics.commit_took(*lane, took, error);
                }
                match lane {
                    Lane::Retry => self.figures.progress += 1,
                    Lane::Input => self.committed(*offset, result),
                }
            }
            Event::Passed { epoch, lane: Lane::Input, offset } if *epoch == self.epoch => {
                self.look_for_absent(*offset);
                self.figures.log_end = self.figures.log_end.max(*offset);
                self.figures.position = self.figures.position.max(*offset);
            }
            // A ledger that was read is no progress: a new beginning that stalls again would look like one.
            Event::Appended { epoch, .. } if *epoch == self.epoch => self.figures.progress += 1,
            Event::Published { epoch, .. } if *epoch == self.epoch => {
                crash::at(Point::SettleBefore);
                self.figures.progress += 1;
            }
            // Before the start nothing is taken anyway, so the machine need not hold; the status still tells.
            Event::SinkHeld { failure, .. } if !self.started => self.held(failure.clone()),
            Event::SinkResumed { .. } if !self.started => self.resumed(),
            _ => {}
        }
        self.handle(event);
    }

    fn assigned(&mut self, assignment: Assignment) {
        self.drop_work();
        self.waits_for_assignment = false;
        self.epoch = assignment.epoch;
        self.cluster.clone_from(&assignment.cluster);
        self.topic_id.clone_from(&assignment.topic_id);
        self.granted_records = 0;
        (self.started, self.halt, self.hold) = (false, None, None);
        let progress = self.figures.progress;
        self.figures = Figures::new(self.shared.clock.now());
        self.figures.progress = progress;
        self.figures.log_end = assignment.log_end;
        let watermark = assignment.committed.as_ref().map_or(assignment.start, |position| position.offset);
        self.figures.watermark = Some(watermark);
        self.figures.position = watermark;
        self.figures.committed = assignment.committed.as_ref().map(|position| position.offset);
        tracing::info!(pair = %self.id, epoch = self.epoch.0, from = watermark.0, end = assignment.log_end.0, "assigned");
        self.handle(Event::Assigned { assignment, writer: entropy::writer_id() });
    }

    fn received(&mut self, chunk: Arc<Chunk>) {
        if chunk.epoch() != self.epoch || self.waits_for_assignment || chunk.is_empty() {
            return;
        }
        if let Some(tracer) = &self.shared.tracer {
            tracer.poll(&chunk);
        }
        self.metrics.polled(chunk.lane(), chunk.len() as u64, chunk.polled());
        if chunk.lane() == Lane::Retry {
            self.figures.progress += 1;
            return self.handle(Event::CopiesRead { chunk, wall_ms: clock::wall_ms() });
        }
        let (records, bytes) = (chunk.len() as u64, chunk.bytes() as u64);
        self.figures.received += records;
        let end = chunk.offset(chunk.len() as u32 - 1).next();
        self.figures.log_end = self.figures.log_end.max(end);
        self.figures.position = end;
        if chunk.lane() == Lane::Input {
            self.look_for_absent(chunk.offset(0));
        }
        self.arrived = (self.arrived.0 + records, self.arrived.1 + bytes);
        self.handle(Event::Received(chunk));
    }

    /// A gap where reading begins is settled unread, so it is told: in a log without compaction and transactions there is
    /// none, unless somebody passed over records.
    fn look_for_absent(&mut self, first: Offset) {
        let Some(start) = self.begins.take() else { return };
        if let Ok(absent @ 1..) = u64::try_from(first.0 - start.0) {
            tracing::info!(pair = %self.id, from = start.0, to = first.0, "no records where reading began");
            self.metrics.absent_at_start(absent);
        }
    }

    fn committed(&mut self, offset: Offset, result: &CommitResult) {
        self.shared.metrics.commit(result);
        match result {
            CommitResult::Done => {
                crash::at(Point::CommitAfter);
                self.figures.progress += 1;
                self.figures.committed = self.figures.committed.max(Some(offset));
                self.metrics.committed(offset);
            }
            CommitResult::Refused => {
                tracing::warn!(pair = %self.id, offset = offset.0, "commit refused: not ours any more")
            }
            CommitResult::Unknown => {
                tracing::debug!(pair = %self.id, offset = offset.0, "commit not answered")
            }
        }
    }

    fn units_done(&mut self, result: UnitResult, traced: Vec<Traced>, took: &[Duration]) {
        for took in took {
            self.shared.metrics.unit(*took);
            self.metrics.processed(*took);
        }
        self.metrics.children_filtered(&result.children_filtered);
        self.figures.progress += 1;
        self.traces.told(traced);
        self.handle(Event::UnitDone { epoch: self.epoch, result });
        self.traces.settled();
    }

    /// Takes the answers of a parcel, and of those that came with it.
    fn letters_came(&mut self, first: Delivered) {
        let mut answers = self.left_over(first);
        for _ in 1..INBOX {
            let Some(Some(next)) = self.letters.next().now_or_never() else { break };
            answers.extend(self.left_over(next));
        }
        self.figures.progress += answers.len() as u64;
        for (id, answer) in &answers {
            self.traces.answered(&self.id, *id, answer);
        }
        self.handle(Event::LettersDelivered { epoch: self.epoch, answers });
    }

    fn defect(&mut self, detail: &str) {
        self.handle(Event::Halt(Failure::halt(Reason::Internal, detail)));
    }

    fn stop(&mut self, until: Instant, event: Event) {
        if self.waits_for_assignment {
            return self.release(None, None);
        }
        // A revoke in the middle of a drain may only shorten the time.
        let until = self.stop.as_ref().map_or(until, |stop| stop.until.min(until));
        self.stop = Some(Stop { until, overrun: false });
        self.derive_state();
        self.handle(event);
    }

    fn overrun(&mut self) {
        if let Some(stop) = &mut self.stop {
            stop.overrun = true;
        }
        self.handle(Event::Deadline);
    }

    /// Throws the machine and all work away and asks for the committed position again.
    fn rebuild(&mut self) {
        tracing::error!(pair = %self.id, in_flight = self.figures.in_flight(), "no progress: beginning the pair anew");
        self.metrics.stalled();
        self.begin_anew();
        self.shared.control.send(SourceCommand::Reassign { pair: self.id.clone(), epoch: self.epoch });
    }

    /// A fresh machine that waits for an assignment.
    fn begin_anew(&mut self) {
        self.drop_work();
        self.machine = Pair::new(Arc::clone(&self.options), self.id.clone());
        self.handle(Event::Share(self.share));
        self.waits_for_assignment = true;
    }

    /// Cancels units, letters and writers; nothing of them is visible afterwards.
    fn drop_work(&mut self) {
        self.cancel_units();
        self.letters = FuturesUnordered::new();
        self.posted.clear();
        self.letters_trouble.forget();
        self.traces.forget();
        self.shared.spooler.forget(self.spooled.drain().map(|(_, chunk)| chunk).collect());
        self.writers.iter_mut().for_each(|writer| *writer = None);
    }

    fn cancel_units(&mut self) {
        self.outgoing.clear();
        self.flight.cancelled.store(true, Ordering::Relaxed);
        self.flight = Flight::new(self.flight.number + 1);
    }

    fn handle(&mut self, event: Event) {
        let mut actions = std::mem::take(&mut self.actions);
        self.machine.handle(event, self.shared.clock.now(), &mut actions);
        for action in actions.drain(..) {
            self.perform(action);
        }
        if self.machine.is_careful() != (self.figures.state == PairState::Careful) {
            self.derive_state();
        }
        self.hand_units();
        self.actions = actions;
    }
}
