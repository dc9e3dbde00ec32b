//! Random schedules over the real machine: one seed, one world, one of all possible things at every step.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Duration;

use longshore_core::pair::Event;
use longshore_core::rules::Rule;
use longshore_core::{Failure, Reason, SinkIndex};

use crate::process::Leaving;
use crate::sabotage::Sabotage;
use crate::world::World;

/// A seed that broke a promise.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The seed; the same one breaks it again.
    pub seed: u64,
    /// What was broken.
    pub what: String,
    /// What happened until then, one line each; empty unless a trace was asked for.
    pub trace: Vec<String>,
}

/// How long the calm after the storm may take before it counts as a livelock.
const CALM_STEPS: usize = 3_000;

/// Plays one seed; a planted mistake and a trace are optional.
///
/// # Errors
/// The broken promise, which may also be a panic of the machine's own checks.
pub fn run(seed: u64, sabotage: Option<Sabotage>, traced: bool) -> Result<(), Box<Broken>> {
    Rule::switch_off(match sabotage {
        Some(Sabotage::Without(rule)) => Some(rule),
        Some(_) | None => None,
    });
    let mut world = World::new(seed, sabotage, traced);
    let panicked = quietly(|| play(&mut world));
    let what = panicked.or_else(|| world.bug.take().map(|bug| bug.0));
    match what {
        None => Ok(()),
        Some(what) => {
            let mut trace = world.trace.take().unwrap_or_default();
            if traced {
                trace.insert(0, format!("{:#?}", world.plan.options));
                trace.insert(1, format!("{:#?}", world.plan.log));
            }
            Err(Box::new(Broken { seed, what, trace }))
        }
    }
}

/// What happens in one seed, one line each.
pub fn trace(seed: u64) -> Vec<String> {
    let mut world = World::new(seed, None, true);
    let _ = quietly(|| play(&mut world));
    world.trace.take().unwrap_or_default()
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs the closure and returns the message if it panicked; nothing is printed then.
fn quietly(play: impl FnOnce()) -> Option<String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
    QUIET.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(play));
    QUIET.set(false);
    outcome.err().map(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => other.downcast_ref::<&str>().map_or("panicked".to_owned(), |text| (*text).to_owned()),
    })
}

fn play(world: &mut World) {
    for _ in 0..world.plan.steps {
        if world.bug.is_some() {
            return;
        }
        world.disturb();
        let step = world.choose(true);
        world.take(step);
    }
    world.calm();
    for _ in 0..CALM_STEPS {
        if world.bug.is_some() {
            return;
        }
        match world.choose(false) {
            Step::None if world.leaving().is_some() => {
                return world.broken("I6 a worker that was asked to leave never does".into());
            }
            // A person looks at the letters once more before the end.
            Step::None if !std::mem::replace(&mut world.replayed_late, true) && world.replay() => {}
            Step::None => return world.check_end(),
            step => world.take(step),
        }
    }
    world.broken("livelock".into());
}

/// One thing that can happen.
#[derive(Clone, Copy, Debug)]
enum Step {
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
    Pass(Duration),
}

impl World {
    /// One of all that can happen, drawn evenly; when nothing can, time passes.
    fn choose(&mut self, storm: bool) -> Step {
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
                if writer.held {
                    steps.push(Step::Resume(at, sink));
                }
            }
            if process.to_assign.is_some() {
                steps.push(Step::Assign(at));
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

    fn take(&mut self, step: Step) {
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
            Step::Deadline(at) => self.tell(at, Event::Deadline),
            Step::Pass(span) => self.pass(span),
        }
    }

    /// Perhaps something goes wrong, or the group changes its mind.
    fn disturb(&mut self) {
        if self.random.percent(15) {
            self.grow();
        }
        if self.random.percent(4) {
            self.replay();
        }
        if self.plan.forger && self.random.percent(3) {
            self.forge();
        }
        if !self.random.percent(6) {
            return;
        }
        match self.random.below(10) {
            0..=4 if self.plan.faults > 0 => {
                self.plan.faults -= 1;
                self.fault();
            }
            5 | 6 => self.hold_a_sink(),
            7 => self.end_zombies(),
            _ => {}
        }
    }

    fn fault(&mut self) {
        let owner = self.owner;
        let other = self.random.below(self.processes.len());
        match self.random.below(5) {
            0 => {
                self.note(format_args!("!! p{owner} crashes"));
                self.crash(owner);
                self.give_to(other);
            }
            1 => {
                // The old owner does not know yet: a zombie, unless it is given the pair again.
                self.note(format_args!("!! p{owner} loses the pair and does not know"));
                self.processes[owner].leaving = None;
                self.give_to(other);
            }
            2 => {
                self.note(format_args!("!! p{owner} loses the pair"));
                self.generation += 1;
                self.lose(owner);
                self.give_to(other);
            }
            3 => self.ask_to_leave(Leaving::Revoked),
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
        let event = if leaving == Leaving::Revoked { Event::Revoke } else { Event::Drain };
        self.tell(owner, event);
    }

    fn leaving(&self) -> Option<usize> {
        (0..self.processes.len()).find(|at| self.processes[*at].leaving.is_some())
    }

    pub(crate) fn crash(&mut self, at: usize) {
        let incarnation = self.processes[at].incarnation;
        self.restart(at);
        if self.random.percent(50) {
            self.flights.retain(|flight| flight.incarnation != incarnation);
        }
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
    fn calm(&mut self) {
        self.note(format_args!("== calm"));
        self.storm = false;
        while self.visible < self.plan.log.len() {
            self.grow();
        }
        self.end_zombies();
        if self.random.percent(30) {
            let leaving = self.random.pick(&[Leaving::Revoked, Leaving::Drained]);
            self.ask_to_leave(leaving);
        }
    }
}
