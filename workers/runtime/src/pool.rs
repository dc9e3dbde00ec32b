//! The CPU pool: as many OS threads as cores, first in first out, for units whose steps are all pure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use longshore_core::pair::{Unit, UnitResult};
use longshore_core::{Budget, Failure, Reason};
use longshore_telemetry::Tracer;
use tokio::sync::mpsc::UnboundedSender;

use crate::execute::Executor;
use crate::mailbox::Input;
use crate::plan::Plan;
use crate::stories::{Unwatched, Watched};

/// One unit to run.
pub(crate) struct Job {
    /// The unit.
    pub(crate) unit: Unit,
    /// Set when nobody wants the answer any more.
    pub(crate) cancelled: Arc<AtomicBool>,
    /// Told back, so that answers of a cancelled flight are known.
    pub(crate) flight: u64,
    /// Where the answer goes.
    pub(crate) mailbox: UnboundedSender<Input>,
}

/// The threads' queue. It has no bound of its own: each pair has at most `units_in_flight` units here, and a pair's
/// task must not wait for another pair's work. The threads end when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct Pool {
    jobs: Sender<Job>,
}

impl Pool {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// Class Halt when the operating system refuses a thread.
    pub(crate) fn start(
        threads: usize,
        plan: &Arc<Plan>,
        budget: &Arc<Budget>,
        tracer: Option<&Tracer>,
    ) -> Result<Self, Failure> {
        let (jobs, queue) = crossbeam_channel::unbounded();
        for number in 0..threads.max(1) {
            let (queue, plan, budget) = (queue.clone(), Arc::clone(plan), Arc::clone(budget));
            let tracer = tracer.cloned();
            let thread = std::thread::Builder::new().name(format!("longshore-cpu-{number}"));
            let started = thread.spawn(move || work(&queue, &plan, &budget, tracer.as_ref()));
            started.map_err(|error| {
                Failure::halt(Reason::Internal, format_args!("cannot start a thread: {error}"))
            })?;
        }
        Ok(Self { jobs })
    }

    /// Queues a unit.
    pub(crate) fn submit(&self, job: Job) {
        // The threads live as long as this sender, so the channel is never closed here.
        let _ = self.jobs.send(job);
    }
}

fn work(queue: &Receiver<Job>, plan: &Plan, budget: &Arc<Budget>, tracer: Option<&Tracer>) {
    let mut executor = Executor::default();
    for Job { unit, cancelled, flight, mailbox } in queue {
        if cancelled.load(Ordering::Relaxed) {
            continue;
        }
        let began = Instant::now();
        let (result, traced) = match tracer {
            None => (executor.run(plan, &unit, &cancelled, &mut Unwatched), Vec::new()),
            Some(tracer) => {
                let mut watched = Watched::new(tracer);
                (executor.run(plan, &unit, &cancelled, &mut watched), watched.traced)
            }
        };
        let Some(mut result) = result else { continue };
        result.took = began.elapsed();
        let charge = budget.charge(block_bytes(&result));
        // A closed mailbox means that the pair is gone.
        let _ = mailbox.send(Input::Unit { flight, result, traced, charge });
    }
}

/// The memory of a unit's blocks.
pub(crate) fn block_bytes(result: &UnitResult) -> u64 {
    result.blocks.iter().map(|(_, block)| memory(block)).sum()
}

/// The memory a block takes, spare room included. What it has lent is a chunk's, and counted there.
pub(crate) fn memory(block: &longshore_core::Block) -> u64 {
    let rows = block.rows.capacity() * size_of::<longshore_core::Row>();
    let lent = block.lent.capacity() * size_of::<(usize, longshore_core::RecordRef)>();
    (block.bytes.capacity() + rows + lent) as u64
}
