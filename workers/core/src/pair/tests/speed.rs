//! What the machine itself costs for each record, with nothing around it. Run it in release:
//! `cargo test --release -p longshore-core -- --ignored --nocapture nanoseconds`.

use std::time::Instant;

use super::*;

const CHUNK_RECORDS: usize = 1000;
const CHUNKS: usize = 2000;
const UNITS_IN_FLIGHT: usize = 4;

fn wide(order: Order) -> PairOptions {
    let mut options = options(vec![spec("files", true)]);
    options.order = order;
    options.sinks[0].seal.rows = 100_000;
    options.unit_records = 1024;
    options.window = Window { records: 20_000, bytes: 1 << 30 };
    options.units_in_flight = UNITS_IN_FLIGHT as u32;
    options
}

fn chunk(pair: &PairId, from: i64) -> Arc<crate::Chunk> {
    let mut chunk = ChunkBuilder::new(pair.clone(), Lane::Input, Epoch(1));
    for offset in from..from + CHUNK_RECORDS as i64 {
        let key = (offset.wrapping_mul(7919) % 1000).to_le_bytes();
        chunk.record(Offset(offset), 0, Some(&key), Some(&[0; 100]));
    }
    chunk.build(None)
}

/// Nanoseconds for each record, spent in `handle` alone: received, run, appended, published, committed.
fn measure(order: Order) -> f64 {
    let mut hand = Hand::new(wide(order));
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.asked.clear();
    let (mut spent, mut waiting) = (Duration::ZERO, std::collections::VecDeque::new());
    let mut tell = |hand: &mut Hand, event: Event| {
        let began = Instant::now();
        hand.pair.handle(event, Moment(began.elapsed()), &mut hand.asked);
        spent += began.elapsed();
    };
    for number in 0..CHUNKS {
        let chunk = chunk(hand.pair.id(), (number * CHUNK_RECORDS) as i64);
        tell(&mut hand, Event::Received(chunk));
        loop {
            for action in std::mem::take(&mut hand.asked) {
                match action {
                    Action::Run(unit) => waiting.push_back(unit),
                    Action::Append { sink, .. } => {
                        tell(&mut hand, Event::Appended { epoch: Epoch(1), sink, bytes: 1 })
                    }
                    Action::Publish { sink, trailer } => {
                        let outcome = Published::Done(Vec::new());
                        let sequence = trailer.sequence;
                        tell(&mut hand, Event::Published { epoch: Epoch(1), sink, sequence, outcome });
                    }
                    Action::Commit { position, .. } => {
                        let (offset, result) = (position.offset, CommitResult::Done);
                        tell(
                            &mut hand,
                            Event::Committed { epoch: Epoch(1), lane: crate::Lane::Input, offset, result },
                        );
                    }
                    _ => {}
                }
            }
            // Some units stay with the steps while the next chunk comes, so that keys are always at work.
            let stay = if number + 1 == CHUNKS { 0 } else { UNITS_IN_FLIGHT - 1 };
            if waiting.len() <= stay && hand.asked.is_empty() {
                break;
            }
            if waiting.len() > stay
                && let Some(unit) = waiting.pop_front()
            {
                let verdicts = vec![to_first(0); unit.entries.len()];
                let rows = unit.entries.iter().map(|entry| Row {
                    offset: entry.record.offset(),
                    key: None,
                    value: None,
                    headers: Vec::new(),
                });
                let blocks = vec![(SinkIndex(0), Block { rows: rows.collect(), ..Block::default() })];
                let result = unit_result(unit.id, verdicts, blocks);
                tell(&mut hand, Event::UnitDone { epoch: Epoch(1), result });
            }
        }
    }
    spent.as_nanos() as f64 / (CHUNKS * CHUNK_RECORDS) as f64
}

#[test]
#[ignore = "a measurement, for release builds"]
fn nanoseconds_of_the_machine_for_each_record() {
    for order in [Order::None, Order::Key, Order::Partition] {
        println!("{order:?}: {:.0} ns a record", measure(order));
    }
}
