//! One task for each sink of a pair: it recovers the ledger, then appends and publishes one at a time, and repeats a
//! call that failed with a temporary failure until it works. The pair hears of trouble once, and once of its end.

use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures::FutureExt;
use longshore_core::ledger::Trailer;
use longshore_core::pair::Event;
use longshore_core::sink::{Published, SegmentWriter, Sink, WriterContext};
use longshore_core::{Block, Charge, Class, Epoch, Failure, Lane, Offset, PairId, Reason, SinkIndex};
use longshore_telemetry::trace::{Held, Place, Story};
use longshore_telemetry::{SinkMetrics, Tracer};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use crate::crash::{self, Point};
use crate::mailbox::Input;
use crate::trouble::{Pause, Pauses};

enum Command {
    Append { block: Block, written: Vec<Written>, _charge: Charge },
    Publish(Box<Trailer>),
}

/// A traced record with rows for a sink.
pub(crate) struct Written {
    /// The story of its steps.
    pub(crate) story: Story,
    pub(crate) lane: Lane,
    pub(crate) lane_offset: Offset,
    pub(crate) offset: Offset,
    /// When the rows were given away.
    pub(crate) started: SystemTime,
    pub(crate) held: Held,
}

/// The pair's end of a writer task; dropping it ends the task and leaves nothing visible behind.
pub(crate) struct Writer {
    commands: UnboundedSender<Command>,
    task: AbortHandle,
}

/// What a writer needs to know of its pair.
pub(crate) struct WriterOptions {
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) index: SinkIndex,
    pub(crate) epoch: Epoch,
    pub(crate) context: WriterContext,
    pub(crate) pauses: Pauses,
    pub(crate) mailbox: UnboundedSender<Input>,
    pub(crate) metrics: SinkMetrics,
    pub(crate) tracer: Option<Tracer>,
}

impl Writer {
    /// Opens a writer and reads its ledger; `Recovered` follows.
    pub(crate) fn open(options: WriterOptions) -> Self {
        let (commands, queue) = unbounded_channel();
        let task = tokio::spawn(async move {
            let reporter = Reporter::new(&options);
            let run = AssertUnwindSafe(run(options, queue)).catch_unwind();
            if run.await.is_err() {
                reporter.held(Failure::halt(Reason::Internal, "the sink panicked"));
            }
        });
        Self { commands, task: task.abort_handle() }
    }

    /// Queues rows, and the traced ones of their records; `charge` counts their bytes until the sink took them.
    pub(crate) fn append(&self, block: Block, charge: Charge, written: Vec<Written>) {
        // A writer that halted takes nothing any more; the pair was told.
        let _ = self.commands.send(Command::Append { block, written, _charge: charge });
    }

    /// Queues the seal and publish of what was appended before.
    pub(crate) fn publish(&self, trailer: Box<Trailer>) {
        let _ = self.commands.send(Command::Publish(trailer));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(options: WriterOptions, mut queue: UnboundedReceiver<Command>) {
    let mut segments = options.sink.open(options.context.clone());
    let (mailbox, epoch) = (options.mailbox.clone(), options.epoch);
    segments.tell_progress(Box::new(move || {
        let _ = mailbox.send(Input::Publishing(epoch));
    }));
    let reporter = Reporter::new(&options);
    let mut task = WriterTask { segments, reporter, options, stored_bytes: 0, open: Vec::new() };
    let mut flow = task.recover().await;
    while flow.is_continue()
        && let Some(command) = queue.recv().await
    {
        flow = match command {
            Command::Append { block, written, _charge } => {
                task.open.extend(written);
                task.append(&block).await
            }
            Command::Publish(trailer) => task.publish(&trailer).await,
        };
    }
}

struct WriterTask {
    segments: Box<dyn SegmentWriter>,
    reporter: Reporter,
    options: WriterOptions,
    stored_bytes: u64,
    /// Traced records in the open segment.
    open: Vec<Written>,
}

impl WriterTask {
    async fn recover(&mut self) -> ControlFlow<()> {
        let mut pause = Pause::new(self.options.pauses);
        loop {
            match self.segments.recover().await {
                Ok(ledger) => {
                    self.reporter.well(&pause);
                    let (epoch, sink) = (self.options.epoch, self.options.index);
                    self.reporter.send(Event::Recovered { epoch, sink, ledger: Ok(ledger) });
                    return ControlFlow::Continue(());
                }
                Err(failure) if is_temporary(&failure) => self.reporter.wait(&mut pause, failure).await,
                Err(failure) => {
                    let (epoch, sink) = (self.options.epoch, self.options.index);
                    let failure = self.reporter.named(failure);
                    self.reporter.send(Event::Recovered { epoch, sink, ledger: Err(failure) });
                    return ControlFlow::Break(());
                }
            }
        }
    }

    async fn append(&mut self, block: &Block) -> ControlFlow<()> {
        let mut pause = Pause::new(self.options.pauses);
        loop {
            crash::at(Point::AppendBefore);
            match self.segments.append(block).await {
                Ok(bytes) => {
                    crash::at(Point::AppendAfter);
                    self.stored_bytes = bytes;
                    self.reporter.well(&pause);
                    let (epoch, sink) = (self.options.epoch, self.options.index);
                    self.reporter.send(Event::Appended { epoch, sink, bytes });
                    return ControlFlow::Continue(());
                }
                Err(failure) => self.reporter.failed(&mut pause, failure).await?,
            }
        }
    }

    async fn publish(&mut self, trailer: &Trailer) -> ControlFlow<()> {
        let (began, started) = (Instant::now(), SystemTime::now());
        let mut pause = Pause::new(self.options.pauses);
        while let Err(failure) = self.segments.seal() {
            self.reporter.failed(&mut pause, failure).await?;
        }
        loop {
            crash::at(Point::PublishBefore);
            match self.segments.publish(trailer).await {
                Ok(outcome) => {
                    crash::at(Point::PublishAfter);
                    self.tell_spans(&outcome, started);
                    self.options.metrics.published(std::mem::take(&mut self.stored_bytes), began.elapsed());
                    self.reporter.well(&pause);
                    let (epoch, sink, sequence) = (self.options.epoch, self.options.index, trailer.sequence);
                    self.reporter.send(Event::Published { epoch, sink, sequence, outcome });
                    return ControlFlow::Continue(());
                }
                Err(failure) => self.reporter.failed(&mut pause, failure).await?,
            }
        }
    }
}

impl WriterTask {
    /// The traced records of the segment are held, but for those that were refused. Where another writer was first, nothing is.
    fn tell_spans(&mut self, outcome: &Published, started: SystemTime) {
        let open = std::mem::take(&mut self.open);
        let Some(tracer) = self.options.tracer.as_ref().filter(|_| !open.is_empty()) else { return };
        let refused = match outcome {
            Published::Done(refused) => refused.as_slice(),
            Published::TakenByUs => &[],
            Published::TakenByOther(_) => return,
        };
        let (pair, sink): (&PairId, _) = (&self.options.context.pair, self.options.sink.name());
        let links: Vec<_> = open.iter().map(|written| written.story.context()).collect();
        tracer.publish(pair, sink, started, &links);
        for Written { story, lane, lane_offset, offset, started, held: _held } in open {
            let failure = refused.iter().find(|(refused, _)| *refused == offset).map(|(_, failure)| failure);
            let place = Place { pair, lane, lane_offset, offset };
            tracer.write(&tracer.child(&story), place, sink, started, failure);
        }
    }
}

/// Tells the pair how its sink is.
struct Reporter {
    mailbox: UnboundedSender<Input>,
    metrics: SinkMetrics,
    name: String,
    epoch: Epoch,
    sink: SinkIndex,
}

impl Reporter {
    fn new(options: &WriterOptions) -> Self {
        Self {
            mailbox: options.mailbox.clone(),
            metrics: options.metrics.clone(),
            name: options.sink.name().to_owned(),
            epoch: options.epoch,
            sink: options.index,
        }
    }

    fn send(&self, event: Event) {
        // A closed mailbox means that the pair is gone, and this task with it.
        let _ = self.mailbox.send(Input::Event(event));
    }

    fn named(&self, failure: Failure) -> Failure {
        crate::execute::located(failure, &self.name)
    }

    fn held(&self, failure: Failure) {
        self.send(Event::SinkHeld { epoch: self.epoch, sink: self.sink, failure: self.named(failure) });
    }

    /// Waits after a temporary failure, having said so at the first one of this call.
    async fn wait(&self, pause: &mut Pause, failure: Failure) {
        self.metrics.retried(&failure);
        if pause.attempts() == 0 {
            self.held(failure.clone());
        }
        pause.after(&failure).await;
    }

    /// Waits after a temporary failure, or says that this writer is at its end. A whole block or segment cannot be
    /// one record's fault (those come back by offset), so class Reject is a defect and halts as well.
    async fn failed(&self, pause: &mut Pause, failure: Failure) -> ControlFlow<()> {
        match failure.class {
            Class::Retry { .. } => {
                self.wait(pause, failure).await;
                ControlFlow::Continue(())
            }
            Class::Reject | Class::Halt => {
                self.held(Failure::new(Class::Halt, failure.reason, failure.detail()).at(&failure.at));
                ControlFlow::Break(())
            }
        }
    }

    /// Says that the trouble of this call is over, if it had any.
    fn well(&self, pause: &Pause) {
        if pause.attempts() > 0 {
            self.send(Event::SinkResumed { epoch: self.epoch, sink: self.sink });
        }
    }
}

fn is_temporary(failure: &Failure) -> bool {
    match failure.class {
        Class::Retry { .. } => true,
        Class::Reject | Class::Halt => false,
    }
}
