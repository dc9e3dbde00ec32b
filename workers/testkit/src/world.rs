//! The world around the processes: the group and its commits, the sinks, the dead-letter topic, and what is on its way.

use std::collections::{HashSet, VecDeque};
use std::fmt::Arguments;
use std::time::Duration;

use longshore_core::ledger::Trailer;
use longshore_core::pair::{Action, CommitResult, Event, Letter, Position, Unit, UnitResult, Verdict};
use longshore_core::sink::Published;
use longshore_core::source::Assignment;
use longshore_core::{
    Block, ChunkBuilder, Epoch, Failure, FilterReason, Lane, Moment, Offset, PairId, Reason, Row, SinkIndex,
    WriterId,
};

use crate::Random;
use crate::plan::{Kind, Plan};
use crate::process::{Ask, Leaving, Process, Source, Store, Writer};
use crate::sabotage::Sabotage;

/// A promise that was broken, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bug(pub(crate) String);

/// What is on its way to a broker or a sink; it may arrive after its sender died.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) process: usize,
    pub(crate) incarnation: u64,
    pub(crate) epoch: Epoch,
    pub(crate) load: Load,
}

#[derive(Debug)]
pub(crate) enum Load {
    Put { sink: SinkIndex, trailer: Box<Trailer>, rows: Vec<Offset> },
    Letter(Box<Letter>),
    Commit { generation: u64, position: Position },
}

/// All of one seed's state.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) random: Random,
    pub(crate) now: Moment,
    /// Faults still happen.
    pub(crate) storm: bool,
    pub(crate) generation: u64,
    pub(crate) owner: usize,
    pub(crate) committed: Option<Position>,
    pub(crate) stores: Vec<Store>,
    /// Letters in the dead-letter topic: which record, and the sink it names if any.
    pub(crate) letters: Vec<(Offset, String)>,
    pub(crate) flights: Vec<Flight>,
    pub(crate) processes: Vec<Process>,
    /// How often each record was run, by its place in the log.
    pub(crate) runs: Vec<u32>,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) bug: Option<Bug>,
    pub(crate) trace: Option<Vec<String>>,
    pending: VecDeque<(usize, Event)>,
    last_id: u64,
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Option<Sabotage>, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::of(&mut random);
        let processes = (0..plan.processes).map(|n| Process::new(n as u64, &plan)).collect();
        let mut world = Self {
            stores: vec![Store::default(); plan.options.sinks.len()],
            runs: vec![0; plan.log.len()],
            processes,
            plan,
            random,
            now: Moment::default(),
            storm: true,
            generation: 0,
            owner: 0,
            committed: None,
            letters: Vec::new(),
            flights: Vec::new(),
            sabotage,
            bug: None,
            trace: traced.then(Vec::new),
            pending: VecDeque::new(),
            last_id: 1000,
        };
        world.give_to(0);
        world
    }

    pub(crate) fn note(&mut self, line: Arguments<'_>) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>6} {line}", self.now.0.as_millis()));
        }
    }

    pub(crate) fn broken(&mut self, what: String) {
        self.bug.get_or_insert(Bug(what));
    }

    /// The group gives the pair to a process.
    pub(crate) fn give_to(&mut self, to: usize) {
        self.generation += 1;
        self.owner = to;
        let generation = self.generation;
        self.processes[to].to_assign = Some(generation);
        self.note(format_args!("-- generation {generation}: the pair goes to p{to}"));
    }

    /// Tells a process's pair something, and performs what it asks for.
    pub(crate) fn tell(&mut self, at: usize, event: Event) {
        self.pending.push_back((at, event));
        while let Some((at, event)) = self.pending.pop_front() {
            let present = self.processes[at].pair.epoch();
            let event = match self.sabotage {
                Some(sabotage) => sabotage.event(event, present),
                None => Some(event),
            };
            let Some(event) = event else { continue };
            if self.trace.is_some() {
                self.note(format_args!("p{at} <- {}", brief(&event)));
            }
            let mut actions = Vec::new();
            self.processes[at].pair.handle(event, self.now, &mut actions);
            for action in actions {
                self.perform(at, action);
            }
        }
    }

    fn perform(&mut self, at: usize, action: Action) {
        if self.trace.is_some() {
            let text = brief(&action);
            self.note(format_args!("p{at}    -> {text}"));
        }
        let epoch = self.processes[at].pair.epoch();
        match action {
            Action::Recover { sink, writer } => self.open_writer(at, sink, writer),
            Action::Start(offset) => {
                let granted = 0;
                self.processes[at].source = Some(Source { epoch, next: offset, given: 0, granted });
            }
            Action::Grant { records, .. } => {
                if let Some(source) = &mut self.processes[at].source {
                    source.granted = records;
                }
            }
            Action::Run(unit) => self.start_unit(at, unit),
            Action::CancelUnits => {
                // A unit that is nearly done may end all the same.
                if self.random.percent(70) {
                    self.processes[at].units.clear();
                }
            }
            Action::Append { sink, block } => self.ask(at, sink, Ask::Append(block)),
            Action::Publish { sink, trailer } => self.ask_publish(at, sink, trailer),
            Action::Letter(letter) => self.send_letter(at, epoch, letter),
            Action::Commit(position) => self.send_commit(at, epoch, position),
            Action::Reassign => self.processes[at].to_assign = Some(self.processes[at].generation),
            Action::Halt(failure) => self.broken(format!("p{at} halted: {failure}")),
            Action::Released(position) => self.released(at, epoch, position),
            Action::Hold(_) | Action::Resume | Action::Settled(_) => {}
        }
    }

    fn open_writer(&mut self, at: usize, sink: SinkIndex, writer: WriterId) {
        let process = &mut self.processes[at];
        let epoch = process.pair.epoch();
        let place = usize::from(sink.0);
        if place < process.writers.len() {
            process.writers[place] = Writer::new(epoch, writer);
        } else {
            process.writers.push(Writer::new(epoch, writer));
        }
    }

    fn ask(&mut self, at: usize, sink: SinkIndex, ask: Ask) {
        if let Some(writer) = self.processes[at].writer(sink) {
            writer.asked.push_back(ask);
        }
    }

    fn ask_publish(&mut self, at: usize, sink: SinkIndex, mut trailer: Box<Trailer>) {
        let ledger = self.plan.options.sinks[usize::from(sink.0)].ledger;
        if let Some(sabotage) = self.sabotage {
            sabotage.except(&mut trailer.except, &self.processes[at].skipped);
            if sabotage == Sabotage::SettleBeforePublish && ledger {
                let (epoch, sequence) = (self.processes[at].pair.epoch(), trailer.sequence);
                let outcome = Published::Done(Vec::new());
                self.pending.push_back((at, Event::Published { epoch, sink, sequence, outcome }));
            }
        }
        self.ask(at, sink, Ask::Publish(trailer));
    }

    fn send(&mut self, at: usize, epoch: Epoch, load: Load) {
        let incarnation = self.processes[at].incarnation;
        self.flights.push(Flight { process: at, incarnation, epoch, load });
    }

    fn send_letter(&mut self, at: usize, epoch: Epoch, letter: Letter) {
        if self.sabotage == Some(Sabotage::LetterBeforeAcknowledgement) {
            self.pending.push_back((at, Event::LetterDelivered { epoch, letter: letter.id, result: Ok(()) }));
        }
        self.send(at, epoch, Load::Letter(Box::new(letter)));
    }

    fn send_commit(&mut self, at: usize, epoch: Epoch, position: Position) {
        let position = self.tampered(at, position);
        let process = &mut self.processes[at];
        let generation = process.generation;
        if process.forbidden == Some(epoch) {
            self.broken(format!(
                "I8 p{at} commits {} though it was told that the pair is gone",
                position.offset
            ));
        }
        self.send(at, epoch, Load::Commit { generation, position });
    }

    fn tampered(&mut self, at: usize, position: Position) -> Position {
        let process = &mut self.processes[at];
        let honest = position.metadata.clone();
        let position = match self.sabotage {
            Some(sabotage) => sabotage.position(position, &process.pair, process.last_metadata.as_deref()),
            None => position,
        };
        process.last_metadata = Some(honest);
        position
    }

    /// The end of a drain or revoke: the last commit goes out before the pair is let go.
    fn released(&mut self, at: usize, epoch: Epoch, position: Option<Position>) {
        if let Some(position) = position {
            let position = self.tampered(at, position);
            let owns = self.processes[at].generation == self.generation;
            if self.processes[at].forbidden == Some(epoch) {
                self.broken(format!("I8 p{at} commits {} at the end of a lost pair", position.offset));
            }
            if owns && !(self.storm && self.random.percent(10)) {
                self.apply_commit(at, position);
            }
        }
        self.processes[at].source = None;
        self.processes[at].units.clear();
        if let Some(leaving) = self.processes[at].leaving.take() {
            if leaving == Leaving::Drained {
                self.restart(at);
            }
            if self.owner == at {
                let to = self.random.below(self.processes.len());
                self.give_to(to);
            }
        }
    }

    /// A process begins from nothing.
    pub(crate) fn restart(&mut self, at: usize) {
        self.last_id += 1;
        self.processes[at] = Process::new(self.last_id, &self.plan);
    }

    pub(crate) fn fresh_writer(&mut self) -> WriterId {
        self.last_id += 1;
        WriterId(u128::from(self.last_id) << 64 | u128::from(self.random.bits()))
    }

    /// The source tells a process of its assignment, with what is committed by now; a process that is not the owner any
    /// more hears that the pair is lost.
    pub(crate) fn assign(&mut self, at: usize) {
        if self.processes[at].to_assign.take() != Some(self.generation) {
            return self.lose(at);
        }
        self.processes[at].generation = self.generation;
        let fresh = self.fresh_writer();
        let writer = self.sabotage.map_or(fresh, |sabotage| sabotage.writer(fresh, at));
        let process = &mut self.processes[at];
        process.epoch += 1;
        process.source = None;
        process.last_metadata = None;
        let assignment = Assignment {
            pair: PairId::new("sim", 0),
            epoch: Epoch(process.epoch),
            committed: self.committed.clone(),
            start: Offset(0),
            log_start: Offset(0),
            log_end: self.plan.end,
            cluster: "c".into(),
            topic_id: "t".into(),
            partitions: 1,
        };
        if let Some(Ok(metadata)) = self.committed.as_ref().map(|c| self.read_metadata(c)) {
            self.processes[at].skipped = metadata.settled;
        }
        self.tell(at, Event::Assigned { assignment, writer });
    }

    /// A process hears that its pair is gone.
    pub(crate) fn lose(&mut self, at: usize) {
        let process = &mut self.processes[at];
        process.forbidden = Some(process.pair.epoch());
        process.leaving = None;
        process.source = None;
        self.tell(at, Event::Lost);
    }

    /// Reads the next one to three records, sometimes some that were read before.
    pub(crate) fn read(&mut self, at: usize) {
        let again = self.storm && self.random.percent(5);
        let want = 1 + self.random.below(3) as u64;
        let Some(source) = &mut self.processes[at].source else { return };
        let count = want.min(source.granted.saturating_sub(source.given)) as usize;
        let from = if again { Offset(source.next.0 - 2) } else { source.next };
        let first = self.plan.log.partition_point(|record| record.offset < from);
        let mut chunk = ChunkBuilder::new(PairId::new("sim", 0), Lane::Input, source.epoch);
        for record in self.plan.log[first..].iter().take(count) {
            let key = record.key.map(|key| [key]);
            chunk.record(record.offset, 0, key.as_ref().map(<[u8; 1]>::as_slice), Some(b"v"));
            source.next = source.next.max(record.offset.next());
            source.given += 1;
        }
        if chunk.is_empty() {
            return;
        }
        self.tell(at, Event::Received(chunk.build(None)));
    }

    pub(crate) fn can_read(&self, at: usize) -> bool {
        let source = self.processes[at].source.as_ref();
        source.is_some_and(|source| source.given < source.granted && source.next < self.plan.end)
    }

    fn start_unit(&mut self, at: usize, unit: Unit) {
        let process = &self.processes[at];
        let present: Vec<Offset> = process
            .units
            .iter()
            .filter(|other| other.epoch == unit.epoch)
            .flat_map(|other| other.entries.iter().map(|entry| entry.record.offset()))
            .collect();
        for entry in &unit.entries {
            let own = self.plan.record(entry.record.offset());
            if present.iter().any(|other| self.plan.ordered(own, self.plan.record(*other))) {
                self.broken(format!("I3 record {} runs beside another of its key", own.offset));
            }
        }
        self.processes[at].units.push(unit);
    }

    /// The steps run a unit.
    pub(crate) fn run_unit(&mut self, at: usize, place: usize) {
        let unit = self.processes[at].units.remove(place);
        let mut blocks: Vec<(SinkIndex, Block)> = Vec::new();
        let (mut verdicts, mut failed) = (Vec::new(), Vec::new());
        for entry in &unit.entries {
            let offset = entry.record.offset();
            let record = *self.plan.record(offset);
            let behind = failed.iter().any(|other| self.plan.ordered(self.plan.record(*other), &record));
            if behind && self.sabotage != Some(Sabotage::KeyOrderBroken) {
                verdicts.push(Verdict::Deferred);
                continue;
            }
            let mut verdict = self.outcome(offset);
            if let Verdict::Failed(failure) = &verdict
                && matches!(failure.class, longshore_core::Class::Retry { .. })
            {
                failed.push(offset);
            }
            if let Verdict::Routed { sinks } = &mut verdict {
                for sink in sinks.iter().filter(|sink| entry.held.contains(*sink)).collect::<Vec<_>>() {
                    sinks.remove(sink);
                }
                sinks.iter().for_each(|sink| add_row(&mut blocks, sink, offset));
            }
            verdicts.push(verdict);
        }
        let result = UnitResult { unit: unit.id, verdicts, blocks, children_filtered: Vec::new() };
        self.tell(at, Event::UnitDone { epoch: unit.epoch, result });
    }

    fn outcome(&mut self, offset: Offset) -> Verdict {
        let at = self.plan.log.partition_point(|record| record.offset < offset);
        let (record, runs) = (self.plan.log[at], &mut self.runs[at]);
        *runs += 1;
        let routed = Verdict::Routed { sinks: record.routes };
        let failed = |failure| Verdict::Failed(Box::new(failure));
        match record.kind {
            Kind::Filter => Verdict::Filtered(FilterReason::new("filter.1")),
            Kind::Poison => failed(Failure::reject(Reason::StepFailed, "poison")),
            Kind::Transient(times) if *runs <= times => failed(Failure::retry(Reason::StepFailed, "later")),
            Kind::Outage(times) if *runs <= times => failed(Failure::target(Reason::StepFailed, "away")),
            Kind::Pass | Kind::Refused | Kind::Transient(_) | Kind::Outage(_) => routed,
        }
    }

    /// A writer does the next thing it was asked for.
    pub(crate) fn write(&mut self, at: usize, sink: SinkIndex) {
        let ledger = self.plan.options.sinks[usize::from(sink.0)].ledger;
        let Some(writer) = self.processes[at].writer(sink) else { return };
        let (epoch, ask) = (writer.epoch, writer.asked.pop_front());
        match ask {
            None => {}
            Some(Ask::Recover) => self.recover(at, sink, epoch),
            Some(Ask::Append(block)) => {
                writer.rows.extend(block.rows.iter().map(|row| row.offset));
                let bytes = writer.rows.len() as u64 * 10;
                if !ledger && self.random.percent(50) {
                    self.send_rows(at, sink);
                }
                self.tell(at, Event::Appended { epoch, sink, bytes });
            }
            Some(Ask::Publish(trailer)) if ledger => {
                writer.putting = Some(trailer.sequence);
                let rows = std::mem::take(&mut writer.rows);
                self.send(at, epoch, Load::Put { sink, trailer, rows });
            }
            Some(Ask::Publish(trailer)) => {
                self.send_rows(at, sink);
                let refused =
                    self.processes[at].writer(sink).map(|writer| std::mem::take(&mut writer.refused));
                let outcome = Published::Done(refused.unwrap_or_default());
                self.tell(at, Event::Published { epoch, sink, sequence: trailer.sequence, outcome });
            }
        }
    }

    fn recover(&mut self, at: usize, sink: SinkIndex, epoch: Epoch) {
        let spec = &self.plan.options.sinks[usize::from(sink.0)];
        let ledger = if self.storm && self.random.percent(5) {
            Err(Failure::target(Reason::SinkUnavailable, "away"))
        } else if spec.ledger {
            Ok(self.stores[usize::from(sink.0)].view())
        } else {
            Ok(longshore_core::ledger::LedgerView::default())
        };
        self.tell(at, Event::Recovered { epoch, sink, ledger });
    }

    fn send_rows(&mut self, at: usize, sink: SinkIndex) {
        let incarnation = self.processes[at].incarnation;
        let Some(writer) = self.processes[at].writer(sink) else { return };
        let (epoch, rows) = (writer.epoch, std::mem::take(&mut writer.rows));
        for offset in rows {
            if self.plan.record(offset).kind == Kind::Refused {
                let failure = Failure::reject(Reason::SinkRejected, "refused");
                if let Some(writer) = self.processes[at].writer(sink) {
                    writer.refused.push((offset, failure));
                }
            } else {
                self.stores[usize::from(sink.0)].sent.push((incarnation, epoch, offset));
            }
        }
    }

    /// Time passes; every process whose wake has come is told.
    pub(crate) fn pass(&mut self, span: Duration) {
        self.now = self.now.after(span);
        for at in 0..self.processes.len() {
            if self.processes[at].pair.next_wake().is_some_and(|wake| wake <= self.now) {
                self.tell(at, Event::Tick);
            }
        }
    }

    /// The commit in force covers only records that are final or will still come.
    pub(crate) fn apply_commit(&mut self, at: usize, position: Position) {
        self.note(format_args!("   broker: p{at} committed {}", position.offset));
        self.check_commit(at, &position);
        self.committed = Some(position);
    }

    /// Something arrives. Its sender may be dead, or hear of it wrongly.
    pub(crate) fn land(&mut self, place: usize) {
        let Flight { process: at, incarnation, epoch, load } = self.flights.remove(place);
        let alive = self.processes[at].incarnation == incarnation;
        match load {
            Load::Put { sink, trailer, rows } => {
                self.land_put(at, alive, epoch, sink, trailer, rows, incarnation)
            }
            Load::Letter(letter) => {
                if self.storm && alive && self.random.percent(10) {
                    let result = Err(Failure::target(Reason::BrokerUnavailable, "away"));
                    return self.tell(at, Event::LetterDelivered { epoch, letter: letter.id, result });
                }
                self.letters.push((letter.record.offset(), letter.failure.at.clone()));
                self.note(format_args!("   broker: letter {} from p{at}", letter.record.offset()));
                if alive && self.storm && self.random.percent(10) {
                    self.flights.push(Flight { process: at, incarnation, epoch, load: Load::Letter(letter) });
                } else if alive {
                    self.tell(at, Event::LetterDelivered { epoch, letter: letter.id, result: Ok(()) });
                }
            }
            Load::Commit { generation, position } => {
                let offset = position.offset;
                let lost_on_the_way = self.storm && self.random.percent(5);
                let lost_answer = self.storm && self.random.percent(5);
                let result = if lost_on_the_way {
                    CommitResult::Unknown
                } else if generation == self.generation {
                    self.apply_commit(at, position);
                    if lost_answer { CommitResult::Unknown } else { CommitResult::Done }
                } else {
                    CommitResult::Refused
                };
                if alive {
                    if result == CommitResult::Refused {
                        self.processes[at].forbidden = Some(epoch);
                    }
                    self.tell(at, Event::Committed { epoch, offset, result });
                }
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one flight, taken apart once")]
    fn land_put(
        &mut self,
        at: usize,
        alive: bool,
        epoch: Epoch,
        sink: SinkIndex,
        trailer: Box<Trailer>,
        rows: Vec<Offset>,
        incarnation: u64,
    ) {
        let outcome = self.put(at, sink, &trailer, &rows);
        if !alive {
            return;
        }
        let sequence = trailer.sequence;
        let Some(writer) = self.processes[at].writer(sink) else { return };
        if self.storm && self.random.percent(10) {
            // No answer: the runtime puts the same segment again.
            return self.flights.push(Flight {
                process: at,
                incarnation,
                epoch,
                load: Load::Put { sink, trailer, rows },
            });
        }
        if writer.epoch == epoch && writer.putting == Some(sequence) {
            writer.putting = None;
        }
        self.tell(at, Event::Published { epoch, sink, sequence, outcome });
    }

    fn put(&mut self, at: usize, sink: SinkIndex, trailer: &Trailer, rows: &[Offset]) -> Published {
        let store = &mut self.stores[usize::from(sink.0)];
        let place = trailer.sequence.0 as usize;
        let outcome = match store.segments.get(place) {
            None if place == store.segments.len() => {
                store.segments.push(crate::process::Stored { trailer: trailer.clone(), rows: rows.to_vec() });
                Published::Done(Vec::new())
            }
            Some(taken) if taken.trailer.writer == trailer.writer => Published::TakenByUs,
            Some(taken) => Published::TakenByOther(taken.trailer.writer),
            None => {
                self.broken(format!(
                    "p{at} puts segment {place} of sink {} before the one before it",
                    sink.0
                ));
                Published::Done(Vec::new())
            }
        };
        self.note(format_args!(
            "   sink {}: #{place} by p{at} {outcome:?} rows={rows:?} covers=[{},{}) except={:?} also={:?} dead={:?}",
            sink.0, trailer.covers.0, trailer.covers.1, trailer.except, trailer.also, trailer.dead
        ));
        outcome
    }

    /// Records of the log that were lettered.
    pub(crate) fn lettered(&self) -> HashSet<Offset> {
        self.letters.iter().map(|(offset, _)| *offset).collect()
    }
}

fn add_row(blocks: &mut Vec<(SinkIndex, Block)>, sink: SinkIndex, offset: Offset) {
    let row = Row { offset, key: None, value: None, headers: Vec::new() };
    match blocks.iter_mut().find(|(known, _)| *known == sink) {
        Some((_, block)) => block.rows.push(row),
        None => blocks.push((sink, Block { bytes: vec![0; 10], rows: vec![row] })),
    }
}

/// One line for a trace: long records are cut.
fn brief(what: &impl std::fmt::Debug) -> String {
    let mut text = format!("{what:?}");
    if let Some(cut) = text.char_indices().nth(240).map(|(at, _)| at) {
        text.truncate(cut);
    }
    text
}
