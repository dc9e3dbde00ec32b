//! Records a second through the runtime in memory: no step, a sink that throws rows away, no broker. It bounds from
//! above what a worker can do, and shows what the machine and the tasks cost. With a fourth argument each record waits so
//! many milliseconds in key order (1,000 keys) and is dropped, or, with a fifth, goes on to the sink. Spans are made as `OTEL_*` say; with
//! `TRACED=N` each record names a trace, and each Nth one that is recorded.
//!
//! `cargo run --release -p longshore-runtime --example throughput -- [PAIRS] [RECORDS] [BYTES] [WAIT_MS] [rows]`
#![expect(clippy::print_stdout, reason = "an example tells its figures on stdout")]
#![expect(clippy::expect_used, reason = "an example may end with a panic")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use longshore_core::item::{FilterReason, Flow, Step, WaitingStep};
use longshore_core::ledger::{LedgerView, Trailer};
use longshore_core::metadata::METADATA_BYTES;
use longshore_core::pair::{
    CommitPolicy, CommitResult, Grain, Letter, Order, PairOptions, SealPolicy, SinkSpec,
};
use longshore_core::retry::OUTAGE;
use longshore_core::sink::{Encode, Published, SegmentWriter, Sink, WriterContext};
use longshore_core::source::{Assignment, SourceCommand, SourceControl, SourceEvent};
use longshore_core::{
    Block, BoxFuture, Chunk, ChunkBuilder, Epoch, Failure, Generation, Item, Lane, Offset, PairId, Row,
};
use longshore_runtime::{
    AnyStep, Fleet, FleetOptions, FleetParts, LetterSink, Limits, MemoryShares, Plan, Route, Status,
};
use longshore_telemetry::trace::TraceOptions;
use longshore_telemetry::{Metrics, Tracer};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, mpsc};

/// The worker's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CHUNK: usize = 500;
const EPOCH: Epoch = Epoch(1);

struct Queue {
    pair: PairId,
    chunks: VecDeque<Arc<Chunk>>,
    delivered: (u64, u64),
    end: Offset,
}

/// Hands out chunks that were made before, as credit allows.
struct Source {
    queues: Mutex<Vec<Queue>>,
    events: UnboundedSender<SourceEvent>,
    unfinished: AtomicUsize,
    finished: Notify,
}

impl Source {
    fn deliver(&self, pair: &PairId, records: u64, bytes: u64) {
        let mut queues = self.queues.lock().expect("not poisoned");
        let queue = queues.iter_mut().find(|queue| queue.pair == *pair).expect("known");
        while queue.delivered.0 < records
            && queue.delivered.1 < bytes
            && let Some(chunk) = queue.chunks.pop_front()
        {
            queue.delivered.0 += chunk.len() as u64;
            queue.delivered.1 += chunk.bytes() as u64;
            let _ = self.events.send(SourceEvent::Received(chunk));
        }
    }

    fn committed(&self, pair: PairId, epoch: Epoch, offset: Offset) {
        let end = {
            let queues = self.queues.lock().expect("not poisoned");
            queues.iter().find(|queue| queue.pair == pair).expect("known").end
        };
        if offset == end && self.unfinished.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.finished.notify_one();
        }
        let _ = self.events.send(SourceEvent::Committed {
            pair,
            epoch,
            lane: Lane::Input,
            offset,
            result: CommitResult::Done,
        });
    }
}

impl SourceControl for Source {
    fn send(&self, command: SourceCommand) {
        match command {
            SourceCommand::Grant { pair, records, bytes, .. } => self.deliver(&pair, records, bytes),
            SourceCommand::Commit { pair, epoch, position, .. } => {
                self.committed(pair, epoch, position.offset)
            }
            SourceCommand::Shutdown => {
                let _ = self.events.send(SourceEvent::Ended(Ok(())));
            }
            SourceCommand::Start { .. }
            | SourceCommand::Release { .. }
            | SourceCommand::Reassign { .. }
            | SourceCommand::FindEnd { .. } => {}
        }
    }
}

struct Discard;

impl Encode for Discard {
    fn encode(&self, item: &Item, block: &mut Block) -> Result<(), Failure> {
        let start = block.bytes.len() as u32;
        block.bytes.extend_from_slice(item.raw().unwrap_or_default());
        let value = Some(start..block.bytes.len() as u32);
        block.rows.push(Row { offset: item.source.offset(), key: None, value, headers: Vec::new() });
        Ok(())
    }
}

impl Sink for Discard {
    fn name(&self) -> &str {
        "discard"
    }

    fn has_ledger(&self) -> bool {
        true
    }

    fn encoder(&self) -> Arc<dyn Encode> {
        Arc::new(Self)
    }

    fn open(&self, _: WriterContext) -> Box<dyn SegmentWriter> {
        Box::new(DiscardWriter { bytes: 0 })
    }
}

struct DiscardWriter {
    bytes: u64,
}

impl SegmentWriter for DiscardWriter {
    fn recover(&mut self) -> BoxFuture<'_, Result<LedgerView, Failure>> {
        Box::pin(async { Ok(LedgerView::default()) })
    }

    fn append<'a>(&'a mut self, block: &'a Block) -> BoxFuture<'a, Result<u64, Failure>> {
        self.bytes += block.bytes.len() as u64;
        Box::pin(async { Ok(self.bytes) })
    }

    fn seal(&mut self) -> Result<(), Failure> {
        self.bytes = 0;
        Ok(())
    }

    fn publish<'a>(&'a mut self, _: &'a Trailer) -> BoxFuture<'a, Result<Published, Failure>> {
        Box::pin(async { Ok(Published::Done(Vec::new())) })
    }
}

struct NoLetters;

impl LetterSink for NoLetters {
    fn send<'a>(&'a self, letters: &'a [Letter], _: i64) -> BoxFuture<'a, Vec<Result<(), Failure>>> {
        Box::pin(async { letters.iter().map(|_| Ok(())).collect() })
    }
}

/// Stands for a call to a service that takes so long.
struct Wait(Duration);

impl WaitingStep for Wait {
    fn name(&self) -> &str {
        "wait"
    }

    fn apply<'a>(&'a self, _: &'a mut Item) -> BoxFuture<'a, Result<Flow, Failure>> {
        Box::pin(async {
            tokio::time::sleep(self.0).await;
            Ok(Flow::Keep)
        })
    }
}

struct DropAll(FilterReason);

impl Step for DropAll {
    fn name(&self) -> &str {
        "drop"
    }

    fn apply(&self, _: &mut Item) -> Result<Flow, Failure> {
        Ok(Flow::Drop(self.0.clone()))
    }
}

/// One run.
#[derive(Clone, Copy)]
struct Run {
    order: Order,
    pairs: usize,
    records: usize,
    bytes: usize,
    wait: Option<Duration>,
    rows: bool,
}

impl Run {
    fn steps(&self) -> Vec<AnyStep> {
        let Some(wait) = self.wait else { return Vec::new() };
        let mut steps = vec![AnyStep::Waiting(Arc::new(Wait(wait)))];
        if !self.rows {
            steps.push(AnyStep::Pure(Box::new(DropAll(FilterReason::new("drop")))));
        }
        steps
    }
}

fn options(units_in_flight: u32) -> PairOptions {
    let seal = SealPolicy { bytes: 64 << 20, rows: 100_000, age: Duration::from_millis(20) };
    let brief = Duration::from_millis(20);
    PairOptions {
        pipeline: "throughput".into(),
        version: "1".into(),
        order: Order::None,
        grain: Grain::Batch,
        sinks: vec![SinkSpec { name: "discard".into(), ledger: true, refuses: false, seal }],
        unit_records: 1024,
        units_in_flight,
        window: MemoryShares::of(256 << 20).window(1),
        commit: CommitPolicy {
            interval: brief,
            records: 20_000,
            uncommitted_cap: 20_000,
            metadata_bytes: METADATA_BYTES,
        },
        backoff: OUTAGE,
        attempts: 8,
        retry: None,
        flood: None,
        generation: Generation::FIRST,
    }
}

fn queues(pairs: usize, records: usize, bytes: usize, keys: usize) -> Vec<Queue> {
    let value = vec![b'x'; bytes];
    let traced: Option<usize> = std::env::var("TRACED").ok().and_then(|every| every.parse().ok());
    let each = records / pairs;
    let queue = |partition: usize| {
        let pair = PairId::new("memory", partition as i32);
        let chunks = (0..each).step_by(CHUNK).map(|start| {
            let mut chunk = ChunkBuilder::new(pair.clone(), Lane::Input, EPOCH);
            for offset in start..each.min(start + CHUNK) {
                let key = format!("key-{}", offset % keys);
                chunk.record(Offset(offset as i64), 0, Some(key.as_bytes()), Some(&value));
                if let Some(every) = traced {
                    let flags = u8::from(offset % every == 0);
                    let parent = format!("00-{:032x}-{:016x}-{flags:02x}", offset + 1, offset + 1);
                    chunk.header(b"traceparent", Some(parent.as_bytes()));
                }
            }
            chunk.build(None)
        });
        Queue { chunks: chunks.collect(), delivered: (0, 0), end: Offset(each as i64), pair }
    };
    (0..pairs).map(queue).collect()
}

async fn measure(run: Run) -> f64 {
    let Run { order, pairs, records, bytes, .. } = run;
    let (events, inbox) = mpsc::unbounded_channel();
    let keys = if run.wait.is_some() { (1_000 / pairs).max(1) } else { 1_000 };
    let queues = queues(pairs, records, bytes, keys);
    let assignments: Vec<_> = queues.iter().map(|queue| assignment(queue, pairs as u32)).collect();
    let (queues, unfinished) = (Mutex::new(queues), AtomicUsize::new(pairs));
    let source = Arc::new(Source { queues, events: events.clone(), unfinished, finished: Notify::new() });
    let memory = MemoryShares::of(256 << 20);
    let options = FleetOptions {
        pair: options(if run.wait.is_some() { 1_000 } else { 8 }),
        memory,
        budget: memory.budget(),
        limits: Limits::default(),
        pool_threads: FleetOptions::cores(),
        backoff: OUTAGE,
    };
    let routes = vec![Route { sink: Arc::new(Discard), when: None }];
    let plan = Plan::new(run.steps(), routes, order, Some(Duration::from_secs(30))).expect("one sink");
    let metrics = Metrics::new("example");
    let tracer = Tracer::start(TraceOptions::default(), metrics.spans()).expect("an exporter");
    let parts = FleetParts {
        plan,
        events: inbox,
        control: source.clone(),
        letters: Arc::new(NoLetters),
        spool: None,
        metrics,
        tracer: tracer.clone(),
        status: Status::new(),
        heartbeat: Arc::new(AtomicU64::new(0)),
    };
    let began = Instant::now();
    for assignment in assignments {
        events.send(SourceEvent::Assigned(assignment)).expect("open");
    }
    let finished = Arc::clone(&source);
    Fleet::run(options, parts, async move { finished.finished.notified().await })
        .await
        .expect("ends in order");
    let rate = (records / pairs * pairs) as f64 / began.elapsed().as_secs_f64();
    if let Some(tracer) = tracer {
        tracer.stop(Duration::from_secs(5));
    }
    rate
}

fn assignment(queue: &Queue, partitions: u32) -> Assignment {
    Assignment {
        pair: queue.pair.clone(),
        epoch: EPOCH,
        committed: None,
        start: Offset(0),
        log_start: Offset(0),
        log_end: queue.end,
        cluster: "memory".into(),
        topic_id: "id".into(),
        partitions,
        retry: None,
    }
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |other| arguments.next().map_or(other, |text| text.parse().expect("a number"));
    let (pairs, records, bytes) = (number(8), number(1_000_000), number(100));
    let wait = arguments.next().map(|text| Duration::from_millis(text.parse().expect("milliseconds")));
    let rows = arguments.next().is_some();
    let orders = match wait {
        None => vec![Order::None, Order::Key, Order::Partition],
        Some(_) => vec![Order::Key],
    };
    for order in orders {
        let rate = measure(Run { order, pairs, records, bytes, wait, rows }).await;
        println!("{order:?}: {:.0} thousand records/s ({pairs} pairs, {bytes} bytes)", rate / 1000.0);
    }
}
