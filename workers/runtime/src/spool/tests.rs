use longshore_core::{Offset, RecordRef, SpoolError};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;

const LARGE: usize = 700_000;

#[derive(Debug)]
struct Kept(Arc<Chunk>);

impl Spooled for Kept {
    fn give(&self, index: u32, to: &mut ChunkBuilder) -> Result<(), SpoolError> {
        to.copy_of(&RecordRef::new(&self.0, index).ok_or(SpoolError::Damaged)?);
        Ok(())
    }

    fn largest_bytes(&self) -> u64 {
        self.0.bytes() as u64
    }
}

/// A pair stands in line for the one record that it has in the spool.
fn stands_in(line: &mut Line) -> UnboundedReceiver<Input> {
    let (mailbox, answers) = unbounded_channel();
    let pair = PairId::new("in", 0);
    let mut builder = ChunkBuilder::new(pair.clone(), Lane::Retry, Epoch(1));
    builder.record(Offset(7), 5, None, Some(&vec![b'x'; LARGE]));
    let chunk: Arc<dyn Spooled> = Arc::new(Kept(builder.build(None)));
    let read = SpoolRead { id: SpoolId(1), index: 0, copy: Offset(7) };
    line.waiting.push_back(Giving { epoch: Epoch(1), pair, reads: vec![Wanted { read, chunk }], mailbox });
    answers
}

fn given(answers: &mut UnboundedReceiver<Input>) -> Option<Arc<Chunk>> {
    match answers.try_recv().ok()? {
        Input::Event(Event::Fetched { chunk, .. }) => chunk,
        _ => panic!("another answer"),
    }
}

/// Scenario: three pairs want large records of which the budget has room for one, and the second pair is gone. Guarantee: the first comes at once,
/// the third when the first is gone (I5), or when that is held for long (I6).
#[test]
fn large_records_come_back_as_there_is_room() {
    for held in [false, true] {
        let budget = Budget::new(1_000_000);
        let mut line = Line::new(Arc::clone(&budget));
        let [mut first, second, mut third] = [(); 3].map(|()| stands_in(&mut line));
        let began = Instant::now();
        line.turn(began);
        drop(second);
        let first = given(&mut first);
        assert!(first.is_some() && budget.used() <= budget.limit());
        line.turn(began + PATIENCE / 2);
        assert!(given(&mut third).is_none());
        if held {
            line.turn(began + PATIENCE);
        } else {
            drop(first);
            line.turn(began + PATIENCE / 2);
        }
        assert!(given(&mut third).is_some(), "held: {held}");
        assert!(line.is_empty());
    }
}
