//! The pair's machine in memory: tracker, and a whole pair with its scheduler, without and with key order.
#![expect(clippy::expect_used, reason = "a bench may end with a panic")]

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longshore_core::ledger::LedgerView;
use longshore_core::metadata::METADATA_BYTES;
use longshore_core::pair::{
    Action, CommitPolicy, CommitResult, Event, Grain, Order, Pair, PairOptions, SealPolicy, SinkSpec, Unit,
    UnitResult, Verdict, Window,
};
use longshore_core::retry::Backoff;
use longshore_core::sink::Published;
use longshore_core::source::Assignment;
use longshore_core::tracker::{Ticket, Tracker};
use longshore_core::{
    Chunk, ChunkBuilder, Epoch, FilterReason, Generation, Lane, Moment, Offset, PairId, RunSet, SinkIndex,
    WriterId,
};

/// Records in one chunk, as a poll gives them.
const CHUNK: i64 = 1_000;
const EPOCH: Epoch = Epoch(1);

fn options(order: Order) -> PairOptions {
    let second = Duration::from_secs(1);
    let seal = SealPolicy { bytes: u64::MAX, rows: 5_000, age: Duration::from_millis(50) };
    PairOptions {
        pipeline: "bench".into(),
        version: "1".into(),
        order,
        grain: Grain::Batch,
        sinks: vec![SinkSpec { name: "out".into(), ledger: false, refuses: true, seal }],
        unit_records: 512,
        units_in_flight: 8,
        window: Window { records: 20_000, bytes: 64 << 20 },
        commit: CommitPolicy {
            interval: second,
            records: 5_000,
            uncommitted_cap: 20_000,
            metadata_bytes: METADATA_BYTES,
        },
        backoff: Backoff { base: second, cap: second, floor: second },
        attempts: 8,
        retry: None,
        flood: None,
        generation: Generation::FIRST,
    }
}

/// A pair at work whose every wish is granted at once.
struct Machine {
    pair: Pair,
    asked: Vec<Action>,
    now: Moment,
    next: i64,
    keys: Vec<String>,
    dropped: FilterReason,
}

impl Machine {
    fn new(order: Order) -> Self {
        let id = PairId::new("in", 0);
        let pair = Pair::new(Arc::new(options(order)), id.clone());
        let keys = (0..1_000).map(|key| format!("key-{key:04}")).collect();
        let dropped = FilterReason::new("bench");
        let mut machine = Self { pair, asked: Vec::new(), now: Moment::default(), next: 0, keys, dropped };
        let assignment = Assignment {
            pair: id,
            epoch: EPOCH,
            committed: None,
            start: Offset(0),
            log_start: Offset(0),
            log_end: Offset(i64::MAX / 2),
            cluster: "c".into(),
            topic_id: "t".into(),
            partitions: 8,
            retry: None,
        };
        machine.tell(Event::Assigned { assignment, writer: WriterId(1) });
        machine.tell(Event::Recovered {
            epoch: EPOCH,
            sink: SinkIndex(0),
            ledger: Ok(LedgerView::default()),
        });
        machine
    }

    fn chunk(&mut self) -> Arc<Chunk> {
        let mut chunk = ChunkBuilder::new(self.pair.id().clone(), Lane::Input, EPOCH);
        for offset in self.next..self.next + CHUNK {
            // A multiplier coprime to the number of keys: neighbours differ, every key comes equally often.
            let key = &self.keys[(offset as usize * 387) % self.keys.len()];
            chunk.record(Offset(offset), 0, Some(key.as_bytes()), Some(b"value"));
        }
        self.next += CHUNK;
        chunk.build(None)
    }

    fn tell(&mut self, event: Event) {
        self.now = self.now.after(Duration::from_millis(1));
        self.pair.handle(event, self.now, &mut self.asked);
    }

    /// Takes a chunk all the way to its commit.
    fn through(&mut self, chunk: Arc<Chunk>) {
        self.tell(Event::Received(chunk));
        while !self.asked.is_empty() {
            for action in std::mem::take(&mut self.asked) {
                match action {
                    Action::Run(unit) => {
                        let result = self.filtered(&unit);
                        self.tell(Event::UnitDone { epoch: EPOCH, result });
                    }
                    Action::Publish { sink, trailer } => {
                        let (sequence, outcome) = (trailer.sequence, Published::Done(Vec::new()));
                        self.tell(Event::Published { epoch: EPOCH, sink, sequence, outcome });
                    }
                    Action::Commit { position, .. } => {
                        let (offset, result) = (position.offset, CommitResult::Done);
                        self.tell(Event::Committed {
                            epoch: EPOCH,
                            lane: longshore_core::Lane::Input,
                            offset,
                            result,
                        });
                    }
                    _ => {}
                }
            }
        }
    }

    fn filtered(&self, unit: &Unit) -> UnitResult {
        let verdicts = unit.entries.iter().map(|_| Verdict::Filtered(self.dropped.clone())).collect();
        UnitResult {
            units: vec![unit.id],
            verdicts,
            blocks: Vec::new(),
            children_filtered: Vec::new(),
            took: Duration::ZERO,
        }
    }
}

fn pair(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pair.handle");
    group.throughput(Throughput::Elements(CHUNK as u64));
    for order in [Order::None, Order::Key] {
        let mut machine = Machine::new(order);
        group.bench_function(format!("{order:?}").to_lowercase(), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let chunk = machine.chunk();
                    let began = std::time::Instant::now();
                    machine.through(chunk);
                    spent += began.elapsed();
                }
                spent
            });
        });
        assert!(machine.pair.watermark() > Offset(0), "the machine settled nothing");
    }
    group.finish();
}

fn tracker(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tracker");
    group.throughput(Throughput::Elements(CHUNK as u64));
    group.bench_function("admit and settle in order", |bencher| {
        let mut tracker = Tracker::new(EPOCH, Offset(0), RunSet::default());
        bencher.iter(|| {
            let mut ticket = Ticket::empty(EPOCH);
            let start = tracker.position().0;
            for offset in start..start + CHUNK {
                tracker.admit(Offset(offset), &mut ticket).expect("a new offset");
            }
            tracker.settle(ticket)
        });
    });
    group.bench_function("settle every second record first", |bencher| {
        let mut tracker = Tracker::new(EPOCH, Offset(0), RunSet::default());
        bencher.iter(|| {
            let (mut even, mut odd) = (Ticket::empty(EPOCH), Ticket::empty(EPOCH));
            let start = tracker.position().0;
            for offset in start..start + CHUNK {
                let ticket = if offset % 2 == 0 { &mut even } else { &mut odd };
                tracker.admit(Offset(offset), ticket).expect("a new offset");
            }
            tracker.settle(even) + tracker.settle(odd)
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2));
    targets = tracker, pair
}
criterion_main!(benches);
