//! Sink generations: what the commit says of one, and what the pipeline file does.

use super::*;
use crate::Sequence;
use crate::metadata::{Metadata, SinkMark};

/// Scenario: the commits were made for generation 2 (a rewind); the pipeline file says 1, then 2, then 3. Guarantee: with the old
/// number the pair halts and the commit is left alone, so that two generations are never mixed, also when the sink had another name in the earlier one;
/// with the same or a later number it begins.
#[test]
fn a_file_with_an_earlier_generation_halts_the_pair() {
    let mark =
        SinkMark { name_hash: SinkMark::hash_of("files"), generation: Generation(2), next: Sequence(0) };
    let metadata = Metadata { sinks: vec![mark], clean: true, ..Default::default() };
    let committed = Position { offset: Offset(4), metadata: metadata.encode(Offset(4)).text };
    let begun = |generation: u32, name: &str| {
        let mut hand =
            Hand::new(PairOptions { generation: Generation(generation), ..options(vec![spec(name, true)]) });
        hand.assign(1, Some(committed.clone()), vec![LedgerView::default()]);
        let halted = hand.pair.halted().map(|failure| failure.reason);
        hand.tell(Event::Revoke);
        (halted, hand.released())
    };
    for name in ["files", "lake"] {
        assert_eq!(begun(1, name), (Some(Reason::LedgerGeneration), Some(None)), "{name}");
        assert_eq!(begun(2, name).0, None);
        assert_eq!(begun(3, name).0, None);
    }
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

/// Scenario: the commit is of a pipeline with the sink `files`, and calls two records beyond its offset settled. The pipeline file has got a second sink
/// since, behind the first or before it; or the only one another name, with the next generation or without.
/// Guarantee: behind the first one, and in another generation, the new sink holds everything from the committed offset on (I1). Where it comes first it decides
/// dead letters and knows of none, so what is settled is not run again.
#[test]
fn what_is_settled_is_not_settled_in_a_sink_that_is_new() {
    let mark =
        SinkMark { name_hash: SinkMark::hash_of("files"), generation: Generation(1), next: Sequence(1) };
    let settled = RunSet::of(Offset(1), Offset(3));
    let metadata =
        Metadata { sinks: vec![mark], settled: settled.clone(), clean: true, ..Default::default() };
    let committed = Position { offset: Offset(0), metadata: metadata.encode(Offset(0)).text };
    let cases: [(u32, &[&str], [usize; 2]); 5] = [
        (1, &["files"], [2, 0]),
        (1, &["files", "lake"], [2, 4]),
        (1, &["lake", "files"], [2, 2]),
        (1, &["lake"], [2, 0]),
        (2, &["lake"], [4, 0]),
    ];
    for (generation, names, wanted) in cases {
        let mut hand = Hand::new(PairOptions {
            generation: Generation(generation),
            ..options(names.iter().map(|name| spec(name, true)).collect())
        });
        let mut files = LedgerView { next_sequence: Sequence(1), ..LedgerView::default() };
        files.holdings.add(&settled, &Default::default());
        let ledgers =
            names.iter().map(|name| if *name == "files" { files.clone() } else { LedgerView::default() });
        hand.assign(1, Some(committed.clone()), ledgers.collect());
        hand.receive(&[(0, "a"), (1, "b"), (2, "c"), (3, "d")]);
        let mut rows = [0, 0];
        for unit in hand.take(|action| if let Action::Run(unit) = action { Ok(unit) } else { Err(action) }) {
            for entry in unit.entries {
                (0..names.len())
                    .filter(|n| !entry.held.contains(SinkIndex(*n as u8)))
                    .for_each(|n| rows[n] += 1);
            }
        }
        assert_eq!(rows, wanted, "generation {generation}, {names:?}");
    }
}
