//! Sink generations: what the commit says of one, and what the pipeline file does.

use super::*;
use crate::Sequence;
use crate::metadata::{Metadata, SinkMark};

/// Scenario: the commits were made for generation 2 (a rewind); the pipeline file says 1, then 2, then 3. Guarantee: with the old
/// number the pair halts and the commit is left alone, so that two generations are never mixed; with the same or a later one it
/// begins.
#[test]
fn a_file_with_an_earlier_generation_halts_the_pair() {
    let mark =
        SinkMark { name_hash: SinkMark::hash_of("files"), generation: Generation(2), next: Sequence(0) };
    let metadata = Metadata { sinks: vec![mark], clean: true, ..Default::default() };
    let committed = Position { offset: Offset(4), metadata: metadata.encode(Offset(4)).text };
    let begun = |generation: u32| {
        let mut hand = Hand::new(PairOptions {
            generation: Generation(generation),
            ..options(vec![spec("files", true)])
        });
        hand.assign(1, Some(committed.clone()), vec![LedgerView::default()]);
        let halted = hand.pair.halted().map(|failure| failure.reason);
        hand.tell(Event::Revoke);
        (halted, hand.released())
    };
    assert_eq!(begun(1), (Some(Reason::LedgerGeneration), Some(None)));
    assert_eq!(begun(2).0, None);
    assert_eq!(begun(3).0, None);
}

/// Scenario: two records beyond the committed offset were settled, then the pipeline file names the next generation, without a rewind.
/// Guarantee: all from the committed offset on is in the new generation, since what was settled lies in the one before (I1); with the same
/// number the two are not run again.
#[test]
fn what_is_settled_in_one_generation_is_not_settled_in_the_next() {
    let mark =
        SinkMark { name_hash: SinkMark::hash_of("files"), generation: Generation(1), next: Sequence(0) };
    let settled = RunSet::of(Offset(1), Offset(3));
    let metadata = Metadata { sinks: vec![mark], settled, clean: true, ..Default::default() };
    let committed = Position { offset: Offset(0), metadata: metadata.encode(Offset(0)).text };
    for (generation, rows) in [(1, 2), (2, 4)] {
        let mut hand = Hand::new(PairOptions {
            generation: Generation(generation),
            ..options(vec![spec("files", true)])
        });
        hand.assign(1, Some(committed.clone()), vec![LedgerView::default()]);
        hand.receive(&[(0, "a"), (1, "b"), (2, "c"), (3, "d")]);
        hand.run(to_first);
        assert_eq!(hand.rows, rows, "generation {generation}");
        hand.pass(Duration::from_secs(10));
        let (_, trailer) = hand.trailers().pop().unwrap();
        assert_eq!((trailer.generation, trailer.covers), (Generation(generation), (Offset(0), Offset(4))));
        let skipped = if generation == 1 { RunSet::of(Offset(1), Offset(3)) } else { RunSet::default() };
        assert_eq!(trailer.except, skipped);
    }
}
