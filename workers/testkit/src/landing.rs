//! What was on its way arrives: at a sink, the dead-letter topic, or the group's coordinator.

use longshore_core::ledger::Trailer;
use longshore_core::pair::{CommitResult, Destination, Event, Letter, Position};
use longshore_core::sink::Published;
use longshore_core::{Epoch, Failure, Lane, Offset, Reason, RunSet, SinkIndex};

use crate::case::Chance;
use crate::coverage::Fault;
use crate::plan::Kind;
use crate::process::Stored;
use crate::retry::StoredCopy;
use crate::sabotage::Sabotage;
use crate::world::{Flight, Load, World};

impl World {
    /// The commit in force covers only records that are final or will still come.
    pub(crate) fn apply_commit(&mut self, at: usize, lane: Lane, position: Position) {
        self.note(format_args!("   broker: p{at} committed {lane:?} {}", position.offset));
        match lane {
            Lane::Input => self.committed = Some(position),
            Lane::Retry => self.committed_copies = Some(position),
        }
        self.check_commits(at);
    }

    /// Something arrives. Its sender may be dead, or hear of it wrongly.
    pub(crate) fn land(&mut self, place: usize) {
        let Flight { process: at, incarnation, epoch, load } = self.flights.remove(place);
        let alive = self.processes[at].incarnation == incarnation;
        match load {
            Load::Put { sink, trailer, rows } => {
                self.land_put(at, alive, epoch, sink, trailer, rows, incarnation)
            }
            Load::Letter(letter) => self.land_letters(at, incarnation, epoch, letter),
            Load::Answer(letter) if alive => {
                self.tell(at, Event::LettersDelivered { epoch, answers: vec![(letter, Ok(()))] });
            }
            Load::Answer(_) => {}
            Load::End(None) if alive => {
                if self.unlucky(10) {
                    self.seen.fault(Fault::EndUnknown);
                    self.tell(at, Event::EndFound { epoch, end: None });
                } else {
                    let end = self.log_end();
                    self.send(at, epoch, Load::End(Some(end)));
                }
            }
            Load::End(Some(end)) if alive => self.tell(at, Event::EndFound { epoch, end: Some(end) }),
            Load::End(_) => {}
            Load::Commit { generation, lane, position } => {
                let offset = position.offset;
                let result = self.land_commit(at, generation, lane, position);
                if alive {
                    if result == CommitResult::Refused {
                        self.processes[at].forbidden = Some(epoch);
                    }
                    self.tell(at, Event::Committed { epoch, lane, offset, result });
                }
            }
        }
    }

    fn land_commit(&mut self, at: usize, generation: u64, lane: Lane, position: Position) -> CommitResult {
        if self.unlucky(5) {
            self.seen.fault(Fault::CommitLost);
            return CommitResult::Unknown;
        }
        if generation != self.generation {
            self.seen.fault(Fault::CommitRefused);
            return CommitResult::Refused;
        }
        self.apply_commit(at, lane, position);
        if self.unlucky(5) {
            self.seen.fault(Fault::CommitUnanswered);
            return CommitResult::Unknown;
        }
        CommitResult::Done
    }

    /// A letter arrives, and perhaps others of its sender with it: then their answers come back together.
    fn land_letters(&mut self, at: usize, incarnation: u64, epoch: Epoch, first: Box<Letter>) {
        let mut letters = vec![first];
        while self.random.percent(50) {
            let with_it = |flight: &Flight| {
                (flight.process, flight.incarnation, flight.epoch) == (at, incarnation, epoch)
                    && matches!(flight.load, Load::Letter(_))
            };
            let Some(place) = self.flights.iter().position(with_it) else { break };
            if let Load::Letter(letter) = self.flights.remove(place).load {
                letters.push(letter);
            }
        }
        let alive = self.processes[at].incarnation == incarnation;
        let mut answers = Vec::new();
        for letter in letters {
            if alive && self.unlucky(10) {
                self.seen.fault(Fault::ProduceFailed);
                answers.push((letter.id, Err(Failure::target(Reason::BrokerUnavailable, "away"))));
                continue;
            }
            if let Some(origin) = self.refuses(&letter) {
                let what = if letter.to == Destination::Tail { "to carry" } else { "the copy of" };
                self.note(format_args!("   broker: refuses {what} {origin}"));
                self.refused_copies.insert(origin);
                self.seen.fault(Fault::ProduceRefused);
                if alive {
                    answers.push((letter.id, Err(Failure::reject(Reason::SinkTooLarge, "too large"))));
                }
                continue;
            }
            self.store_letter(at, &letter);
            if alive && self.unlucky(10) {
                self.seen.fault(Fault::ProduceUnanswered);
                // No answer: the runtime sends the same letter again.
                self.flights.push(Flight { process: at, incarnation, epoch, load: Load::Letter(letter) });
            } else if alive && self.plan.may(Chance::Answers) && self.random.percent(20) {
                self.seen.fault(Fault::ProduceLate);
                // The answer to others that were sent with it takes longer, and its own comes with theirs: it is there and may be read
                // long before.
                self.flights.push(Flight { process: at, incarnation, epoch, load: Load::Answer(letter.id) });
            } else if alive {
                answers.push((letter.id, Ok(())));
            }
        }
        if !answers.is_empty() {
            self.tell(at, Event::LettersDelivered { epoch, answers });
        }
    }

    /// The record whose copy the retry topic refuses for good; not one that it took before, when nobody heard its answer.
    fn refuses(&mut self, letter: &Letter) -> Option<Offset> {
        let (origin, first) = (letter.origin?, letter.record.chunk().lane() == Lane::Input);
        let (before, percent) = match letter.to {
            Destination::DeadLetters => return None,
            Destination::Retry { .. } => (0, self.plan.refuses_copies),
            // The copy that is carried forward is one. Few are.
            Destination::Tail => (1, self.plan.refuses_copies * 3),
        };
        if self.plan.record(origin).unwelcome {
            return Some(origin);
        }
        let same = |copy: &&StoredCopy| {
            let rank = (copy.headers.attempt, copy.headers.replays);
            copy.origin() == origin && (first || rank == (letter.attempts, letter.replays))
        };
        let refuses =
            self.storm && self.copies.iter().filter(same).count() <= before && self.random.percent(percent);
        refuses.then_some(origin)
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
        let outcome = self.put(at, alive, sink, &trailer, &rows);
        if !alive {
            return;
        }
        let sequence = trailer.sequence;
        if self.processes[at].writer(sink).is_none() {
            return;
        }
        if self.unlucky(10) {
            self.seen.fault(Fault::PublishUnanswered);
            // No answer: the runtime puts the same segment again.
            return self.flights.push(Flight {
                process: at,
                incarnation,
                epoch,
                load: Load::Put { sink, trailer, rows },
            });
        }
        if let Some(writer) = self.processes[at].writer(sink)
            && writer.epoch == epoch
            && writer.putting == Some(sequence)
        {
            writer.putting = None;
        }
        self.tell(at, Event::Published { epoch, sink, sequence, outcome });
    }

    fn put(
        &mut self,
        at: usize,
        alive: bool,
        sink: SinkIndex,
        trailer: &Trailer,
        rows: &[Offset],
    ) -> Published {
        let refused = self.refused_rows(sink, rows);
        let count = rows.iter().filter(|row| refused.contains(row)).count() as u64;
        let store = &mut self.stores[usize::from(sink.0)];
        let mut place = trailer.sequence.0 as usize;
        if self.sabotage == Some(Sabotage::NameAnew) {
            place = store.segments.len();
        } else if self.sabotage == Some(Sabotage::PutOverwrites) {
            store.segments.truncate(place.max(store.segments.len().saturating_sub(1)));
        }
        let outcome = match store.segments.get(place) {
            None if place == store.segments.len() => {
                let (mut trailer, mut rows) = (trailer.clone(), rows.to_vec());
                rows.retain(|row| !refused.contains(row));
                if self.sabotage == Some(Sabotage::RowsBeforeLedger) && !alive {
                    trailer.covers = (trailer.covers.0, trailer.covers.0);
                    trailer.also = RunSet::default();
                }
                if self.sabotage != Some(Sabotage::RefusedStaysHeld) {
                    trailer.refuse(&refused, count);
                }
                for offset in &refused {
                    *store.refusals.entry(*offset).or_default() += 1;
                }
                let outcome = refusals(&refused);
                store.segments.push(Stored { trailer, rows, refused });
                outcome
            }
            Some(taken) if taken.trailer.writer == trailer.writer => {
                let forgotten = self.sabotage == Some(Sabotage::RefusalForgotten);
                if taken.refused.is_empty() || forgotten {
                    Published::TakenByUs
                } else {
                    refusals(&taken.refused)
                }
            }
            Some(taken) => {
                let writer = taken.trailer.writer;
                self.seen.fault(Fault::NameTaken);
                Published::TakenByOther(writer)
            }
            None => {
                self.broken(format!(
                    "p{at} puts segment {place} of sink {} before the one before it",
                    sink.0
                ));
                Published::Done(Vec::new())
            }
        };
        if matches!(&outcome, Published::Done(refused) if !refused.is_empty()) {
            self.seen.fault(Fault::RowsRefused);
            self.note(format_args!("   sink {}: refused rows of #{place}", sink.0));
        }
        self.note(format_args!(
            "   sink {}: #{place} by p{at} {outcome:?} rows={rows:?} covers=[{},{}) except={:?} also={:?} dead={:?}",
            sink.0, trailer.covers.0, trailer.covers.1, trailer.except, trailer.also, trailer.dead
        ));
        outcome
    }

    /// The rows that a sink refuses if it is given them now.
    fn refused_rows(&self, sink: SinkIndex, rows: &[Offset]) -> Vec<Offset> {
        if !self.plan.options.sinks[usize::from(sink.0)].refuses {
            return Vec::new();
        }
        let refusals = &self.stores[usize::from(sink.0)].refusals;
        let refuses = |offset: &&Offset| match self.plan.record(**offset).kind {
            Kind::Refused => true,
            Kind::Picky(times) => refusals.get(offset).copied().unwrap_or(0) < times,
            Kind::Pass
            | Kind::Filter
            | Kind::Poison
            | Kind::Transient(_)
            | Kind::Hopeless
            | Kind::Outage(_)
            | Kind::Fickle
            | Kind::Crasher => false,
        };
        let mut refused: Vec<Offset> = rows.iter().filter(refuses).copied().collect();
        refused.dedup();
        refused
    }
}

fn refusals(refused: &[Offset]) -> Published {
    let refusal = |offset: &Offset| (*offset, Failure::reject(Reason::SinkRejected, "refused"));
    Published::Done(refused.iter().map(refusal).collect())
}
