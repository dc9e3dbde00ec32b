//! What a pair asks for becomes work of its process, or goes on its way.

use std::collections::BTreeSet;

use longshore_core::ledger::Trailer;
use longshore_core::pair::{Action, Event, Letter, Position};
use longshore_core::sink::Published;
use longshore_core::{Epoch, Lane, SinkIndex};

use crate::coverage::Fault;
use crate::process::{Ask, Leaving, Source, SpoolAsk, Writer};
use crate::sabotage::Sabotage;
use crate::world::{Flight, Load, World};

impl World {
    pub(crate) fn perform(&mut self, at: usize, action: Action) {
        if self.trace.is_some() {
            let text = crate::trace::action(&action);
            self.note(format_args!("p{at}    -> {text}"));
        }
        let epoch = self.processes[at].pair.epoch();
        match action {
            Action::Recover { sink, .. } => self.open_writer(at, sink),
            Action::Start { lane, offset } => {
                let source = |next| {
                    let (reached, forgeries) = (next, BTreeSet::new());
                    Some(Source { epoch, next, given: 0, granted: 0, reached, forgeries, whole: None })
                };
                let passed = self.sabotage.map_or(offset, |sabotage| sabotage.start(offset));
                match (lane, &mut self.processes[at].copies) {
                    (Lane::Input, _) => self.processes[at].source = source(passed),
                    (Lane::Retry, _) if offset < self.retained => self.take_again(at),
                    (Lane::Retry, Some(copies)) if copies.epoch == epoch => {
                        (copies.next, copies.whole) = (offset, (offset < copies.reached).then_some(offset));
                    }
                    (Lane::Retry, copies) => *copies = source(offset),
                }
            }
            Action::Grant { lane, records, .. } => {
                let process = &mut self.processes[at];
                let source = match lane {
                    Lane::Input => &mut process.source,
                    Lane::Retry => &mut process.copies,
                };
                if self.sabotage == Some(Sabotage::PauseKept) && epoch > Epoch(1) && lane == Lane::Input {
                    return;
                }
                if let Some(source) = source {
                    source.granted = records;
                }
            }
            Action::FindEnd => self.send(at, epoch, Load::End(None)),
            Action::Run(unit) => self.start_unit(at, unit),
            Action::CancelUnits => {
                // A unit that is nearly done may end all the same.
                if self.random.percent(70) {
                    self.processes[at].units.clear();
                }
            }
            Action::Append { sink, block } => self.ask(at, sink, Ask::Append(block)),
            Action::Publish { sink, trailer } => self.ask_publish(at, sink, trailer),
            Action::Letter(letter) => self.send_letter(at, epoch, *letter),
            Action::Spool { id, chunk } => self.ask_spool(at, epoch, SpoolAsk::Take(id, chunk)),
            Action::Fetch(reads) => self.ask_spool(at, epoch, SpoolAsk::Give(reads)),
            Action::Forget(ids) => self.ask_spool(at, epoch, SpoolAsk::Forget(ids)),
            Action::Commit { lane, position } => self.send_commit(at, epoch, lane, position),
            Action::Reassign => {
                // An assignment that is on its way already says all that this one would.
                let fresh = (self.processes[at].generation, self.log_end());
                self.processes[at].to_assign.get_or_insert(fresh);
            }
            Action::Halt(_) if self.processes[at].may_halt => {}
            Action::Halt(failure) => self.broken(format!("p{at} halted: {failure}")),
            Action::Released { input, retry } => self.released(at, epoch, input, retry),
            Action::Hold(_) | Action::Resume | Action::Settled(_) => {}
        }
    }

    /// The offset that the retry lane wants is gone from the log: the source takes the pair again from what is there.
    pub(crate) fn take_again(&mut self, at: usize) {
        let process = &mut self.processes[at];
        process.copies = None;
        if process.leaving.is_none() {
            let fresh = (process.generation, self.end);
            process.to_assign.get_or_insert(fresh);
        }
    }

    fn open_writer(&mut self, at: usize, sink: SinkIndex) {
        let process = &mut self.processes[at];
        let epoch = process.pair.epoch();
        let place = usize::from(sink.0);
        if place < process.writers.len() {
            process.writers[place] = Writer::new(epoch);
        } else {
            process.writers.push(Writer::new(epoch));
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
            if sabotage == Sabotage::LettersUndecided {
                trailer.dead.clear();
            }
            sabotage.except(&mut trailer.except, &self.processes[at].skipped);
            if sabotage == Sabotage::SettleBeforePublish && ledger {
                let (epoch, sequence) = (self.processes[at].pair.epoch(), trailer.sequence);
                let outcome = Published::Done(Vec::new());
                self.pending.push_back((at, Event::Published { epoch, sink, sequence, outcome }));
            }
        }
        self.ask(at, sink, Ask::Publish(trailer));
    }

    pub(crate) fn send(&mut self, at: usize, epoch: Epoch, load: Load) {
        let incarnation = self.processes[at].incarnation;
        self.flights.push(Flight { process: at, incarnation, epoch, load });
    }

    fn send_letter(&mut self, at: usize, epoch: Epoch, letter: Letter) {
        if self.sabotage == Some(Sabotage::LetterBeforeAcknowledgement) {
            self.pending
                .push_back((at, Event::LettersDelivered { epoch, answers: vec![(letter.id, Ok(()))] }));
        }
        self.send(at, epoch, Load::Letter(Box::new(letter)));
    }

    fn send_commit(&mut self, at: usize, epoch: Epoch, lane: Lane, position: Position) {
        let position = match lane {
            Lane::Input => self.tampered(at, position),
            Lane::Retry => position,
        };
        let process = &mut self.processes[at];
        let generation = process.generation;
        if process.forbidden == Some(epoch) {
            self.broken(format!(
                "I8 p{at} commits {} though it was told that the pair is gone",
                position.offset
            ));
        }
        self.send(at, epoch, Load::Commit { generation, lane, position });
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
    fn released(&mut self, at: usize, epoch: Epoch, input: Option<Position>, retry: Option<Position>) {
        let owns = self.processes[at].generation == self.generation;
        let mut acknowledged = true;
        for (lane, position) in [(Lane::Input, input), (Lane::Retry, retry)] {
            let Some(position) = position else { continue };
            let position = if lane == Lane::Input { self.tampered(at, position) } else { position };
            if self.processes[at].forbidden == Some(epoch) {
                self.broken(format!("I8 p{at} commits {} at the end of a lost pair", position.offset));
            }
            let lost = self.unlucky(10);
            if lost {
                self.seen.fault(Fault::CommitLost);
            }
            acknowledged &= owns && !lost;
            if acknowledged {
                self.apply_commit(at, lane, position);
            }
        }
        self.processes[at].source = None;
        self.processes[at].copies = None;
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
}
