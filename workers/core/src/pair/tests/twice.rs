//! What the source hands over a second time within one ownership: a client that was paused may read again what it gave before, and the
//! source drops that (`consumer/route.rs` of the crate `kafka`). The machine does not rely on it.

use super::retry::{assign, copy_of, headers, policy, with_retry};
use super::*;

/// Answers all units, and gives the records that were in them.
fn ran(hand: &mut Hand) -> Vec<i64> {
    let seen = std::cell::RefCell::new(Vec::new());
    hand.run(|offset| {
        seen.borrow_mut().push(offset);
        to_first(offset)
    });
    let mut seen = seen.into_inner();
    seen.sort_unstable();
    seen
}

/// How many records settled in a sink, and how many because the sink held them already.
fn settled(hand: &mut Hand) -> (u64, u64) {
    let tallies = hand.take(|action| match action {
        Action::Settled(tally) => Ok((tally.sunk, tally.already_held)),
        other => Err(other),
    });
    tallies.iter().fold((0, 0), |(sunk, held), more| (sunk + more.0, held + more.1))
}

/// Scenario: records of the input come again, alone and with new ones behind them, while they wait, while they are in a segment, and when they
/// are settled. Guarantee: each runs once, has one row, is counted
/// once and let go of (I1, I2, I5).
#[test]
fn a_record_that_comes_twice_runs_once() {
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.receive(&[(0, "a"), (1, "b")]);
    hand.receive(&[(0, "a"), (1, "b")]);
    assert_eq!(hand.pair.in_flight_records(), 2);
    assert_eq!(ran(&mut hand), [0, 1]);
    hand.receive(&[(1, "b"), (2, "a")]);
    assert_eq!(ran(&mut hand), [2]);
    assert_eq!((hand.rows, hand.pair.in_flight_records(), hand.pair.in_flight_bytes()), (3, 0, 0));
    hand.pass(Duration::from_secs(10));
    let (sink, trailer) = hand.trailers().pop().unwrap();
    assert_eq!((trailer.covers, trailer.rows), ((Offset(0), Offset(3)), 3));
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    hand.receive(&[(0, "a"), (1, "b"), (2, "a"), (3, "b")]);
    assert_eq!((ran(&mut hand), hand.pair.watermark()), (vec![3], Offset(3)));
    assert_eq!((settled(&mut hand), hand.pair.in_flight_bytes()), ((3, 0), 0));
}

/// Scenario: the same of copies in the retry lane. Guarantee: each runs once and has one row.
#[test]
fn a_copy_that_comes_twice_runs_once() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 2);
    for place in [0, 0, 1, 0, 1] {
        copy_of(&mut hand, place, "a", &headers(place, 1));
    }
    assert_eq!(hand.pair.waiting().0, 2);
    hand.receive(&[(0, "a"), (1, "a"), (2, "b")]);
    let mut all = ran(&mut hand);
    copy_of(&mut hand, 0, "a", &headers(0, 1));
    all.extend(ran(&mut hand));
    copy_of(&mut hand, 1, "a", &headers(1, 1));
    all.extend(ran(&mut hand));
    all.sort_unstable();
    assert_eq!((all, hand.rows), (vec![0, 1, 2], 3));
    hand.pass(Duration::from_secs(10));
    let (sink, trailer) = hand.trailers().pop().unwrap();
    assert_eq!((trailer.covers, trailer.rows), ((Offset(0), Offset(3)), 3));
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    copy_of(&mut hand, 0, "a", &headers(0, 1));
    assert_eq!((ran(&mut hand), hand.pair.waiting().0), (Vec::new(), 0));
    assert_eq!(hand.pair.watermark(), Offset(3));
}
