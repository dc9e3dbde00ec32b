use longshore_core::{Budget, ChunkBuilder, TopicName};

use super::*;

fn input_lane() -> Pair {
    let mut pair = Pair::new(PairId::new("in", 0), Lane::Input, TopicName::new("in"), Epoch(1));
    pair.state = State::Flowing;
    pair
}

fn builder(first: i64, records: i64) -> ChunkBuilder {
    let mut builder = ChunkBuilder::new(PairId::new("in", 0), Lane::Input, Epoch(1));
    for offset in first..first + records {
        builder.record(Offset(offset), 0, None, Some(b"v"));
    }
    builder
}

fn chunk(first: i64, records: i64) -> Arc<Chunk> {
    builder(first, records).build(None)
}

/// Scenario: chunks come without credit, with some, and while others are held back. Guarantee (I2): they are handed over in the order
/// of their offsets, and only while there is credit.
#[test]
fn what_is_held_back_comes_first() {
    let now = Instant::now();
    let mut pair = input_lane();
    let firsts = |pair: &mut Pair| {
        std::iter::from_fn(|| pair.give_held(now)).map(|chunk| chunk.offset(0).0).collect::<Vec<_>>()
    };
    assert!(pair.give(chunk(0, 10), 10, now).is_none(), "no credit yet");
    pair.credit.grant(5, 1000);
    assert!(pair.give(chunk(10, 10), 10, now).is_none(), "behind what is held back, credit or not");
    assert_eq!(firsts(&mut pair), [0], "the first one has used up the credit");
    pair.credit.grant(11, 1000);
    assert_eq!(firsts(&mut pair), [10]);
    assert!(pair.held.is_clear() && pair.held.bytes == 0 && pair.held.since.is_none());
    pair.credit.grant(21, 1000);
    assert!(pair.give(chunk(20, 10), 10, now).is_some());
}

/// Scenario: a pair without credit is fetched until it reaches its marks, with others and without. Guarantee (I5): the loop rests from the
/// first mark on, at the second the pair is paused, and so is one that reaches its own; both are lower where others need the budget. Then it flows again only when nothing is
/// held back.
#[test]
fn marks_rest_and_pause() {
    let now = Instant::now();
    let mut pair = input_lane();
    let limit = 16 * 400;
    assert!(
        !pair.wants_flow(&Holding::new(0, limit, 8, false), now),
        "not before it has been granted something"
    );
    pair.credit.flowing = true;
    for (bytes, in_all, pairs, is_needed, rests, flows) in [
        (149, 399, 8, false, false, true),
        (150, 399, 8, false, false, false),
        (10, 400, 8, false, true, true),
        (10, 599, 8, false, true, true),
        (10, 600, 8, false, true, false),
        (299, 399, 2, false, false, true),
        (399, 399, 1, false, false, true),
        (599, 599, 1, false, true, true),
        (600, 600, 1, false, true, false),
        (10, 10, 8, true, true, true),
        (99, 399, 8, true, true, true),
        (100, 399, 8, true, true, false),
        (10, 400, 8, true, true, false),
    ] {
        pair.held = Held::default();
        pair.held.push(chunk(0, 1), bytes, now);
        let holding = Holding::new(in_all, limit, pairs, is_needed);
        assert_eq!(pair.wants_rest(&holding), rests, "{bytes} of {in_all}");
        assert_eq!(pair.wants_flow(&holding, now), flows, "{bytes} of {in_all}");
    }
    pair.credit.flowing = false;
    assert!(!pair.wants_flow(&Holding::new(10, limit, 8, false), now), "paused, and something is held back");
    pair.credit.flowing = true;
    let mut pair = input_lane();
    pair.credit.grant(1, 64 << 20);
    pair.credit.spend(1, 1);
    pair.credit.flowing = true;
    assert!(
        pair.wants_flow(&Holding::new(0, limit, 8, false), now),
        "its window is large, and all the same it is not paused"
    );
}

/// Scenario: much is held back, and of one pair nothing is handed over. Guarantee (I6): the loop rests for its sake for a moment and then no
/// more, so that the others are not slowed down by it.
#[test]
fn nobody_waits_long_for_a_pair_that_stands_still() {
    let now = Instant::now();
    let (mut pair, much) = (input_lane(), Holding::new(400, 16 * 400, 8, false));
    pair.credit.flowing = true;
    pair.held.push(chunk(0, 1), 10, now);
    pair.held.push(chunk(1, 1), 10, now);
    assert!(pair.wants_flow(&much, now + PATIENCE / 2));
    pair.credit.grant(1, 1000);
    assert!(pair.give_held(now + PATIENCE / 2).is_some());
    assert!(pair.wants_flow(&much, now + PATIENCE), "it moves");
    assert!(!pair.wants_flow(&much, now + PATIENCE / 2 + PATIENCE));
    let little = Holding::new(399, 16 * 400, 8, false);
    assert!(pair.wants_flow(&little, now + PATIENCE * 2), "it is in nobody's way");
}

/// Scenario: a record that has to pass the gate comes while its pair has no credit. Guarantee (I5): it takes no room; the pair is paused in
/// front of it, and flows again when it has credit.
#[test]
fn a_record_for_the_gate_is_not_held_back() {
    let now = Instant::now();
    let (mut pair, little) = (input_lane(), Holding::new(0, 16 * 400, 8, false));
    pair.credit.grant(1, 1000);
    pair.credit.flowing = true;
    assert!(pair.comes_to_the_gate(Offset(7)));
    pair.credit.spend(1, 1);
    assert!(!pair.comes_to_the_gate(Offset(8)));
    assert_eq!(pair.state, State::Starting(Offset(8)));
    pair.state = State::Flowing;
    assert!(!pair.wants_flow(&little, now));
    pair.credit.flowing = false;
    pair.credit.grant(2, 1000);
    assert!(pair.wants_flow(&little, now) && pair.comes_to_the_gate(Offset(8)));
}

/// Guarantee (I5, I8): what is held back of an ownership that ends is let go of, and nothing of it is handed over any more.
#[test]
fn the_end_of_an_ownership_lets_go() {
    let now = Instant::now();
    let budget = Budget::new(1000);
    let mut pair = input_lane();
    assert!(pair.give(builder(0, 1).build(Some(budget.charge(100))), 100, now).is_none());
    assert_eq!(budget.used(), 100);
    pair.held.shut();
    assert_eq!(budget.used(), 0);
    assert!(pair.give(chunk(1, 1), 10, now).is_none());
    pair.credit.grant(100, 1000);
    assert!(pair.give_held(now).is_none());
    assert!(!pair.held.is_clear(), "so that nothing is passed that was let go of");
}
