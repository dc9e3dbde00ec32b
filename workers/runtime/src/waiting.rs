//! Units with waiting steps. A few tasks ([`runner`]) drive all of a pair's units of one flight: a task and two timers for
//! each record would cost more than all else that is done with it. Units go out and come back in batches, so one turn of
//! the pair's machine serves many.

mod runner;
mod slot;
mod steps;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore_core::Budget;
use longshore_core::pair::Unit;
use longshore_telemetry::Tracer;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{JoinError, JoinSet};

use crate::mailbox::Input;
use crate::plan::Plan;
use runner::Runner;

/// The most units that go to one runner at once, so that a flood for steps which also compute finds all cores.
const HANDFUL: usize = 64;

/// What the runners of one flight work with.
#[derive(Clone)]
pub(crate) struct CrewOptions {
    pub(crate) plan: Arc<Plan>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) tracer: Option<Tracer>,
    /// Told back, so that answers of a cancelled flight are known.
    pub(crate) flight: u64,
    /// Where the answers go, as [`Input::Waited`].
    pub(crate) mailbox: UnboundedSender<Input>,
}

/// The units with waiting steps of one flight. Dropping it drops the steps' futures: nothing of them comes back.
pub(crate) struct Crew {
    runners: Vec<Hired>,
    tasks: JoinSet<()>,
    /// The most runners: one for each core. Asked for once, since the answer costs some system calls.
    most: usize,
    /// The runner that gets the next units.
    turn: usize,
    units: usize,
}

/// A runner's end of this side.
struct Hired {
    units: UnboundedSender<Vec<Unit>>,
    /// Whether it had more to do than it got done in its last turn.
    behind: Arc<AtomicBool>,
}

impl Crew {
    pub(crate) fn new() -> Self {
        let most = std::thread::available_parallelism().map_or(1, usize::from);
        Self { runners: Vec::new(), tasks: JoinSet::new(), most, turn: 0, units: 0 }
    }

    /// Hands units over. Not bounded: a pair has at most `units_in_flight` units here.
    pub(crate) fn hand(&mut self, units: &mut Vec<Unit>, options: impl Fn() -> CrewOptions) {
        while !units.is_empty() {
            let rest = units.split_off(units.len().min(HANDFUL));
            let some = std::mem::replace(units, rest);
            self.units += some.len();
            let full = some.len() == HANDFUL;
            let runner = self.runner(&options);
            // A runner that is gone has panicked, which `ended` tells.
            let _ = runner.units.send(some);
            if full || runner.behind.load(Ordering::Relaxed) {
                self.turn = (self.turn + 1) % self.most;
            }
        }
    }

    /// One runner gets everything as long as it keeps up, since few large batches cost less than many small ones. The
    /// others are started when they are needed.
    fn runner(&mut self, options: &impl Fn() -> CrewOptions) -> &Hired {
        if self.turn >= self.runners.len() {
            let (units, inbox) = unbounded_channel();
            let behind = Arc::<AtomicBool>::default();
            self.tasks.spawn(Runner::new(options(), inbox, Arc::clone(&behind)).run());
            self.runners.push(Hired { units, behind });
        }
        &self.runners[self.turn.min(self.runners.len() - 1)]
    }

    /// So many of the units came back.
    pub(crate) fn returned(&mut self, units: usize) {
        self.units = self.units.saturating_sub(units);
    }

    /// Whether all units came back.
    pub(crate) fn is_empty(&self) -> bool {
        self.units == 0
    }

    /// A runner that ended, which only a defect makes it do; none while there are no runners. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> Option<Result<(), JoinError>> {
        self.tasks.join_next().await
    }
}
