//! The spool's own thread: whatever touches the disk for copies that wait is done here, one thing after the other, so that no task of a
//! pair and not the poll thread ever waits for it. Its queue is bounded by what pairs may have on the way to it.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use longshore_core::pair::{Event, SpoolId, SpoolRead};
use longshore_core::{Budget, Chunk, ChunkBuilder, Epoch, Failure, Lane, PairId, Reason, Spool, Spooled};
use tokio::sync::mpsc::UnboundedSender;

use crate::clock;
use crate::mailbox::Input;

/// What the thread is asked to do.
enum Job {
    Take {
        epoch: Epoch,
        id: SpoolId,
        chunk: Arc<Chunk>,
        mailbox: UnboundedSender<Input>,
    },
    Give {
        epoch: Epoch,
        pair: PairId,
        reads: Vec<Wanted>,
        mailbox: UnboundedSender<Input>,
    },
    /// Freeing room is work of the disk as well.
    Drop(Vec<Arc<dyn Spooled>>),
}

/// A record that is wanted, of this chunk.
pub(crate) struct Wanted {
    pub(crate) read: SpoolRead,
    pub(crate) chunk: Arc<dyn Spooled>,
}

/// The way to the thread, which ends when the last one is dropped.
#[derive(Clone)]
pub(crate) struct Spooler {
    jobs: Sender<Job>,
}

impl Spooler {
    /// Starts the thread; without a spool it takes nothing.
    ///
    /// # Errors
    /// Class Halt when the operating system refuses a thread.
    pub(crate) fn start(spool: Option<Arc<dyn Spool>>, budget: &Arc<Budget>) -> Result<Self, Failure> {
        let (jobs, queue) = crossbeam_channel::unbounded();
        let budget = Arc::clone(budget);
        let thread = std::thread::Builder::new().name("longshore-spool".to_owned());
        thread.spawn(move || work(&queue, spool.as_deref(), &budget)).map_err(|error| {
            Failure::halt(Reason::Internal, format_args!("cannot start a thread: {error}"))
        })?;
        Ok(Self { jobs })
    }

    /// Has a chunk taken; the mailbox gets the answer.
    pub(crate) fn take(&self, epoch: Epoch, id: SpoolId, chunk: Arc<Chunk>, mailbox: UnboundedSender<Input>) {
        self.send(Job::Take { epoch, id, chunk, mailbox });
    }

    /// Has records brought back; the mailbox gets them.
    pub(crate) fn give(
        &self,
        epoch: Epoch,
        pair: PairId,
        reads: Vec<Wanted>,
        mailbox: UnboundedSender<Input>,
    ) {
        self.send(Job::Give { epoch, pair, reads, mailbox });
    }

    /// Frees the room of chunks.
    pub(crate) fn forget(&self, chunks: Vec<Arc<dyn Spooled>>) {
        if !chunks.is_empty() {
            self.send(Job::Drop(chunks));
        }
    }

    fn send(&self, job: Job) {
        // The thread lives as long as this sender, so the channel is never closed here.
        let _ = self.jobs.send(job);
    }
}

fn work(queue: &Receiver<Job>, spool: Option<&dyn Spool>, budget: &Arc<Budget>) {
    for job in queue {
        match job {
            // A closed mailbox means that the pair is gone, and with it what it had here.
            Job::Take { epoch, id, chunk, mailbox } => {
                let taken = spool.and_then(|spool| spool.take(&chunk).ok()).map(Arc::from);
                drop(chunk);
                let _ = mailbox.send(Input::Spooled { epoch, id, taken });
            }
            Job::Give { epoch, pair, reads, mailbox } => {
                let _ = mailbox.send(Input::Event(give(epoch, pair, reads, budget)));
            }
            Job::Drop(chunks) => drop(chunks),
        }
    }
}

fn give(epoch: Epoch, pair: PairId, reads: Vec<Wanted>, budget: &Arc<Budget>) -> Event {
    let mut builder = ChunkBuilder::new(pair, Lane::Retry, epoch);
    let lost = reads.into_iter().filter(|wanted| wanted.chunk.give(wanted.read.index, &mut builder).is_err());
    let lost: Vec<SpoolRead> = lost.map(|wanted| wanted.read).collect();
    builder.pack();
    let charge = budget.charge_waiting(builder.memory_bytes() as u64);
    let chunk = (!builder.is_empty()).then(|| builder.build(Some(charge)));
    Event::Fetched { epoch, chunk, lost, wall_ms: clock::wall_ms() }
}
