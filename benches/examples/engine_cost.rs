//! What the engine spends on a record, for a count of instructions: one thread takes logs of 300 bytes all the way from a chunk through the pair's
//! machine in key order, the steps (read JSON, drop half of them) and their rows to settled offsets and their commit, without a broker and
//! without a disk. `bare` instead of `engine` does no more than read the same lines: when both spend more, it was the toolchain or a library.
//!
//! `valgrind --tool=callgrind target/debug/examples/engine_cost engine|bare RECORDS`
#![expect(clippy::print_stdout, reason = "an example tells its figures on stdout")]
#![expect(clippy::expect_used, reason = "an example may end with a panic")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use longshore_benches::lines::log_lines;
use longshore_conditions::steps::{FilterOptions, filter};
use longshore_core::item::Flow;
use longshore_core::ledger::LedgerView;
use longshore_core::metadata::METADATA_BYTES;
use longshore_core::pair::{
    Action, CommitPolicy, CommitResult, Event, Grain, Order, Pair, PairOptions, SealPolicy, SinkSpec, Unit,
    UnitResult, Verdict, Window,
};
use longshore_core::retry::Backoff;
use longshore_core::sink::{Published, SinkMask};
use longshore_core::source::Assignment;
use longshore_core::{
    Block, ChunkBuilder, Epoch, Generation, Item, Lane, Moment, Offset, PairId, Row, SinkIndex, Step,
    WriterId,
};
use longshore_logs::{Format, ParseOptions, parse};

/// The worker's own, so that the count does not hang on the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Records in one chunk, as a poll gives them.
const CHUNK: usize = 1_000;
const KEYS: usize = 1_000;
const EPOCH: Epoch = Epoch(1);
const SINK: SinkIndex = SinkIndex(0);

fn options() -> PairOptions {
    let second = Duration::from_secs(1);
    let seal = SealPolicy { bytes: 8 << 20, rows: 5_000, age: second };
    PairOptions {
        pipeline: "cost".into(),
        version: "1".into(),
        order: Order::Key,
        grain: Grain::Batch,
        sinks: vec![SinkSpec { name: "out".into(), ledger: true, refuses: false, seal }],
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

/// A pair whose every wish is granted at once.
struct Engine {
    pair: Pair,
    steps: [Box<dyn Step>; 2],
    asked: Vec<Action>,
    now: Moment,
    next: usize,
    stored_bytes: u64,
    committed: Offset,
}

impl Engine {
    fn new() -> Self {
        let id = PairId::new("in", 0);
        let drop = Some("severity_number < 9".to_owned());
        let steps: [Box<dyn Step>; 2] = [
            parse(&ParseOptions::new(Format::Json), &Arc::default()).expect("known options"),
            filter(&FilterOptions { drop, ..FilterOptions::default() }, 1).expect("a condition"),
        ];
        let pair = Pair::new(Arc::new(options()), id.clone());
        let (now, committed) = (Moment::default(), Offset(0));
        let mut engine = Self { pair, steps, asked: Vec::new(), now, next: 0, stored_bytes: 0, committed };
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
        engine.tell(Event::Assigned { assignment, writer: WriterId(1) });
        engine.tell(Event::Recovered { epoch: EPOCH, sink: SINK, ledger: Ok(LedgerView::default()) });
        engine
    }

    fn tell(&mut self, event: Event) {
        self.now = self.now.after(Duration::from_millis(1));
        self.pair.handle(event, self.now, &mut self.asked);
    }

    /// Takes a chunk all the way.
    fn through(&mut self, lines: &[String], keys: &[String]) {
        let mut chunk = ChunkBuilder::new(self.pair.id().clone(), Lane::Input, EPOCH);
        for line in lines {
            // A multiplier coprime to the number of keys: neighbours differ, every key comes equally often.
            let key = &keys[(self.next * 387) % keys.len()];
            chunk.record(Offset(self.next as i64), 0, Some(key.as_bytes()), Some(line.as_bytes()));
            self.next += 1;
        }
        self.tell(Event::Received(chunk.build(None)));
        self.grant();
    }

    /// Publishes and commits what is still open.
    fn drain(&mut self) {
        self.tell(Event::Drain);
        self.grant();
    }

    fn grant(&mut self) {
        while !self.asked.is_empty() {
            for action in std::mem::take(&mut self.asked) {
                match action {
                    Action::Run(unit) => {
                        let result = self.run(&unit);
                        self.tell(Event::UnitDone { epoch: EPOCH, result });
                    }
                    Action::Append { sink, block } => {
                        self.stored_bytes += block.bytes.len() as u64;
                        let bytes = self.stored_bytes;
                        self.tell(Event::Appended { epoch: EPOCH, sink, bytes });
                    }
                    Action::Publish { sink, trailer } => {
                        self.stored_bytes = 0;
                        let (sequence, outcome) = (trailer.sequence, Published::Done(Vec::new()));
                        self.tell(Event::Published { epoch: EPOCH, sink, sequence, outcome });
                    }
                    Action::Commit { lane, position } => {
                        self.committed = position.offset;
                        let (offset, result) = (position.offset, CommitResult::Done);
                        self.tell(Event::Committed { epoch: EPOCH, lane, offset, result });
                    }
                    Action::Released { input: Some(position), .. } => self.committed = position.offset,
                    _ => {}
                }
            }
        }
    }

    fn run(&self, unit: &Unit) -> UnitResult {
        let mut block = Block::default();
        let mut sinks = SinkMask::NONE;
        sinks.insert(SINK);
        let verdict = |entry: &longshore_core::pair::UnitEntry| {
            let mut item = Item::new(entry.record.clone());
            for step in &self.steps {
                match step.apply(&mut item).expect("every line is well") {
                    Flow::Keep => {}
                    Flow::Drop(reason) => return Verdict::Filtered(reason),
                    Flow::Split(_) => panic!("nothing splits"),
                }
            }
            let start = block.bytes.len() as u32;
            item.fields().expect("it was read").write_json(&mut block.bytes).expect("into memory");
            let value = Some(start..block.bytes.len() as u32);
            block.rows.push(Row { offset: item.source.offset(), key: None, value, headers: Vec::new() });
            Verdict::Routed { sinks }
        };
        let verdicts = unit.entries.iter().map(verdict).collect();
        let blocks = if block.rows.is_empty() { Vec::new() } else { vec![(SINK, block)] };
        UnitResult {
            units: vec![unit.id],
            verdicts,
            blocks,
            children_filtered: Vec::new(),
            took: Duration::ZERO,
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().expect("engine or bare");
    let records: usize = arguments.next().and_then(|text| text.parse().ok()).expect("a number of records");
    let lines = log_lines(CHUNK as u32);
    let keys: Vec<String> = (0..KEYS).map(|key| format!("key-{key:04}")).collect();
    let chunks = records.div_ceil(CHUNK);
    match what.as_str() {
        "engine" => {
            let mut engine = Engine::new();
            (0..chunks).for_each(|_| engine.through(&lines, &keys));
            engine.drain();
            println!("{} records, {} committed", engine.next, engine.committed.0);
        }
        "bare" => {
            for line in (0..chunks).flat_map(|_| &lines) {
                black_box(serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
            }
            println!("{} records", chunks * CHUNK);
        }
        other => panic!("{other} is neither engine nor bare"),
    }
}
