//! What can happen in the world of one pair, and what goes wrong.

use std::time::Duration;

use longshore_core::pair::Event;
use longshore_core::{Failure, Reason, SinkIndex};

use crate::case::Chance;
use crate::coverage::Fault;
use crate::process::Leaving;
use crate::world::World;

/// A step of time that counts as a leap.
const LEAP: Duration = Duration::from_secs(3);

/// One thing that can happen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    None,
    Land(usize),
    Unit(usize, usize),
    Write(usize, SinkIndex),
    Read(usize),
    ReadCopies(usize),
    Spool(usize),
    Assign(usize),
    Resume(usize, SinkIndex),
    Deadline(usize),
    Mend(usize),
    Pass(Duration),
}

impl World {
    /// One of all that can happen, drawn evenly; when nothing can, time passes.
    pub(crate) fn choose(&mut self, storm: bool) -> Step {
        let mut steps = Vec::with_capacity(16);
        for place in 0..self.flights.len() {
            steps.push(Step::Land(place));
        }
        for at in 0..self.processes.len() {
            let process = &self.processes[at];
            (0..process.units.len()).for_each(|unit| steps.push(Step::Unit(at, unit)));
            for (sink, writer) in (0u8..).map(SinkIndex).zip(&process.writers) {
                if writer.is_ready() {
                    steps.push(Step::Write(at, sink));
                }
                if writer.held && process.pair.halted().is_none() {
                    steps.push(Step::Resume(at, sink));
                }
            }
            if process.to_assign.is_some() {
                steps.push(Step::Assign(at));
            }
            if process.pair.halted().is_some() && process.leaving.is_none() {
                steps.push(Step::Mend(at));
            }
            if self.can_read(at) {
                steps.push(Step::Read(at));
            }
            if self.can_read_copies(at) {
                steps.push(Step::ReadCopies(at));
            }
            if self.is_spool_asked(at) {
                steps.push(Step::Spool(at));
            }
        }
        // In the calm nobody's time is up: whoever leaves comes to its end.
        if let Some(at) = self.leaving().filter(|_| storm)
            && self.random.percent(10)
        {
            return Step::Deadline(at);
        }
        if storm && self.random.percent(8) {
            return Step::Pass(Duration::from_millis(self.random.pick(&[10, 100, 500, 3000])));
        }
        if !steps.is_empty() {
            return self.random.pick(&steps);
        }
        let wakes = self.processes.iter().filter_map(|process| process.pair.next_wake());
        match wakes.min() {
            Some(wake) => Step::Pass(wake.since(self.now).max(Duration::from_millis(1))),
            None => Step::None,
        }
    }

    pub(crate) fn take(&mut self, step: Step) {
        if !matches!(step, Step::None) {
            self.seen.coverage.events += 1;
        }
        match step {
            Step::None => {}
            Step::Land(place) => self.land(place),
            Step::Unit(at, unit) => self.run_unit(at, unit),
            Step::Write(at, sink) => self.write(at, sink),
            Step::Read(at) => self.read(at),
            Step::ReadCopies(at) => self.read_copies(at),
            Step::Spool(at) => self.turn_spool(at),
            Step::Assign(at) => self.assign(at),
            Step::Resume(at, sink) => {
                if let Some(writer) = self.processes[at].writer(sink) {
                    writer.held = false;
                    let epoch = writer.epoch;
                    self.tell(at, Event::SinkResumed { epoch, sink });
                }
            }
            Step::Deadline(at) => {
                self.seen.fault(Fault::Deadline);
                self.tell(at, Event::Deadline);
            }
            Step::Mend(at) => self.mend(at),
            Step::Pass(span) => {
                if span >= LEAP {
                    self.seen.fault(Fault::TimeLeap);
                }
                self.pass(span);
            }
        }
    }

    /// Perhaps something goes wrong, or the group changes its mind.
    pub(crate) fn disturb(&mut self) {
        if self.random.percent(15) {
            self.grow();
        }
        if self.random.percent(4) {
            self.replay();
        }
        if self.plan.has_retries() && self.plan.may(Chance::Forger) && self.random.percent(3) {
            self.forge();
        }
        if self.plan.may(Chance::Retention) && self.random.percent(3) {
            self.retain();
        }
        if self.plan.may(Chance::Compaction) && self.random.percent(3) {
            self.compact();
        }
        if self.random.percent(1) {
            self.partitions += 1;
            self.seen.fault(Fault::Growth);
        }
        if self.random.percent(2) {
            self.share();
        }
        if !self.random.percent(6) {
            return;
        }
        match self.random.below(10) {
            0..=4 if self.plan.faults > 0 => {
                self.plan.faults -= 1;
                self.fault();
            }
            5 | 6 if self.plan.may(Chance::Holds) => self.hold_a_sink(),
            7 => self.end_zombies(),
            _ => {}
        }
    }

    pub(crate) fn fault(&mut self) {
        let owner = self.owner;
        let other = self.random.below(self.processes.len());
        match self.random.below(6) {
            0 => {
                self.seen.fault(Fault::Kill);
                self.note(format_args!("!! p{owner} crashes"));
                self.crash(owner);
                self.give_to(other);
            }
            1 => {
                self.seen.fault(Fault::Zombie);
                // The old owner does not know yet: a zombie, unless it is given the pair again.
                self.note(format_args!("!! p{owner} loses the pair and does not know"));
                self.processes[owner].leaving = None;
                self.give_to(other);
            }
            2 => {
                self.seen.fault(Fault::Lost);
                self.note(format_args!("!! p{owner} loses the pair"));
                self.generation += 1;
                self.lose(owner);
                self.give_to(other);
            }
            3 => self.ask_to_leave(Leaving::Revoked),
            4 if self.plan.may(Chance::Halts) => self.halt(owner),
            _ => self.ask_to_leave(Leaving::Drained),
        }
    }

    /// The owner is to give up the pair in good order, unless it is just being given it or already leaves.
    fn ask_to_leave(&mut self, leaving: Leaving) {
        let owner = self.owner;
        let process = &self.processes[owner];
        let settled = process.leaving.is_none() && process.to_assign.is_none();
        if !settled || process.generation != self.generation {
            return;
        }
        self.processes[owner].leaving = Some(leaving);
        self.seen.fault(if leaving == Leaving::Revoked { Fault::Revoke } else { Fault::Drain });
        let event = if leaving == Leaving::Revoked { Event::Revoke } else { Event::Drain };
        self.tell(owner, event);
    }

    pub(crate) fn leaving(&self) -> Option<usize> {
        (0..self.processes.len()).find(|at| self.processes[*at].leaving.is_some())
    }

    /// The owner's pair meets what only a person can mend.
    fn halt(&mut self, at: usize) {
        let process = &mut self.processes[at];
        if !process.pair.is_running() {
            return;
        }
        process.may_halt = true;
        self.seen.fault(Fault::Halt);
        let failure = Failure::halt(Reason::SinkDenied, "the rights are gone");
        let sink = SinkIndex(self.random.below(self.plan.options.sinks.len()) as u8);
        let epoch = self.processes[at].pair.epoch();
        let event = match self.random.below(2) {
            0 => Event::Halt(failure),
            _ => Event::SinkHeld { epoch, sink, failure },
        };
        self.tell(at, event);
    }

    /// A person has mended it and starts the worker again, in good order or not.
    fn mend(&mut self, at: usize) {
        self.note(format_args!("   person: starts p{at} again"));
        let owned = at == self.owner && self.processes[at].generation == self.generation;
        if owned && self.random.percent(50) {
            return self.ask_to_leave(Leaving::Drained);
        }
        self.crash(at);
        if at == self.owner {
            let to = self.random.below(self.processes.len());
            self.give_to(to);
        }
    }

    /// Enough went wrong for a seed: one worker was killed and the pair moved twice.
    pub(crate) fn go_wrong_enough(&mut self) {
        let others = self.random.below(self.processes.len());
        self.seen.fault(Fault::Kill);
        let owner = self.owner;
        self.note(format_args!("!! p{owner} crashes"));
        self.crash(owner);
        self.give_to(others);
        for _ in 0..20 {
            let step = self.choose(true);
            self.take(step);
        }
        if self.seen.coverage.rebalances < 2 {
            self.seen.fault(Fault::Lost);
            let owner = self.owner;
            self.generation += 1;
            self.lose(owner);
            self.give_to(others);
        }
    }

    /// The owner has more pairs, or fewer, but never as few as in the plan, so that the plan's cap holds all the time.
    fn share(&mut self) {
        let whole = self.plan.options.commit.uncommitted_cap;
        let share = self.random.pick(&[1, (whole / 2).max(1), whole]);
        self.seen.fault(Fault::Share);
        self.tell(self.owner, Event::Share(share));
    }

    fn hold_a_sink(&mut self) {
        let at = self.owner;
        let process = &mut self.processes[at];
        if process.writers.is_empty() {
            return;
        }
        let place = self.random.below(self.processes[at].writers.len());
        let writer = &mut self.processes[at].writers[place];
        writer.held = true;
        self.seen.fault(Fault::SinkHeld);
        let (epoch, sink) = (writer.epoch, SinkIndex(place as u8));
        let failure = Failure::target(Reason::SinkUnavailable, "away");
        self.tell(at, Event::SinkHeld { epoch, sink, failure });
    }

    /// Zombies hear of their loss, or die.
    fn end_zombies(&mut self) {
        for at in 0..self.processes.len() {
            let process = &self.processes[at];
            if at != self.owner && process.generation != self.generation && process.epoch > 0 {
                if self.random.percent(50) {
                    self.lose(at);
                } else {
                    self.crash(at);
                }
            }
        }
    }

    /// From now on nothing goes wrong; what is on its way still arrives. Perhaps the owner is asked to leave in the middle of it.
    pub(crate) fn calm(&mut self) {
        self.note(format_args!("== calm"));
        self.storm = false;
        self.replayed_late = false;
        while !self.is_written() {
            self.grow();
        }
        self.end_zombies();
        if self.random.percent(30) {
            let leaving = self.random.pick(&[Leaving::Revoked, Leaving::Drained]);
            self.ask_to_leave(leaving);
        }
    }

    /// More is written, and goes wrong.
    pub(crate) fn begin_round(&mut self) {
        self.note(format_args!("== another storm"));
        self.storm = true;
        self.plan.go_on(&mut self.random);
        self.runs.resize(self.plan.log.len(), 0);
    }
}
