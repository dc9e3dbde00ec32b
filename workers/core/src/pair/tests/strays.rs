//! Copies that name a record which is not theirs.

use super::retry::{acknowledge, assign, at_work, commits_of, copy_of, headers, policy, with_retry};
use super::*;
use crate::headers::LetterHeaders;

/// The pairs of these tests are told that their input ends at 1000.
const END: i64 = 1000;

fn asked(hand: &mut Hand) -> usize {
    let pick = |action| if matches!(action, Action::FindEnd) { Ok(()) } else { Err(action) };
    hand.take(pick).len()
}

fn end_found(hand: &mut Hand, end: i64) {
    hand.tell(Event::EndFound { epoch: Epoch(1), end: Some(Offset(end)) });
}

fn committed(hand: &mut Hand, lane: Lane) -> Option<Offset> {
    hand.pass(Duration::from_secs(10));
    let offset = commits_of(hand, lane).last()?.offset;
    hand.tell(Event::Committed { epoch: Epoch(1), lane, offset, result: CommitResult::Done });
    Some(offset)
}

/// Takes the one letter there is, which is a stray's.
fn stray(hand: &mut Hand) -> Letter {
    let [letter] = &hand.letters()[..] else { panic!("one letter and no other") };
    assert_eq!((letter.origin, letter.to), (None, Destination::DeadLetters));
    assert_eq!(letter.failure.reason, Reason::RetryStray);
    letter.clone()
}

/// Scenario: a copy names the record that is to be written next, as in a retry topic restored from a backup; it is a replay's, so
/// its bytes tell nothing. Guarantee: the source is asked where the input ends; the copy becomes a letter under its own coordinate,
/// and the record that comes to stand there is run itself.
#[test]
fn a_copy_of_what_is_not_written_is_never_taken_for_it() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    copy_of(&mut hand, 0, "k", &LetterHeaders { replays: 1, ..headers(END, 0) });
    assert_eq!((asked(&mut hand), hand.letters().len(), hand.pair.waiting().0), (1, 0, 1));
    end_found(&mut hand, END);
    let letter = stray(&mut hand);
    assert!(letter.failure.detail().contains("in/0/1000/0"), "{}", letter.failure);
    acknowledge(&mut hand, letter.id);
    assert_eq!(committed(&mut hand, Lane::Retry), Some(Offset(1)));
    hand.receive(&[(END, "a")]);
    assert_eq!(at_work(&mut hand), [END]);
}

/// Scenario: a former owner, which does not know yet that it is one, hands over a record that was written after the pair became
/// ours; nobody can say at first where the input ends. Guarantee: it is asked again, the copy waits for its record, and only one of
/// the two is run.
#[test]
fn a_former_owners_copy_of_a_newer_record_counts() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    copy_of(&mut hand, 0, "a", &headers(END, 1));
    assert_eq!(asked(&mut hand), 1);
    hand.tell(Event::EndFound { epoch: Epoch(1), end: None });
    assert_eq!(asked(&mut hand), 0, "not at once");
    hand.pass(Duration::from_secs(1));
    assert_eq!(asked(&mut hand), 1);
    end_found(&mut hand, END + 1);
    assert_eq!((at_work(&mut hand), hand.letters().len()), (Vec::new(), 0));
    hand.receive(&[(END, "a")]);
    assert_eq!(at_work(&mut hand), [END], "the copy, since the record has failed once");
    assert_eq!(asked(&mut hand), 0);
}

/// Scenario: the input lane reaches the record before the answer comes. Guarantee: the record itself shows that it exists.
#[test]
fn the_record_itself_tells_that_it_was_written() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    copy_of(&mut hand, 0, "a", &headers(END, 1));
    copy_of(&mut hand, 1, "other", &headers(END, 2));
    hand.receive(&[(END, "a")]);
    assert_eq!(at_work(&mut hand), [END]);
    stray(&mut hand);
    end_found(&mut hand, END + 1);
    assert_eq!((at_work(&mut hand), hand.letters().len()), (Vec::new(), 0));
}

/// Scenario: the copy was written while no worker ran, and the input has grown beyond its origin by the time one starts. Guarantee:
/// it differs from the record that stands there, so the record is run and the copy is a letter; until the copy's offset is
/// committed, the input's commit does not pass the record, or the next owner would believe the copy.
#[test]
fn a_copy_that_differs_from_its_record_is_a_stray() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 1);
    copy_of(&mut hand, 0, "other", &headers(1, 1));
    hand.receive(&[(0, "a"), (1, "a"), (2, "a")]);
    let letter = stray(&mut hand);
    hand.run(to_first);
    hand.pass(Duration::from_secs(10));
    for (sink, trailer) in hand.trailers() {
        assert_eq!(trailer.covers, (Offset(0), Offset(3)));
        hand.publish(sink, &trailer, Published::Done(Vec::new()));
    }
    assert_eq!(hand.rows, 3);
    assert_eq!(committed(&mut hand, Lane::Input), Some(Offset(1)), "the copy is still there");
    acknowledge(&mut hand, letter.id);
    assert_eq!(committed(&mut hand, Lane::Retry), Some(Offset(1)));
    assert_eq!(committed(&mut hand, Lane::Input), Some(Offset(3)));
}

/// Scenario: of two copies of one record, read before the input lane comes to it, one is a stray of the higher rank. Guarantee: the
/// other one counts.
#[test]
fn a_stray_does_not_outrank_a_copy() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 2);
    copy_of(&mut hand, 0, "a", &headers(0, 1));
    copy_of(&mut hand, 1, "other", &headers(0, 2));
    hand.receive(&[(0, "a")]);
    stray(&mut hand);
    let units = hand.take(|action| match action {
        Action::Run(unit) => Ok(unit),
        other => Err(other),
    });
    let tries: Vec<_> = units.iter().flat_map(|unit| unit.entries.iter().map(|e| e.attempt)).collect();
    assert_eq!(tries, [2]);
}
