use std::sync::Arc;

use longshore_core::sink::{Encode, SegmentWriter, Sink, WriterContext};
use longshore_core::{ChunkBuilder, Content, Epoch, Lane, Offset, PairId, Row, UnitId};

use super::*;
use crate::plan::{Predicate, Route};
use crate::stories::Unwatched;

struct Values;

impl Encode for Values {
    fn encode(&self, item: &Item, block: &mut Block) -> Result<(), Failure> {
        let start = block.bytes.len() as u32;
        block.bytes.extend_from_slice(item.raw().unwrap_or_default());
        block.bytes.extend_from_slice(format!("#{}\n", item.index).as_bytes());
        let value = Some(start..block.bytes.len() as u32);
        block.rows.push(Row { offset: item.source.offset(), key: None, value, headers: Vec::new() });
        if item.raw() == Some(b"unencodable") {
            return Err(Failure::reject(Reason::EncodeValue, "no"));
        }
        Ok(())
    }
}

struct Nowhere(&'static str);

impl Sink for Nowhere {
    fn name(&self) -> &str {
        self.0
    }

    fn has_ledger(&self) -> bool {
        true
    }

    fn encoder(&self) -> Arc<dyn Encode> {
        Arc::new(Values)
    }

    fn open(&self, _: WriterContext) -> Box<dyn SegmentWriter> {
        unreachable!("nothing is written here")
    }
}

struct Lines;

/// Splits at commas, drops `drop`, fails as told.
impl Step for Lines {
    fn name(&self) -> &str {
        "lines"
    }

    fn apply(&self, item: &mut Item) -> Result<Flow, Failure> {
        let text = item.raw().unwrap_or_default().to_vec();
        match &text[..] {
            b"drop" => return Ok(Flow::Drop(FilterReason::new("filter.0"))),
            b"reject" => return Err(Failure::reject(Reason::StepFailed, "no")),
            b"retry" => return Err(Failure::retry(Reason::StepFailed, "later")),
            b"panic" => panic!("told to"),
            b"nothing" => return Ok(Flow::Split(Vec::new())),
            _ => {}
        }
        if !text.contains(&b',') {
            return Ok(Flow::Keep);
        }
        let children = text.split(|byte| *byte == b',').map(|part| {
            let content = Content::Raw(part.to_vec().into());
            Item { content, ..item.clone() }
        });
        Ok(Flow::Split(children.collect()))
    }
}

struct Long;

impl Predicate for Long {
    fn matches(&self, item: &Item) -> Result<bool, Failure> {
        Ok(item.raw().is_some_and(|value| value.len() > 3))
    }
}

fn plan(order: Order) -> Plan {
    let routes = vec![
        Route { sink: Arc::new(Nowhere("all")), when: None },
        Route { sink: Arc::new(Nowhere("long")), when: Some(Box::new(Long)) },
    ];
    let steps = vec![AnyStep::Pure(Box::new(Lines)), AnyStep::Pure(Box::new(Lines))];
    Plan::new(steps, routes, order, None).unwrap()
}

fn unit(records: &[(Option<&str>, &str)]) -> Unit {
    let mut chunk = ChunkBuilder::new(PairId::new("t", 0), Lane::Input, Epoch(1));
    for (at, (key, value)) in records.iter().enumerate() {
        chunk.record(Offset(at as i64), 0, key.map(str::as_bytes), Some(value.as_bytes()));
    }
    let chunk = chunk.build(None);
    let entry = |index| UnitEntry {
        record: RecordRef::new(&chunk, index).unwrap(),
        held: SinkMask::NONE,
        attempt: 1,
    };
    Unit { id: UnitId(7), epoch: Epoch(1), entries: (0..records.len() as u32).map(entry).collect() }
}

fn run(plan: &Plan, unit: &Unit) -> UnitResult {
    Executor::default().run(plan, unit, &AtomicBool::new(false), &mut Unwatched).unwrap()
}

/// Verdicts in short: sinks as a mask, a filter's reason, a failure's code, or `deferred`.
fn short(result: &UnitResult) -> Vec<String> {
    let word = |verdict: &Verdict| match verdict {
        Verdict::Routed { sinks } => sinks.0.to_string(),
        Verdict::Filtered(reason) => reason.0.to_string(),
        Verdict::Failed(failure) => format!("{}@{}", failure.reason, failure.at),
        Verdict::Deferred => "deferred".to_owned(),
    };
    result.verdicts.iter().map(word).collect()
}

fn text(result: &UnitResult, sink: u8) -> String {
    let block = result.blocks.iter().find(|(at, _)| at.0 == sink);
    block.map_or(String::new(), |(_, block)| String::from_utf8(block.bytes.clone()).unwrap())
}

#[test]
fn a_record_is_routed_filtered_or_failed_as_a_whole() {
    let unit = unit(&[
        (None, "abc"),
        (None, "drop"),
        (None, "longer"),
        (None, "x,reject,y"),
        (None, "a,drop,bcde"),
        (None, "drop,drop"),
        (None, "nothing"),
        (None, "q,unencodable"),
    ]);
    let result = run(&plan(Order::Key), &unit);
    let expected =
        ["1", "filter.0", "3", "step.failed@lines", "3", "filter.0", "split.empty", "encode.value@all"];
    assert_eq!(short(&result), expected);
    assert_eq!(text(&result, 0), "abc#0\nlonger#0\na#0\nbcde#2\n");
    assert_eq!(text(&result, 1), "longer#0\nbcde#2\n");
    assert_eq!(result.children_filtered, [(FilterReason::new("filter.0"), 1)]);
    assert_eq!(result.units, [UnitId(7)]);
}

#[test]
fn a_retry_defers_what_is_behind_it_by_the_order() {
    let records = [
        (Some("a"), "retry"),
        (Some("b"), "1"),
        (Some("a"), "2"),
        (None, "retry"),
        (None, "3"),
        (Some("b"), "reject"),
        (Some("b"), "4"),
    ];
    let failed = "step.failed@lines";
    let unit = unit(&records);
    let by_key = short(&run(&plan(Order::Key), &unit));
    assert_eq!(by_key, [failed, "1", "deferred", failed, "1", failed, "1"]);
    let by_partition = short(&run(&plan(Order::Partition), &unit));
    assert_eq!(
        by_partition,
        [failed, "deferred", "deferred", "deferred", "deferred", "deferred", "deferred"]
    );
    let without = short(&run(&plan(Order::None), &unit));
    assert_eq!(without, [failed, "1", "1", failed, "1", failed, "1"]);
}

#[test]
fn a_panic_is_a_retry_first_and_then_a_reject() {
    let mut unit = unit(&[(Some("a"), "panic"), (Some("a"), "1"), (Some("b"), "2")]);
    let first = run(&plan(Order::Key), &unit);
    assert_eq!(short(&first), ["step.panic@lines", "deferred", "1"]);
    unit.entries[0].attempt = 2;
    let second = run(&plan(Order::Key), &unit);
    assert_eq!(short(&second), ["step.panic@lines", "1", "1"]);
    let Verdict::Failed(failure) = &second.verdicts[0] else { unreachable!() };
    assert_eq!(failure.class, Class::Reject);
    assert!(!failure.detail().contains("told to"), "a panic's message may quote the payload");
}

#[test]
fn sinks_that_hold_a_record_get_no_row() {
    let mut unit = unit(&[(None, "longer"), (None, "abc")]);
    unit.entries[0].held.insert(SinkIndex(0));
    unit.entries[1].held.insert(SinkIndex(0));
    let result = run(&plan(Order::Key), &unit);
    assert_eq!(short(&result), ["2", "0"]);
    assert_eq!(text(&result, 0), "");
}

#[test]
fn a_cancelled_unit_gives_nothing_and_no_chunk_is_kept() {
    let unit = unit(&[(None, "abc")]);
    let chunk = Arc::clone(unit.entries[0].record.chunk());
    let mut executor = Executor::default();
    assert!(executor.run(&plan(Order::Key), &unit, &AtomicBool::new(true), &mut Unwatched).is_none());
    assert!(executor.run(&plan(Order::Key), &unit, &AtomicBool::new(false), &mut Unwatched).is_some());
    drop(unit);
    assert_eq!(Arc::strong_count(&chunk), 1);
}
