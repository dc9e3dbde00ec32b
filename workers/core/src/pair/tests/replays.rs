//! Replays that are read while older bytes of their record are under way. A replay may have been corrected.

use super::handover::{finish, later, replay};
use super::retry::{acknowledge, assign, assign_at, commits_of, policy, with_retry};
use super::strays::runs_of;
use super::*;

/// The places of the copies that are to run.
fn to_run(hand: &Hand) -> Vec<i64> {
    let units = hand.asked.iter().filter_map(|action| match action {
        Action::Run(unit) => Some(unit.entries.iter().map(|entry| entry.record.lane_offset().0)),
        _ => None,
    });
    units.flatten().collect()
}

/// Replay 2 of record 0 is read while replay 1 of it is tried.
fn overtaken() -> Hand {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Input, offset: Offset(1) });
    replay(&mut hand, 0, 1);
    replay(&mut hand, 1, 2);
    assert_eq!(to_run(&hand), [0]);
    hand
}

/// Scenario: replay 1 fails for now, while replay 2 was read. Guarantee: its next copy has its own number, and replay 2 is tried with its own
/// bytes (I7).
#[test]
fn a_replay_does_not_lend_its_number_to_a_next_copy_of_older_bytes() {
    let mut hand = overtaken();
    hand.run(later);
    let [next] = &hand.letters()[..] else { panic!("one letter and no other") };
    assert_eq!((next.replays, next.record.lane_offset()), (1, Offset(0)));
    assert_eq!(to_run(&hand), [1]);
    acknowledge(&mut hand, next.id);
    replay(&mut hand, 2, 1);
    hand.run(to_first);
    let (dead, committed) = finish(&mut hand);
    assert_eq!((hand.rows, dead.len(), committed, hand.pair.holds()), (1, 0, Some(Offset(3)), (0, 0)));
}

/// Scenario: the same, but replay 1 is rejected. Guarantee: the letter is that of replay 1; replay 2 is tried behind it (I1, I7).
#[test]
fn a_replay_does_not_die_with_the_one_before_it() {
    let mut hand = overtaken();
    hand.run(|_| Verdict::Failed(Box::new(Failure::reject(Reason::StepFailed, "bad"))));
    assert!(to_run(&hand).is_empty(), "its end is not durable yet");
    hand.pass(Duration::from_secs(10));
    let (sink, trailer) = hand.trailers().pop().unwrap();
    assert_eq!(trailer.dead, [(Offset(0), 1)].into());
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    let [letter] = &hand.letters()[..] else { panic!("one letter and no other") };
    assert_eq!((letter.replays, letter.record.lane_offset()), (1, Offset(0)));
    assert_eq!(to_run(&hand), [1]);
    acknowledge(&mut hand, letter.id);
    hand.run(to_first);
    let (dead, committed) = finish(&mut hand);
    assert_eq!((hand.rows, dead.len(), committed, hand.pair.holds()), (1, 0, Some(Offset(2)), (0, 0)));
}

/// Scenario: the same, but replay 1 passes; and once a sink without a ledger gets the row. Guarantee: replay 2 is not run (I2), and settles with the row.
#[test]
fn a_replay_is_superfluous_behind_a_row() {
    for ledger in [true, false] {
        let mut hand = Hand::new(PairOptions { sinks: vec![spec("sink", ledger)], ..with_retry(policy()) });
        assign(&mut hand, 0);
        hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Input, offset: Offset(1) });
        replay(&mut hand, 0, 1);
        replay(&mut hand, 1, 2);
        hand.run(to_first);
        let (dead, committed) = finish(&mut hand);
        assert_eq!((hand.rows, dead.len(), committed), (1, 0, Some(Offset(2))), "ledger: {ledger}");
        assert!(to_run(&hand).is_empty(), "ledger: {ledger}");
        assert_eq!(hand.pair.holds(), (0, 0));
    }
}

/// Scenario: of two sinks without a ledger one refuses a record's row, and the letter is replayed before the other one has its row.
/// Guarantee: the replay is tried, since the row is not its own: the sink that refused the record lacks it (I1).
#[test]
fn a_replay_for_the_sink_that_refused_is_not_superfluous_behind_anothers_row() {
    let sinks = vec![spec("one", false), spec("two", false)];
    let mut hand = Hand::new(PairOptions { sinks, ..with_retry(policy()) });
    assign(&mut hand, 0);
    hand.tell(Event::Recovered { epoch: Epoch(1), sink: SinkIndex(1), ledger: Ok(LedgerView::default()) });
    hand.mark_taken();
    hand.receive(&[(0, "a")]);
    hand.run(|_| Verdict::Routed { sinks: SinkMask::first(2) });
    let trailers = hand.trailers();
    let of = |sink: u8| trailers.iter().find(|(index, _)| index.0 == sink).unwrap();
    let refusal = (Offset(0), Failure::reject(Reason::SinkTooLarge, "too large"));
    hand.publish(SinkIndex(1), &of(1).1, Published::Done(vec![refusal]));
    let [letter] = &hand.letters()[..] else { panic!("one letter and no other") };
    assert_eq!(letter.failure.at, "two");
    acknowledge(&mut hand, letter.id);
    replay(&mut hand, 0, 1);
    assert_eq!(to_run(&hand), [0; 0], "the record waits for the first sink");
    hand.publish(SinkIndex(0), &of(0).1, Published::Done(Vec::new()));
    hand.pass(Duration::from_secs(1));
    hand.run(|_| Verdict::Routed { sinks: SinkMask::first(2) });
    assert_eq!(hand.rows, 4, "two of the record, two of its replay");
    let (dead, committed) = finish(&mut hand);
    assert_eq!((dead.len(), committed, hand.pair.holds()), (0, Some(Offset(1)), (0, 0)));
}

/// Scenario: the letter of replay 1 is on its way while replay 2 fails for now, and its copy is read once more. Guarantee: the letter settles the copy of replay 1 alone, and
/// the next copy the two of replay 2.
#[test]
fn a_letter_settles_the_copies_that_it_is_of() {
    let mut hand = overtaken();
    hand.run(|_| Verdict::Failed(Box::new(Failure::reject(Reason::StepFailed, "bad"))));
    hand.pass(Duration::from_secs(10));
    let (sink, trailer) = hand.trailers().pop().unwrap();
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    let [dead] = &hand.letters()[..] else { panic!("one letter and no other") };
    hand.run(later);
    let [next] = &hand.letters()[..] else { panic!("one letter and no other") };
    assert_eq!((dead.to, next.replays), (Destination::DeadLetters, 2));
    replay(&mut hand, 2, 2);
    acknowledge(&mut hand, dead.id);
    assert_eq!(settled_copies(&mut hand), Some((Offset(1), RunSet::default())));
    acknowledge(&mut hand, next.id);
    assert_eq!(settled_copies(&mut hand), Some((Offset(3), RunSet::default())));
}

/// What is committed of the retry lane, once the broker has taken what there is of the input.
fn settled_copies(hand: &mut Hand) -> Option<(Offset, RunSet)> {
    let mut last = None;
    for _ in 0..3 {
        hand.pass(Duration::from_secs(2));
        for lane in [Lane::Input, Lane::Retry] {
            for position in commits_of(hand, lane) {
                let (epoch, offset, result) = (Epoch(1), position.offset, CommitResult::Done);
                hand.tell(Event::Committed { epoch, lane, offset, result });
                last = (lane == Lane::Retry).then(|| (offset, runs_of(&position))).or(last);
            }
        }
    }
    last
}

/// Scenario: the ledger has a letter of replay 2, and a copy of replay 1 is read. Guarantee: the letter is told by its own copy; the older one is through, and does not run.
#[test]
fn a_letter_is_not_told_by_an_older_replay() {
    let mut ledger = LedgerView { next_sequence: crate::Sequence(1), ..LedgerView::default() };
    ledger.holdings.add(&RunSet::default(), &[(Offset(0), 2)].into());
    let mut hand = Hand::new(with_retry(policy()));
    assign_at(&mut hand, [None, None], [1_000, 0], ledger);
    hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Input, offset: Offset(1) });
    replay(&mut hand, 0, 1);
    assert_eq!((to_run(&hand), hand.pair.waiting().0), (vec![], 0));
}
