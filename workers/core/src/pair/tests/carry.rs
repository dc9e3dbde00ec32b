//! Carry forward by hand: what is produced again at the end of the log, and when.

use super::retry::{assign, assign_at, copy_of, headers, policy, with_retry};
use super::*;
use crate::headers::LetterHeaders;

fn carried(hand: &mut Hand) -> Vec<Letter> {
    let letters = hand.letters();
    assert!(letters.iter().all(|letter| letter.to == Destination::Tail), "{letters:?}");
    letters
}

fn origins(letters: &[Letter]) -> Vec<i64> {
    let mut origins: Vec<i64> = letters.iter().map(|letter| letter.origin.unwrap().0).collect();
    origins.sort_unstable();
    origins
}

/// A copy of a record that waits for an hour.
fn waits(hand: &mut Hand, place: i64, record: i64) {
    let told = LetterHeaders { replays: 1, not_before_ms: Some(i64::MAX), ..headers(record, 0) };
    copy_of(hand, place, &format!("k{record}"), &told);
}

fn lane_ends_at(hand: &mut Hand, lane: Lane, offset: i64) {
    hand.tell(Event::Passed { epoch: hand.pair.epoch(), lane, offset: Offset(offset) });
}

fn patient(span: u64) -> RetryPolicy {
    RetryPolicy { cap: Duration::from_secs(3_600), span, ..policy() }
}

/// Scenario: four copies wait, one of a record that the input lane has not met; what lies between them is settled, and the log goes on. Guarantee: nothing is
/// carried until the lane is as far behind as the span and twice what waits; then what lies before half a span and what waits is, and what
/// was not met stays: at the end of the log it would be believed.
#[test]
fn what_is_far_behind_is_carried_and_nothing_else() {
    let mut hand = Hand::new(with_retry(patient(10)));
    assign(&mut hand, 0);
    lane_ends_at(&mut hand, Lane::Input, 3);
    lane_ends_at(&mut hand, Lane::Retry, 5);
    for (place, record) in [(5, 0), (6, 3), (14, 1), (15, 2)] {
        waits(&mut hand, place, record);
    }
    lane_ends_at(&mut hand, Lane::Retry, 5 + 10 + 2 * 4);
    assert_eq!(carried(&mut hand).len(), 0, "just as far as it may be");
    lane_ends_at(&mut hand, Lane::Retry, 24);
    assert_eq!(origins(&carried(&mut hand)), [0, 1]);
    hand.tell(Event::Tick);
    assert_eq!(carried(&mut hand).len(), 0, "they are on their way");
}

/// Scenario: the lane is far behind while it still reads what was there when the pair became ours. Guarantee: it carries nothing before it is through, since
/// a copy that settles what it would carry may come yet.
#[test]
fn nothing_is_carried_before_the_lane_was_read() {
    let mut hand = Hand::new(with_retry(patient(10)));
    assign(&mut hand, 101);
    lane_ends_at(&mut hand, Lane::Input, 3);
    waits(&mut hand, 0, 0);
    lane_ends_at(&mut hand, Lane::Retry, 100);
    assert_eq!(carried(&mut hand).len(), 0);
    lane_ends_at(&mut hand, Lane::Retry, 101);
    assert_eq!(origins(&carried(&mut hand)), [0]);
}

/// Scenario: of two sinks one has a record whose copy is carried forward, and the retry topic refuses it. Guarantee: it is a letter for the other one (I1).
#[test]
fn what_one_sink_lacks_is_a_letter_when_its_copy_is_refused() {
    for held_by_both in [false, true] {
        let sinks = vec![spec("files", true), spec("table", true)];
        let mut hand = Hand::new(PairOptions { sinks, ..with_retry(patient(10)) });
        let holds = |holds: bool| {
            let mut ledger = LedgerView { next_sequence: crate::Sequence(1), ..LedgerView::default() };
            if holds {
                ledger.holdings.add(&RunSet::of(Offset(0), Offset(1)), &Default::default());
            }
            ledger
        };
        assign_at(&mut hand, [None, None], [1_000, 0], holds(true));
        let ledger = Ok(holds(held_by_both));
        hand.tell(Event::Recovered { epoch: Epoch(1), sink: SinkIndex(1), ledger });
        hand.mark_taken();
        lane_ends_at(&mut hand, Lane::Input, 1);
        waits(&mut hand, 0, 0);
        lane_ends_at(&mut hand, Lane::Retry, 100);
        let letters = carried(&mut hand);
        if held_by_both {
            assert_eq!(letters.len(), 0, "there is nothing to wait for");
            continue;
        }
        let result = Err(Failure::reject(Reason::SinkTooLarge, "too large"));
        hand.tell(Event::LettersDelivered { epoch: Epoch(1), answers: vec![(letters[0].id, result)] });
        let [letter] = &hand.letters()[..] else { panic!("one letter for the other sink") };
        assert_eq!((letter.to, letter.origin), (Destination::DeadLetters, Some(Offset(0))));
    }
}

/// Scenario: copies wait for long, and nothing else happens. Guarantee: the pair wakes once a minute to look for what has grown old, and carries it then.
#[test]
fn what_grows_old_is_looked_for_once_a_minute() {
    let carry_age = Duration::from_secs(150);
    let mut hand = Hand::new(with_retry(RetryPolicy { carry_age, ..patient(1_000) }));
    assign(&mut hand, 0);
    lane_ends_at(&mut hand, Lane::Input, 1);
    waits(&mut hand, 0, 0);
    let mut woken = Vec::new();
    while woken.len() < 20 && carried(&mut hand).is_empty() {
        hand.now = hand.pair.next_wake().expect("it looks again");
        woken.push(hand.now);
        hand.tell(Event::Tick);
        hand.mark_taken();
    }
    assert_eq!(hand.now, Moment(Duration::from_secs(180)), "{woken:?}");
    assert!(woken.len() < 8, "{woken:?}");
}
