//! The spool's own thread: whatever touches the disk for copies that wait is done here, one thing after the other, so that no task of a
//! pair and not the poll thread ever waits for it. Its queue is bounded by what pairs may have on the way to it.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use longshore_core::pair::{Event, SpoolId, SpoolRead};
use longshore_core::record::LARGE_RECORD_BYTES;
use longshore_core::{Budget, Chunk, ChunkBuilder, Epoch, Failure, Lane, PairId, Reason, Spool, Spooled};
use tokio::sync::mpsc::UnboundedSender;

use crate::clock;
use crate::mailbox::Input;

/// Large records that have no room are looked at again so soon.
const LOOK: Duration = Duration::from_millis(20);
/// Without room the next one goes after so long, whatever holds the one before: it may be with a pair that is held for hours.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the thread is asked to do.
enum Job {
    Take {
        epoch: Epoch,
        id: SpoolId,
        chunk: Arc<Chunk>,
        mailbox: UnboundedSender<Input>,
    },
    Give(Giving),
    /// Freeing room is work of the disk as well.
    Drop(Vec<Arc<dyn Spooled>>),
}

/// Records that are wanted of the spool.
struct Giving {
    epoch: Epoch,
    pair: PairId,
    reads: Vec<Wanted>,
    mailbox: UnboundedSender<Input>,
}

impl Giving {
    /// Bytes of those of its records that are large.
    fn large_bytes(&self) -> u64 {
        let each = self.reads.iter().map(|wanted| wanted.chunk.largest_bytes());
        each.filter(|bytes| *bytes > LARGE_RECORD_BYTES as u64).sum()
    }
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
        self.send(Job::Give(Giving { epoch, pair, reads, mailbox }));
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
    let mut line = Line::new(Arc::clone(budget));
    loop {
        let job = if line.is_empty() {
            queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            queue.recv_timeout(LOOK)
        };
        match job {
            // A closed mailbox means that the pair is gone, and with it what it had here.
            Ok(Job::Take { epoch, id, chunk, mailbox }) => {
                let taken = spool.and_then(|spool| spool.take(&chunk).ok()).map(Arc::from);
                drop(chunk);
                let _ = mailbox.send(Input::Spooled { epoch, id, taken });
            }
            Ok(Job::Give(giving)) if giving.large_bytes() > 0 => line.waiting.push_back(giving),
            Ok(Job::Give(giving)) => {
                give(giving, budget);
            }
            Ok(Job::Drop(chunks)) => drop(chunks),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        line.turn(Instant::now());
    }
}

/// Large records that are wanted stand in line for the memory budget (I5). Each pair may want one that is larger than its own share, and small
/// enough to be spooled: together they would be as much as the whole budget. The next one goes when it fits, or when those that went
/// before are gone.
struct Line {
    budget: Arc<Budget>,
    waiting: VecDeque<Giving>,
    /// Given, and perhaps still in memory.
    given: Vec<Weak<Chunk>>,
    last: Option<Instant>,
}

impl Line {
    fn new(budget: Arc<Budget>) -> Self {
        Self { budget, waiting: VecDeque::new(), given: Vec::new(), last: None }
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Gives what may go.
    fn turn(&mut self, now: Instant) {
        while let Some(next) = self.waiting.front() {
            if next.mailbox.is_closed() {
                self.waiting.pop_front();
                continue;
            }
            self.given.retain(|chunk| chunk.strong_count() > 0);
            let fits = self.budget.used() + next.large_bytes() <= self.budget.limit();
            let patient = self.last.is_some_and(|last| now.duration_since(last) < PATIENCE);
            if !fits && !self.given.is_empty() && patient {
                return;
            }
            let Some(next) = self.waiting.pop_front() else { return };
            self.given.extend(give(next, &self.budget).as_ref().map(Arc::downgrade));
            self.last = Some(now);
        }
    }
}

/// Brings records back and tells their pair; the chunk that they are.
fn give(giving: Giving, budget: &Arc<Budget>) -> Option<Arc<Chunk>> {
    let Giving { epoch, pair, reads, mailbox } = giving;
    let mut builder = ChunkBuilder::new(pair, Lane::Retry, epoch);
    let lost = reads.into_iter().filter(|wanted| wanted.chunk.give(wanted.read.index, &mut builder).is_err());
    let lost: Vec<SpoolRead> = lost.map(|wanted| wanted.read).collect();
    builder.pack();
    let charge = budget.charge_waiting(builder.memory_bytes() as u64);
    let chunk = (!builder.is_empty()).then(|| builder.build(Some(charge)));
    let event = Event::Fetched { epoch, chunk: chunk.clone(), lost, wall_ms: clock::wall_ms() };
    let _ = mailbox.send(Input::Event(event));
    chunk
}

#[cfg(test)]
mod tests;
