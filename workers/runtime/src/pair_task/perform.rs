//! What the machine asks for, done.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::pair::{Action, Grain, Letter, LetterId, Position, SpoolRead, Tally, Unit};
use longshore_core::sink::WriterContext;
use longshore_core::source::SourceCommand;
use longshore_core::{Block, Failure, Lane, Moment, Offset, SinkIndex, WriterId};
use longshore_telemetry::metrics::PairState;

use super::{PairEnd, PairTask};
use crate::clock;
use crate::crash::{self, Point};
use crate::letters::{self, Delivered, Parcel};
use crate::pool::{self, Job};
use crate::spool::Wanted;
use crate::status::Outcomes;
use crate::waiting::CrewOptions;
use crate::writer::{Writer, WriterOptions};

impl PairTask {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Recover { sink, writer } => self.open(sink, writer),
            Action::Start { lane, offset } => self.start(lane, offset),
            Action::Grant { lane, records, bytes } => self.grant(lane, records, bytes),
            Action::FindEnd => self.find_end(),
            Action::Run(unit) => self.run_unit(unit),
            Action::CancelUnits => self.cancel_units(),
            Action::Append { sink, block } => self.append(sink, block),
            Action::Publish { sink, trailer } => {
                if let Some(writer) = self.writer(sink) {
                    writer.publish(trailer);
                }
            }
            Action::Letter(letter) => self.send_letter(*letter),
            Action::Spool { id, chunk } => {
                self.shared.spooler.take(self.epoch, id, chunk, self.mailbox.clone());
            }
            Action::Fetch(reads) => self.fetch(reads),
            Action::Forget(ids) => {
                let chunks = ids.iter().filter_map(|id| self.spooled.remove(id));
                self.shared.spooler.forget(chunks.collect());
            }
            Action::Commit { lane, position } => self.commit(lane, position),
            Action::Reassign => self.reassign(),
            Action::Halt(failure) => self.halted(failure),
            Action::Hold(failure) => self.held(failure),
            Action::Resume => self.resumed(),
            Action::Released { input, retry } => self.release(input, retry),
            Action::Settled(tally) => self.settled(&tally),
        }
    }

    fn open(&mut self, sink: SinkIndex, writer: WriterId) {
        let at = usize::from(sink.0);
        let (Some(route), Some(metrics)) = (self.shared.plan.routes.get(at), self.shared.sinks.get(at))
        else {
            return;
        };
        let context = WriterContext {
            pair: self.id.clone(),
            writer,
            cluster: self.cluster.clone(),
            topic_id: self.topic_id.clone(),
        };
        let opened = Writer::open(WriterOptions {
            sink: Arc::clone(&route.sink),
            index: sink,
            epoch: self.epoch,
            context,
            pauses: self.shared.pauses,
            mailbox: self.mailbox.clone(),
            metrics: metrics.clone(),
            tracer: self.shared.tracer.clone(),
        });
        if let Some(slot) = self.writers.get_mut(at) {
            *slot = Some(opened);
        }
    }

    fn writer(&self, sink: SinkIndex) -> Option<&Writer> {
        self.writers.get(usize::from(sink.0))?.as_ref()
    }

    fn start(&mut self, lane: Lane, offset: Offset) {
        self.started = true;
        if lane == Lane::Input {
            self.begins = Some(offset);
        }
        self.derive_state();
        let (pair, epoch) = (self.id.clone(), self.epoch);
        self.shared.control.send(SourceCommand::Start { pair, epoch, lane, offset });
    }

    fn grant(&mut self, lane: Lane, records: u64, bytes: u64) {
        if lane == Lane::Input {
            self.granted_records = records;
        }
        let (pair, epoch) = (self.id.clone(), self.epoch);
        self.shared.control.send(SourceCommand::Grant { pair, epoch, lane, records, bytes });
    }

    fn find_end(&self) {
        let (pair, epoch) = (self.id.clone(), self.epoch);
        self.shared.control.send(SourceCommand::FindEnd { pair, epoch });
    }

    fn run_unit(&mut self, unit: Unit) {
        // Units are looked through for this in debug builds alone.
        let releases = cfg!(debug_assertions) && crash::releases(&unit);
        if releases {
            crash::at(Point::ReleaseBefore);
        }
        match self.options.grain {
            Grain::Batch => {
                self.flight.pooled.insert(unit.id, self.shared.clock.now());
                self.shared.pool.submit(Job {
                    unit,
                    cancelled: Arc::clone(&self.flight.cancelled),
                    flight: self.flight.number,
                    mailbox: self.mailbox.clone(),
                });
            }
            Grain::Record => self.outgoing.push(unit),
        }
        if releases {
            crash::at(Point::ReleaseAfter);
        }
    }

    /// Hands the units with waiting steps over that the machine let go since the last time.
    pub(super) fn hand_units(&mut self) {
        let (flight, shared, mailbox) = (self.flight.number, &self.shared, &self.mailbox);
        self.flight.waiting.hand(&mut self.outgoing, || CrewOptions {
            plan: Arc::clone(&shared.plan),
            budget: Arc::clone(&shared.budget),
            tracer: shared.tracer.clone(),
            flight,
            mailbox: mailbox.clone(),
        });
    }

    fn append(&self, sink: SinkIndex, block: Block) {
        if let Some(writer) = self.writer(sink) {
            let charge = self.shared.budget.charge(pool::memory(&block));
            writer.append(block, charge, self.traces.written(sink));
        }
    }

    fn send_letter(&mut self, mut letter: Letter) {
        if letter.origin.is_none() {
            let (copy, why) = (letter.record.lane_offset().0, letter.failure.detail());
            tracing::warn!(pair = %self.id, copy, "a record of the retry topic is no copy of one here: {why}");
        }
        self.traces.sends(&mut letter);
        self.posted.push(letter);
    }

    /// Sends what was posted in this turn.
    pub(super) fn send_posted(&mut self) {
        for letters in letters::parcels(std::mem::take(&mut self.posted)) {
            self.deliver(Parcel::new(letters, self.letters_trouble.round(), self.shared.pauses));
        }
    }

    fn deliver(&mut self, parcel: Parcel) {
        let (sink, patience) = (Arc::clone(&self.shared.letters), self.shared.letter_patience);
        let mailbox = self.mailbox.clone();
        self.letters
            .push(Box::pin(async move { letters::deliver(sink.as_ref(), parcel, patience, mailbox).await }));
    }

    /// The answers of a parcel; what is left of it is sent again.
    pub(super) fn left_over(&mut self, delivered: Delivered) -> Vec<(LetterId, Result<(), Failure>)> {
        if let Some(parcel) = delivered.left {
            self.deliver(parcel);
        }
        delivered.answers
    }

    /// A chunk that the spool should have and has not is none that the machine asks for.
    fn fetch(&self, reads: Vec<SpoolRead>) {
        let wanted = |read: SpoolRead| Some(Wanted { read, chunk: Arc::clone(self.spooled.get(&read.id)?) });
        let wanted = reads.into_iter().filter_map(wanted).collect();
        self.shared.spooler.give(self.epoch, self.id.clone(), wanted, self.mailbox.clone());
    }

    fn commit(&mut self, lane: Lane, position: Position) {
        crash::at(Point::CommitBefore);
        self.traces.commits(lane, position.offset);
        let (pair, epoch) = (self.id.clone(), self.epoch);
        self.shared.control.send(SourceCommand::Commit { pair, epoch, lane, position });
    }

    fn reassign(&mut self) {
        tracing::warn!(pair = %self.id, epoch = self.epoch.0, "asking for the pair's position again");
        self.drop_work();
        let (pair, epoch) = (self.id.clone(), self.epoch);
        self.shared.control.send(SourceCommand::Reassign { pair, epoch });
    }

    pub(super) fn release(&mut self, position: Option<Position>, retry: Option<Position>) {
        let overrun = self.stop.as_ref().is_some_and(|stop| stop.overrun);
        let (pair, epoch) = (self.id.clone(), self.epoch);
        let at = position.as_ref().map(|position| position.offset.0);
        let (received, in_flight) = (self.figures.position.0, self.figures.in_flight());
        tracing::info!(%pair, epoch = epoch.0, commit = at, received, in_flight, overrun, "released");
        self.drop_work();
        self.shared.control.send(SourceCommand::Release { pair, epoch, position, retry });
        self.end = Some(if overrun { PairEnd::Overrun } else { PairEnd::Released });
    }

    pub(super) fn halted(&mut self, failure: Failure) {
        tracing::error!(pair = %self.id, %failure, "pair halted: it stays so until a person mends the cause");
        self.halt = Some(failure);
        self.derive_state();
    }

    pub(super) fn held(&mut self, failure: Failure) {
        self.hold = Some(failure);
        self.derive_state();
    }

    pub(super) fn resumed(&mut self) {
        self.hold = None;
        self.derive_state();
    }

    fn settled(&mut self, tally: &Tally) {
        let outcomes = Outcomes::from(tally);
        self.figures.settled += outcomes.settled();
        self.cell.count(&outcomes);
        self.figures.progress += 1;
        self.metrics.settled(tally);
        crash::at(Point::SettleAfter);
    }

    /// What the pair is at, from what is known of it; says a change to a held state and back once.
    pub(super) fn derive_state(&mut self) {
        let hold = self.hold.as_ref().or(self.letters_trouble.hold());
        let (state, reason) = match (&self.halt, hold) {
            (Some(failure), _) => (PairState::Halted, Some(failure)),
            (None, _) if self.stop.is_some() => (PairState::Stopping, None),
            (None, Some(failure)) => (PairState::Held, Some(failure)),
            (None, None) if self.started && self.machine.is_careful() => (PairState::Careful, None),
            (None, None) if self.started => (PairState::Running, None),
            (None, None) => (PairState::Starting, None),
        };
        let was = self.figures.state;
        if was == state && self.figures.reason.as_ref() == reason {
            return;
        }
        match (was, state, reason) {
            (PairState::Held, PairState::Held, Some(failure))
                if self.figures.reason.as_ref().is_some_and(|known| known.reason == failure.reason) => {}
            (_, PairState::Held, Some(failure)) => {
                tracing::warn!(pair = %self.id, %failure, "pair takes no records until this is over");
            }
            (_, PairState::Careful, _) => {
                tracing::warn!(pair = %self.id, "workers crashed with this pair: its records are tried one at a time");
            }
            (PairState::Careful, PairState::Running, _) => {
                tracing::info!(pair = %self.id, "pair is past the crash and takes many records at a time again");
            }
            (PairState::Held, PairState::Running, _) => {
                tracing::info!(pair = %self.id, "pair takes records again")
            }
            _ => {}
        }
        self.figures.reason = reason.cloned();
        if was != state {
            self.figures.state = state;
            self.figures.since = self.shared.clock.now();
        }
    }

    /// Tells the figures to whoever reads them; once for a batch of messages.
    pub(super) fn tell(&mut self) {
        let now = self.shared.clock.now();
        if self.told_progress != self.figures.progress {
            self.told_progress = self.figures.progress;
            self.figures.progress_at = now;
        }
        if self.started && !self.waits_for_assignment {
            let busy = self.is_busy(now);
            if busy && !self.figures.busy {
                self.figures.progress_at = now;
            }
            self.figures.busy = busy;
            self.figures.oldest_unit = self.flight.pooled.first_key_value().map(|(_, since)| *since);
            let watermark = self.machine.watermark();
            self.figures.watermark = Some(watermark);
            self.metrics.watermark(watermark);
        }
        if !self.waits_for_assignment {
            self.tell_lag(now);
        }
        let (waiting, parked) = self.machine.waiting();
        self.figures.waiting = (waiting, parked);
        let (entries_bytes, spooled_bytes) = self.machine.waiting_bytes();
        if entries_bytes != self.waiting.bytes() {
            self.waiting = self.shared.budget.charge_waiting(entries_bytes);
        }
        self.metrics.waiting(waiting, parked, spooled_bytes);
        self.metrics.in_flight(self.figures.in_flight(), self.machine.in_flight_bytes());
        self.metrics.credit(self.granted_records.saturating_sub(self.figures.received));
        self.cell.write(&self.figures);
        // After the page: whoever counts first and then looks where the pair stands finds all there that was counted.
        let (records, bytes) = std::mem::take(&mut self.arrived);
        if records > 0 {
            self.metrics.received(records, bytes);
        }
    }

    /// How far the pair is behind, and how fast it gets through: records that were read and are not to be worked on any more are done.
    fn tell_lag(&mut self, now: Moment) {
        let figures = &mut self.figures;
        figures.backlog = self.machine.backlog(figures.log_end);
        figures.oldest_ms = self.machine.oldest_unfinished_ms();
        let done = figures.received.saturating_sub(self.machine.unfinished());
        figures.pace.note(now, done);
        self.metrics.lag(&figures.lag(now, clock::wall_ms()));
    }

    /// Whether something should be moving, for the watchdog. Rows in an open segment wait for its age, which is no
    /// work; a record whose retry is due later than [`SLEEP`] sleeps, unless anything else is under way.
    fn is_busy(&self, now: Moment) -> bool {
        let sealed = self.machine.oldest_sealed_since().is_some();
        if !self.flight.waiting.is_empty() {
            return self.shared.plan.step_deadline.is_some();
        }
        // The source should have taken a dropped pair away by now.
        let awaited = sealed || self.machine.awaits_spool();
        if awaited || self.machine.is_dropped() || !self.flight.pooled.is_empty() || !self.letters.is_empty()
        {
            return true;
        }
        let sleeps = self.machine.next_wake().is_some_and(|wake| wake > now.after(SLEEP));
        self.machine.in_flight_records() > 0 && !sleeps
    }
}

/// How far away a wake-up must be to tell a pair that waits for a retry from one that forgot its work.
const SLEEP: Duration = Duration::from_secs(5);
